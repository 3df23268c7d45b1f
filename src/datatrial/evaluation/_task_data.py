"""Where lm-eval tasks have their data from: what to fetch for them, and how to read it from a folder on this disk."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from datatrial.errors import DataError
from datatrial.evaluation._stock import Function, tasks_folder
from datatrial.evaluation._tasks import Leaf
from datatrial.foreign.bounded_yaml import settings_of
from datatrial.foreign.repository_files import refuse_files_elsewhere
from datatrial.records import HubFiles, LocalFiles, Needs

# Readers of plain files that `datasets` brings along; as `dataset_path` they name no repository.
_READERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow"}
_PLAIN = frozenset({*_READERS.values(), "text", "pandas"})
# Repositories known to keep each configuration in a folder of its name, and worth fetching in part.
_FOLDER_PER_CONFIGURATION = frozenset({"cais/mmlu"})


def needs_of(leaves: list[Leaf]) -> dict[str, Needs]:
    """The repositories and files that the tasks read, each under the name by which `local_settings` looks for it."""
    patterns: dict[tuple[str, str], set[str]] = {}
    needs: dict[str, Needs] = {}
    for leaf in leaves:
        for name, path in _local_files(leaf):
            needs[name] = LocalFiles(path)
        if repo := _repository(leaf):
            part = leaf.settings.get("dataset_name") if repo in _FOLDER_PER_CONFIGURATION else None
            key = (repo, (leaf.settings.get("dataset_kwargs") or {}).get("revision", "main"))
            patterns.setdefault(key, set()).update({"README.md", f"{part}/*"} if part else {"*"})
    for (repo, revision), wanted in patterns.items():
        narrowed = ("*",) if "*" in wanted else tuple(sorted(wanted))
        needs[f"data/{repo}"] = HubFiles(repo, "dataset", revision, narrowed)
    return needs


def local_settings(leaf: Leaf, inputs: Mapping[str, Path], cache: Path) -> dict[str, Any]:
    """The `dataset_…` settings with which lm-eval reads the task's data from this disk, and from nowhere else.

    Raises: DataError when the folder does not hold the configuration that the task names.
    """
    if isinstance(leaf.settings.get("custom_dataset"), Function):
        return {}
    options = dict(leaf.settings.get("dataset_kwargs") or {})
    options.pop("revision", None)
    settings = _on_this_disk(leaf, inputs, options)
    if not is_plain_parquet(settings["dataset_path"], settings["dataset_kwargs"]):
        # `datasets` finds its copy again by the folder's name alone: other contents need another place for theirs.
        stamp = _stamp([path for name, path in inputs.items() if name.startswith("data/")])
        settings["dataset_kwargs"]["cache_dir"] = str(cache / stamp)
    return settings


def is_plain_parquet(path: str | None, options: Mapping[str, Any] | None) -> bool:
    """Whether a task's data is Parquet files named by split and nothing else, so that anything may read them."""
    return (
        path == "parquet"
        and options is not None
        and options.keys() == {"data_files"}
        and isinstance(options["data_files"], Mapping)
    )


def _on_this_disk(leaf: Leaf, inputs: Mapping[str, Path], options: dict[str, Any]) -> dict[str, Any]:
    if repo := _repository(leaf):
        return _from_folder(inputs[f"data/{repo}"], leaf.settings.get("dataset_name"), options)
    if "data_files" in options:
        options["data_files"] = _replaced(options["data_files"], {n: str(inputs[n]) for n, _ in _local_files(leaf)})
        return {"dataset_path": leaf.settings["dataset_path"], "dataset_kwargs": options}
    folders = [inputs[name] for name, _ in _local_files(leaf)]
    if not folders:
        raise DataError(f"{leaf.file}: `dataset_path` and `data_files` name no data set")
    return _from_folder(folders[0], leaf.settings.get("dataset_name"), options)


def _stamp(paths: Iterable[Path]) -> str:
    """Names, sizes and times of change of all files, in one digest."""
    files = [f for path in paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:16]


def _repository(leaf: Leaf) -> str | None:
    path = leaf.settings.get("dataset_path")
    if not isinstance(path, str) or path in _PLAIN or _own_folder(leaf):
        return None
    return path


