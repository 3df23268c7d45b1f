"""`kind: sample`: so many rows, drawn by seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from datatrial.component import not_set
from datatrial.curation._base import CurationOp, Expected
from datatrial.records import PartOfStudy, Runtime

if TYPE_CHECKING:
    import numpy as np

    from datatrial.tables import Table

OTHER = "other"  # the data set whose number of rows counts


class Sample(CurationOp):
    """Keep `n` rows drawn at random by `seed`, in their original order; all of them where there are fewer.

    With `by`, the draw is stratified: each value of that column keeps its share of the rows, to within one row (largest
    remainders; rows without a value count as one more value). For so many rows of each value, whatever its share, use
    `cap_per_group`.
    """

    n: int | None = Field(None, gt=0)
    as_many_as: str | None = Field(None, exclude_if=not_set)  # instead of `n`: as many rows as that data set has
    seed: int = 0
    by: str | None = None

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if (self.n is None) == (self.as_many_as is None):
            raise PydanticCustomError("sample", "should give `n`, or `as_many_as` with the name of a data set")
        return self

    def reads(self) -> Mapping[str, PartOfStudy]:
        return {OTHER: PartOfStudy("data", self.as_many_as)} if self.as_many_as else {}

    def rows_left(self, rows: Expected, others: Mapping[str, Expected]) -> Expected:
        n = self.n or (others[OTHER].rows if OTHER in others else None)
        return rows.first(int(n)) if n else rows.at_most()

    def apply(self, table: "Table", inputs: Mapping[str, Path], runtime: Runtime) -> "Table":
        import numpy as np
        import polars as pl

        from datatrial.curation._columns import column
        from datatrial.tables import Table

        strata = table.values(column(table, self.by, "by").cast(pl.String)) if self.by else None
        rows, n = table.height, self.n or Table.read(inputs[OTHER]).height
        if rows <= n:
            return table.noted(f"all {rows:,} rows kept: a sample of {n:,} rows was asked for") if rows < n else table
        reason = f"not in the random sample of {n}"
        if strata is None:
            return table.drawn(n, self.seed, reason)
        rng = np.random.default_rng(self.seed)
        mask = np.zeros(rows, dtype=bool)
        mask[_stratified(strata.rank("dense").fill_null(0).to_numpy(), n, rng)] = True
        return table.keep(pl.Series(mask), f"{reason}, stratified by {self.by}")


def _stratified(strata: "np.ndarray", n: int, rng: "np.random.Generator") -> "np.ndarray":
    """The numbers of n rows, drawn so that each stratum has its share of them."""
    import numpy as np

    _, members, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    parts = np.split(np.argsort(members, kind="stable"), np.cumsum(sizes)[:-1])
    drawn = zip(parts, _largest_remainders(sizes, n), strict=True)
    return np.concatenate([rng.choice(part, size=share, replace=False) for part, share in drawn])


def _largest_remainders(sizes: "np.ndarray", n: int) -> "np.ndarray":
    """n split in proportion to the sizes (Hamilton's method): rounded down, the rest to the largest remainders.

    Of equal remainders the earlier stratum comes first. No share is larger than its stratum where n <= sizes.sum().
    """
    import numpy as np

    whole, remainders = np.divmod(n * sizes.astype(np.int64), sizes.sum())
    whole[np.argsort(-remainders, kind="stable")[: n - whole.sum()]] += 1
    return whole
