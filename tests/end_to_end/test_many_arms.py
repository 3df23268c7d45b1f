"""What people read of a study with dozens of arms: long tables end early, arms that are equally far share a row."""

import io
from pathlib import Path

import pytest
from measurements._load_study import Shape, write_study
from rich.console import Console

from datatrial import planner
from datatrial.cli import _plan_tables
from datatrial.cli.status import status
from datatrial.engine.store import Store
from datatrial.estimates.devices import device_of
from datatrial.estimates.estimate import Estimates


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("many"), Shape(arms=45, seeds=2, data_sets=40, items=6, contrasts=3))


def test_tables_of_a_plan_end_after_some_rows_and_say_how_many_more_there_are(study: Path) -> None:
    plan = planner.plan(study, study.parent / "store")
    estimates = Estimates(plan, Store(study.parent / "store"), device_of("h200"))
    console = Console(file=io.StringIO(), width=200)
    for part in _plan_tables.shown(estimates, dict.fromkeys(estimates.steps, "new")):
        console.print(part)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "… and 13 more: --json has them" in told  # data sets: 40 and the benchmarks' three
    assert "… and 16 more: --json has them" in told  # arms: 45 and the baseline
    assert "data-0026" in told
    assert "data-0027 " not in told.partition("training (each run)")[0]
    assert len(told.splitlines()) < 150


def test_arms_that_are_equally_far_share_a_row(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(study.parent / "store")
    store.open()
    plan = planner.plan(study, store.root)
    done = next(run for run in plan.runs if run.arm == "arm-0003").scores["science"]
    (store.path(done)).mkdir(parents=True)
    (store.path(done) / "record.json").write_text("{}")
    status(study, store=str(store.root))
    rows = {line.split("  ")[0].strip(): line.split()[-5:] for line in capsys.readouterr().out.splitlines()}
    assert rows["arm-0000 and 8 more"] == ["0", "0", "0", "0", "13"]
    assert rows["arm-0001 and 34 more"] == ["0", "0", "0", "0", "18"]
    assert rows["arm-0003"] == ["1", "0", "0", "0", "17"]
