"""Benchmarks of lm-eval: their settings, what they are identified by, and what is refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from datatrial.errors import DataError, ModelError
from datatrial.evaluation.lm_eval import LmEval
from datatrial.records import LocalFiles
from tests.evaluation.conftest import ANSWERS, SAYS, TASK, score, write_questions, write_table


@pytest.mark.parametrize("settings", [{}, {"task": "piqa", "data": "science"}])
def test_a_benchmark_has_either_a_task_or_data(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give either `task`"):
        LmEval(**settings)


def test_a_benchmark_is_called_by_its_name_its_data_or_its_task(world: Path) -> None:
    assert LmEval(task="piqa").title == "piqa"
    assert LmEval(data="science").title == "science"
    assert LmEval(task="piqa", name="p").title == "p"
    assert LmEval(task=str(world / "hill.yaml")).title == "hill"


def test_a_file_is_found_beside_the_study(world: Path) -> None:
    benchmark = LmEval.model_validate({"task": "hill.yaml"}, context={"folder": world})
    assert benchmark.tasks.name == "hill"
    assert benchmark.needs()["data/hill.jsonl"] == LocalFiles(world / "hill.jsonl")


def test_labels_and_places_are_no_part_of_the_identity_but_shots_limits_and_the_tasks_content_are(world: Path) -> None:
    def identity(**settings: Any) -> str:
        return json.dumps(LmEval(task=str(world / "hill.yaml"), **settings).identity(), sort_keys=True)

    assert identity() == identity(name="another label")
    assert str(world) not in identity()
    different = [identity(), identity(num_fewshot=1), identity(limit=3), identity(chat_template=True)]
    (world / "answers.py").write_text(ANSWERS + "# changed\n")
    assert len({*different, identity()}) == 5


def test_a_benchmark_travels_to_another_process(world: Path) -> None:
    benchmark = LmEval(task=str(world / "world.yaml"))
    before = benchmark.identity()
    assert pickle.loads(pickle.dumps(benchmark)).identity() == before


def test_an_unknown_task_or_metric_is_said_before_anything_runs() -> None:
    with pytest.raises(DataError, match="did you mean piqa"):
        LmEval(task="piqqa").needs()
    assert LmEval(task="piqa", metric="acc_norm").problems() == []
    assert LmEval(task="piqa", metric="f1").problems() == ["metric: piqa has no metric 'f1'; it has acc, acc_norm"]


@pytest.mark.parametrize("shots", [None, 0])
def test_examples_can_be_shared_only_where_some_are_shown(shots: int | None) -> None:
    with pytest.raises(ValidationError, match="`fewshot: shared` needs `num_fewshot`"):
        LmEval(task="piqa", num_fewshot=shots, fewshot="shared")
    with pytest.raises(ValidationError, match="Input should be 'shared'"):
        LmEval.model_validate({"task": "piqa", "num_fewshot": 1, "fewshot": "none"})


def test_whether_examples_are_shared_is_part_of_the_identity_but_not_of_what_the_items_say(world: Path) -> None:
    drawn = LmEval(task=str(world / "hill.yaml"), num_fewshot=2)
    shared = LmEval(task=str(world / "hill.yaml"), num_fewshot=2, fewshot="shared")
    assert drawn.identity() != shared.identity()
    assert drawn.bare.identity() == shared.bare.identity()


@pytest.mark.parametrize(
    ("choices", "answer"), [(["a lantern"], 0), (["a lantern", "a heron"], 2), (["a lantern", ""], 0)]
)
def test_a_question_that_cannot_be_asked_is_named(tmp_path: Path, choices: list[str], answer: int) -> None:
    from datatrial.evaluation._questions import write_task

    rows = [{"question": "What is it?", "choices": ["a", "b"], "answer": 1}]
    data = write_table(
        tmp_path / "data", [*rows, {"question": "What?", "choices": choices, "answer": answer}], "questions"
    )
    with pytest.raises(DataError, match="question 2: choices"):
        write_task(data, tmp_path / "task")


def test_only_questions_are_asked(tmp_path: Path) -> None:
    from datatrial.evaluation._questions import write_task

    data = write_table(tmp_path / "data", [{"text": "A heron sang."}], "documents")
    with pytest.raises(DataError, match="asks questions; its data set holds documents"):
        write_task(data, tmp_path / "task")


def test_the_same_questions_make_the_same_task(tmp_path: Path) -> None:
    from datatrial.evaluation._questions import write_task

    tasks = [write_task(write_questions(tmp_path / f"q{i}", 5), tmp_path / f"t{i}")[0] for i in range(2)]
    assert tasks[0].identity == tasks[1].identity


@pytest.mark.slow
def test_what_cannot_be_scored_is_said(world: Path, policy: Path, questions: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        score(LmEval(data="q", chat_template=True), tmp_path / "chat", policy=policy, data=questions)
    (world / "river.yaml").write_text(TASK.format(name="river").replace("test_split: test", "test_split: exam"))
    with pytest.raises(DataError, match="river: its data has no 'exam'"):
        score(LmEval(task=str(world / "river.yaml")), tmp_path / "split", policy=policy)
    with pytest.raises(DataError, match="num_fewshot is 23, but its data has only 22 examples to show"):
        score(LmEval(data="q", num_fewshot=23), tmp_path / "shots", policy=policy, data=questions)
    (world / "says.yaml").write_text(SAYS.replace("max_gen_toks: 4", "max_gen_toks: 256"))
    with pytest.raises(ModelError, match="cannot put says to this model: Invalid configuration"):
        score(LmEval(task=str(world / "says.yaml")), tmp_path / "long", policy=policy)
    with pytest.raises(DataError, match="questions: has no metric 'bleu'; it has acc, acc_norm"):
        score(LmEval(data="q", metric="bleu"), tmp_path / "metric", policy=policy, data=questions)
