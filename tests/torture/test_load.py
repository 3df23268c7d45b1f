"""What a large study and a long run need, at full size."""

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from measurements._load_study import GROUPS, Shape, write_study

from datatrial import files, planner
from datatrial.effects import ArmScore, Contrast, Unevenness
from datatrial.engine.local import LocalExecutor
from datatrial.engine.schedule import run
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.records import Runtime
from datatrial.statistics.contrasts import _frame
from tests.engine.tasks import Flood
from tests.torture.conftest import Figure

pytestmark = [pytest.mark.torture, pytest.mark.timeout(1800)]
PLAN_SECONDS, RERUN_SECONDS = 10, 20  # of one processor: others may be at work here
SCORES, MEMORY = 10_000_000, 4096  # rows, MiB


def command(folder: Path, *arguments: object) -> tuple[str, float]:
    """What it prints, and the seconds that it computes."""
    before = computed()
    told = subprocess.run(
        [sys.executable, "-m", "datatrial.cli", *map(str, arguments)], cwd=folder, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout, computed() - before


def computed() -> float:
    """Seconds that all processes which ended have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("data_sets", [20, 1000])
def test_a_thousand_arms_are_planned_in_ten_seconds(tmp_path: Path, data_sets: int) -> None:
    study = write_study(tmp_path, Shape(data_sets=data_sets))
    shown, seconds = command(tmp_path, "plan", study)
    assert "load: 1001 arms, 5 seeds" in shown
    assert len(shown.splitlines()) < 400
    assert seconds < PLAN_SECONDS
    for asked in ("check", "status"):
        assert command(tmp_path, asked, study)[1] < PLAN_SECONDS, asked


def test_a_thousand_arms_that_are_done_are_run_again_in_twenty_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_settle", lambda path: None)  # thirty thousand results, which nobody will miss
    study, store = write_study(tmp_path, Shape()), Store(tmp_path / "store")
    store.open()
    plan = planner.plan(study, store.root)
    summary = plan.summary({})
    assert summary
    for step in [*plan.steps, summary.inputs["contrasts"], summary]:
        store.build(replace(store.work(step), task=Done(step)), Runtime())
    told, seconds = min((command(tmp_path, "run", study, "--store", store.root) for _ in range(2)), key=itemgetter(1))
    assert seconds < RERUN_SECONDS
    assert f"report: {store.path(summary)}" in told
    assert len(told.splitlines()) < 400


@dataclass(frozen=True)
class Done:
    """Leaves what the run reads of a step's result; of most that is nothing but the record."""

    of: Step

    @property
    def kind(self) -> str:
        return self.of.task.kind

    def identity(self) -> dict[str, Any]:
        return self.of.task.identity()

    def run(self, inputs: dict[str, Path], out: Path, runtime: Runtime) -> None:
        if self.kind == "hub":
            self.of.task.run(inputs, out, runtime)
        elif self.kind == "contrasts":
            _frame(ArmScore, _scores()).write_parquet(out / "scores.parquet")
            _frame(Contrast, _contrasts()).write_parquet(out / "contrasts.parquet")
            _frame(Unevenness, ()).write_parquet(out / "unevenness.parquet")
        elif self.kind == "report":
            (out / "report.html").write_text("<!doctype html>")
            (out / "remarks.json").write_text(json.dumps({"cautions": [], "notes": {}}))
        else:
            (out / "result").write_text(self.of.digest)


ENDPOINTS = {"science": "", "stories": "", "safety": "", **{f"safety/{group}": group for group in GROUPS}}
ARMS = ["base", *(f"arm-{number:04}" for number in range(1000))]


def _scores() -> Iterator[ArmScore]:
    for arm in ARMS:
        for endpoint, group in ENDPOINTS.items():
            about = {"arm": arm, "benchmark": endpoint.partition("/")[0], "endpoint": endpoint, "group": group}
            yield ArmScore(**_filled(ArmScore, **about, metric="acc", baseline=arm == "base"))


def _contrasts() -> Iterator[Contrast]:
    for number, arm in enumerate(ARMS[1:]):
        for endpoint in ENDPOINTS:
            for against in ("base", ARMS[number]):
                about = {"arm": arm, "against": against, "endpoint": endpoint, "declared": False, "expect": ""}
                numbers = {
                    "p": 0.5,
                    "p_adjusted": 0.9,
                    "verdict": "no detectable difference",
                    "claim": "",
                    "margin": 0.0,
                }
                yield Contrast(**_filled(Contrast, **about, **numbers))


def _filled(kind: type, **known: Any) -> dict[str, Any]:
    made: dict[Any, Any] = {str: "", bool: True, int: 5, float: 0.5}
    return {field.name: known.get(field.name, made.get(field.type)) for field in fields(kind)}


def test_ten_million_scores_are_compared_and_reported_within_four_gibibytes(figure: Figure, tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.torture.ten_million", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},  # as in a worker
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["rows"] >= SCORES
    assert max(found["peaks"].values()) < MEMORY
    assert found["page"] < 50 * 2**20
    figure("rows of scores", f"{found['rows']:,}")
    for step, peak in found["peaks"].items():
        figure(f"peak memory of {step}, MiB", peak)


def test_the_log_of_a_step_that_prints_gigabytes_stays_short_all_the_while(figure: Figure, tmp_path: Path) -> None:
    store, step, sizes = Store(tmp_path / "store"), Step(Flood(20, others=0)), [0]
    store.open()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            sizes.append(store.log(step).stat().st_size if store.log(step).exists() else 0)

    looking = threading.Thread(target=look)
    looking.start()
    with LocalExecutor(store, jobs=1, device="cpu") as executor:
        outcome = run([step], store, executor, lambda event, step: None)
    ended.set()
    looking.join()
    text = store.read_log(step)
    printed = int(text.partition(" bytes were left out")[0].split()[-1])
    assert outcome.done
    assert printed > 2**30
    assert max(sizes) < printed / 20  # what came in a second
    assert len(text) <= 8 * 2**20
    assert text.startswith("the first words")
    assert text.rstrip().endswith("the last words")
    figure("bytes that a step printed", f"{printed:,}")
    figure("bytes of its log at most, and at its end", f"{max(sizes):,}, {len(text):,}")
