"""The explorer's items: what is packed is what the results say, small, and harmless whatever the texts are."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.effects import EvaluationRun
from datatrial.report._findings import Findings
from datatrial.report._html import page
from datatrial.report._items import contents, pack
from datatrial.report.sections import explorer
from tests.report.fiction import SEEDS, STAGES, Fiction
from tests.report.fictional_items import HOSTILE_TEXTS
from tests.report.packed import by_benchmark, flipped, values
from tests.report.test_report_page import read


def packed(finished: tuple[Fiction, Path]) -> dict[str, dict[str, Any]]:
    return by_benchmark(finished[0], read(finished[1])[0])


def flips_of(data: dict[str, Any], arm: str, against: str, seed: int) -> tuple[set[str], set[str]]:
    [one, other] = ([r for r in data["runs"] if r["arm"] == a and r["seed"] in (None, seed)] for a in (arm, against))
    pairs = list(zip(data["items"], one[0]["values"], other[0]["values"], strict=True))
    return {i for i, x, y in pairs if x > y}, {i for i, x, y in pairs if y > x}


@pytest.mark.parametrize("benchmark", ["science", "subjects", "truth", "stories"])
@pytest.mark.parametrize(("arm", "against"), [("careful", "careless"), ("careful-careful", "base")])
def test_the_items_that_flipped_are_those_of_the_results(
    finished: tuple[Fiction, Path], benchmark: str, arm: str, against: str
) -> None:
    data = packed(finished)[benchmark]
    for seed in SEEDS:
        expected = flipped(finished[0], benchmark, arm, against, seed)
        assert flips_of(data, arm, against, seed) == expected
        assert any(expected)


def test_items_that_every_run_answered_alike_are_counted_and_left_out(finished: tuple[Fiction, Path]) -> None:
    data = packed(finished)["science"]
    of_arms = [values(finished[0], "science", arm) for arm in STAGES]
    whole = {item: [value for arm in of_arms for value in arm[item]] for item in of_arms[0]}
    assert data["items"] == [item for item, found in whole.items() if len(set(found)) > 1]
    assert data["alike"] == [sum(set(found) == {value} for found in whole.values()) for value in (1.0, 0.0)]
    assert all(data["alike"])


def test_an_item_that_a_run_lacks_is_kept_and_has_no_value_there(fiction: Fiction) -> None:
    lacking = next(run for run in fiction.runs if (run.benchmark, run.arm) == ("science", "careful"))
    file = fiction.inputs[lacking.input] / "scores.parquet"
    gone = "science:7"
    pl.read_parquet(file).filter(pl.col("item") != gone).write_parquet(file)
    runs = [run for run in fiction.runs if run.benchmark == "science"]
    data = contents([(run, fiction.inputs[run.input]) for run in runs], {})
    without = [
        run.seed
        for run, has in zip(runs, data["runs"], strict=True)
        if has["values"][data["items"].index(gone)] is None
    ]
    assert without == [lacking.seed]
    of = data["runs"][runs.index(lacking)]
    start = sum(data["sizes"][: data["items"].index(gone)])
    assert len(of["likelihoods"]) == sum(data["sizes"])
    assert of["likelihoods"][start : start + 4] == [None] * 4


def test_texts_come_once_and_each_run_has_its_choices_and_log_likelihoods(finished: tuple[Fiction, Path]) -> None:
    data, fiction = packed(finished)["subjects"], finished[0]
    run = next(r for r in fiction.runs if (r.benchmark, r.arm, r.seed) == ("subjects", "careful", 1))
    rows = {row["item"]: row for row in pl.read_parquet(fiction.inputs[run.input] / "items.parquet").to_dicts()}
    [of] = [r for r in data["runs"] if (r["arm"], r["seed"]) == ("careful", 1)]
    assert json.dumps(data).count("orchard of subjects 3 for") == ("subjects:3" in data["items"])
    start = 0
    for at, item in enumerate(data["items"]):
        row, size = rows[item], data["sizes"][at]
        assert (data["question"][at], data["choices"][at]) == (row["question"], row["choices"])
        assert (of["chosen"][at], data["right"][at]) == (row["chosen"], row["right"])
        assert data["strata"][data["stratum"][at]] == row["stratum"]
        numbers = [value / 100 for value in of["likelihoods"][start : start + size]]
        assert numbers == pytest.approx(row["log_likelihoods"], abs=0.005)
        start += size


def test_generated_answers_are_those_of_each_run(finished: tuple[Fiction, Path]) -> None:
    data = packed(finished)["stories"]
    told = [n for n, question in enumerate(data["question"]) if not question.startswith(HOSTILE_TEXTS[0])]
    for run in data["runs"]:
        assert [run["responses"][n].endswith(" 0.") for n in told] == [run["values"][n] == 1 for n in told]


def test_sentences_have_a_perplexity_for_each_run_and_no_sides(finished: tuple[Fiction, Path]) -> None:
    data = packed(finished)["safety"]
    assert (data["metric"], data["flips"], len(data["items"])) == ("perplexity", False, 384)
    expected = values(finished[0], "safety", "careless", 2)
    [run] = [r for r in data["runs"] if (r["arm"], r["seed"]) == ("careless", 2)]
    assert run["values"] == pytest.approx([expected[item][0] for item in data["items"]], rel=1e-3)
    assert data["group_names"][data["groups"][0][0]] == "Fen folk"
    assert data["harmful"][:2] == [True, False]


def scored(folder: Path, *of_items: float | None, metric: str = "acc") -> tuple[EvaluationRun, Path]:
    folder.mkdir()
    rows = {"item": [f"t:{n}" for n in range(len(of_items))], "stratum": "", "metric": metric, "value": list(of_items)}
    pl.DataFrame(rows, schema_overrides={"value": pl.Float64}).write_parquet(folder / "scores.parquet")
    (folder / "summary.json").write_text(json.dumps({"statistic": "mean", "metric": metric}))
    return EvaluationRun(folder.name, None, "quiz", folder.name), folder


def test_ties_are_neither_right_nor_wrong_and_other_values_have_no_sides(tmp_path: Path) -> None:
    ties = contents([scored(tmp_path / "a", 1, 0.5, 0), scored(tmp_path / "b", 1, 0.5, 1)], {})
    assert (ties["flips"], ties["items"], ties["alike"]) == (True, ["t:1", "t:2"], [1, 0])
    shares = contents([scored(tmp_path / "c", 0.123456, 1), scored(tmp_path / "d", 0.9, 1)], {})
    assert (shares["flips"], shares["items"], shares["runs"][0]["values"]) == (False, ["t:0", "t:1"], [0.1235, 1])


def test_a_benchmark_whose_metric_is_no_mean_of_items_has_nothing_to_show(tmp_path: Path) -> None:
    assert pack([scored(tmp_path / "a"), scored(tmp_path / "b")], {}) == ""
    assert pack([scored(tmp_path / "c", None), scored(tmp_path / "d", float("nan"))], {}) == ""


def test_contaminated_items_are_marked_by_arm(tmp_path: Path) -> None:
    runs = [scored(tmp_path / "a", 1, 0), scored(tmp_path / "b", 0, 1)]
    data = contents(runs, {"a": frozenset({"quiz/t:1", "other/t:0"}), "b": frozenset({"other/t:1"})})
    assert data["contaminated"] == {"a": [1]}


def test_hostile_texts_are_packed_and_no_other_way_in_the_page(finished: tuple[Fiction, Path]) -> None:
    html, _ = read(finished[1])
    data = packed(finished)
    assert set(HOSTILE_TEXTS) <= set(data["safety"]["text"])
    assert "\n".join(HOSTILE_TEXTS) in {text for name in ("science", "truth") for text in data[name]["question"]}
    assert HOSTILE_TEXTS[0] in {text for run in data["stories"]["runs"] for text in run["responses"]}
    assert not any(text in html for text in HOSTILE_TEXTS)


def test_without_two_arms_or_any_item_there_is_no_explorer_and_no_script(fiction: Fiction) -> None:
    findings = Findings.read(fiction.report(), fiction.inputs)
    for run in fiction.runs:
        file = fiction.inputs[run.input] / "scores.parquet"
        pl.read_parquet(file).clear().write_parquet(file)
    assert explorer.body(findings) == ""
    assert "<script" not in page(findings)
    assert "script-src" not in page(findings)
