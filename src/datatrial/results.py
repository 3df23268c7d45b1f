"""What a study came to: its scores and contrasts as tables, its report as a file."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrial.engine.schedule import Outcome
from datatrial.engine.step import Step, upstream_first
from datatrial.engine.store import Store
from datatrial.records import read_json
from datatrial.steps import Plan

if TYPE_CHECKING:
    import polars as pl

    from datatrial.report._data_sets import Audited
    from datatrial.report.tables import TextTable


@dataclass(frozen=True)
class Results:
    """The results of a plan, as far as they are in the store."""

    plan: Plan
    store: Store
    summary: Step | None  # the report's step; None while the baseline has no scores
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def failed(self) -> dict[str, str]:
        """The steps that failed in this run, by label, with the reason."""
        labels = {step.digest: step.label for step in upstream_first(*self.plan.goals, *self._summary_steps)}
        return {labels[digest]: reason for digest, reason in self.outcome.failed.items()}

    @property
    def _summary_steps(self) -> list[Step]:
        return [self.summary] if self.summary else []

    @property
    def folder(self) -> Path | None:
        """The folder of `report.html` and `tables/`."""
        return self.store.path(self.summary) if self.summary and self.store.has(self.summary) else None

    @property
    def report(self) -> Path | None:
        """The path of `report.html`."""
        return self.folder / "report.html" if self.folder else None

    @cached_property
    def scores(self) -> "pl.DataFrame":
        """One row per arm, endpoint and metric, with its interval."""
        return self._table("scores")

    @cached_property
    def contrasts(self) -> "pl.DataFrame":
        """One row per contrast and endpoint (the fields of `effects.Contrast`)."""
        return self._table("contrasts")

    @cached_property
    def audits(self) -> "dict[str, dict[str, Audited]]":
        """What the audits found, by data set and by kind of audit, as far as they are finished."""
        from datatrial.report._data_sets import read_audit

        done = {name: step for name, step in self.plan.audits.items() if self.store.has(step)}
        return {name: read_audit(self.store.path(step)) for name, step in done.items()}

    def tables(self, most: int | None = None) -> "list[TextTable]":
        """The report's tables in words: benchmarks, safety by group, claims or contrasts, and published results.

        With `most`, of more arms than a page has room for only so many, those whose differences are the surest.
        """
        from datatrial.reference import Reference
        from datatrial.report.analysis import Analysis
        from datatrial.report.published import published_tables
        from datatrial.report.shown import MOST_ARMS
        from datatrial.report.tables import benchmark_table, claims_table, contrasts_table, safety_table

        analysis, reference = Analysis.read(self._contrasts, self.plan.study.primary), self.plan.study.reference
        if most and len(analysis.arms) > MOST_ARMS:
            analysis = analysis.of_arms(analysis.surest(most))
        safety = [safety_table(analysis, benchmark, intervals=False) for benchmark in analysis.safety_benchmarks]
        judged = claims_table(analysis, brief=True) if analysis.claims else contrasts_table(analysis, brief=True)
        published = published_tables(Reference.load(reference), analysis) if reference else []
        found = [benchmark_table(analysis, intervals=False), *safety, judged, *published]
        return [table for table in found if table.rows]

    @property
    def notes(self) -> list[str]:
        """What scores say of themselves, such as which items could not be scored; each once, after its benchmark.

        Empty, as are the cautions, while there is no report.
        """
        if not self.report or not self.summary:
            return []
        notes = _remarks(self.summary, self.store)["notes"]
        return [f"{title}: {note}" for title, of in notes.items() for note in of]

    @property
    def cautions(self) -> list[str]:
        """What a reader must know before believing the tables, as the report says it."""
        return cautions_of(self.summary, self.store) if self.report and self.summary else []

    def _table(self, name: str) -> "pl.DataFrame":
        import polars as pl

        return pl.read_parquet(self._contrasts / f"{name}.parquet")

    @property
    def _contrasts(self) -> Path:
        if self.summary is None:
            raise LookupError("the study has no results yet: its baseline has not been scored")
        return self.store.path(self.summary.inputs["contrasts"])


def cautions_of(report: Step, store: Store) -> list[str]:
    """What a reader must know before believing a report that the store holds, as its page says it."""
    cautions: list[str] = _remarks(report, store)["cautions"]
    return cautions


def _remarks(report: Step, store: Store) -> dict[str, Any]:
    """What the report says besides tables: not read from the results again, which may be thousands, or far away."""
    remarks: dict[str, Any] = read_json(store.path(report) / "remarks.json")
    return remarks
