"""What the report says of controls, of sweeps, and of what else two arms differ in."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from datatrial.effects import ArmScore, Contrast
from datatrial.records import read_json
from datatrial.report._findings import Findings
from datatrial.report.analysis import Analysis
from datatrial.report.confounds import Recipe, confounds, recipes
from datatrial.report.page import ReportVariant
from datatrial.report.sections import cost
from datatrial.report.sections.controls import Row, _sentence
from datatrial.report.sections.sweeps import Sweep, enough
from datatrial.report.wording import count, duration
from tests.report.fiction import Fiction

UNDETECTED = "no detectable difference"
SGD = {"kind": "sft", "learning_rate": 1e-3, "epochs": 1.0, "seed": 0, "lora": {"r": 8}}


def recipe(**said: object) -> Recipe:
    counts = {"examples_seen": 1000.0, "tokens_seen": 20_000.0, "passes": 1.0}
    about = {
        "stages": (SGD,),
        "starts": "base",
        "counts": counts,
        "drift": 0.3,
        "cut": 0.0,
        "software": {"trl": "1.16.0"},
    }
    return Recipe(**{**about, "devices": frozenset({"cpu"}), "seeds": frozenset({0, 1}), **said})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"stages": ({**SGD, "seed": 5},)}, []),  # told apart below
        ({"stages": ({**SGD, "epochs": 2.0},)}, ["sft epochs: 1.0 against 2.0"]),
        ({"stages": ({**SGD, "lora": {"r": 16}},)}, ["sft lora: {r: 8} against {r: 16}"]),
        ({"stages": (SGD, {"kind": "dpo"})}, ["stages: sft against sft → dpo"]),
        ({"starts": "other"}, ["starting from another model"]),
        ({"drift": 0.9}, ["moved from the base model by 0.3 against 0.9 nats a token (KL)"]),
        ({"cut": 0.2}, ["examples cut short: 0.0% against 20.0%"]),
        ({"software": {"trl": "1.15.0"}}, ["packages: trl 1.16.0 against 1.15.0"]),
        ({"devices": frozenset({"cuda"})}, ["device: cpu against cuda"]),
        ({"seeds": frozenset({0})}, ["seeds: 0 and 1 against 0"]),
    ],
)
def test_every_difference_but_the_data_is_in_the_ledger(changed: dict, said: list[str]) -> None:
    assert confounds(recipe(), recipe(**changed)) == said


def test_amounts_of_training_are_named_when_they_differ_by_more_than_a_tenth() -> None:
    def seen(tokens: float) -> Recipe:
        return recipe(counts={"examples_seen": 1000.0, "tokens_seen": tokens, "passes": 1.0})

    assert confounds(seen(20_000), seen(21_000)) == []
    [said] = confounds(seen(20_000), seen(80_000))
    assert said == "tokens trained on: 20\u202f000 against 80\u202f000"


def test_against_a_model_that_was_not_trained_training_is_the_question() -> None:
    untrained = recipe(stages=(), starts="", counts=dict.fromkeys(("examples_seen", "tokens_seen", "passes"), 0.0))
    assert confounds(recipe(), replace(untrained, seeds=frozenset())) == []


def test_a_recipe_counts_the_mean_over_seeds_and_names_the_seeds_of_the_training_runs(fiction: Fiction) -> None:
    for stage in fiction.stages:
        if (stage.arm, stage.stage) == ("careless", "sft"):
            folder = fiction.inputs[stage.input]
            record, counts = read_json(folder / "record.json"), read_json(folder / "training.json")
            record["recipe"]["task"]["seed"] = 100 + int(stage.seed or 0)
            (folder / "record.json").write_text(json.dumps(record))
            (folder / "training.json").write_text(json.dumps({**counts, "tokens_seen": 300.0 * int(stage.seed or 0)}))
    found = recipes(Findings.read(fiction.report(), fiction.inputs))["careless"]
    assert found.counts["tokens_seen"] == pytest.approx(300)
    assert found.counts["passes"] == 2
    assert len(found.stages) == 1
    assert found.seeds == {100, 101, 102}


def test_what_copied_a_candidate_tells_no_device_and_its_settings_are_those_picked(fiction: Fiction) -> None:
    for stage in fiction.stages:
        if (stage.arm, stage.stage) == ("careless", "sft"):
            folder, first = fiction.inputs[stage.input], stage.seed == 0
            record, counts = read_json(folder / "record.json"), read_json(folder / "training.json")
            record["recipe"]["task"] = {"kind": "tuned", "stage": SGD, "first_seed": first}
            record["device"] = "cpu" if first else "cuda"
            (folder / "record.json").write_text(json.dumps(record))
            picked = {"settings": {"learning_rate": 1e-2}}
            (folder / "training.json").write_text(json.dumps({**counts, "picked": picked}))
    found = recipes(Findings.read(fiction.report(), fiction.inputs))["careless"]
    assert found.devices == {"cuda"}
    assert found.stages == ({**SGD, "learning_rate": 1e-2},)


def test_the_cost_has_what_picking_took_once_for_all_seeds(fiction: Fiction) -> None:
    took = {"seconds": 7200.0, "tokens": 1234}
    picked = {"settings": {"learning_rate": 1e-2}, "candidates": [{}, {}, {}], "took": took}
    for stage in fiction.stages:
        if (stage.arm, stage.stage) == ("careless", "sft"):
            folder = fiction.inputs[stage.input]
            record, counts = read_json(folder / "record.json"), read_json(folder / "training.json")
            record["recipe"]["task"] = {"kind": "tuned", "stage": SGD, "first_seed": stage.seed == 0}
            (folder / "record.json").write_text(json.dumps(record))
            (folder / "training.json").write_text(json.dumps({**counts, "picked": picked}))
    shown = cost.body(Findings.read(fiction.report(), fiction.inputs))
    [row] = [row for row in str(shown).split("<tr>") if "to pick settings" in row]
    cells = re.findall(r'<td class="num">(.*?)</td>', row)
    assert cells[0] == "3"
    assert cells[1] == duration(7200.0)
    assert cells[2] == f"{count(1234)} trained on"


def contrast(arm: str, verdict: str, endpoint: str = "facts") -> Contrast:
    return Contrast(arm, "few (n=400)", endpoint, -0.02, -0.05, 0.01, 90, 3, 0.5, 0.5, detectable=0.04, verdict=verdict)


SWEEP = Sweep(
    "few", "n", tuple(ReportVariant(name=f"few (n={n})", of="few", what="n", value=n) for n in (100, 200, 400))
)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("worse", UNDETECTED, "From n = 200 on, no difference to n = 400 was detected (at 200; one of 4.0 points most"),
        (UNDETECTED, UNDETECTED, "From n = 100 on, no difference to n = 400 was detected (at 100 and 200;"),
        (UNDETECTED, "worse", "At n = 200 the difference to n = 400 is still detectable."),
    ],
)
def test_from_where_on_more_makes_no_difference_that_shows(first: str, second: str, said: str) -> None:
    analysis = Analysis((), (contrast("few (n=100)", first), contrast("few (n=200)", second)))
    assert enough(analysis, SWEEP, "facts").startswith(said)


@pytest.fixture
def control() -> Callable[[str, str], str]:
    def told(what: str, verdict: str) -> str:
        rows = [Row("facts", None, None, contrast("x", verdict)), Row("law", None, None, contrast("x", UNDETECTED))]
        return _sentence(ReportVariant(name=f"few ({what})", of="few", what=what, against=("few",)), "few", rows)

    return told


def test_a_control_says_what_its_differences_mean(control: Callable[[str, str], str]) -> None:
    assert control("again", UNDETECTED) == "No difference to few was detected on any of 2 benchmarks."
    assert control("again", "worse") == (
        "Detectable though nothing but seeds differs: facts. Take such effects for noise."
    )
    assert control("shuffled", "worse") == "It differs detectably from few on facts."


def test_capability_is_no_benchmark_of_its_own() -> None:
    score = ArmScore(
        "a",
        "capability",
        "capability",
        "mean",
        "",
        True,
        False,
        0.5,
        0.4,
        0.6,
        90,
        3,
        0.01,
        None,
        None,
        False,
        None,
        True,
    )
    analysis = Analysis((score,), ())
    assert analysis.benchmarks == []
    assert analysis.endpoints == ["capability"]
    assert analysis.score("a", "capability") == score
    assert analysis.score("b", "capability") is None
