"""`datatrial import`: results that lm-eval logged become the arms of a trial."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from datatrial.cli import app
from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.errors import DataError
from datatrial.evaluation._logs import Logs
from datatrial.imported import Imported
from datatrial.importing import Imports, Source, prepare
from datatrial.records import Runtime, read_json
from tests.evaluation.conftest import ANSWERS, GROUP, SAYS, TASK, make_policy
from tests.lm_eval_logs import CHOICES, line, question, write

RIGHT = [0, 1, 2, 0, 1, 2]
BASE = [question(n, right, 0) for n, right in enumerate(RIGHT)]  # always the first choice
BETTER = [question(n, right, right if n else 1) for n, right in enumerate(RIGHT)]  # all right but the first
CHAT = {"chat_template": "…", "chat_template_sha": "abc"}


def read(folder: Path, out: Path, benchmark: str = "owls") -> tuple[dict[str, Any], pl.DataFrame, pl.DataFrame]:
    """The summary, items and scores that a benchmark of a folder gives."""
    logs = Logs.read(folder)
    task = Imported(benchmark=benchmark, tasks=logs.benchmarks[benchmark], files=logs.files(benchmark))
    out.mkdir()
    task.run({file.name: file for file in task.files}, out, Runtime())
    return read_json(out / "summary.json"), *(pl.read_parquet(out / f"{n}.parquet") for n in ("items", "scores"))


def run(arms: list[str], store: Path, **settings: Any) -> tuple[Imports, list[str]]:
    """The results of an import, and what was newly made for it."""
    made: list[str] = []

    def listen(event: Event, step: Step) -> None:
        made.extend([step.label] * (event.change == "done"))

    with prepare(arms, store, **settings).running(listen) as results:
        return results, made


def test_items_and_scores_are_those_that_were_logged(tmp_path: Path) -> None:
    summary, items, scores = read(write(tmp_path / "base", {"owls": BASE}), tmp_path / "out")
    assert summary["metrics"] == {"acc": pytest.approx(2 / 6)}
    assert summary["chance"] == {"acc": pytest.approx(1 / 3)}
    assert summary["majority"] == {"acc": pytest.approx(2 / 6)}
    assert (summary["metric"], summary["items"], summary["same_answer"]) == ("acc", 6, 1.0)
    assert scores["item"].to_list() == [f"owls:{n}" for n in range(6)]
    assert scores["value"].to_list() == [1, 0, 0, 1, 0, 0]
    second = items.row(1, named=True)
    assert (second["question"], second["choices"]) == ("Where is the owl 1?", list(CHOICES))
    assert (second["log_likelihoods"], second["greedy"]) == ([-1.0, -5.0, -6.0], [False] * 3)
    assert (second["chosen"], second["right"], second["target"]) == (0, [1], "1")


def test_a_group_is_one_benchmark_whose_tasks_are_strata(tmp_path: Path) -> None:
    tasks = {"birds_owls": BASE, "birds_herons": BETTER[:4], "tools": BASE}
    groups = {"birds_night": ["birds_owls"], "birds": ["birds_night", "birds_herons"]}
    folder = write(tmp_path / "base", tasks, groups)
    assert Logs.read(folder).benchmarks == {"birds": ("birds_owls", "birds_herons"), "tools": ("tools",)}
    summary, _, scores = read(folder, tmp_path / "out", "birds")
    assert scores["stratum"].to_list() == ["birds_owls"] * 6 + ["birds_herons"] * 4
    assert summary["metrics"] == {"acc": pytest.approx((2 + 3) / 10)}
    assert not [note for note in summary["notes"] if "mean" in note]


def one(number: int, target: Any, answers: list[float], metrics: dict[str, float], **document: Any) -> dict[str, Any]:
    requests = [["Sing", f" {choice}"] for choice in CHOICES[: len(answers)]]
    logged = line(number, requests, [(answer, False) for answer in answers], target, metrics)
    return {**logged, "doc": document}


LABELLED = {"options": {"choices": list(CHOICES), "labels": [1, 0, 1]}}
# log-likelihoods of ln 1/2, ln 1/4 and ln 1/4
MASS = [-0.6931471805599453, -1.3862943611198906, -1.3862943611198906]


@pytest.mark.parametrize(
    ("lines", "right"),
    [
        ([one(0, 1, [-2, -1], {"acc": 1.0}), one(1, 0, [-2, -1], {"acc": 0.0})], [[1], [0]]),
        ([one(0, CHOICES[1], [-2, -1], {"acc": 1.0})], [[1]]),
        ([one(0, [0, 2], [-2, -3, -1], {"acc": 1.0})], [[0, 2]]),
        ([one(0, 0, MASS, {"acc": 0.75}, **LABELLED)], [[0, 2]]),  # TruthfulQA's MC2: what it calls target is none
        ([one(0, "they sang.", [-2, -1], {"acc": 0.0}), one(1, "they sang.", [-2, -1], {"acc": 1.0})], [[0], [1]]),
        # A longer choice wins by `acc_norm`: seven pebbles have 13 characters, a lantern has 9.
        ([one(0, 1, [-9, -9.5], {"acc": 0.0, "acc_norm": 1.0})], [[1]]),
        ([one(0, "they sang.", [-2, -1, -3], {"acc": 0.0})], [[]]),  # two choices could be it
        ([one(0, 1, [-2, -1], {"acc": 0.0})], [[0]]),  # not how the target is meant: choice 1 is likelier, and wrong
    ],
)
def test_the_right_choices_are_those_that_explain_the_scores(
    lines: list[dict[str, Any]], right: list[list[int]], tmp_path: Path
) -> None:
    summary, items, _ = read(write(tmp_path / "base", {"owls": lines}), tmp_path / "out")
    assert items["right"].to_list() == right
    assert bool(summary["chance"]) == bool(right[0])


def test_choices_before_a_common_ending_are_choices(tmp_path: Path) -> None:
    requests = [["The owl came and", " they sang."], ["The heron came and", " they sang."]]
    folder = write(
        tmp_path / "base", {"owls": [line(0, requests, [(-1, False), (-2, False)], "they sang.", {"acc": 1})]}
    )
    _, items, _ = read(folder, tmp_path / "out")
    assert items.select("question", "choices", "right").row(0) == ("they sang.", [r[0] for r in requests], [0])


def test_examples_before_a_question_are_no_part_of_it(tmp_path: Path) -> None:
    shots = "Answer well.\n\nWhere is the owl 8? a heron\n\nWhere is the owl 9? a lantern\n\nWhere is the owl"
    lines = {"owls": [question(0, 0, 0, shots)]}
    folder = write(tmp_path / "base", lines, **{"n-shot": {"owls": 2}})
    assert read(folder, tmp_path / "shots")[1]["question"].to_list() == ["Where is the owl 0?"]
    chat = write(tmp_path / "chat", lines, **{"n-shot": {"owls": 2}, **CHAT})
    assert read(chat, tmp_path / "out")[1]["question"].to_list() == [f"{shots} 0?"]


def test_generated_answers_are_kept_for_each_filter(tmp_path: Path) -> None:
    said = [line(n, [["Sing", {"until": ["."]}]], [f"la {n}"], "la 1", {"match": float(n == 1)}) for n in range(3)]
    lines = [
        *({**one, "filter": "strict", "match": 0.0} for one in said),
        *({**one, "filter": "loose"} for one in said),
    ]
    summary, items, scores = read(
        write(tmp_path / "base", {"owls": lines}, settings={"output_type": "generate_until"}), tmp_path / "out"
    )
    assert summary["metrics"] == {"match,strict": 0.0, "match,loose": pytest.approx(1 / 3)}
    assert items["response"].to_list() == ["la 0", "la 1", "la 2"]
    assert scores.filter(metric="match,loose")["value"].to_list() == [0, 1, 0]
    assert (summary["chance"], items["choices"].to_list()) == ({}, [[], [], []])


def test_the_newest_samples_of_each_task_count_and_it_is_said(tmp_path: Path) -> None:
    old = "2026-02-01T10-00-00"
    base = write(tmp_path / "base", {"owls": BETTER, "herons": BETTER}, time=old)
    write(base, {"owls": BASE})
    assert read(base, tmp_path / "owls")[0]["metrics"] == {"acc": pytest.approx(2 / 6)}
    assert read(base, tmp_path / "herons", "herons")[0]["metrics"] == {"acc": pytest.approx(5 / 6)}
    found = prepare([str(base), f"new={write(tmp_path / 'new', {'owls': BASE})}"], tmp_path / "store")
    assert found.notes == ["base: of 2 files of owls's samples the newest is used"]


def test_a_group_that_was_scored_in_several_runs_is_the_mean_over_its_items(tmp_path: Path) -> None:
    groups = {"birds": ["owls", "herons"]}
    base = write(tmp_path / "base", {"owls": BETTER, "herons": BETTER}, groups, time="2026-02-01T10-00-00")
    write(base, {"owls": BASE})
    summary, _, _ = read(base, tmp_path / "out", "birds")
    assert summary["metrics"] == {"acc": pytest.approx((2 + 5) / 12)}
    assert any("mean over the items of its tasks" in note for note in summary["notes"])


@pytest.mark.slow
def test_arms_get_verdicts_and_a_report_and_nothing_is_done_twice(tmp_path: Path) -> None:
    many = [question(n, n % 3, 0) for n in range(90)]
    base = write(tmp_path / "base", {"owls": many, "tools": BASE})
    arms = [f"base={base}"]
    for seed in (0, 1):
        lines = [question(n, n % 3, n % 3 if n % 7 != seed else 0) for n in range(90)]
        arms.append(f"better={write(tmp_path / f'better{seed}', {'owls': lines})}:{seed}")
    results, made = run(arms, tmp_path / "store")
    contrasts = pl.read_parquet(results.contrasts / "contrasts.parquet")
    scores = pl.read_parquet(results.contrasts / "scores.parquet").filter(pl.col("main"), endpoint="owls")
    [found] = contrasts.to_dicts()
    assert (found["arm"], found["against"], found["items"], found["seeds"]) == ("better", "base", 90, 2)
    assert found["estimate"] == pytest.approx(scores["estimate"][1] - scores["estimate"][0])
    assert found["arm_score"] == pytest.approx(sum(n % 3 == 0 or n % 7 != s for n in range(90) for s in (0, 1)) / 180)
    assert "better" in results.tables()[-1].markdown()
    page = results.report.read_text()
    assert "some/model" in page
    assert "its folder holds no samples of it" in page  # the other arm was not asked about tools
    assert len(made) == 6
    assert run(arms, tmp_path / "store")[1] == []
    told = CliRunner().invoke(app, ["import", *arms, "--store", str(tmp_path / "store")])
    assert told.exit_code == 0
    assert "Against base" in told.stdout
    assert results.report.name in told.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "settings", "said"),
    [
        ([question(n, r, 0, "Where") for n, r in enumerate(RIGHT)], {}, ["the prompts of 6 of 6 items differ"]),
        (
            [question(n, r, 0, "Shots") for n, r in enumerate(RIGHT)],
            {"n-shot": {"owls": 5}},
            ["the prompts of 6 of 6", "num_fewshot: 0 and 5"],
        ),
        (
            BASE[:4],
            {"config": {"limit": 4.0}},
            ["2 of 6 items are only in the first, such as owls:4", "limit: null and 4.0"],
        ),
        (BASE, {"versions": {"owls": 2.0}}, ["version: 1.0 and 2.0"]),
        (
            [{**BASE[0], "target_hash": "x"}, *BASE[1:]],
            {},
            ["the targets of 1 of 6 items differ, such as that of owls:0"],
        ),
        (
            [question(n, r, 0, "Chat") for n, r in enumerate(RIGHT)],
            CHAT,
            ["prompts of 6", 'chat_template_sha: null and "abc"'],
        ),
    ],
)
def test_arms_that_were_asked_otherwise_are_refused(
    other: list[dict[str, Any]], settings: dict[str, Any], said: list[str], tmp_path: Path
) -> None:
    write(tmp_path / "base", {"owls": BASE, "tools": BASE})
    write(tmp_path / "new", {"owls": other, "tools": BASE}, **settings)
    with pytest.raises(DataError) as refusal:
        run([str(tmp_path / "base"), str(tmp_path / "new")], tmp_path / "store")
    assert all(part in str(refusal.value) for part in ["owls: base and new cannot be compared", *said])
    assert "--leave-out owls" in str(refusal.value)


def test_a_newer_lm_eval_that_asked_the_same_is_only_mentioned(tmp_path: Path) -> None:
    write(tmp_path / "base", {"owls": BASE})
    write(tmp_path / "new", {"owls": BETTER}, lm_eval_version="0.4.9")
    found = prepare([str(tmp_path / "base"), str(tmp_path / "new")], tmp_path / "store")
    assert found.notes == ["scored by different versions of lm-eval: 0.4.13, 0.4.9"]


def test_benchmarks_can_be_left_out(tmp_path: Path) -> None:
    base, new = (str(write(tmp_path / name, {"owls": BASE, "tools": BASE})) for name in ("base", "new"))
    found = prepare([base, new], tmp_path / "store", leave_out=["owls"])
    assert {run.benchmark for run in found.runs} == {"tools"}
    with pytest.raises(
        DataError, match=r"no benchmark is both in the baseline and in another arm \(base: none; new: none\)"
    ):
        prepare([base, new], tmp_path / "store", leave_out=["owls", "tools"])
    with pytest.raises(DataError, match="did you mean 'tools'"):
        prepare([base, new], tmp_path / "store", leave_out=["tool"])


def test_another_metric_can_be_compared_by(tmp_path: Path) -> None:
    both = {"acc": 1.0, "acc_norm": 0.0}
    samples = {"owls": [one(n, 0, [-1.0, -2.0], both) for n in range(4)]}
    arms = [f"{name}={write(tmp_path / name, samples)}" for name in ("base", "new")]
    for wished, metric in (([], "acc_norm"), (["owls=acc"], "acc")):
        results, _ = run(arms, tmp_path / "store", metrics=wished)
        scores = pl.read_parquet(results.contrasts / "scores.parquet")
        assert set(scores.filter(pl.col("main"))["metric"]) == {metric}
    with pytest.raises(DataError, match="owls: has no metric 'f1'; it has acc, acc_norm"):
        run(arms, tmp_path / "store", metrics=["owls=f1"])
    with pytest.raises(DataError, match="--metric: no benchmark is called 'owl'; did you mean 'owls'"):
        prepare(arms, tmp_path / "store", metrics=["owl=acc"])
    with pytest.raises(DataError, match="owls can be compared by one metric, not by acc and acc_norm"):
        prepare(arms, tmp_path / "store", metrics=["owls=acc", "owls=acc_norm"])
    with pytest.raises(DataError, match="write it as BENCHMARK=METRIC"):
        prepare(arms, tmp_path / "store", metrics=["acc"])


def test_arms_are_named_after_their_folder_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "base", {"owls": BASE})
    shutil.copytree(tmp_path / "base", tmp_path / "odd:7")
    monkeypatch.chdir(tmp_path)
    found = [Source.parse(text) for text in ("base", "base:3", "new=base", "new=base:4", "new=odd:7")]
    assert [(s.arm, s.seed, s.folder) for s in found] == [
        ("base", None, "base"),
        ("base", 3, "base"),
        ("new", None, "base"),
        ("new", 4, "base"),
        ("new", None, "odd:7"),
    ]
    with pytest.raises(DataError, match="no name for an arm"):
        Source.parse("odd:7")


def test_the_baseline_can_be_named(tmp_path: Path) -> None:
    base, new = (str(write(tmp_path / name, {"owls": BASE})) for name in ("base", "new"))
    assert prepare([base, new], tmp_path).baseline == "base"
    assert prepare([base, new], tmp_path, baseline="new").baseline == "new"
    with pytest.raises(DataError, match="did you mean 'new'"):
        prepare([base, new], tmp_path, baseline="nw")


def test_folders_of_one_arm_need_seeds(tmp_path: Path) -> None:
    base, new = (str(write(tmp_path / name, {"owls": BASE})) for name in ("base", "new"))
    for more in ([f"new={base}"], [f"new={base}:1"]):
        with pytest.raises(DataError, match="new: 2 folders need a seed each"):
            prepare([base, new, *more], tmp_path)
    with pytest.raises(DataError, match="nothing to compare"):
        prepare([base], tmp_path)
    with pytest.raises(DataError, match="new: no seed is that of a folder of base"):
        prepare([f"base={base}:0", f"new={new}:1"], tmp_path)


def test_folders_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        Logs.read(tmp_path / "none")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="--log_samples"):
        Logs.read(tmp_path / "none")
    write(tmp_path / "two" / "a", {"owls": BASE})
    write(tmp_path / "two" / "b", {"owls": BASE})
    with pytest.raises(DataError, match="samples of 2 models"):
        Logs.read(tmp_path / "two")
    [results] = (tmp_path / "two" / "a").rglob("results_*")
    results.write_text("[]")
    with pytest.raises(DataError, match="is no results file of lm-eval"):
        Logs.read(tmp_path / "two" / "a")
    results.unlink()
    with pytest.raises(DataError, match="beside it, which says how it was scored"):
        Logs.read(tmp_path / "two" / "a")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:-40], "line 6 is not JSON"),
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "holds 5 items of 6"),
        (lambda text: text + text, "item 0 is there twice"),
        (lambda text: text.replace("doc_hash", "hash"), "has no 'doc_hash'"),
        (lambda text: text.replace('"acc": 0.0', '"acc": NaN', 1), "line 2: acc of item 1 is nan"),
        (lambda text: text.replace('"acc": 0.0', '"acc": "yes"', 1), "line 2: acc of item 1 is 'yes', no number"),
        (lambda text: text.replace('"acc": 0.0', '"acc": 7.0', 1), "line 2: acc of item 1 is 7.0, no share"),
        (lambda text: text.replace('"acc": 0.0', '"other": 0.0', 1), "line 2: acc of item 1 is not there"),
        (lambda text: "[1, 2]\n" + text, "line 1 is no sample of lm-eval"),
        (lambda text: "[" * 100_000, "line 1 is not JSON .nested more than 50 deep"),
        (lambda text: text.replace('"doc_id": 2', '"doc_id": "2"'), "line 3: doc_id is not as lm-eval writes it"),
        (lambda text: text.replace('"doc_id": 2', f'"doc_id": {"9" * 400}'), "line 3: doc_id is not as lm-eval"),
        (lambda text: text.replace('"filter": "none"', '"filter": [1]', 1), "line 1: filter is not as lm-eval"),
        (lambda text: text.replace('"metrics": ["acc"]', '"metrics": "acc"', 1), "line 1: metrics is not as lm-eval"),
        (lambda text: text.replace('"metrics": ["acc"]', '"metrics": [{}]', 1), "line 1: metrics.0 is not as lm-eval"),
        (
            lambda text: text.replace('"gen_args_0": {', '"gen_args_x": {}, "gen_args_0": {', 1),
            "line 1: arguments.gen_",
        ),
        (lambda text: text.replace('"arg_1"', '"arg_0"', 1), "line 1: a request has no choice in it"),
        (lambda text: text.replace('["-1.0", "False"]', '"-1.0"', 1), "line 1: the answers are not a log-likelihood"),
        (lambda text: text.replace('["-1.0", "False"], ', "", 1), "line 1: the answers are not a log-likelihood"),
        (lambda text: text.replace('"-1.0"', '"one"', 1), "line 1: the answers are not a log-likelihood"),
        (
            lambda text: text.replace('"acc": 0.0', f'"acc": {"9" * 400}', 1),
            "line 2: acc of item 1 is a number of more",
        ),
        (lambda text: text.replace("owl 2", "owl \\ud83d"), "line 3 is not JSON .*surrogates"),
    ],
)
def test_damaged_samples_are_refused(spoil: Any, said: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "base", {"owls": BASE})
    [samples] = folder.rglob("samples_*")
    samples.write_text(spoil(samples.read_text()))
    with pytest.raises(DataError, match=said):
        read(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("results", [1], "results is not as lm-eval writes it"),
        ("results", {"owls": {"acc,none": 10**400}}, "results.owls.acc,none is not as lm-eval writes it"),
        ("configs", {"owls": []}, "configs.owls is not as lm-eval writes it"),
        ("configs", {"owls": {"target_delimiter": 3}}, "configs.owls.target_delimiter is not as"),
        ("configs", {"owls": {"metric_list": [{"name": "acc"}]}}, "configs.owls.metric_list.0.metric is not as"),
        ("n-shot", {"owls": "five"}, "n-shot.owls is not as lm-eval writes it"),
        ("n-shot", {"owls": -1}, "n-shot.owls is not as lm-eval writes it"),
        ("n-samples", {"owls": 6}, "n-samples.owls is not as lm-eval writes it"),
        ("group_subtasks", {"birds": "owls"}, "group_subtasks.birds is not as lm-eval writes it"),
        ("higher_is_better", {"owls": True}, "higher_is_better.owls is not as lm-eval writes it"),
        ("model_name", "half \ud83d", "is not JSON"),
    ],
)
def test_damaged_results_are_refused(key: str, value: Any, said: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "base", {"owls": BASE}, **{key: value})
    with pytest.raises(DataError, match=said) as caught:
        read(folder, tmp_path / "out")
    assert "results_" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_groups_within_one_another_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    groups = {"birds": ["night"], "night": ["dark", "owls"], "dark": ["night"]}
    folder = write(tmp_path / "base", {"owls": BASE}, group_subtasks=groups)
    assert Logs.read(folder).benchmarks == {"birds": ("owls",)}


@pytest.mark.parametrize("target", ["[" * 900, "-" * 900 + "1", "9" * 5000, "{[]: 1}", "\\0"])
def test_a_target_that_is_no_place_is_a_text(tmp_path: Path, target: str) -> None:
    lines = [{**one, "target": target} for one in BASE]
    _, items, _ = read(write(tmp_path / "base", {"owls": lines}), tmp_path / "out")
    assert items["target"].to_list() == [target] * 6


def test_samples_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "base", {"owls": BASE})
    [samples] = folder.rglob("samples_*")
    samples.write_bytes(samples.read_bytes().replace(b"owl 2", b"owl \xff"))
    with pytest.raises(DataError, match=r"samples_owls.*line 3 is not JSON"):
        read(folder, tmp_path / "out")


def test_results_of_other_samples_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "base", {"owls": BASE})
    [samples] = folder.rglob("samples_*")
    samples.write_text(samples.read_text().replace('"acc": 0.0', '"acc": 1.0', 1))
    said = r"samples_owls.*the mean of acc is 0.5, but the results file beside it says 0.3333"
    with pytest.raises(DataError, match=said):
        read(folder, tmp_path / "out")


def test_a_share_that_a_task_does_not_average_may_be_another_number(tmp_path: Path) -> None:
    settings = {"metric_list": [{"metric": "acc", "aggregation": "median"}]}
    folder = write(tmp_path / "base", {"owls": BASE}, settings=settings)
    [samples] = folder.rglob("samples_*")
    samples.write_text(samples.read_text().replace('"acc": 0.0', '"acc": 1.0', 1))
    summary, _, _ = read(folder, tmp_path / "out")
    assert "acc is no mean over items; it has no scores to compare item by item" in summary["notes"]


@pytest.mark.parametrize("value", [[1, 1], None])
def test_a_metric_without_a_number_for_each_item_is_no_mean_of_them(tmp_path: Path, value: Any) -> None:
    lines = [{**line, "acc": value} for line in BASE]
    folder = write(tmp_path / "base", {"owls": BASE})
    [samples] = folder.rglob("samples_*")
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary, _, _ = read(folder, tmp_path / "out")
    assert "acc is no mean over items; it has no scores to compare item by item" in summary["notes"]


def test_seeds_that_one_side_lacks_are_named(tmp_path: Path) -> None:
    base, new = (str(write(tmp_path / name, {"owls": BASE})) for name in ("base", "new"))
    found = prepare([f"base={base}:0", f"new={new}:0", f"new={new}:1"], tmp_path / "store")
    said = "new and base are compared on the seeds that both have (0); the score of each is the mean over all its own"
    assert found.notes == [said]
    assert prepare([f"base={base}", f"new={new}:0", f"new={new}:1"], tmp_path / "store").notes == []


def test_a_task_cannot_be_called_as_the_mean_over_benchmarks_is(tmp_path: Path) -> None:
    base, new = (str(write(tmp_path / name, {"owls": BASE, "capability": BASE})) for name in ("base", "new"))
    with pytest.raises(DataError, match="'capability' is the mean over benchmarks"):
        prepare([base, new], tmp_path / "store")
    assert prepare([base, new], tmp_path / "store", leave_out=["capability"]).benchmarks == ("owls",)


def test_what_a_reader_must_know_is_printed_with_the_verdicts(tmp_path: Path) -> None:
    base, new = (str(write(tmp_path / name, {"owls": lines})) for name, lines in (("base", BASE), ("new", BETTER)))
    done = CliRunner().invoke(app, ["import", base, new, "--store", str(tmp_path / "store")])
    assert "- With a single seed all is said of these very models" in " ".join(done.output.split())
    assert "1 comparison, exploratory, by Benjamini and Hochberg's method." in " ".join(done.output.split())


def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import", str(tmp_path / "nowhere"), "--store", str(tmp_path / "store")])
    assert done.exit_code == 2
    assert "there is no such folder" in done.stderr


# The command `lm_eval` for one model after another, but for its index of the stock tasks, which takes longer than all.
COMMAND = """
import sys
from functools import partialmethod
from lm_eval.tasks import TaskManager
TaskManager.__init__ = partialmethod(TaskManager.__init__, include_defaults=False)
from lm_eval.__main__ import cli_evaluate
own = sys.argv[2:]
for weights in sys.argv[1].split(","):
    model = ["--model_args", f"pretrained={weights}", "--output_path", f"{weights}-logs"]
    sys.argv = ["lm_eval", "run", "--model", "hf", *model, *own]
    cli_evaluate()
