"""Data sets that are one known repository of the hub: their files, their revision, and their columns."""

import re
from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from pydantic_core import PydanticCustomError

from datatrial.records import Form, HubFiles, Needs
from datatrial.sources._base import Source
from datatrial.sources._bounds import Row
from datatrial.sources._files import repository_file
from datatrial.sources._forms import Cells

if TYPE_CHECKING:
    from datatrial.tables import Table

_COMMIT = re.compile(r"[0-9a-f]{40}")


class RepositorySource(Source):
    """A repository whose columns are known: `checked` is the commit that the code and the facts were written for."""

    repository: ClassVar[str]
    checked: ClassVar[str]
    gated: ClassVar[str] = ""  # what to accept, and where, when access is refused

    revision: str = Field("main", min_length=1, exclude=True)  # branch, tag or commit; the commit it stands for counts

    @property
    @abstractmethod
    def _files(self) -> Mapping[str, Mapping[str, str]]:
        """The files to be read, in their order, each with what it tells of all its rows."""

    def needs(self) -> Mapping[str, Needs]:
        files = tuple(self._files)
        return {"repository": HubFiles(self.repository, revision=self.revision, patterns=files, gated=self.gated)}

    def _paths(self, inputs: Mapping[str, Path]) -> list[Path]:
        # All of them before any is read: a missing file shows at once, not after minutes.
        return [repository_file(inputs["repository"], name, self.repository) for name in self._files]

    @property
    def _changed(self) -> str:
        return (
            f"{self.repository} has probably changed on the hub: set `revision: {self.checked}`, the commit that this "
            "source was written for"
        )

    def _cells(self, row: Row) -> Cells:
        return Cells(row, {}, advice=self._changed)

    def _noted(self, table: "Table", inputs: Mapping[str, Path]) -> "Table":
        """The table, with a note where it is known to have been read at another commit than `checked`."""
        commit = inputs["repository"].name  # as the hub's cache names it; a mirror has the repository's name instead
        if not _COMMIT.fullmatch(commit) or commit == self.checked:
            return table
        return table.noted(f"read at commit {commit}; the facts about the source were checked against {self.checked}")


class RowByRow(RepositorySource):
    """A repository whose files are read one row after the other."""

    @property
    @abstractmethod
    def form(self) -> Form:
        """The form of its rows."""

    @abstractmethod
    def _parse(self, row: Row, told: Mapping[str, str]) -> Mapping[str, Any]:
        """A row in the form's columns and its metadata; `told` is what its file tells of it."""

    def read(self, inputs: Mapping[str, Path]) -> "Table":
        from datatrial.sources._gathering import Gathering

        gathering = Gathering(self.form)
        for path, told in zip(self._paths(inputs), self._files.values(), strict=True):
            gathering.read(path, partial(self._parse, told=told))
        return self._noted(gathering.table(source=self.facts), inputs)


def once_each(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, as a setting that lists parts of a repository.

    Raises: PydanticCustomError when one occurs twice.
    """
    if len(set(names)) < len(names):
        raise PydanticCustomError("twice", "{what}", {"what": f"a name occurs twice: {', '.join(names)}"})
    return names
