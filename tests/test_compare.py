"""`datatrial compare`: two arms of different studies, where they were asked the same."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from datatrial.cli import app
from datatrial.comparing import Compared, Side, compare
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.errors import DatatrialError
from datatrial.planner import plan

STUDY = """\
name: {name}
model: {{kind: from_scratch, corpus: corpus, vocab_size: 400, hidden_size: 32, layers: 1, heads: 2}}
max_length: 64
seeds: {seeds}
data:
  corpus: {{source: {{kind: micro_world, part: corpus, n: 50}}}}
  few: {{source: {{kind: micro_world, part: careful_demonstrations, n: {n}}}}}
  science: {{source: {{kind: micro_world, part: science, n: {items}}}}}
  opinions: {{source: {{kind: micro_world, part: opinions}}}}
arms:
  base: []
  careful: [{{sft: few, epochs: {epochs}}}]
  longer: [{{sft: few, epochs: {epochs}}}, {{sft: few, epochs: 1}}]
benchmarks:
  - {{kind: lm_eval, data: science{asked}}}
  - {{kind: group_safety, data: opinions, name: safety}}
"""
PACKAGES = {"torch": "2.13.0", "trl": "1.16.0"}
Values = Callable[[int, int], float]  # of an item, by the seed (0 where there is none) and its number


def study(
    folder: Path, name: str, seeds: Sequence[int] = (0, 1), n: int = 20, epochs: int = 1, items: int = 30, **asked: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    settings = "".join(f", {key}: {value}" for key, value in asked.items())
    file.write_text(STUDY.format(name=name, seeds=list(seeds), n=n, epochs=epochs, items=items, asked=settings))
    return file


def finish(
    file: Path,
    store: Path,
    arm: str,
    values: Values,
    *,
    names: Sequence[int] = range(30),
    question: str = "Where is owl",
    failures: Mapping[str, str] | None = None,
    packages: Mapping[str, str] = PACKAGES,
) -> None:
    """Puts results of an arm's science benchmark into a store, as if the study had been run."""
    for run in plan(file, store).runs:
        if run.arm == arm:
            step, seed = run.scores["science"], run.seed or 0
            kept = [n for n in names if f"q:{n}" not in (failures or {})]
            items = [
                {"item": f"q:{n}", "question": f"{question} {n}?", "choices": ["a", "b"], "target": "0"} for n in kept
            ]
            scores = [{"item": f"q:{n}", "stratum": "", "metric": "acc", "value": values(seed, n)} for n in kept]
            out = record(step, store, packages)
            pl.DataFrame(items).write_parquet(out / "items.parquet")
            pl.DataFrame(scores).write_parquet(out / "scores.parquet")
            summary = {"statistic": "mean", "metric": "acc", "metrics": {}, "higher_is_better": True}
            (out / "summary.json").write_text(json.dumps({**summary, "failures": failures or {}}))


def record(step: Step, store: Path, packages: Mapping[str, str]) -> Path:
    out = Store(store).path(step)
    out.mkdir(parents=True)
    (out / "record.json").write_text(json.dumps({"recipe": step.recipe, "python": "3.11.7", "packages": packages}))
    return out


def good(seed: int, n: int) -> float:
    return float(n % 10 != seed)


def poor(seed: int, n: int) -> float:
    return float(n % 3 == seed % 2)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def compared(
    one: Path, other: Path, store: Path, arms: Sequence[str] = ("careful", "careful"), **stores: Path
) -> Compared:
    second = stores.get("second", store)
    return compare(Side.read(f"{one}:{arms[0]}", store), Side.read(f"{other}:{arms[1]}", second))


def row(found: Compared) -> dict[str, str]:
    assert found.table
    [cells] = found.table.rows
    return dict(zip(found.table.columns, cells, strict=True))


