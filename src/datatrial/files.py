"""Files that are whole: written at once, kept through a loss of power, and known by their checksums."""

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import xxhash


def write_at_once(file: Path, text: str) -> None:
    """Write a file so that no reader, and no interruption, finds half of it."""
    part = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def not_for_everybody() -> None:
    """Have no file that this process makes from now on be one that every user of the machine can write to."""
    umask = os.umask(0o077)
    os.umask(umask | stat.S_IWOTH)


def settle(place: Path) -> None:
    """Have a file, or a folder and all below it, on the disk itself, so that it outlives a loss of power.

    Raises: OSError when the disk cannot take it, which on some file systems only shows here.
    """
    for path in [*place.rglob("*"), place]:
        if path.is_dir():
            settle_folder(path)
        elif path.is_file():
            _settle(path)


def settle_folder(folder: Path) -> None:
    """Have the names in a folder on the disk itself, where the file system does that."""
    with suppress(OSError):
        _settle(folder)


def _settle(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sealed(data: bytes) -> bytes:
    """The same with its XXH3-128 at the end, by which `unsealed` sees whether a disk has lost some of it."""
    return data + xxhash.xxh3_128_digest(data)


def unsealed(written: bytes) -> bytes | None:
    """What was sealed; None if it is damaged."""
    size = xxhash.xxh3_128().digest_size
    return written[:-size] if xxhash.xxh3_128_digest(written[:-size]) == written[-size:] else None


def fast_digest(path: Path) -> str:
    """XXH3-128 of a file, in hexadecimal: for damage, not for those who would do harm."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
