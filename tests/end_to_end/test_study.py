"""A whole study, from YAML to report, with a model of a few thousand parameters."""

import json
import os
import re
import time

import polars as pl
import pytest

from datatrial import Study, run
from datatrial.engine.store import Store

pytestmark = pytest.mark.slow


def digests_and_times(store: Store) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in store.root.glob("*/[!.]*/record.json")}


def test_a_study_runs_from_yaml_to_report_and_a_second_run_does_nothing(datatrial, tiny, tmp_path):
    tiny.write_text(tiny.read_text().replace("seeds: [0, 1]", "seeds: [1]"))
    first = datatrial("run", tiny, "--jobs", 1)
    assert "careful+pairs" in first.stdout
    report = tmp_path / first.stdout.split("report:")[1].strip()
    assert report.exists()
    assert not re.findall(r"<(script|link|img)[^>]*(src|href)=", report.read_text())  # needs no other file
    assert sorted(p.name for p in (report.parent / "tables").iterdir()) == [
        f"{name}.{kind}" for name in ("benchmarks", "claims", "contrasts", "safety") for kind in ("csv", "md")
    ]
    made = digests_and_times(Store(tmp_path / ".datatrial"))

    started = time.monotonic()
    second = datatrial("run", tiny)
    assert time.monotonic() - started < 5
    assert second.stdout == first.stdout
    assert digests_and_times(Store(tmp_path / ".datatrial")) == made

    assert "0 to do" in datatrial("plan", tiny).stdout
    assert datatrial("report", tiny).stdout == first.stdout
    assert "is done" in datatrial("explain", tiny, "sft careful, seed 1").stdout
    told = datatrial("explain", tiny, "sft careful, seed 1", "training.sft.learning_rate=0.01").stdout
    assert "learning_rate: 0.001 -> 0.01" in told
    datatrial("export", tiny)
    assert (tmp_path / "tiny-export" / "findings.json").exists()

    adapter, *_ = (tmp_path / ".datatrial").glob("sft/*/adapter/adapter_model.safetensors")
    os.truncate(adapter, 100)
    reported = datatrial("report", tiny)
    assert "adapter_model.safetensors is not what was written; a run makes it again" in reported.stderr
    assert not adapter.exists()  # nothing is trained for a report
    [weights] = (tmp_path / ".datatrial").glob("from_scratch/*/weights/model.safetensors")
    os.truncate(weights, 100)
    refused = datatrial("report", tiny, expect=2).stderr
    assert "model.safetensors is not what was written; a run makes it again" in refused
    assert "nothing to report yet" in refused


def test_a_step_that_fails_is_named_and_the_other_arms_are_reported(datatrial, tiny, tmp_path):
    rows = tmp_path / "mine.jsonl"
    rows.write_text('{"prompt": "Who?", "completion": "Me."}\n{"prompt": "What?"}\n')
    text = tiny.read_text().replace("seeds: [0, 1]", "seeds: [0]")
    text, left_out = re.subn(r".*(careful\+pairs|group_safety|contrasts:).*\n", "", text)
    assert left_out == 4
    text = text.replace("data:\n", "data:\n  mine: {source: {kind: json_file, path: mine.jsonl}}\n", 1)
    tiny.write_text(text.replace("arms:\n", "arms:\n  mine: [{sft: mine}]\n", 1))
    done = datatrial("run", tiny, "--jobs", 1, expect=1)
    assert "mine.jsonl" in done.stderr
    assert "line 2" in done.stderr
    assert "completion" in done.stderr
    assert re.search(r"science \(acc\) .*\d+\.\d \(-?\d+\.\d\)", done.stdout)  # careful was compared with base
    assert "failed: data mine" in datatrial("status", tiny).stdout
    rows.write_text('{"prompt": "Who?", "completion": "Me."}\n' * 30)
    datatrial("run", tiny, "--jobs", 1)


def test_the_python_api_does_the_same(tiny, tmp_path):
    study = Study.load(tiny, ["seeds=[0]", "arms.careful+pairs=[]"])
    results = run(study, tmp_path / "store", jobs=1, device="cpu")
    assert not results.failed
    assert results.report is not None
    assert results.report.exists()
    scores = results.scores.filter(pl.col("endpoint") == "science", pl.col("arm") == "careful")
    [summary] = [
        json.loads((results.store.path(r.scores["science"]) / "summary.json").read_text())
        for r in results.plan.runs
        if r.arm == "careful"
    ]
    assert summary["metrics"]["acc"] in scores["estimate"].to_list()
    assert {"arm", "against", "endpoint", "estimate", "low", "high"} <= set(results.contrasts.columns)
