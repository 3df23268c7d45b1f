"""What really breaks things: `make torture`. Its figures are printed at the end, as a Markdown table."""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.torture.runs import Run

Figure = Callable[[str, object], None]
Patch = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", type=float, default=1.0, help="of the kills, executions and sizes: 0.1 is a tenth")
    parser.addoption("--dice", type=int, default=None, help="the seed of what is drawn; by default another each time")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first, and not to the same process: each is given two tests to begin with."""
    longest = [item for item in items if "test_kills" in item.nodeid]
    others = [item for item in items if item not in longest]
    first = [item for pair in zip(longest, others, strict=False) for item in pair]
    items[:] = [*first, *(item for item in (*longest, *others) if item not in first)]


@pytest.fixture
def share(request: pytest.FixtureRequest) -> float:
    found: float = request.config.getoption("--share", default=1.0)
    return found


@pytest.fixture
def dice(request: pytest.FixtureRequest, figure: Figure) -> random.Random:
    seed = request.config.getoption("--dice", default=None)
    seed = random.randrange(10**6) if seed is None else seed
    figure("seed of what is drawn (--dice)", seed)
    return random.Random(seed)


@pytest.fixture(scope="session")
def undisturbed(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all that the study makes, the same for all processes of the tests."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent
    store = folder / "undisturbed"
    with FileLock(f"{store}.lock"):
        if not store.exists():
            begun = folder / "begun"
            assert Run(study, begun).wait() == 0
            begun.rename(store)
    return store


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Patch:
    """Has each process of a run begin with what `patches/sitecustomize.py` has under these names."""

    def patch(*names: str) -> None:
        patches = Path(__file__).with_name("patches")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(patches), *filter(None, sys.path)]))
        monkeypatch.setenv("DATATRIAL_TORTURE", ",".join(names))

    return patch


@pytest.fixture
def figure(record_property: Figure) -> Figure:
    """Takes note of a number that the test found, to be told at the end."""
    return record_property


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ended = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    rows = [(test_of(report), *told) for report in ended if report.when == "call" for told in report.user_properties]
    if rows:
        terminalreporter.write_line("| test | figure | value |\n|---|---|---|")
    for row in rows:
        terminalreporter.write_line(f"| {' | '.join(map(str, row))} |")


def test_of(report: pytest.TestReport) -> str:
    return report.nodeid.partition("::test_")[2].replace("_", " ")


@pytest.fixture(scope="session")
def study() -> Path:
    """About half a minute of data, training, scoring and statistics."""
    return Path(__file__).with_name("study.yaml")
