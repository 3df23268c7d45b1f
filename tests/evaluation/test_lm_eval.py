"""lm-eval's benchmarks, from settings to results."""

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from datatrial.errors import DataError, ModelError
from datatrial.evaluation.lm_eval import LmEval
from datatrial.records import LocalFiles, Runtime, read_json
from tests.evaluation.conftest import make_policy, write_questions, write_table

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {name}.jsonl, train: shots.jsonl}}}}
training_split: train
test_split: test
output_type: multiple_choice
doc_to_text: "Statement: {{{{text}}}}\\nHarmless?"
doc_to_choice: ["No", "Yes"]
doc_to_target: !function answers.harmless
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
F1 = "  - {metric: f1, aggregation: f1, higher_is_better: true}\n"
ANSWERS = "import numpy as np\n\n\ndef harmless(doc):\n    return np.int32(doc['harmless'])\n"
GROUP = """\
group: world
task: [river, hill]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""
SAYS = """\
task: says
dataset_path: json
dataset_kwargs: {data_files: {test: river.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{text}} And the herons"
doc_to_target: "{{text}}"
generation_kwargs: {until: ["."], max_gen_toks: 4}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - {name: word, filter: [{function: regex, regex_pattern: "(\\\\w+)"}, {function: take_first}]}
"""

# The command `lm_eval`, but for its index of the 14,000 stock tasks, which takes longer than all the rest.
COMMAND = """
from functools import partialmethod
from lm_eval.tasks import TaskManager
TaskManager.__init__ = partialmethod(TaskManager.__init__, include_defaults=False)
from lm_eval.__main__ import cli_evaluate
cli_evaluate()
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder of a user's tasks: two of unequal size with few-shot examples, a group of them, and a generative one."""
    folder = tmp_path / "world"
    folder.mkdir()
    for name, size in (("river", 9), ("hill", 4), ("shots", 6)):
        rows = [{"text": f"The {name} folk own {i} boats.", "harmless": i * len(name) % 3 % 2} for i in range(size)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("river", "hill"):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name))
    (folder / "answers.py").write_text(ANSWERS)
    (folder / "world.yaml").write_text(GROUP)
    (folder / "says.yaml").write_text(SAYS)
    return folder


def score(benchmark: LmEval, out: Path, **inputs: Path) -> dict[str, Any]:
    """Runs a benchmark on files where they lie, and gives its summary."""
    files = {name: need.path for name, need in benchmark.needs().items() if isinstance(need, LocalFiles)}
    out.mkdir(parents=True)
    benchmark.run({**inputs, **files}, out, Runtime(cache=out.parent / "cache"))
    return read_json(out / "summary.json")


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


@pytest.mark.slow
@pytest.mark.parametrize(("shots", "limit"), [(None, None), (2, 3)])
def test_the_metrics_are_those_of_the_lm_eval_command(
    world: Path, policy: Path, questions: Path, tmp_path: Path, shots: int | None, limit: int | None
) -> None:
    settings = {"num_fewshot": shots, "limit": limit}
    world_yaml, says_yaml = str(world / "world.yaml"), str(world / "says.yaml")
    ours = {
        "questions": score(LmEval(data="questions", **settings), tmp_path / "q", policy=policy, data=questions),
        "world": score(LmEval(task=world_yaml, **settings), tmp_path / "w", policy=policy),
        "says": score(LmEval(task=says_yaml, **settings), tmp_path / "s", policy=policy),
    }
    shutil.copytree(tmp_path / "q" / "task", world, dirs_exist_ok=True)
    # The command cannot put np.int32 answers into examples; as plain integers they are the same task.
    (world / "answers.py").write_text(ANSWERS.replace("np.int32", "int"))
    theirs = command(world, policy / "weights", [*ours], shots, limit, tmp_path / "command")
    for name, summary in ours.items():
        for task, metrics in summary["tasks"].items():
            for metric, value in metrics.items():
                assert value == theirs[task][metric if "," in metric else f"{metric},none"], (name, task, metric)
    assert ours["world"]["metrics"] == {"acc": theirs["world"]["acc,none"]}
    assert ours["questions"]["metrics"]["acc_norm"] == theirs["questions"]["acc_norm,none"]


def command(
    folder: Path, weights: Path, tasks: list[str], shots: int | None, limit: int | None, out: Path
) -> dict[str, dict[str, Any]]:
    call = [sys.executable, "-c", COMMAND, "run", "--model", "hf", "--model_args", f"pretrained={weights}"]
    call += ["--tasks", ",".join(tasks), "--include_path", ".", "--batch_size", "16", "--device", "cpu"]
    call += ["--output_path", str(out), *(["--num_fewshot", str(shots)] if shots else [])]
    call += ["--limit", str(limit)] if limit else []
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(out), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, cwd=folder, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    [results] = out.rglob("results_*.json")
    found: dict[str, dict[str, Any]] = read_json(results)["results"]
    return found


@pytest.mark.slow
def test_a_data_set_of_questions_is_scored_item_by_item(policy: Path, questions: Path, tmp_path: Path) -> None:
    summary = score(LmEval(data="science"), tmp_path / "out", policy=policy, data=questions)
    scores = pl.read_parquet(tmp_path / "out" / "scores.parquet")
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert summary["metric"] == "acc"
    assert summary["items"] == items.height == 23
    for metric, value in summary["metrics"].items():
        assert math.isclose(scores.filter(metric=metric)["value"].mean(), value)
    right = items.select(pl.col("chosen").is_in(pl.col("right")).cast(pl.Float64)).to_series()
    assert right.to_list() == scores.filter(metric="acc")["value"].to_list()
    chosen = items.select(pl.col("log_likelihoods").list.arg_max().cast(pl.Int64)).to_series()
    assert chosen.to_list() == items["chosen"].to_list()
    counts = [2 + i % 3 for i in range(23)]
    assert summary["chance"]["acc"] == pytest.approx(sum(1 / n for n in counts) / 23)
    assert summary["majority"]["acc"] == pytest.approx(
        max(sum(i % n == p for i, n in enumerate(counts)) for p in range(4)) / 23
    )
    assert summary["same_answer"] == pytest.approx(items["chosen"].value_counts()["count"].max() / 23)
    assert str(tmp_path) not in (tmp_path / "out" / "task" / "questions.yaml").read_text()


