"""Whether results are still what was written."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from datatrial.engine.step import digest_of
from datatrial.errors import StoreError
from datatrial.files import file_digest, write_at_once
from datatrial.foreign.names import leads_out
from datatrial.records import read_json

RUNS = "runs"  # a folder of a result with logs of its making: times are in them and in their names, so no checksums


class Integrity:
    """Tells results that are what their records say from damaged ones.

    A result is read and compared with its checksums once. After that the stamps of its files tell whether they were
    written to since; what was found is remembered in `memory`, which may be deleted.
    """

    def __init__(self, memory: Path):
        self.memory = memory
        self.changed = False

    @cached_property
    def _sound(self) -> dict[str, str]:
        """The stamps that results had when they were found whole, by their place in the store."""
        with suppress(OSError, ValueError):
            if isinstance(found := read_json(self.memory), dict):
                return found
        return {}

    def damage(self, key: str, folder: Path) -> str:
        """What is wrong with a result; empty if nothing is.

        Raises: StoreError when that cannot be told, as it cannot be read for now.
        """
        try:
            stamp = _stamp(folder)
            if self._sound.get(key) == stamp:
                return ""
            found = compare(folder, folder.name)
        except FileNotFoundError:
            return "it is gone"
        except OSError as error:
            raise StoreError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
        if not found:
            self._sound[key], self.changed = stamp, True
        return found

    def note(self, key: str, folder: Path) -> None:
        """Take note that a result was just written."""
        self._sound[key], self.changed = _stamp(folder), True

    def forget(self, key: str) -> None:
        """Take note that a result is gone."""
        self.changed = self._sound.pop(key, None) is not None or self.changed

    def keep(self) -> None:
        """Remember what was found, for later runs."""
        if self.changed:
            with suppress(OSError):  # it only spares reading the files again
                write_at_once(self.memory, json.dumps(self._sound))
            self.changed = False


def compare(folder: Path, identity: str) -> str:
    """How the result of that digest differs from what its record says; empty if it does not.

    Raises: OSError when that cannot be told. A disk that says that it lost something has told.
    """
    try:
        record = read_json(folder / "record.json")
        files, is_this = dict(record["files"]), digest_of(record["recipe"]) == identity
    except (ValueError, KeyError, TypeError):
        return "record.json cannot be read"
    if not is_this:
        return "record.json is not what was written"
    for name, digest in files.items():
        if leads_out(name):
            return f"record.json names {name!r}, which is outside of the result"
        if not (folder / name).is_file():  # nor a device, which may never end
            return f"{name} is missing"
        try:
            if file_digest(folder / name) != digest:
                return f"{name} is not what was written"
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return f"{name} cannot be read: {error.strerror}"
    return ""


def _stamp(folder: Path) -> str:
    """Names, sizes and times of change of a result's files in one digest: it differs once anything was written."""
    seen = sorted((path, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in _stats(folder, ""))
    return hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()


def _stats(folder: Path | str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if prefix or entry.name != RUNS:
                    yield from _stats(entry.path, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name, entry.stat()
