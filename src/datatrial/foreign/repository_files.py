"""What a data set's repository says of its own files: those it names must be its own."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datatrial.errors import DataError
from datatrial.foreign.bounded_yaml import settings_of
from datatrial.foreign.names import leads_out

_CARDS = ("README.md", ".huggingface.yaml")  # from which `datasets` reads which files are which split's


def refuse_files_elsewhere(folder: Path, repository: str) -> None:
    """Raises: DataError where a repository's `configs` name files that are not in it, or its cards cannot be read."""
    for name in _CARDS:
        for place in _places(settings_of(folder / name).get("configs")):
            if leads_out(place) or "://" in place or "::" in place:
                raise DataError(
                    f"{repository}: the configs in its {name} name {place!r}, which is outside of the repository and "
                    "is never read: name its data files yourself"
                )


def own_files(files: Iterable[str], folder: Path, repository: str) -> list[Path]:
    """The files, which lie below the repository's folder; links there may lead anywhere, as those of the cache do.

    Raises: DataError for one that does not.
    """
    below = (Path(os.path.abspath(folder)), folder.resolve())  # noqa: PTH100 (`resolve` follows links)
    found = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100
    for path in found:
        if not any(path.is_relative_to(one) for one in below):
            raise DataError(f"{repository}: {path} is outside of the repository ({folder}) and is never read")
    return found


def _places(configs: Any) -> Iterator[str]:
    """The texts of `data_files` and `data_dir`, whatever form they have."""
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, Mapping):
            yield from _texts([config.get("data_files"), config.get("data_dir")])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for below in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []:
        yield from _texts(below)
