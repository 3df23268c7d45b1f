"""A data set: a source and the curation ops applied to it, in order."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from datatrial.component import Component, numbered, of_number
from datatrial.curation._base import CurationOp
from datatrial.errors import DataError
from datatrial.records import Needs, PartOfStudy, Runtime
from datatrial.sources._base import Source

if TYPE_CHECKING:
    from datatrial.tables import Table
    from datatrial.text.rows import Part


class DataSet(Component):
    """Reads the source, curates it, and writes the rows with their card."""

    source: Source
    curation: tuple[CurationOp, ...] = ()

    def redrawn(self, shift: int) -> Self:
        """The same with other random draws: every `seed` of the source and of ops is moved on by `shift`."""

        def moved(part: Any) -> Any:
            return part.model_copy(update={"seed": part.seed + shift}) if "seed" in type(part).model_fields else part

        return self.model_copy(update={"source": moved(self.source), "curation": tuple(map(moved, self.curation))})

    def needs(self) -> Mapping[str, Needs]:
        return {**self.source.needs(), **numbered([op.needs() for op in self.curation])}

    def reads(self) -> Mapping[str, PartOfStudy]:
        return numbered([op.reads() for op in self.curation])

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Raises: DataError when the rows cannot be read, or curated so, or when none are left."""
        table = self.source.read(inputs)
        for number, op in enumerate(self.curation):
            runtime.progress(number, len(self.curation), "curation ops")
            if op.forms and table.card.form not in op.forms:
                raise DataError(f"{op.kind} is for {' and '.join(op.forms)}; these rows are {table.card.form}")
            table = op.apply(table, of_number(inputs, number), runtime)
        if not table.height:
            reasons = "; ".join(f"{d.rows} rows: {d.reason}" for d in table.card.drops)
            origin = table.card.source.origin or self.source.kind
            raise DataError(f"no rows are left of {origin}" + (f" ({reasons})" * bool(reasons)))
        _measured(table).write(out)


def _measured(table: "Table") -> "Table":
    """The same with the mean lengths of its texts on its card, for whoever plans what is done with it."""
    import polars as pl

    from datatrial.text.rows import text_expr

    def mean(of: "Part") -> float:
        lengths = table.values(text_expr(table.card.form, of).str.len_chars())
        return int(lengths.cast(pl.Int64).sum()) / table.height  # in 32 bits, their sum would begin anew at 4 GB

    prompt = mean("prompt") if table.card.form in ("demonstrations", "comparisons") else None
    return replace(table, card=replace(table.card, characters=mean("row"), prompt_characters=prompt))
