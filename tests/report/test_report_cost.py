"""What the report says of time, tokens and memory, and of how to get the results again."""

import json
from pathlib import Path

import pytest

from datatrial.records import read_json
from datatrial.report._findings import Findings
from datatrial.report.sections import cost, provenance
from tests.report.fiction import Fiction


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**read_json(path), **values}))


def test_an_arm_costs_its_own_stages_and_those_it_shares_in_the_mean_over_seeds(fiction: Fiction) -> None:
    stages = [stage for stage in fiction.stages if stage.arm == "careful-upvotes"]
    for stage in stages:
        seconds = 10.0 * (stage.seed or 0) + (100.0 if stage.stage == "dpo" else 1.0)
        changed(fiction.inputs[stage.input] / "record.json", seconds=seconds)
    found = {one.arm: one for one in cost.arm_costs(Findings.read(fiction.report(), fiction.inputs))}
    assert found["careful-upvotes"].training == pytest.approx(2 * 10.0 + 101.0)
    assert found["careful"].training == pytest.approx(10.0 + 1.0)
    assert found["careful-upvotes"].tokens == 2 * 21345
    assert (found["base"].training, found["base"].tokens) == (0, 0)
    assert found["base"].scoring > 0


def test_tokens_in_requests_stand_beside_those_computed_and_results_count_once(fiction: Fiction) -> None:
    for path in {fiction.inputs[run.input] for run in fiction.runs}:
        changed(path / "summary.json", scoring={"request_tokens": 1000, "tokens": 250})
    page = cost.body(Findings.read(fiction.report(), fiction.inputs))
    assert "78\u202f000 in requests, 19\u202f500 computed" in page
    assert f"{12 * 21345:,} trained on".replace(",", "\u202f") in page


def test_only_what_used_a_gpu_counts_as_gpu_hours(fiction: Fiction) -> None:
    assert "GPU" not in cost.body(Findings.read(fiction.report(), fiction.inputs))
    for stage in fiction.stages[:2]:
        used = {"seconds": 900.0, "peak_memory_mib": {"host": 1000, "gpu": 40_000}}
        changed(fiction.inputs[stage.input] / "record.json", **used)
    page = cost.body(Findings.read(fiction.report(), fiction.inputs))
    assert "In all 0.50 GPU-hours." in page
    assert "40\u202f000 MiB on the GPU" in page


def test_the_versions_to_install_are_those_of_the_records(fiction: Fiction) -> None:
    report = fiction.report()
    assert "pip install torch==2.13.0 trl==1.16.0" in provenance.body(Findings.read(report, fiction.inputs))
    imported = report.model_copy(update={"seeds_redraw": ()})  # results of other tools were made with other versions
    told = provenance.body(Findings.read(imported, fiction.inputs))
    assert "pip install" not in told
    assert "device" not in told.partition("Every step")[0]
    assert "packages of the comparison" in told
    checkpoints = report.model_copy(update={"model": ""})  # a study whose arms are all checkpoints is no import
    assert "pip install torch" in provenance.body(Findings.read(checkpoints, fiction.inputs))