def _own_folder(leaf: Leaf) -> Path | None:
    path = Path(str(leaf.settings.get("dataset_path")))
    stock = leaf.file.is_relative_to(tasks_folder())  # a folder `org/name` beside lm-eval's tasks would be chance
    return leaf.file.parent / path if path.is_absolute() or (not stock and (leaf.file.parent / path).is_dir()) else None


def _local_files(leaf: Leaf) -> Iterator[tuple[str, Path]]:
    if folder := _own_folder(leaf):
        yield f"data/{Path(leaf.settings['dataset_path']).name}", folder
    elif leaf.settings.get("dataset_path") in _PLAIN:
        for file in _listed((leaf.settings.get("dataset_kwargs") or {}).get("data_files")):
            if "*" in file or "://" in file:
                raise DataError(
                    f"{leaf.file}: data_files: {file!r}: list the files by name, and keep them on this disk"
                )
            # Relative to the task's file, since a study may be run from anywhere.
            yield f"data/{file}", leaf.file.parent / file


def _listed(files: Any) -> list[str]:
    if isinstance(files, Mapping):
        return [file for split in files.values() for file in _listed(split)]
    return [] if files is None else [str(file) for file in files] if isinstance(files, list) else [str(files)]


def _replaced(files: Any, paths: Mapping[str, str]) -> Any:
    if isinstance(files, Mapping):
        return {split: _replaced(below, paths) for split, below in files.items()}
    return [paths[f"data/{file}"] for file in files] if isinstance(files, list) else paths[f"data/{files}"]


def _from_folder(folder: Path, configuration: str | None, options: dict[str, Any]) -> dict[str, Any]:
    refuse_files_elsewhere(folder, str(folder))
    known = _configurations(folder / "README.md")
    as_it_is = {"dataset_path": str(folder), "dataset_name": configuration, "dataset_kwargs": options}
    if "data_files" in options or "data_dir" in options:
        return as_it_is
    if splits := _parquet_splits(folder, known.get(configuration or _default(known), {})):
        return _plain_files("parquet", splits, options)
    if configuration is None or configuration in known:
        return as_it_is
    splits, reader = _splits_by_name(folder / configuration)
    if not splits:
        places = sorted({*known, *(d.name for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))})
        raise DataError(f"{folder}: has no configuration {configuration!r}; it has {', '.join(places) or 'none'}")
    return _plain_files(reader, splits, options)


def _default(configurations: Iterable[str]) -> str:
    """The configuration that `datasets` reads where none is named."""
    names = list(configurations)
    return names[0] if len(names) == 1 else "default"


def _plain_files(reader: str, splits: dict[str, list[str]], options: dict[str, Any]) -> dict[str, Any]:
    return {"dataset_path": reader, "dataset_name": None, "dataset_kwargs": {**options, "data_files": splits}}


@lru_cache(maxsize=64)
def _configurations(readme: Path) -> Mapping[str, Mapping[str, Any]]:
    listed = settings_of(readme).get("configs")
    return {str(c.get("config_name")): c for c in (listed if isinstance(listed, list) else ()) if isinstance(c, dict)}


def _parquet_splits(folder: Path, configuration: Mapping[str, Any]) -> dict[str, list[str]]:
    # `datasets` looks for the files of the card's first configuration, whichever is asked for, and fails where only
    # another was fetched; so Parquet files are read by their names. A split without files is one not fetched.
    listed = configuration.get("data_files")
    if not isinstance(listed, list) or not all(
        isinstance(f, Mapping) and {"split", "path"} <= f.keys() for f in listed
    ):
        return {}
    splits = {f["split"]: [str(p) for g in _listed(f["path"]) for p in sorted(folder.glob(g))] for f in listed}
    found = {split: files for split, files in splits.items() if files}
    return found if all(f.endswith(".parquet") for files in found.values() for f in files) else {}


def _splits_by_name(folder: Path) -> tuple[dict[str, list[str]], str]:
    files = sorted(f for f in folder.glob("*") if f.suffix in _READERS) if folder.is_dir() else []
    splits: dict[str, list[str]] = {}
    for file in files:
        splits.setdefault(file.name.split(".")[0].split("-00")[0], []).append(str(file))
    return splits, _READERS[files[0].suffix] if files else ""
