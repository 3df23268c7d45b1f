"""The report: one page that people read, and the tables behind it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datatrial.component import Component, Settings, not_set
from datatrial.effects import EvaluationRun
from datatrial.records import Runtime


class ReportArm(Settings):
    """An arm as the report names it."""

    name: str
    description: str = ""  # its stages in words, e.g. "base → SFT on lima → DPO on hh"


class StageRun(Settings):
    """One training run of an arm, or of a reward model; those that share it name the same result."""

    arm: str
    seed: int | None
    stage: str  # its kind
    data: str  # the data set's name
    input: str


class NamedInput(Settings):
    """A result under the name that the study gives it."""

    name: str
    input: str


class MissingRun(Settings):
    """Something of the study that has no result, and why."""

    arm: str
    seed: int | None
    reason: str
    benchmark: str = ""  # empty: the whole run of that arm and seed


class DriftRun(Settings):
    """How far one run of an arm moved from the base model."""

    arm: str
    seed: int | None
    input: str


class ReportVariant(Settings):
    """An arm that is a control of another one, or one value of a sweep over a setting of it."""

    name: str
    of: str
    what: str  # the kind of control, or the setting
    value: float | None = None
    against: tuple[str, ...] = ()


class Report(Component):
    """Writes `report.html`, which needs no other file, `tables/` (CSV and Markdown) and `remarks.json`.

    The last has what a console says besides the tables: `cautions`, and `notes` on the benchmarks by title.

    Reads the inputs `contrasts` (a `contrasts` result) and those that the settings name; each may have a
    `record.json`. The same settings and inputs give the same bytes.
    """

    version: ClassVar[int] = 8

    name: str
    about: str = ""
    baseline: str
    arms: tuple[ReportArm, ...] = Field(min_length=1)
    runs: tuple[EvaluationRun, ...]
    stages: tuple[StageRun, ...] = ()  # of each arm and seed, in order of training
    data: tuple[NamedInput, ...] = ()
    audits: tuple[NamedInput, ...] = ()  # by the data set's name
    drifts: tuple[DriftRun, ...] = ()
    model: str = ""  # the base model's input
    missing: tuple[MissingRun, ...] = ()
    variants: tuple[ReportVariant, ...] = ()
    seeds_redraw: tuple[str, ...] = ("order", "init")  # what another seed draws anew
    primary: tuple[str, ...] = ()  # benchmarks whose declared contrasts are the main question; others are exploratory
    assumptions: Mapping[str, str] = Field(default_factory=dict)  # settings that are guesses, with the reason
    reference: str = ""  # published results to set beside these
    study: str = ""  # the study's YAML
    redact: bool = Field(False, exclude_if=not_set)  # no texts of items, answers or rows, to be shown to anyone

    @property
    def kind(self) -> str:
        return "report"

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from datatrial.report._findings import Findings
        from datatrial.report._html import page
        from datatrial.report.cautions import cautions
        from datatrial.report.tables import write_tables

        runtime.progress(0, 1, "page")
        findings = Findings.read(self, inputs)
        write_tables(findings.analysis, out / "tables")
        (out / "report.html").write_text(page(findings), encoding="utf-8")
        remarks = {"cautions": cautions(findings), "notes": findings.notes}
        (out / "remarks.json").write_text(json.dumps(remarks, indent=1, ensure_ascii=False), encoding="utf-8")
        runtime.progress(1, 1, "page")