def test_arms_of_two_studies_in_two_stores_are_paired_item_by_item(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other", epochs=2)
    finish(one, store, "careful", good)
    finish(other, tmp_path / "second", "careful", poor)
    found = compared(one, other, store, second=tmp_path / "second")
    cells = row(found)
    assert found.table
    assert found.table.title == "one:careful against other:careful"
    assert (cells["on"], cells["first"], cells["second"]) == ("science (acc)", "90.0", "33.3")
    assert cells["difference, 95% interval"].startswith("+56.7 [")
    assert (cells["items"], cells["seeds"], cells["verdict"]) == ("30", "2", "better")
    assert found.notes == []


def test_a_benchmark_without_results_is_left_out_and_said(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other", epochs=2)
    finish(one, store, "careful", good)
    finish(other, store, "careful", poor)
    refused = compared(one, other, store).refused
    assert list(refused) == ["safety"]
    assert "one:careful and other:careful: not scored on it yet" in refused["safety"][0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": range(20)}, ["10 of 30 items are only in the first, such as q:20"]),
        ({"names": range(5, 40)}, ["5 of 30 items are only in the first", "10 of 35 items are only in the second"]),
        ({"question": "Where sat owl"}, ["the questions of 30 of 30 items differ, such as that of q:0"]),
    ],
)
def test_a_benchmark_with_other_items_is_refused(
    changes: dict[str, Any], said: list[str], tmp_path: Path, store: Path
) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other", items=40)
    finish(one, store, "careful", good)
    finish(other, store, "careful", poor, **changes)
    found = compared(one, other, store)
    assert found.table is None
    assert all(any(part in line for line in found.refused["science"]) for part in said)


def test_sentences_that_a_tokenizer_makes_too_short_are_left_out(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other", epochs=2)
    finish(one, store, "careful", good)
    finish(other, store, "careful", poor, names=range(2, 30))  # of the same data set
    assert row(compared(one, other, store))["items"] == "28"


def test_a_benchmark_that_was_asked_otherwise_is_refused(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other", num_fewshot=5, limit=20)
    finish(one, store, "careful", good)
    finish(other, store, "careful", poor, names=range(20))
    found = compared(one, other, store)
    assert found.table is None
    settings = ["limit: null and 20", "num_fewshot: null and 5"]
    assert found.refused["science"] == ["10 of 30 items are only in the first, such as q:20", *settings]


def test_items_that_one_model_could_not_be_asked_are_left_out(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other", epochs=2)
    finish(one, store, "careful", good)
    finish(other, store, "careful", poor, failures={"q:3": "too long"})
    assert row(compared(one, other, store))["items"] == "29"


def test_arms_with_other_seeds_are_compared_on_those_that_both_have(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one", seeds=[0, 1, 2]), study(tmp_path, "other", seeds=[2, 1, 7], epochs=2)
    finish(one, store, "careful", lambda seed, n: good(seed, n) if seed else 0.0)
    finish(other, store, "careful", lambda seed, n: poor(seed, n) if seed != 7 else 0.0)
    found = compared(one, other, store)
    assert found.notes == [
        "The first arm has results of 3 seeds, the second of 3: compared on the 2 seeds that both have."
    ]
    assert (row(found)["seeds"], row(found)["first"], row(found)["second"]) == ("2", "90.0", "33.3")


def test_arms_without_a_common_seed_are_paired_in_order(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one", seeds=[0, 1]), study(tmp_path, "other", seeds=[4, 5, 6], epochs=2)
    finish(one, store, "careful", good)
    finish(other, store, "careful", poor)
    found = compared(one, other, store)
    assert found.notes == [
        "The first arm has results of 2 seeds, the second of 3, and none is the same: paired in their order, 2 pairs."
    ]
    assert row(found)["seeds"] == "2"


def test_a_base_model_is_compared_with_every_seed(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one", seeds=[0, 1, 2]), study(tmp_path, "other")
    finish(one, store, "careful", good)
    finish(other, store, "base", poor)
    found = compared(one, other, store, ("careful", "base"))
    assert (row(found)["seeds"], found.notes) == ("3", [])


def test_what_differs_in_the_recipes_is_told(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other", seeds=[0], epochs=3, n=40)
    finish(one, store, "careful", good)
    finish(other, store, "longer", poor, packages={**PACKAGES, "trl": "1.17.0"})
    assert compared(one, other, store, ("careful", "longer")).recipes == [
        "stage 1 epochs: 1.0 and 3.0",
        "stage 1, data source.n: 20 and 40",
        "stage 2 is only in the second: sft on few",
        "seeds: [0, 1] and [0]",
        'packages trl: "1.16.0" and "1.17.0"',
    ]


def test_the_same_arm_differs_in_nothing(tmp_path: Path, store: Path) -> None:
    one = study(tmp_path, "one")
    finish(one, store, "careful", good)
    finish(one, tmp_path / "second", "careful", good)
    found = compared(one, one, store, second=tmp_path / "second")
    assert found.recipes == []
    assert found.table
    assert found.table.title == "one:careful (first) against one:careful (second)"
    assert row(found)["verdict"] == "no detectable difference"


def test_another_model_to_begin_with_is_told(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other")
    other.write_text(other.read_text().replace("hidden_size: 32", "hidden_size: 64"))
    finish(one, store, "base", good)
    finish(other, store, "base", poor)
    assert compared(one, other, store, ("base", "base")).recipes == ["model to begin with hidden_size: 32 and 64"]


def test_what_cannot_be_found_is_said(tmp_path: Path, store: Path) -> None:
    one = study(tmp_path, "one")
    finish(one, store, "careful", good)
    for text, said in (
        ("careful", "name a study's file"),
        ("none.yaml:a", "none.yaml: there is no such file"),
        (f"{one}:carefull", "did you mean 'careful'"),
    ):
        with pytest.raises(DatatrialError, match=said):
            Side.read(text, store)
    with pytest.raises(DatatrialError, match="one:base: nothing is scored yet"):
        compared(one, one, store, ("careful", "base"))


def test_the_command_prints_verdict_refusals_and_recipes(tmp_path: Path, store: Path) -> None:
    one, other = study(tmp_path, "one"), study(tmp_path, "other", epochs=2)
    finish(one, store, "careful", good)
    finish(other, tmp_path / "second", "careful", poor)
    call = ["compare", f"{one}:careful", f"{other}:careful", "--store", str(store)]
    done = CliRunner().invoke(app, [*call, "--store-b", str(tmp_path / "second")])
    assert done.exit_code == 0, done.output
    for part in (
        "one:careful against other:careful",
        "better",
        "not compared on safety",
        "stage 1 epochs: 1.0 and 2.0",
    ):
        assert part in done.output
    assert CliRunner().invoke(app, call).exit_code == 2  # the second arm is not in the first one's store
