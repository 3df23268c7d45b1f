"""Tasks of lm-eval whose data is read here: the same documents as lm-eval reads, and no more than are needed."""

from pathlib import Path
from random import Random
from typing import Any

import datasets
import pytest

from datatrial.errors import DataError
from datatrial.evaluation._harness import load
from datatrial.evaluation._harness_task import HarnessTask, ParquetSplits, SharedShots, rows
from datatrial.evaluation._tasks import read_tasks
from datatrial.foreign import packed
from datatrial.records import Runtime

FEATURES = datasets.Features(
    {
        "question": datasets.Value("string"),
        "choices": datasets.Sequence(datasets.Value("string")),
        "targets": {"labels": datasets.Sequence(datasets.Value("int32")), "note": datasets.Value("string")},
        "parts": [{"name": datasets.Value("string"), "size": datasets.Value("float32")}],
        "answer": datasets.ClassLabel(names=["A", "B"]),
    }
)
TASK = """\
task: birds
dataset_path: parquet
dataset_kwargs: {data_files: {test: test.parquet, train: [train-0.parquet, train-1.parquet]}}
training_split: train
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""


def document(i: int) -> dict[str, Any]:
    return {
        "question": f"Which bird is number {i}? Työväen {'ö' * i}",
        "choices": [f"heron {i}", "owl"],
        "targets": {"labels": [i % 2, 1], "note": None if i % 3 else "seen"},
        "parts": [{"name": "wing", "size": i / 3}] * (i % 3),
        "answer": i % 2,
    }


def write(file: Path, numbers: range) -> None:
    datasets.Dataset.from_list([document(i) for i in numbers], features=FEATURES).to_parquet(file)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """A folder with a task over Parquet files, the training split in two."""
    write(tmp_path / "test.parquet", range(7))
    write(tmp_path / "train-0.parquet", range(10, 14))
    write(tmp_path / "train-1.parquet", range(14, 17))
    (tmp_path / "birds.yaml").write_text(TASK)
    return tmp_path


def loaded(folder: Path, shots: int | None = None) -> HarnessTask:
    tasks = read_tasks(str(folder / "birds.yaml"))
    files = {f"data/{file.name}": file for file in folder.glob("*.parquet")}
    return load(tasks, files, shots, Runtime(cache=folder / "cache")).tasks["birds"]


def test_documents_are_those_that_datasets_reads(birds: Path, tmp_path: Path) -> None:
    files = {"test": [str(birds / "test.parquet")], "train": [str(birds / f"train-{i}.parquet") for i in range(2)]}
    theirs = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    ours = ParquetSplits(files)
    assert set(ours) == set(theirs)
    for split in theirs:
        assert ours[split].features == theirs[split].features
        assert rows(ours[split], None) == list(theirs[split])
        assert rows(ours[split], 2) == list(theirs[split])[:2]


def test_files_are_read_only_when_they_are_needed(birds: Path) -> None:
    (birds / "train-1.parquet").write_text("this is no Parquet file")
    task = loaded(birds)
    assert [doc["answer"] for _, doc in task.doc_iterator()] == [i % 2 for i in range(7)]
    with pytest.raises(DataError, match="birds: its data cannot be read"):
        loaded(birds, shots=2)
    assert not (birds / "cache").exists()  # `datasets` would have copied them there


def test_a_file_that_stands_for_more_than_it_can_hold_is_not_read(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "ALWAYS_FINE", 2**16)
    (birds / "test.parquet").unlink()
    datasets.Dataset.from_dict({"question": ["owl"] * 200_000}).to_parquet(birds / "test.parquet")
    with pytest.raises(DataError, match="holds more than 50 times its size"):
        ParquetSplits({"test": [str(birds / "test.parquet")]})["test"]


@pytest.mark.parametrize("choices", [[], ["", "owl"]])
def test_a_first_question_without_choices_is_one_clear_error(birds: Path, choices: list[str]) -> None:
    features = datasets.Features({**FEATURES, "choices": datasets.Sequence(datasets.Value("string"))})
    datasets.Dataset.from_list([{**document(0), "choices": choices}], features).to_parquet(birds / "test.parquet")
    with pytest.raises(DataError, match="birds: the first question in its data has no choices, or one without text"):
        loaded(birds)


def test_a_limit_takes_the_first_documents(birds: Path) -> None:
    task = loaded(birds)
    assert [n for n, _ in task.doc_iterator(limit=3)] == [0, 1, 2]
    assert [n for n, _ in task.doc_iterator(limit=30)] == list(range(7))


def test_examples_are_drawn_as_lm_eval_draws_them(birds: Path) -> None:
    task = loaded(birds, shots=3)
    task.set_fewshot_seed(1234)
    drawn, everything = Random(1234), [document(i)["question"] for i in range(10, 17)]
    for _ in range(4):
        assert [doc["question"] for doc in task.sampler.sample(3)] == drawn.sample(everything, 3)


def test_a_model_that_is_sure_scores_what_the_task_gives_for_its_choice(birds: Path) -> None:
    task = loaded(birds)
    for number, doc in task.doc_iterator():
        assert task.if_sure(doc) == {"acc": [float(number % 2 == 0), float(number % 2 == 1)]}


def test_shared_examples_stay_the_same_until_they_are_drawn_with_another_seed() -> None:
    documents = [{"n": n} for n in range(10)]
    sampler = SharedShots(documents)
    sampler.set_rnd(1)
    first = sampler.sample(3)
    assert sampler.sample(3) == first
    assert sampler.sample(2, eval_doc={"n": 99}) == first[:2]
    spare = sampler.sample(3, eval_doc=first[1])
    assert spare[:2] == [first[0], first[2]]
    assert spare[2] not in first
    others = []
    for seed in range(2, 8):
        sampler.set_rnd(seed)
        others.append(sampler.sample(3))
    assert any(other != first for other in others)
    sampler.set_rnd(1)
    assert sampler.sample(3) == first


def test_shared_examples_are_never_fewer_than_asked_for() -> None:
    sampler = SharedShots([{"n": 1}, {"n": 1}, {"n": 2}])
    with pytest.raises(AssertionError, match="only 1 examples"):
        sampler.sample(2, eval_doc={"n": 1})
