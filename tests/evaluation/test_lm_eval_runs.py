"""Benchmarks of lm-eval, run: lm-eval's own numbers, and what is kept of every item."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.evaluation import lm_eval
from datatrial.evaluation._harness_task import HarnessTask
from datatrial.evaluation.lm_eval import LmEval
from datatrial.records import read_json
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
    found = pl.read_parquet(tmp_path / "out" / "items.parquet")["log_likelihoods"].to_list()
    assert found == [pytest.approx(row, abs=1e-4) for row in likelihoods]
    assert ours["metrics"]["acc"] == theirs["results"]["questions"]["acc,none"]
    assert "<user>Question" in theirs["samples"]["questions"][0]["arguments"][0][0]


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
def test_of_every_choice_its_length_and_whether_it_is_the_greedy_one_are_kept(
    questions: Path, policy: Path, tmp_path: Path
) -> None:
    from datatrial.policies import load_policy

    summary = score(LmEval(data="q"), tmp_path / "out", policy=policy, data=questions)
    _, tokenizer = load_policy(policy, "cpu")
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    requests = 0
    for row in items.iter_rows(named=True):
        context = f"Question: {row['question']}\n\nAnswer:"
        asked = [len(tokenizer(f"{context} {c}").input_ids) - len(tokenizer(context).input_ids) for c in row["choices"]]
        assert row["tokens"] == asked
        assert row["bytes"] == [len(choice.encode()) for choice in row["choices"]]
        assert [type(greedy) for greedy in row["greedy"]] == [bool] * len(row["choices"])
        requests += len(row["choices"])
    scoring = summary["scoring"]
    assert scoring["requests"] == requests
    assert scoring["method"] == "trie"
    assert scoring["distinct_tokens"] <= scoring["tokens"] < scoring["request_tokens"]


@pytest.mark.slow
def test_the_same_examples_come_before_every_question_where_that_is_asked_for(
    questions: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: dict[str, list[str]] = {}
    build = HarnessTask.build_all_requests

    def watched(self: HarnessTask, **settings: Any) -> None:
        build(self, **settings)
        prompts[kind] = [request.args[0] for request in self.instances if request.idx == 0]

    monkeypatch.setattr(HarnessTask, "build_all_requests", watched)
    summaries = {}
    for kind, fewshot in (("drawn", None), ("shared", "shared"), ("again", "shared")):
        monkeypatch.setattr(lm_eval, "_LOADED", {})
        benchmark = LmEval(data="q", num_fewshot=4, fewshot=fewshot)
        summaries[kind] = score(benchmark, tmp_path / kind, policy=policy, data=questions)
    shown = {kind: [prompt.split("\n\n")[:-2] for prompt in of] for kind, of in prompts.items()}
    asked = [prompt.split("\n\n")[-2] for prompt in prompts["shared"]]
    assert prompts["again"] == prompts["shared"]
    for question, examples in zip(asked, shown["shared"], strict=True):
        assert len(examples) == 2 * 4
        assert question not in examples
    common = [set(map(tuple, (examples[i : i + 2] for i in range(0, 8, 2)))) for examples in shown["shared"]]
    assert len(set.union(*common)) == 5  # four, and one in reserve for the question that is among them
    assert sum(one == common[-1] or len(one & common[-1]) == 4 for one in common) >= 23 - 4
    assert len({tuple(examples) for examples in shown["drawn"]}) > 20
    said = "questions: the same 4 examples come before every question"
    assert any(note.startswith(said) and "not comparable" in note for note in summaries["shared"]["notes"])
    assert not any(note.startswith(said) for note in summaries["drawn"]["notes"])
    assert summaries["shared"]["scoring"]["tokens"] < summaries["drawn"]["scoring"]["tokens"] / 2
