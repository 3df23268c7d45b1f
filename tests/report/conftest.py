"""The fictional study, for tests that read it and for tests that change it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.fiction import Fiction, make_fiction


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fiction, Path]:
    """The study with its report: for tests that only read."""
    fiction = make_fiction(tmp_path_factory.mktemp("fiction"))
    return fiction, fiction.write()


@pytest.fixture
def fiction(finished: tuple[Fiction, Path], tmp_path: Path) -> Fiction:
    """The study without its report, in a copy that a test may change."""
    return copied(finished[0], tmp_path / "store")


def copied(made: Fiction, folder: Path) -> Fiction:
    """The study in another folder, without its report."""
    shutil.copytree(made.folder, folder, ignore=shutil.ignore_patterns("report"))
    inputs = {name: folder / path.relative_to(made.folder) for name, path in made.inputs.items()}
    lists = {name: [*getattr(made, name)] for name in ("runs", "stages", "data", "audits")}
    return replace(made, folder=folder, inputs=inputs, **lists)
