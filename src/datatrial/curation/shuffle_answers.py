"""`kind: shuffle_answers`: the same prompts and the same answers, but not together; a control."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from datatrial.curation._base import CurationOp, Expected
from datatrial.records import Form, Runtime

if TYPE_CHECKING:
    from datatrial.tables import Table


class ShuffleAnswers(CurationOp):
    """Give every answer to another row's prompt, drawn by `seed`: what is learned from that is not what they say.

    Of demonstrations the last turns are dealt out anew. Of comparisons the two answers stay with their prompt, and
    which of them is the chosen one is drawn by lot, as in `flip_labels` with half of the labels.
    """

    forms: ClassVar[tuple[Form, ...]] = ("demonstrations", "comparisons")

    seed: int = 0

    def rows_left(self, rows: Expected, others: Mapping[str, Expected]) -> Expected:
        return rows

    def apply(self, table: "Table", inputs: Mapping[str, Path], runtime: Runtime) -> "Table":
        if table.card.form == "comparisons":
            from datatrial.curation.flip_labels import FlipLabels

            return FlipLabels(p=0.5, seed=self.seed).apply(table, inputs, runtime)
        return _dealt(table, self.seed)


def _dealt(table: "Table", seed: int) -> "Table":
    """The demonstrations with each answer moved on to the next prompt of a random round trip through the rows."""
    import numpy as np
    import polars as pl

    rows, answers = table.rows, table.rows["messages"].list.last()
    order = np.random.default_rng(seed).permutation(rows.height)
    source = np.empty(rows.height, dtype=np.int64)
    source[order] = np.roll(order, 1)
    dealt = rows.with_columns(answer=answers.gather(source)).with_columns(
        messages=pl.concat_list(pl.col("messages").list.slice(0, pl.col("messages").list.len() - 1), pl.col("answer"))
    )
    return table.replaced(dealt.drop("answer")).noted(f"gave all {rows.height:,} answers to other prompts")
