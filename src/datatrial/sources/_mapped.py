"""Sources whose columns have any names: what `json_file` and `hub` share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from datatrial.component import did_you_mean
from datatrial.errors import DataError
from datatrial.records import Form, SourceFacts
from datatrial.sources._base import Source
from datatrial.sources._bounds import Row
from datatrial.sources._files import place, rows_of
from datatrial.sources._forms import COLUMNS, PARSERS, Cells, form_of

if TYPE_CHECKING:
    from datatrial.tables import Table


class MappedSource(Source):
    """Rows under TRL's column names, or under others that `columns` maps: `{chosen: better}` (ours: theirs).

    Understood are `messages`; `prompt` and `completion`; `prompt`, `chosen` and `rejected` (texts, messages, or whole
    conversations); `text`; `question`, `choices` and `answer`; `text`, `harmful`, `toxicity` and `groups`. The first
    row's columns tell the form unless `form` states it. Other columns travel along as metadata. Rows without an
    answer, or whose chosen answer equals the rejected one, are left out and counted.
    """

    stated_form: Form | None = Field(None, alias="form")
    columns: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("columns")
    @classmethod
    def _are_ours(cls, columns: Mapping[str, str]) -> Mapping[str, str]:
        known = sorted({name for names in COLUMNS.values() for name in names})
        for ours in columns:
            if ours not in known:
                what = f"{ours!r} is no column of ours (write `ours: the file's`); {did_you_mean(ours, known)}"
                raise PydanticCustomError("column", "{what}", {"what": what})
        return columns

    @property
    def form(self) -> Form | None:
        """The form that is stated, or the only one that has the mapped columns."""
        able = [form for form, names in COLUMNS.items() if self.columns and self.columns.keys() <= set(names)]
        return self.stated_form or (able[0] if len(able) == 1 else None)

    def _read(self, paths: Sequence[Path], facts: SourceFacts) -> "Table":
        """The rows of all files, in their order; the first file's first row tells the form."""
        from datatrial.sources._gathering import Gathering

        form = self.form or self._form_told_by(paths[0])
        gathering = Gathering(form)
        for path in paths:
            gathering.read(path, lambda row: self._parse(row, form))
        return gathering.table(source=facts)

    def _form_told_by(self, path: Path) -> Form:
        number, row = next(rows_of(path))
        try:
            return form_of(Cells(row, self.columns))
        except DataError as error:
            raise DataError(f"{place(path, number)}: {error}, or state the `form`") from None

    def _parse(self, row: Row, form: Form) -> Mapping[str, Any]:
        cells = Cells(row, self.columns)
        parsed = PARSERS[form](cells)
        return {**{name: v for name, v in row.items() if name not in cells.used and name not in parsed}, **parsed}
