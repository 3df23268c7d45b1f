"""A function that rewards answers, as a study names it: its source is part of what a stage's result is."""

import ast
import importlib
import importlib.util
import math
import symtable
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from datatrial.component import Settings, beside_the_study, did_you_mean
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
            return {"name": name, "file": beside_the_study(Path(place), info)}
        return {"name": name, "file": _file_of(place), "module": place}

    def needs(self) -> LocalFiles:
        return LocalFiles(self.file)

    def problems(self) -> list[str]:
        """Whether there is such a function; nothing is run."""
        if not self.file.is_file():
            return [f"there is no file {self.file}"]
        try:
            defined, takes_all = _defined(self.file)
        except SyntaxError as error:
            return [f"{self.file} is no Python: line {error.lineno}: {error.msg}"]
        if self.name in defined or takes_all:
            return []
        return [f"{self.file} has no {self.name!r}; {did_you_mean(self.name, defined)}"]

    def load(self, file: Path) -> Reward:
        """The function, checked as it is called: one finite number for each answer.

        Raises: DataError when there is none of that name; whatever its module raises when it is run.
        """
        if self.module:
            module = importlib.import_module(self.module)
        else:
            # Under a name of its own: that of the file may be another module's.
            spec = importlib.util.spec_from_file_location(f"datatrial-reward-{file.stem}", file)
            assert spec and spec.loader
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # where dataclasses look their annotations up while it is run
            spec.loader.exec_module(module)
        if not callable(function := getattr(module, self.name, None)):
            raise DataError(f"{file} has no function {self.name!r}")
        return checked(function, self.name)


def checked(function: Reward, name: str) -> Reward:
    """The same function, which says so when its rewards cannot be learned from."""

    def rewards(completions: Sequence[str], **columns: Any) -> list[float]:
        try:
            given = function(completions=completions, **columns)
            found = list(given) if isinstance(given, Iterable) else None
        except (Exception, SystemExit) as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(line.filename).name}, line {line.lineno}"
            raise DataError(f"the reward function {name!r} raised {type(error).__name__}: {error} ({where})") from error
        if found is None:
            raise DataError(f"the reward function {name!r} gave {given!r}: it should give a number for each answer")
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
    top, *rest = module.split(".")
    named = all(part.isidentifier() for part in (top, *rest))
    # Any finder may know it, such as that of a package installed editably; of packages inside, asking would import.
    spec = importlib.util.find_spec(top) if named else None
    if spec and rest:
        inside = [Path(folder, *rest) for folder in spec.submodule_search_locations or []]
        found = [file for path in inside for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
    else:
        found = [Path(spec.origin)] if spec and spec.origin and spec.origin.endswith(".py") else []
    if not found:
        what = f"there is no module {module!r} here; install its package, or name a file, as in my_rewards.py:name"
        raise PydanticCustomError("reward", "{what}", {"what": what})
    return found[0]


def _defined(file: Path) -> tuple[list[str], bool]:
    """The names that a module has at its top level, and whether it takes all those of another one besides."""
    source = file.read_bytes()
    symbols = symtable.symtable(source, str(file), "exec").get_symbols()  # type: ignore[arg-type]
    stars = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.alias) and node.name == "*"]
    return [one.get_name() for one in symbols if one.is_assigned() or one.is_imported()], bool(stars)
