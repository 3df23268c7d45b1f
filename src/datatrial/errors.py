"""What goes wrong in a study, said so that its reader can mend it."""

from dataclasses import dataclass
from typing import Any

from datatrial.redaction import redacted


class DatatrialError(Exception):
    """An error whose message names the place and the fix; shown to people without a traceback, and without secrets."""

    def __init__(self, message: str = ""):
        super().__init__(redacted(message))


class DataError(DatatrialError):
    """A file or a row that cannot be used as it is."""


class ModelError(DatatrialError):
    """A model that cannot be used as it is."""


class DivergedError(ModelError):
    """Training whose loss became no number."""


class StoreError(DatatrialError):
    """The store cannot be read or written."""


class StoppedError(KeyboardInterrupt):
    """A run that was asked to stop, after it had finished the steps at hand; what it finished is kept."""

    def __init__(self, done: int, left: int):
        super().__init__(f"stopped: {done} steps were done, {left} are left")


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a study file."""

    place: str  # the YAML path, e.g. "arms.lima[0].sft"
    message: str  # what is wrong, with the offending value
    suggestion: str = ""
    line: int | None = None  # 1-based line of the study file, where known

    def __str__(self) -> str:
        where = [f"line {self.line}"] if self.line else []
        where += [self.place] if self.place else []
        said = ": ".join([*where, self.message]) + (f"; {self.suggestion}" if self.suggestion else "")
        return redacted(said.replace("\n", "\\n"))  # one line, whatever stands in a study's paths


class StudyError(DatatrialError):
    """A study that cannot be run, with every problem found in it."""

    def __init__(self, problems: list[Problem]):
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)  # from another process, too


def first_line(error: Exception) -> str:
    """What an error of a library says first; such messages go on for pages."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def named(name: str, most: int = 60) -> str:
    """A name as messages list it among others: as it is, but for a long one or one with line breaks and the like."""
    return name if name and name.isprintable() and len(name) <= most else quoted(name, most)


def quoted(value: object, most: int = 200) -> str:
    """A value as messages quote it: in Python's notation, of which a long one is cut."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…"