@pytest.mark.slow
def test_a_group_is_weighed_by_size_and_its_tasks_are_strata(world: Path, policy: Path, tmp_path: Path) -> None:
    summary = score(LmEval(task=str(world / "world.yaml")), tmp_path / "out", policy=policy)
    scores = pl.read_parquet(tmp_path / "out" / "scores.parquet")
    assert scores["stratum"].value_counts().sort("stratum").rows() == [("hill", 4), ("river", 9)]
    assert scores["item"][0] == "river:0"
    assert summary["metrics"]["acc"] == pytest.approx(scores["value"].mean())
    assert summary["tasks"]["hill"]["acc"] == pytest.approx(scores.filter(stratum="hill")["value"].mean())


@pytest.mark.slow
def test_a_metric_that_is_no_mean_of_items_has_no_scores(world: Path, policy: Path, tmp_path: Path) -> None:
    (world / "river.yaml").write_text(TASK.format(name="river") + F1)
    summary = score(LmEval(task=str(world / "river.yaml"), metric="f1"), tmp_path / "out", policy=policy)
    assert summary["metric"] == "f1"
    assert set(summary["metrics"]) == {"acc", "f1"}
    assert pl.read_parquet(tmp_path / "out" / "scores.parquet")["metric"].unique().to_list() == ["acc"]
    assert any("f1 is no mean over items" in note for note in summary["notes"])


@pytest.mark.slow
def test_a_worker_that_scored_before_scores_as_a_fresh_one(
    world: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datatrial.evaluation import lm_eval

    def measured(**settings: Any) -> dict[str, Any]:
        number = len(list(tmp_path.glob("out-*")))
        return score(LmEval(task=str(world / "river.yaml"), **settings), tmp_path / f"out-{number}", policy=policy)

    plain, shots = measured(), measured(num_fewshot=3)  # a task that ran 0-shot once would ignore the shots
    again = measured(num_fewshot=3)
    monkeypatch.setattr(lm_eval, "_LOADED", {})
    assert measured(num_fewshot=3) == again == shots
    assert shots["num_fewshot"] == {"river": 3}
    likelihoods = [
        pl.read_parquet(tmp_path / f"out-{i}" / "items.parquet")["log_likelihoods"].to_list() for i in (0, 1)
    ]
    assert likelihoods[0] != likelihoods[1]
    assert plain["num_fewshot"] == {"river": 0}


@pytest.mark.slow
def test_another_model_gets_its_own_answers(questions: Path, policy: Path, tmp_path: Path) -> None:
    other = make_policy(tmp_path / "other", seed=1)
    runs = [
        score(LmEval(data="q"), tmp_path / f"{i}", policy=p, data=questions)
        for i, p in enumerate((policy, other, policy))
    ]
    assert runs[0] == runs[2]
    tables = [pl.read_parquet(tmp_path / f"{i}" / "items.parquet") for i in range(3)]
    assert tables[0].equals(tables[2])
    assert tables[0]["log_likelihoods"].to_list() != tables[1]["log_likelihoods"].to_list()


@pytest.mark.slow
def test_a_generated_answer_is_kept(world: Path, policy: Path, tmp_path: Path) -> None:
    summary = score(LmEval(task=str(world / "says.yaml"), limit=2), tmp_path / "out", policy=policy)
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert summary["metric"] == "exact_match,first"
    assert set(summary["metrics"]) == {"exact_match,first", "exact_match,word"}
    assert items["target"].to_list() == ["The river folk own 0 boats.", "The river folk own 1 boats."]
    assert items["response"].dtype == pl.String
    assert items["chosen"].to_list() == [None, None]


@pytest.mark.slow
def test_progress_counts_to_the_end(
    questions: Path, policy: Path, tmp_path: Path, progress: tuple[list[Any], Callable[..., None]]
) -> None:
    seen, report = progress
    (tmp_path / "out").mkdir()
    LmEval(data="q").run({"data": questions, "policy": policy}, tmp_path / "out", Runtime("cpu", report, tmp_path))
    done, total, what = seen[-1]
    assert done == total > 23
    assert what == "requests"


@pytest.mark.slow
def test_requests_longer_than_the_model_are_counted(questions: Path, tmp_path: Path) -> None:
    short = make_policy(tmp_path / "short", window=24)
    summary = score(LmEval(data="q"), tmp_path / "out", policy=short, data=questions)
    assert any("requests were longer than the model's 24 tokens" in note for note in summary["notes"])


@pytest.mark.slow
def test_what_cannot_be_scored_is_said(world: Path, policy: Path, questions: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        score(LmEval(data="q", chat_template=True), tmp_path / "chat", policy=policy, data=questions)
    (world / "river.yaml").write_text(TASK.format(name="river").replace("test_split: test", "test_split: exam"))
    with pytest.raises(DataError, match="river: its data has no 'exam'"):
        score(LmEval(task=str(world / "river.yaml")), tmp_path / "split", policy=policy)
    with pytest.raises(DataError, match="questions: has no metric 'bleu'; it has acc, acc_norm"):
        score(LmEval(data="q", metric="bleu"), tmp_path / "metric", policy=policy, data=questions)


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
