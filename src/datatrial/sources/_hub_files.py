"""Which files of a hub data set hold a split, told by `datasets` without reading any of them."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from datatrial.component import did_you_mean
from datatrial.errors import DataError
from datatrial.foreign.bounded_yaml import settings_of
from datatrial.foreign.repository_files import own_files, refuse_files_elsewhere
from datatrial.sources._files import file_type


def files_that_match(folder: Path, repository: str, patterns: Sequence[str]) -> list[Path]:
    """A repository's files that match patterns (`*` also crosses folders), in the patterns' order.

    Raises: DataError when a pattern matches none.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    found: dict[str, None] = {}
    for pattern in patterns:
        matching = [name for name in names if fnmatch(name, pattern)]
        if not matching:
            some = ", ".join(names[:5]) or "none"
            raise DataError(f"{repository} has no file {pattern} (sought in {folder}; files there: {some})")
        found |= dict.fromkeys(matching)
    return [folder / name for name in found]


def files_of_split(folder: Path, repository: str, subset: str | None, split: str) -> list[Path]:
    """The files of a split, by the README's `configs`, or else by the names of files and folders.

    Raises: DataError when the data set needs code to be read, or has no such subset or split; with those it has.
    """
    import datasets

    _refuse_script(folder, repository)
    refuse_files_elsewhere(folder, repository)
    try:
        with TemporaryDirectory() as cache:  # else it keeps a folder for each data set in the user's cache
            of = _builder_settings(folder, repository, subset)
            splits = datasets.load_dataset_builder(str(folder), cache_dir=cache, **of).config.data_files or {}
    except DataError:
        raise
    except Exception as error:  # whatever it meets in files that it reads as settings
        what = str(error).replace("\n", " ")
        raise DataError(f"{repository}: cannot tell its files apart ({what}); name them with `files`") from error
    names = list(map(str, splits))
    if split not in names:
        raise DataError(f"{repository} has no split {split!r}; {did_you_mean(split, names)}")
    files = own_files(next(listed for name, listed in splits.items() if str(name) == split), folder, repository)
    for path in files:
        file_type(path)
    return files


def _refuse_script(folder: Path, repository: str) -> None:
    script = f"{repository.partition('/')[2]}.py"
    if (folder / script).is_file():
        raise DataError(
            f"{repository} comes with a loading script ({script}), and code from the hub is never run: read the "
            "hub's own conversion with `revision: refs/convert/parquet`, or name data files with `files`"
        )


def _builder_settings(folder: Path, repository: str, subset: str | None) -> dict[str, str]:
    import datasets

    configs: list[str] = datasets.get_dataset_config_names(str(folder))
    declared = configs if configs != ["default"] else []  # which it also says where none are
    if subset is not None and subset not in declared:
        if (folder / subset).is_dir():
            return {"data_dir": subset}
        if subset not in configs:
            raise DataError(f"{repository} has no subset {subset!r}; {did_you_mean(subset, configs)}")
    if subset is not None:
        return {"name": subset}
    default = datasets.get_dataset_default_config_name(str(folder))
    if default is None and len(configs) != 1:
        some = ", ".join(configs[:8]) + ", …" * (len(configs) > 8)
        raise DataError(f"{repository} has {len(configs)} subsets: choose one with `subset` ({some})")
    return {"name": default or configs[0]}


def licence_in(card: Path) -> str:
    """The licence that a README's header states, or nothing."""
    try:
        stated = settings_of(card).get("license", "")
    except DataError:  # no reason not to read the rows
        return ""
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated)
