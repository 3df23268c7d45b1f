"""Every arm against the baseline, and the study's declared contrasts: differences, intervals, p-values and verdicts.

Differences are paired by item and by seed. Seeds and items are crossed (`_evidence`), and how few seeds there are is
reckoned with (`critical`). With a single run on either side exact tests of those two models stand instead
(`_one_seed`). Families of contrasts and what they claim are judged in `judgement`; a bootstrap over items and seeds
stands beside every interval.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from datatrial.component import Component
from datatrial.records import ArmScore, Contrast, EvaluationRun, Runtime, Unevenness
from datatrial.statistics.declared import DeclaredContrast

if TYPE_CHECKING:
    import polars as pl


class Contrasts(Component):
    """Reads evaluation results, one input a run; writes tables of ArmScore, Contrast and Unevenness.

    They are `scores.parquet`, `contrasts.parquet` and `unevenness.parquet`.

    Contrasts are about each benchmark's main metric, each safety group, and the groups' mean: first every arm against
    the baseline and every declared pair of arms on every endpoint (`declared` false), then the declared contrasts with
    their expectations. Two arms are compared over the seeds that both have and the items that both answered; an arm
    with a single run without a seed (such as the baseline) is compared with every seed of the other. An arm, or the
    baseline, may lack a benchmark or some seeds of it: what cannot be compared is left out, or "not tested" where it
    was declared. So are benchmarks whose metric is no mean over items; their scores have NaN for the interval.
    """

    version: ClassVar[int] = 4

    runs: tuple[EvaluationRun, ...] = Field(min_length=1)
    baseline: str
    declared: tuple[DeclaredContrast, ...] = ()
    primary: tuple[str, ...] = ()  # benchmarks or endpoints whose declared contrasts are confirmatory; empty: all
    resamples: int = Field(10_000, ge=100)  # of the bootstrap, and of permutation tests
    seed: int = 0

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from datatrial.statistics._compare import Comparison
        from datatrial.statistics._sheet import RunScores, sheets_of
        from datatrial.statistics._whole import whole_scores
        from datatrial.statistics.judgement import judged, judged_unevenness

        scores: list[ArmScore] = []
        contrasts: list[Contrast] = []
        uneven: list[Unevenness] = []
        titles = list(dict.fromkeys(run.benchmark for run in self.runs))
        for number, title in enumerate(titles):
            runtime.progress(number, len(titles), "benchmarks")
            of_title = [RunScores.read(run, inputs[run.input]) for run in self.runs if run.benchmark == title]
            scores += whole_scores(of_title, self.baseline)
            for sheet in sheets_of(of_title):
                pairs = self.pairs if sheet.main else ()
                comparison = Comparison(sheet, pairs, self.baseline, self.resamples, self.seed)
                scores += comparison.scores()
                contrasts += comparison.contrasts()
                uneven += comparison.unevenness()
        # In the study's order of arms, also where the first benchmark lacks one.
        scores.sort(key=lambda score: self.arms.index(score.arm))
        _frame(ArmScore, scores).write_parquet(out / "scores.parquet")
        _frame(Contrast, judged(contrasts, scores, self.declared, self.primary)).write_parquet(
            out / "contrasts.parquet"
        )
        _frame(Unevenness, judged_unevenness(uneven)).write_parquet(out / "unevenness.parquet")
        runtime.progress(len(titles), len(titles), "benchmarks")

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(run.arm for run in self.runs))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The arms to compare: each against the baseline, in order, then the declared ones."""
        against_baseline = [(arm, self.baseline) for arm in self.arms if arm != self.baseline]
        return tuple(dict.fromkeys([*against_baseline, *((d.arm, d.against) for d in self.declared)]))


def _frame(kind: type, rows: Iterable[ArmScore | Contrast | Unevenness]) -> "pl.DataFrame":
    """The records as a table, with the same columns and types however many there are."""
    import polars as pl

    types = {str: pl.String, int: pl.Int64, float: pl.Float64, float | None: pl.Float64, bool: pl.Boolean}
    return pl.DataFrame([asdict(row) for row in rows], {f.name: types[f.type] for f in fields(kind)})  # type: ignore[index]
