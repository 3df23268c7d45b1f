"""What the folder of a model is read for: weights in safetensors, never a pickle, and no code that comes with it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datatrial.errors import ModelError
from datatrial.records import read_json

WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
# Options of transformers' `from_pretrained`: left unsaid, it asks on the terminal whether to run the code of a model,
# and turns to pickles where there are no safetensors.
SAFELY: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
SAFE_WEIGHTS: Mapping[str, Any] = {**SAFELY, "use_safetensors": True}

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_NO_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")  # what trainers leave beside weights
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
_CONVERTER = "https://huggingface.co/spaces/safetensors/convert"


def missing_weights(folder: Path, weights: str = WEIGHTS) -> list[str]:
    """What lacks of a folder's weights, in one file of that name or in the parts that its index names."""
    names = {path.name for path in folder.iterdir()}
    if weights in names:
        return []
    if f"{weights}.index.json" in names:
        parts = mapping_in(folder / f"{weights}.index.json").get("weight_map")
        if not isinstance(parts, dict):
            return [f"{folder / weights}.index.json has no `weight_map`, which names the files of weights"]
        lacking = sorted({str(part) for part in parts.values()} - names)
        return [f"incomplete weights in {folder}: missing {', '.join(lacking)}"] if lacking else []
    if pickles := sorted(name for name in names if name.endswith(_PICKLES) and not name.startswith(_NO_WEIGHTS)):
        return [_pickled(folder, weights, pickles)]
    return [f"no weights in {folder}: expected {weights} (or parts of it and their index)"]


def refuse_pickles(folder: Path, weights: str = WEIGHTS) -> None:
    """Raises: ModelError where a folder has no whole weights in safetensors, saying why a pickle is none."""
    if problems := missing_weights(folder, weights):
        raise ModelError(problems[0])


def refuse_kernels(folder: Path) -> None:
    """Raises: ModelError where a model's config asks for code of another repository of the hub to compute with."""
    file = folder / "config.json"
    for name, value in _settings(mapping_in(file)) if file.exists() else ():
        if name in _KERNELS and "/" in str(value):
            raise ModelError(
                f"{file} asks for code of the hub ({name}: {value}), which is never run: take {name} out of it"
            )


def why_code(file: Path) -> str:
    """That a model cannot be loaded without its own code, for when it could not; empty where it has none."""
    named = (mapping_in(file) if file.exists() else {}).get("auto_map")
    if not named:
        return ""
    return (
        f"{file} says that code of its own must be run (auto_map), which datatrial never does: use a model whose "
        "architecture and tokenizer the installed transformers knows"
    )


def mapping_in(file: Path) -> Mapping[str, Any]:
    """The settings in a file of a model.

    Raises: ModelError when it is no mapping in JSON.
    """
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error}): copy the whole file again") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file} should hold a mapping: copy the whole file again")
    return found


def readable_by_umask(folder: Path) -> None:
    """Give a folder's files the permissions that new files have: safetensors writes its own for the owner alone."""
    plain = folder / ".plain"
    plain.touch()
    mode = plain.stat().st_mode
    plain.unlink()
    for file in folder.iterdir():
        if file.is_file():
            file.chmod(mode & 0o777)


def _pickled(folder: Path, weights: str, pickles: list[str]) -> str:
    library = "transformers" if weights == WEIGHTS else "PEFT"
    some = ", ".join(pickles[:2]) + (f" and {len(pickles) - 2} more" if len(pickles) > 2 else "")
    return (
        f"no {weights} in {folder}, only {some}: a pickle can run code when it is loaded, so none is read; where you "
        f"trust it, load it once with {library} and write it anew with save_pretrained, as safetensors (of a "
        f"repository, {_CONVERTER} makes a pull request with them: `revision: refs/pr/N`)"
    )


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    """Every setting of a config, those of its parts included."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield name, below
            yield from _settings(below)
