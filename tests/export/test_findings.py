"""All findings as one JSON file."""

import json
from pathlib import Path
from typing import Any

import pytest

from datatrial.export._finished import Finished
from datatrial.export.findings import _without_nan

pytestmark = pytest.mark.slow
KEYS = {
    "schema", "datatrial", "redacted", "study", "headline", "cautions", "base_model", "arms", "data", "benchmarks",
    "scores", "contrasts", "claims", "unevenness", "missing", "made_with",
}  # fmt: skip


@pytest.fixture(scope="module")
def found(exported: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((exported / "findings.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_the_shape_is_the_documented_one(found: Any) -> None:
    assert found["schema"] == 1
    assert set(found) == KEYS
    documented = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    assert [key for key in KEYS if f"`{key}`" not in documented] == []


def test_it_has_what_the_study_found(found: Any, finished: Finished) -> None:
    assert [arm["name"] for arm in found["arms"]] == ["base", "careful", "careful+pairs"]
    [run] = found["arms"][2]["runs"]
    assert [(stage["stage"], stage["data"]) for stage in run["stages"]] == [("sft", "careful"), ("dpo", "pairs")]
    assert run["stages"][0]["settings"]["learning_rate"] == 1e-3
    assert run["stages"][1]["counts"]["examples"] > 0
    assert len(found["scores"]) == finished.results.scores.height
    assert {c["verdict"] for c in found["contrasts"]} == set(finished.results.contrasts["verdict"])
    assert found["made_with"]["packages"]["torch"]


def test_a_claim_names_the_places_of_its_contrasts(found: Any) -> None:
    [claim] = found["claims"]
    parts = [found["contrasts"][place] for place in claim["contrasts"]]
    assert [(part["endpoint"], part["claim"]) for part in parts] == [
        ("science", "Pairs help | a <lot>"), ("safety", "Pairs help | a <lot>")
    ]  # fmt: skip


def test_what_is_no_number_is_null() -> None:
    assert _without_nan({"a": [float("nan"), 1.0, (float("inf"), "nan")]}) == {"a": [None, 1.0, [None, "nan"]]}


def test_no_place_on_this_machine_is_in_the_findings(exported: Path, finished: Finished) -> None:
    texts = [p for p in exported.rglob("*") if p.suffix in (".json", ".jsonl", ".md", ".csv", ".tex", ".svg")]
    assert len(texts) > 20
    assert [p for p in texts if str(finished.store.root.parent) in p.read_text(encoding="utf-8")] == []