"""
EITHER = """\
task: either
dataset_path: json
dataset_kwargs: {data_files: {test: river.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: harmless
doc_to_choice: "{{['They said: ' + text, 'They wrote: ' + text]}}"
doc_to_target: "and left"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def tasks(folder: Path) -> Path:
    """Tasks of one's own: two with choices, a group of them, one with choices before an ending, and one that writes."""
    folder.mkdir()
    for name, size in (("river", 9), ("hill", 4), ("shots", 6)):
        rows = [{"text": f"The {name} folk own {i} boats.", "harmless": i * len(name) % 3 % 2} for i in range(size)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    norm = "  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n"
    for name in ("river", "hill"):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name) + norm)
    (folder / "answers.py").write_text(ANSWERS.replace("np.int32", "int"))
    (folder / "world.yaml").write_text(GROUP.replace("metric_list: [", "metric_list: [{metric: acc_norm}, "))
    (folder / "says.yaml").write_text(SAYS)
    (folder / "either.yaml").write_text(EITHER)
    return folder


@pytest.mark.slow
def test_what_the_lm_eval_command_wrote_is_imported_with_its_own_numbers(tmp_path: Path) -> None:
    weights = [make_policy(tmp_path / f"model{seed}", seed) / "weights" for seed in (0, 2)]
    call = [sys.executable, "-c", COMMAND, ",".join(map(str, weights)), "--tasks", "world,says,either"]
    call += ["--include_path", ".", "--batch_size", "16", "--device", "cpu", "--num_fewshot", "0", "--log_samples"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, cwd=tasks(tmp_path / "world"), env=env, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    arms = [f"{name}={folder}-logs" for name, folder in zip(("base", "other"), weights, strict=True)]
    found = prepare(arms, tmp_path / "store")
    with found.running(lambda event, step: None) as results:
        scores = pl.read_parquet(results.contrasts / "scores.parquet")
    for arm, folder in zip(("base", "other"), weights, strict=True):
        [file] = Path(f"{folder}-logs").rglob("results_*.json")
        theirs = read_json(file)["results"]
        for name in ("world", "says", "either"):
            ours = scores.filter(arm=arm, benchmark=name)
            numbers = dict(ours.select("metric", "estimate").iter_rows())
            expected = {k.removesuffix(",none"): v for k, v in theirs[name].items() if "," in k and "stderr" not in k}
            assert numbers == pytest.approx(expected), (arm, name)
    for benchmark, items in (("world", 13), ("says", 9), ("either", 9)):
        step = next(step for run, step in found.runs.items() if run.benchmark == benchmark)
        kept = pl.read_parquet(found.store.path(step) / "items.parquet")
        assert kept.height == items
        assert (kept["right"].list.len() == (0 if benchmark == "says" else 1)).all()
