"""Whatever a study names with `kind:`. The folder is the registry: the kind is the name of a file in it."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from datatrial.errors import named
from datatrial.foreign.names import problem_with_name, problem_with_title
from datatrial.records import Needs, PartOfStudy

T = TypeVar("T")
LISTED = 30  # names that a message lists at most
PLUGINS = "datatrial.kinds"  # entry point group: name "curation.my_op", value "package.my_op"


def beside_the_study(path: Path, info: ValidationInfo) -> Path:
    """A path in a study; a relative one is relative to the study file."""
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    try:
        found = folder / path.expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, ValueError):
            found.stat()  # whether there could be such a file: a name can be too long, a home unknown
    except (OSError, RuntimeError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise PydanticCustomError("path", "can be no path: {what}", {"what": what}) from None
    return found


LocalPath = Annotated[Path, AfterValidator(beside_the_study)]
"""A path in a study; a relative one is relative to the study file. Exclude it from the identity: contents count."""


def _named(name: str) -> str:
    return _fit(name, problem_with_name(name))


def _titled(title: str) -> str:
    # A group's endpoint is called `title/group`.
    return _fit(title, problem_with_title(title) or ("should have no /" if "/" in title else ""))


def _fit(name: str, problem: str) -> str:
    if problem:
        raise PydanticCustomError("name", "{problem}", {"problem": problem})
    return name


Name = Annotated[str, AfterValidator(_named)]
"""What a study, a data set or an arm is called."""
Title = Annotated[str, AfterValidator(_titled)]
"""What a benchmark is called in tables; empty where the study does not say."""


def not_set(value: object) -> bool:
    """For `exclude_if` of a field that a kind got later: left as it is, it leaves earlier results their identity."""
    return value is None or value is False


class Settings(BaseModel):
    """Frozen settings that accept no unknown key, and say which known one is nearest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _suggest(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            details = [cls._detail(e) for e in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, details) from None

    @classmethod
    def _detail(cls, error: ErrorDetails) -> InitErrorDetails:
        message = error["msg"]
        if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
            known = [field.alias or name for name, field in cls.model_fields.items()]
            message = f"unknown key; {did_you_mean(str(error['loc'][0]), known)}"
        problem = PydanticCustomError("problem", "{message}", {"message": message})
        return InitErrorDetails(type=problem, loc=error["loc"], input=error["input"])


class Component(Settings):
    """Settings that also do their work. Every field that is not excluded is part of what the result is."""

    version: ClassVar[int] = 1  # raise it when the same settings should now give another result
    refers: ClassVar[bool] = False  # whether the result names the place of what it read, instead of holding it

    @property
    def kind(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @model_serializer(mode="wrap")
    def _with_kind(self, fields_of: Any) -> dict[str, Any]:
        # Two kinds may have equal fields, and two packages may name a kind alike.
        package = type(self).__module__.partition(".")[0]
        own = {} if package == "datatrial" else {"package": package}
        return {"kind": self.kind, "version": self.version, **own, **fields_of(self)}

    def identity(self) -> dict[str, Any]:
        """What the result depends on, as JSON values."""
        return self.model_dump(mode="json")

    def needs(self) -> Mapping[str, Needs]:
        """What this reads that no step makes: files and hub repositories, each under the name `run` finds it by."""
        return {}

    def reads(self) -> Mapping[str, PartOfStudy]:
        """What this reads of the study that declares it, each under the name `run` finds it by.

        The parts "benchmarks" come as `name/0`, `name/1`, …, one for each benchmark.
        """
        return {}

    def problems(self) -> list[str]:
        """What can be seen to be wrong without doing any of the work; `datatrial check` asks."""
        return []


@cache
def _plugins() -> dict[str, str]:
    """What other packages add: `folder.kind` and the module of each."""
    return {point.name: point.value for point in entry_points(group=PLUGINS)}


@cache
def _modules(folder: str) -> tuple[str, ...]:
    """The public modules of a package; large studies ask for them thousands of times."""
    found = pkgutil.iter_modules(importlib.import_module(folder).__path__)
    return tuple(module.name for module in found if not module.name.startswith("_"))


class Family(Component):
    """Base of a folder of components, such as the curation ops; a field of this type is read by `kind:`."""

    folder: ClassVar[str]

    @classmethod
    def kinds(cls) -> list[str]:
        return sorted([*_modules(cls.folder), *cls._plugins()])

    @classmethod
    def _plugins(cls) -> dict[str, str]:
        prefix = cls.folder.removeprefix("datatrial.") + "."
        return {name.removeprefix(prefix): module for name, module in _plugins().items() if name.startswith(prefix)}

    @classmethod
    def of_kind(cls, kind: str) -> type[Self]:
        module = importlib.import_module(cls._plugins().get(kind, f"{cls.folder}.{kind}"))
        classes = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
        [found] = [c for c in classes if issubclass(c, cls)]
        return found

    @classmethod
    def parse(cls, value: Any, info: core_schema.ValidationInfo) -> Self:
        """The component that a `kind:` mapping names.

        Raises: ValidationError (of pydantic) with the place of every wrong field.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError("mapping_type", "should be a mapping with a `kind`")
        fields = dict(value)
        kind = fields.pop("kind", None)
        if kind not in cls.kinds():
            raise invalid_at(("kind",), f"unknown kind; {did_you_mean(str(kind), cls.kinds())}")
        return cls.of_kind(kind).model_validate(fields, context=info.context)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if "folder" in vars(cls):  # the base itself, not one of its kinds
            return core_schema.with_info_plain_validator_function(
                cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda c: c.model_dump())
            )
        return handler(source)


def invalid_at(place: tuple[str | int, ...], message: str) -> ValidationError:
    """What a validator raises of something below the value that it was given."""
    problem = PydanticCustomError("invalid", "{message}", {"message": message})
    return ValidationError.from_exception_data("", [InitErrorDetails(type=problem, loc=place, input=None)])


def did_you_mean(word: str, known: list[str]) -> str:
    """A suggestion for a word that is not among those known."""
    close = difflib.get_close_matches(word, known, n=1)
    listed = ", ".join(map(named, known[:LISTED])) or "none"
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"did you mean {close[0]!r}?" if close else f"known: {listed}{more}"


def numbered(parts: Sequence[Mapping[str, T]]) -> dict[str, T]:
    """The inputs that the parts of a component ask for, under names that tell the parts apart."""
    return {f"{number}:{name}": what for number, own in enumerate(parts) for name, what in own.items()}


def of_number(inputs: Mapping[str, T], number: int) -> dict[str, T]:
    """The inputs of one part under the part's own names; the inverse of `numbered`."""
    prefix = f"{number}:"
    return {name.removeprefix(prefix): what for name, what in inputs.items() if name.startswith(prefix)}
