"""`kind: sample`: so many rows, drawn by seed."""

from typing import TYPE_CHECKING

from pydantic import Field

from datatrial.curation._base import CurationOp

if TYPE_CHECKING:
    from datatrial.tables import Table


class Sample(CurationOp):
    """Keep `n` rows drawn at random by `seed`, in their original order; all of them where there are fewer."""

    n: int = Field(gt=0)
    seed: int = 0

    def apply(self, table: "Table") -> "Table":
        import numpy as np
        import polars as pl

        rows = table.rows.height
        chosen = np.random.default_rng(self.seed).choice(rows, size=min(self.n, rows), replace=False)
        mask = np.zeros(rows, dtype=bool)
        mask[chosen] = True
        return table.keep(pl.Series(mask), f"not in the random sample of {self.n}")
