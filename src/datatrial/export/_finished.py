"""What is exported: all that the report shows, and the results behind it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.foreign.names import file_names
from datatrial.records import ModelRef
from datatrial.report._findings import Findings
from datatrial.report.page import Report
from datatrial.results import Results
from datatrial.steps import ArmRun, Plan


@dataclass(frozen=True)
class Finished:
    """The results of a study that has a report."""

    results: Results

    @property
    def plan(self) -> Plan:
        return self.results.plan

    @property
    def store(self) -> Store:
        return self.results.store

    @cached_property
    def report(self) -> Report:
        assert self.results.summary is not None
        assert isinstance(self.results.summary.task, Report)
        return self.results.summary.task

    @property
    def redact(self) -> bool:
        """Whether texts of items, answers and rows are left out."""
        return self.report.redact

    @cached_property
    def inputs(self) -> Mapping[str, Path]:
        """The results that the report is made from, under its names for them."""
        assert self.results.summary is not None
        return {name: self.store.path(step) for name, step in self.results.summary.inputs.items()}

    @cached_property
    def findings(self) -> Findings:
        return Findings.read(self.report, self.inputs)

    @property
    def runs(self) -> Iterator[tuple[ArmRun, dict[str, Step]]]:
        """The runs whose model is finished, each with those of its benchmarks that are, by title."""
        for run in self.plan.runs:
            if self.store.has(run.policy):
                yield run, {title: step for title, step in run.scores.items() if self.store.has(step)}

    @cached_property
    def folders(self) -> Mapping[tuple[str, int | None], str]:
        """The name of each run's folder, by arm and seed: `<arm>-seed-<n>`, unless that is another's or too long."""
        runs = [(run.arm, run.seed) for run in self.plan.runs]
        wished = [arm if seed is None else f"{arm}-seed-{seed}" for arm, seed in runs]
        return dict(zip(runs, file_names(wished, kept=" ()="), strict=True))

    def folder(self, run: ArmRun) -> str:
        """The name of a run's folder."""
        return self.folders[run.arm, run.seed]

    def model(self, step: Step) -> ModelRef:
        """The model that a finished step made or refers to."""
        return ModelRef.read(self.store.path(step))
