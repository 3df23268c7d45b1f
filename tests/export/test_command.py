"""`datatrial export`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from datatrial.cli import app
from datatrial.records import read_json
from datatrial.results import Results

pytestmark = pytest.mark.slow


def test_it_writes_beside_where_it_is_called_and_says_what(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["export", str(results.plan.study.path), "--store", str(results.store.root)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    files = read_json(tmp_path / "tiny-export" / "export.json")["files"]
    assert done.output == f"{len(files)} files in tiny-export: adapters, figures, findings.json, lm_eval, tables\n"
    again = CliRunner().invoke(app, [*asked, "--redact"])
    assert again.exit_code == 0, again.output
    assert read_json(tmp_path / "tiny-export" / "findings.json")["redacted"] is True


def test_nothing_is_overwritten_that_no_export_wrote(results: Results, tmp_path: Path) -> None:
    (tmp_path / "findings.json").write_text("mine")
    asked = ["export", str(results.plan.study.path), "--store", str(results.store.root), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 2
    assert "no export wrote it" in done.output
    assert (tmp_path / "findings.json").read_text() == "mine"


def test_before_any_run_it_says_what_to_do(results: Results, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(results.plan.study.path), "--store", str(tmp_path / "empty")])
    assert done.exit_code == 2
    assert "datatrial run" in done.output
