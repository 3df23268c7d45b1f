"""A function that rewards answers, as a study names it: its source is part of what a stage's result is."""

import ast
import importlib
import importlib.machinery
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from datatrial.component import Settings, did_you_mean
from datatrial.errors import DataError
from datatrial.records import LocalFiles

Reward = Callable[..., Sequence[float]]


class RewardFunction(Settings):
    """`my_rewards.py:polite`, a function in a file (relative to the study's), or `package.module:polite`.

    Of a file and of a module alike, the text of that one file counts: what it imports does not.
    """

    name: str
    file: Path = Field(exclude=True)
    module: str = Field("", exclude=True)  # to import; empty: the file is run by itself

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        place, _, name = value.rpartition(":")
        if not place or not name.isidentifier():
            raise PydanticCustomError("reward", "should be my_rewards.py:name, or package.module:name")
        if place.endswith(".py"):
            folder: Path = (info.context or {}).get("folder", Path.cwd())
            return {"name": name, "file": folder / Path(place).expanduser()}
        return {"name": name, "file": _file_of(place), "module": place}

    def needs(self) -> LocalFiles:
        return LocalFiles(self.file)

    def problems(self) -> list[str]:
        """Whether there is such a function; nothing is run."""
        if not self.file.is_file():
            return [f"there is no file {self.file}"]
        try:
            defined = [*_defined(self.file)]
        except SyntaxError as error:
            return [f"{self.file} is no Python: line {error.lineno}: {error.msg}"]
        return [] if self.name in defined else [f"{self.file} has no {self.name!r}; {did_you_mean(self.name, defined)}"]

    def load(self, file: Path) -> Reward:
        """The function, checked as it is called: one finite number for each answer.

        Raises: DataError when there is none of that name; whatever its module raises when it is run.
        """
        if self.module:
            module = importlib.import_module(self.module)
        else:
            spec = importlib.util.spec_from_file_location(file.stem, file)
            assert spec and spec.loader
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        if not callable(function := getattr(module, self.name, None)):
            raise DataError(f"{file} has no function {self.name!r}")
        return checked(function, self.name)


def checked(function: Reward, name: str) -> Reward:
    """The same function, which says so when its rewards cannot be learned from."""

    def rewards(completions: Sequence[str], **columns: Any) -> list[float]:
        found = list(function(completions=completions, **columns))
        if len(found) != len(completions):
            raise DataError(f"the reward function {name!r} gave {len(found)} rewards for {len(completions)} answers")
        if wrong := [value for value in found if not _is_number(value)]:
            raise DataError(f"the reward function {name!r} gave {wrong[0]!r}: a reward should be a finite number")
        return [float(value) for value in found]

    return rewards


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def _file_of(module: str) -> Path:
    """The source file of a module, found without importing anything."""
    path: Sequence[str] | None = None
    spec = None
    parts = module.split(".")
    for number in range(len(parts)):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[: number + 1]), path)
        if spec is None:
            break
        path = list(spec.submodule_search_locations or [])
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        what = f"there is no module {module!r} here; install its package, or name a file, as in my_rewards.py:name"
        raise PydanticCustomError("reward", "{what}", {"what": what})
    return Path(spec.origin)


def _defined(file: Path) -> Mapping[str, None]:
    """The names that a module has at its top level."""
    found: dict[str, None] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name):
                found[name] = None
            case ast.ImportFrom(names=names) | ast.Import(names=names):
                found |= dict.fromkeys(alias.asname or alias.name for alias in names)
            case ast.Assign(targets=targets):
                found |= dict.fromkeys(target.id for target in targets if isinstance(target, ast.Name))
    return found
