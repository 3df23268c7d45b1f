"""Benchmarks of lm-eval, run: lm-eval's own numbers, and what is kept of every item."""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.evaluation.lm_eval import LmEval
from datatrial.records import Runtime, read_json
from tests.evaluation.conftest import ANSWERS, F1, TASK, make_policy, score

# The command `lm_eval`, but for its index of the 14,000 stock tasks, which takes longer than all the rest.
COMMAND = """
from functools import partialmethod
from lm_eval.tasks import TaskManager
TaskManager.__init__ = partialmethod(TaskManager.__init__, include_defaults=False)
from lm_eval.__main__ import cli_evaluate
cli_evaluate()
"""


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
def test_a_chat_template_is_applied_as_lm_eval_applies_it(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    policy = make_policy(tmp_path / "chatty")
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
    (policy / "weights" / "chat_template.jinja").write_text(template)
    settings = {"num_fewshot": 2, "limit": 5}
    ours = score(LmEval(data="q", chat_template=True, **settings), tmp_path / "out", policy=policy, data=questions)
    monkeypatch.chdir(tmp_path / "out" / "task")
    theirs = simple_evaluate(
        "hf",
        {"pretrained": str(policy / "weights"), "device": "cpu"},
        tasks=["questions"],
        task_manager=TaskManager(include_defaults=False, include_path="."),
        apply_chat_template=True,
        batch_size=16,
        bootstrap_iters=0,
        **settings,
    )
    likelihoods = [[answer[0] for answer in s["filtered_resps"]] for s in theirs["samples"]["questions"]]
    assert pl.read_parquet(tmp_path / "out" / "items.parquet")["log_likelihoods"].to_list() == likelihoods
    assert ours["metrics"]["acc"] == theirs["results"]["questions"]["acc,none"]
    assert "<user>Question" in theirs["samples"]["questions"][0]["arguments"][0][0]


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
