"""Every arm against the baseline, and the study's declared contrasts: differences, intervals, p-values and verdicts.

Differences are paired by item and by seed. Seeds and items are crossed (`_evidence`), and how few seeds there are is
reckoned with (`critical`). With a single run on either side exact tests of those two models stand instead
(`_one_seed`). Families of contrasts and what they claim are judged in `judgement`; a bootstrap over items and seeds
stands beside every interval.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from datatrial.component import Component, did_you_mean
from datatrial.effects import ArmScore, Contrast, EvaluationRun, Unevenness
from datatrial.errors import DataError
from datatrial.records import Runtime
from datatrial.statistics.declared import DeclaredContrast
from datatrial.statistics.endpoints import CAPABILITY

if TYPE_CHECKING:
    import polars as pl

    from datatrial.statistics._compare import Findings
    from datatrial.statistics._contamination import Seen

AT_ONCE = 4  # benchmarks: with hundreds of arms, each takes half a GiB
SEEN = ("arm", "benchmark", "item")  # columns of `seen.parquet`, all texts


class Contrasts(Component):
    """Reads evaluation results, one input a run; writes tables of ArmScore, Contrast and Unevenness.

    They are `scores.parquet`, `contrasts.parquet` and `unevenness.parquet`; `seen.parquet` names the items of each
    benchmark that are in an arm's data.

    Contrasts are about each benchmark's main metric, each safety group, and the groups' mean: first every arm against
    the baseline and every declared pair of arms on every endpoint (`declared` false), then the declared contrasts with
    their expectations. Two arms are compared over the seeds that both have and the items that both answered; an arm
    with a single run without a seed (such as the baseline) is compared with every seed of the other. An arm, or the
    baseline, may lack a benchmark or some seeds of it: what cannot be compared is left out, or "not tested" where it
    was declared. So are benchmarks whose metric is no mean over items; their scores have NaN for the interval.
    """

    version: ClassVar[int] = 8

    runs: tuple[EvaluationRun, ...] = Field(min_length=1)
    baseline: str
    declared: tuple[DeclaredContrast, ...] = ()
    capability: tuple[str, ...] = ()  # benchmarks over which capability is the mean; empty: all that are shares
    primary: tuple[str, ...] = ()  # benchmarks or endpoints whose declared contrasts are confirmatory; empty: all
    beside: tuple[tuple[str, str], ...] = ()  # further pairs of arms to compare: arm, against
    added: tuple[str, ...] = ()  # arms of controls and sweeps, a family of their own
    # To leave out items seen in training: of each arm the audits of its data, and the titles of the study's benchmarks.
    audits: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    benchmarks: tuple[str, ...] = ()
    resamples: int = Field(10_000, ge=100)  # of the bootstrap, and of permutation tests
    seed: int = 0

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Raises: DataError for a group that the study names and its benchmark does not score."""
        import polars as pl

        from datatrial.statistics._composite import capability_contrasts, capability_scores
        from datatrial.statistics._contamination import seen_items
        from datatrial.statistics.judgement import judged, judged_unevenness

        seen = {arm: seen_items([inputs[a] for a in of], self.benchmarks) for arm, of in self.audits.items()}
        found: list[Findings] = []
        with ThreadPoolExecutor(AT_ONCE) as pool:  # nearly all of the time is NumPy's, which lets other threads run
            of_each = pool.map(partial(self._of_benchmark, inputs, seen), self.titles)
            for number, of_benchmark in enumerate(of_each, start=1):
                found += of_benchmark
                runtime.progress(number, len(self.titles), "benchmarks")
        scores = [score for one in found for score in one.scores]
        scores += capability_scores({title: of for one in found for title, of in one.of_arms.items()}, self.baseline)
        contrasts = [contrast for one in found for contrast in one.contrasts]
        contrasts += capability_contrasts([one.of_pairs for one in found if one.of_arms], scores)
        # In the study's order of arms and benchmarks, also where the first benchmark lacks an arm.
        arms, titles = ({name: n for n, name in enumerate(of)} for of in (self.arms, [*self.titles, CAPABILITY]))
        scores.sort(key=lambda score: (arms[score.arm], titles[score.benchmark]))
        _frame(ArmScore, scores).write_parquet(out / "scores.parquet")
        contrasts = judged(contrasts, scores, self.declared, self.primary, frozenset(self.added))
        _frame(Contrast, contrasts).write_parquet(out / "contrasts.parquet")
        uneven = judged_unevenness([one for of_sheet in found for one in of_sheet.unevenness])
        _frame(Unevenness, uneven).write_parquet(out / "unevenness.parquet")
        seen_here = [row for one in found for row in one.seen]
        pl.DataFrame(seen_here, dict.fromkeys(SEEN, pl.String), orient="row").write_parquet(out / "seen.parquet")

    def _of_benchmark(self, inputs: Mapping[str, Path], seen: Mapping[str, "Seen"], title: str) -> list["Findings"]:
        """For each metric of a benchmark that has results; arms are compared on its main metric alone.

        One after another, and nothing is kept but what is found: there may be millions of scores of each.
        """
        from datatrial.statistics._compare import Comparison, Findings
        from datatrial.statistics._contamination import among
        from datatrial.statistics._sheet import read_sheets
        from datatrial.statistics._whole import whole_scores

        results, sheets = read_sheets((run, inputs[run.input]) for run in self.runs if run.benchmark == title)
        found = [Findings(whole_scores(results, self.baseline))]
        for sheet in sheets:
            self._check_groups(title, sheet.groups)
            items = {arm: among(sheet.items, of.get(title, frozenset())) for arm, of in seen.items()}
            compared = self.pairs if sheet.main else ()
            comparison = Comparison(sheet, compared, self.baseline, self.resamples, self.seed, items)
            found.append(comparison.findings(part_of_capability=title in (self.capability or self.titles)))
        return found

    def _check_groups(self, benchmark: str, scored: Sequence[str]) -> None:
        """Which groups there are is known only from the results: a name that is none must not pass for one.

        Raises: DataError for a group that the study names and its benchmark does not score.
        """
        titles = {*self.benchmarks, *self.titles}
        for name in [*self.primary, *(endpoint for declared in self.declared for endpoint in declared.on)]:
            group = name.removeprefix(f"{benchmark}/")
            if name not in titles and group != name and group not in scored:
                hint = did_you_mean(group, [known for known in scored if known])
                raise DataError(f"{name}: {benchmark} scores no group {group!r}; {hint}")

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(run.arm for run in self.runs))

    @property
    def titles(self) -> list[str]:
        """Of the benchmarks that have results."""
        return list(dict.fromkeys(run.benchmark for run in self.runs))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The arms to compare: each against the baseline, in order, then the declared pairs and further ones."""
        against_baseline = [(arm, self.baseline) for arm in self.arms if arm != self.baseline]
        return tuple(dict.fromkeys([*against_baseline, *((d.arm, d.against) for d in self.declared), *self.beside]))


def _frame(kind: type, rows: Iterable[ArmScore | Contrast | Unevenness]) -> "pl.DataFrame":
    """The records as a table, with the same columns and types however many there are."""
    import polars as pl

    types: dict[Any, Any] = {str: pl.String, bool: pl.Boolean, int: pl.Int64, int | None: pl.Int64}
    types |= {float: pl.Float64, float | None: pl.Float64}
    return pl.DataFrame([vars(row) for row in rows], {f.name: types[f.type] for f in fields(kind)})
