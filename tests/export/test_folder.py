"""What an export does to the folder that it is written into."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datatrial.errors import StoreError
from datatrial.export import adapters, figures, findings, folder, lm_eval, tables
from datatrial.export.folder import export
from datatrial.files import file_digest
from datatrial.records import read_json

PARTS = (tables, findings, figures, lm_eval, adapters)


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exports files of the given names instead of a study's."""
    wanted: dict[str, str] = {}

    def write_one(_: object, out: Path) -> None:
        for name, text in wanted.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text)

    for part in PARTS:
        monkeypatch.setattr(part, "write", lambda *_: None)
    monkeypatch.setattr(tables, "write", write_one)

    def run(out: Path, **files: str) -> list[str]:
        wanted.clear()
        wanted.update({name.replace("__", "/"): text for name, text in files.items()})
        return export(SimpleNamespace(plan=SimpleNamespace(study=SimpleNamespace(name="s"))), out)  # type: ignore[arg-type]

    return run


def test_the_manifest_has_the_checksum_of_every_file(write: Any, tmp_path: Path) -> None:
    assert write(tmp_path / "new" / "out", a="1", b__c="2") == ["a", "b/c"]
    out = tmp_path / "new" / "out"
    manifest = read_json(out / folder.MANIFEST)
    assert manifest["files"] == {name: file_digest(out / name) for name in ("a", "b/c")}
    assert {path.name for path in out.iterdir()} == {"a", "b", folder.MANIFEST}


def test_an_earlier_export_is_replaced_and_nothing_else_is_touched(write: Any, tmp_path: Path) -> None:
    write(tmp_path, a="1", gone__b="2", kept__c="3")
    (tmp_path / "kept" / "mine").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, a="new")
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found.pop(folder.MANIFEST)
    assert found == {"a": "new", "kept/mine": "mine", "notes.txt": "mine"}
    assert not (tmp_path / "gone").exists()


def test_a_file_that_no_export_wrote_is_not_overwritten(write: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(StoreError, match=r"a is there already, and no export wrote it: name another folder with --out"):
        write(tmp_path, a="1", b="2")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "mine"}


def test_a_manifest_can_name_no_file_outside(write: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / folder.MANIFEST).write_text('{"files": {"../mine": "", "/etc/hostname": ""}}')
    write(out, a="1")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_failure_leaves_the_earlier_export_as_it_was(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a="1")

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(adapters, "write", fail)
    with pytest.raises(RuntimeError):
        write(tmp_path, a="2")
    assert {path.name for path in tmp_path.iterdir()} == {"a", folder.MANIFEST}
    assert (tmp_path / "a").read_text() == "1"


def test_a_folder_that_cannot_be_written_is_named(write: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to .*file"):
        write(tmp_path / "file", a="1")


def test_nothing_is_written_through_a_link(write: Any, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "b").symlink_to(elsewhere)
    with pytest.raises(StoreError, match=r"out/b is a link, and nothing is written elsewhere"):
        write(out, b__c="1")
    (out / "b").unlink()
    (out / "a").symlink_to(elsewhere / "made")
    with pytest.raises(StoreError, match="a is there already"):
        write(out, a="1")
    assert not list(elsewhere.iterdir())


def test_the_folder_itself_may_be_a_link(write: Any, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    write(tmp_path / "out", b__c="1")
    write(tmp_path / "out", b__c="2")
    assert (tmp_path / "real" / "b" / "c").read_text() == "2"
