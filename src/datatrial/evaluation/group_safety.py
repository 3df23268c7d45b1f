"""Safety towards demographic groups: does the model find harmful statements about a group less likely than benign?"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from datatrial.errors import DataError
from datatrial.evaluation._base import Benchmark, Workload
from datatrial.records import Form, Runtime

if TYPE_CHECKING:
    import polars as pl

    from datatrial.evaluation._perplexity import Perplexities
    from datatrial.tables import Table

MEAN = "mean"  # the mean over groups, beside the groups' own names
_NAMED = 5  # items that are named among those that could not be scored
_NO_NUMBER = "the model gives no number for it"


class GroupSafety(Benchmark):
    """A safety score for each group, 0–1, higher is safer (Hosseini et al. 2023, arXiv 2301.09211; SafeNLP).

    The score is no mean over statements, and 0.5 is not what it is by chance: dividing by toxicity puts a model that
    finds all statements equally likely near 0. Writes `scores.parquet` (a perplexity for each statement, with what
    the score is made of: text, harmful, toxicity, groups, tokens) and `summary.json` (with each group's p and counts,
    how it was scored, and the items that could not be).
    """

    version: ClassVar[int] = 2

    forms: ClassVar[tuple[Form, ...]] = ("statements",)
    by_group: ClassVar[bool] = True

    @model_validator(mode="after")
    def _on_data(self) -> Self:
        if self.data is None:
            raise ValueError("`data` is missing: a data set of statements, such as `source: {kind: safenlp}`")
        return self

    @property
    def workload(self) -> Workload:
        return Workload("sentences", statistic="group_safety")

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        import polars as pl

        from datatrial.evaluation._perplexity import sentence_perplexities
        from datatrial.policies import load_policy
        from datatrial.tables import Table

        table = Table.read(inputs["data"])
        _check(table)
        statements = table.rows.select("text", "harmful", "toxicity", "groups")
        model, tokenizer = load_policy(inputs["policy"], runtime.device)
        found = sentence_perplexities(model, tokenizer, statements["text"].to_list(), runtime.progress, runtime.scratch)
        items = pl.Series("item", [str(number) for number in range(statements.height)])
        columns = {"value": pl.Series(found.values), "tokens": pl.Series(found.tokens)}
        rows = statements.with_columns(items, stratum=pl.lit(""), metric=pl.lit("perplexity"), **columns)
        scores = rows.filter(pl.col("value").is_not_nan())
        scores.select(
            "item", "stratum", "metric", "value", "text", "harmful", "toxicity", "groups", "tokens"
        ).write_parquet(out / "scores.parquet")
        summary = _summary(scores, found)
        (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False))


def _check(table: "Table") -> None:
    if table.card.form != "statements":
        raise DataError(f"group safety is about statements; its data set holds {table.card.form}")
    for number, (toxicity, groups) in enumerate(table.rows.select("toxicity", "groups").iter_rows(), start=1):
        if toxicity is None or not toxicity > 0:
            raise DataError(f"statement {number}: toxicity is {toxicity}; perplexities are divided by it (1–5)")
        if MEAN in groups:
            raise DataError(f"statement {number}: a group cannot be called {MEAN!r}, which is the mean over groups")


def _summary(scores: "pl.DataFrame", found: "Perplexities") -> dict[str, Any]:
    from datatrial.evaluation._group_scores import group_scores, mean_safety

    columns = [scores[name].to_list() for name in ("value", "harmful", "toxicity", "groups")]
    groups, without = group_scores(*columns)
    if not groups:
        raise DataError("no group has both harmful and benign statements of two tokens or more")
    notes = [*_left_out(found), *found.notes]
    for name, (harmful, benign) in without.items():
        notes.append(f"{name}: no score, with {harmful} harmful and {benign} benign statements")
    return {
        "statistic": "group_safety",
        "metric": "safety",
        "metrics": {**{name: score.safety for name, score in groups.items()}, MEAN: mean_safety(groups)},
        "higher_is_better": True,
        "chance": {},
        "majority": {},
        "same_answer": None,
        "items": scores.height,
        "notes": notes,
        "p": {name: score.p for name, score in groups.items()},
        "harmful": {name: score.harmful for name, score in groups.items()},
        "benign": {name: score.benign for name, score in groups.items()},
        "scoring": dict(found.scoring),
        "failures": {str(place): _NO_NUMBER for place in found.without},
    }


def _left_out(found: "Perplexities") -> Iterator[str]:
    """What is to be said of the statements that have no perplexity."""
    if short := sum(map(math.isnan, found.values)) - len(found.without):
        yield f"{short} statements of less than two tokens were left out"
    for place in found.without[:_NAMED]:
        yield f"left out of the scores: item {place}: {_NO_NUMBER}"
    if (more := len(found.without) - _NAMED) > 0:
        yield f"left out of the scores: {more} more items"
