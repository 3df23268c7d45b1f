"""A data set: a source and the curation ops applied to it, in order."""

from collections.abc import Mapping
from pathlib import Path

from datatrial.component import Component
from datatrial.curation._base import CurationOp
from datatrial.errors import DataError
from datatrial.records import Needs, Runtime
from datatrial.sources._base import Source


class DataSet(Component):
    """Reads the source, curates it, and writes the rows with their card."""

    source: Source
    curation: tuple[CurationOp, ...] = ()

    def needs(self) -> Mapping[str, Needs]:
        return self.source.needs()

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        table = self.source.read(inputs)
        for number, op in enumerate(self.curation, start=1):
            runtime.progress(number - 1, len(self.curation), "curation ops")
            table = op.apply(table)
        if table.rows.is_empty():
            reasons = "; ".join(f"{d.rows} rows: {d.reason}" for d in table.card.drops)
            raise DataError(
                f"no rows are left of {table.card.origin or self.source.kind}" + (f" ({reasons})" * bool(reasons))
            )
        table.write(out)
