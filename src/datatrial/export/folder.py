"""The folder of an export: made whole, then put in the place of an earlier one."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from datatrial import __version__
from datatrial.errors import StoreError
from datatrial.export._finished import Finished
from datatrial.files import file_digest
from datatrial.records import read_json
from datatrial.results import Results

MANIFEST = "export.json"
SCHEMA = 1  # of the manifest


def export(results: Results, out: Path) -> list[str]:
    """Write all that a study found into a folder; gives the names of its files, relative to it.

    Files of an earlier export, which its manifest lists, are replaced or removed; nothing else there is touched. What
    the report was asked to redact is left out here, too.

    Raises: StoreError when the folder cannot be written, or has a file of that name that no export wrote.
    """
    from datatrial.export import adapters, figures, findings, lm_eval, tables

    finished = Finished(results)
    try:
        out.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    except OSError as error:
        raise StoreError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error
    try:
        for kind in (tables, findings, figures, lm_eval, adapters):
            kind.write(finished, part)
        files = _names(part)
        digests = {name: file_digest(part / name) for name in files}
        manifest = {"schema": SCHEMA, "datatrial": __version__, "study": results.plan.study.name, "files": digests}
        (part / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False), encoding="utf-8")
        _put(part, [*files, MANIFEST], out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return files


def _put(part: Path, files: list[str], out: Path) -> None:
    earlier = _earlier(out)
    for name in files:
        if os.path.lexists(out / name) and name not in earlier:
            raise StoreError(f"{out / name} is there already, and no export wrote it: name another folder with --out")
    for folder in sorted({parent for name in files for parent in Path(name).parents}):
        if folder != Path() and (out / folder).is_symlink():
            raise StoreError(f"{out / folder} is a link, and nothing is written elsewhere than in {out}: remove it")
    for name in earlier:
        (out / name).unlink(missing_ok=True)
    for folder in sorted({parent for name in earlier for parent in Path(name).parents}, reverse=True):
        if (out / folder) != out and (out / folder).is_dir() and not any((out / folder).iterdir()):
            (out / folder).rmdir()
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).replace(out / name)


def _earlier(out: Path) -> set[str]:
    """The files of an earlier export that are in the folder itself, its manifest included."""
    if not (out / MANIFEST).exists():
        return set()
    try:
        listed = [str(name) for name in read_json(out / MANIFEST)["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{out / MANIFEST} is no manifest of an export: name another folder with --out") from error
    inside = {name for name in listed if (out / name).resolve().is_relative_to(out.resolve())}
    return {MANIFEST, *inside}


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
