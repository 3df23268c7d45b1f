"""All that the report shows, read from the results that it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from datatrial.effects import EvaluationRun
from datatrial.records import read_json
from datatrial.report._data_sets import DataSummary
from datatrial.report.analysis import Analysis
from datatrial.report.page import Report, StageRun


@dataclass(frozen=True)
class Training:
    """One stage of an arm, for all its seeds; later stages of other arms may build on it, too."""

    kind: str
    data: str
    arms: tuple[str, ...]
    seeds: tuple[int | None, ...]
    history: pl.DataFrame  # seed, step, metric, value
    counts: tuple[Mapping[str, Any], ...]  # `training.json` of each seed
    seconds: float  # of all seeds

    @property
    def title(self) -> str:
        return f"{self.kind.upper()} on {self.data}"

    @property
    def picked(self) -> Mapping[str, Any]:
        """What settings were picked by held-out loss, the same for all seeds; empty where none were."""
        found: Mapping[str, Any] = self.counts[0].get("picked", {})
        return found

    def mean(self, name: str) -> float | None:
        """A count of `training.json`, mean over the seeds."""
        found = [counts[name] for counts in self.counts if counts.get(name) is not None]
        return sum(found) / len(found) if found else None

    def end(self, metric: str, last: int = 1) -> float | None:
        """A curve's end: its `last` values, mean over them and the seeds; None where there is no such curve."""
        return self._mean(metric, pl.col("value").tail(last))

    def start(self, metric: str, first: int = 1) -> float | None:
        """A curve's start: its `first` values, mean over them and the seeds; None where there is no such curve."""
        return self._mean(metric, pl.col("value").head(first))

    def _mean(self, metric: str, values: pl.Expr) -> float | None:
        curve = self.history.filter(self.history["metric"] == metric).sort("step")
        found = curve.group_by("run").agg(values.mean())
        return float(found["value"].mean()) if len(found) else None  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ran:
    """A step that was run, from its record."""

    part: str  # of the work: "data", "training", …
    what: str
    digest: str
    record: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        return float(self.record.get("seconds", 0.0))

    @property
    def memory(self) -> Mapping[str, int]:
        """Peak memory of the process (`host`) and, where it used one, of its GPU (`gpu`), in MiB."""
        peaks: Mapping[str, int] = self.record.get("peak_memory_mib") or {}
        return peaks


@dataclass(frozen=True)
class Findings:
    """What sections are made from."""

    settings: Report
    analysis: Analysis
    trainings: Sequence[Training]
    data: Sequence[DataSummary]
    steps: Sequence[Ran]
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # benchmark → what its results say of themselves
    chains: Mapping[str, Sequence[tuple[str, Path]]] = field(default_factory=dict)  # arm → its data sets, with results
    results: Mapping[str, Sequence[tuple[EvaluationRun, Path]]] = field(default_factory=dict)  # benchmark → its runs
    contaminated: Mapping[str, frozenset[str]] = field(default_factory=dict)  # arm → names `benchmark/item`
    drift: Mapping[str, float] = field(default_factory=dict)  # arm → nats a token from the base model, mean over seeds
    inputs: Mapping[str, Path] = field(default_factory=dict)  # every result by the name that the settings use

    @classmethod
    def read(cls, settings: Report, inputs: Mapping[str, Path]) -> "Findings":
        return cls(
            settings,
            Analysis.read(inputs["contrasts"], settings.primary),
            _trainings(settings.stages, inputs),
            _data(settings, inputs),
            _steps(settings, inputs),
            _notes(settings, inputs),
            _chains(settings.stages, inputs),
            _results(settings, inputs),
            _seen(inputs["contrasts"]),
            _drift(settings, inputs),
            inputs,
        )

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.settings.runs if run.seed is not None})

    @cached_property
    def descriptions(self) -> dict[str, str]:
        return {arm.name: arm.description for arm in self.settings.arms}


def _drift(settings: Report, inputs: Mapping[str, Path]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in settings.drifts:
        found.setdefault(run.arm, []).append(float(read_json(inputs[run.input] / "drift.json")["kl_per_token"]))
    return {arm: sum(values) / len(values) for arm, values in found.items()}


def _seen(contrasts: Path) -> dict[str, frozenset[str]]:
    """Of each arm the items of benchmarks that are in its data, as `benchmark/item`."""
    seen: dict[str, set[str]] = {}
    for arm, benchmark, item in pl.read_parquet(contrasts / "seen.parquet").iter_rows():
        seen.setdefault(arm, set()).add(f"{benchmark}/{item}")
    return {arm: frozenset(items) for arm, items in seen.items()}


def _trainings(stages: Sequence[StageRun], inputs: Mapping[str, Path]) -> list[Training]:
    """Each distinct stage once: arms that share a result share a line, seeds of one arm's stage are one entry."""
    first_use: dict[Path, tuple[str, int]] = {}  # result → the arm that first has it, and the place in that arm
    users: dict[tuple[str, int], dict[str, None]] = {}
    members: dict[tuple[str, int], list[StageRun]] = {}
    place: dict[tuple[str, int | None], int] = {}
    for stage in stages:
        at = place[stage.arm, stage.seed] = place.get((stage.arm, stage.seed), -1) + 1
        result = inputs[stage.input]
        if result not in first_use:
            first_use[result] = (stage.arm, at)
            members.setdefault((stage.arm, at), []).append(stage)
        users.setdefault(first_use[result], {})[stage.arm] = None
    return [_training(found, tuple(users[key]), inputs) for key, found in members.items()]


def _training(runs: Sequence[StageRun], arms: tuple[str, ...], inputs: Mapping[str, Path]) -> Training:
    folders = [inputs[run.input] for run in runs]
    histories = [
        pl.read_parquet(folder / "history.parquet").select(
            pl.lit(number).alias("run"), pl.col("step").cast(pl.Int64), "metric", pl.col("value").cast(pl.Float64)
        )
        for number, folder in enumerate(folders)
    ]
    counts = tuple(read_json(folder / "training.json") for folder in folders)
    seconds = sum(float(record_of(folder).get("seconds", 0.0)) for folder in folders)
    seeds = tuple(run.seed for run in runs)
    return Training(runs[0].stage, runs[0].data, arms, seeds, pl.concat(histories), counts, seconds)


def _data(settings: Report, inputs: Mapping[str, Path]) -> list[DataSummary]:
    audits = {named.name: inputs[named.input] for named in settings.audits}
    found = [DataSummary.read(named.name, inputs[named.input], audits.get(named.name)) for named in settings.data]
    return [summary.redacted() for summary in found] if settings.redact else found


def _results(settings: Report, inputs: Mapping[str, Path]) -> dict[str, list[tuple[EvaluationRun, Path]]]:
    found: dict[str, list[tuple[EvaluationRun, Path]]] = {}
    for run in settings.runs:
        found.setdefault(run.benchmark, []).append((run, inputs[run.input]))
    return found


def _chains(stages: Sequence[StageRun], inputs: Mapping[str, Path]) -> dict[str, list[tuple[str, Path]]]:
    """The data sets that each arm was trained on, in order, with the result of each stage (of its first seed)."""
    seeds: dict[str, int | None] = {}
    chains: dict[str, list[tuple[str, Path]]] = {}
    for stage in stages:
        if stage.seed == seeds.setdefault(stage.arm, stage.seed):
            chains.setdefault(stage.arm, []).append((stage.data, inputs[stage.input]))
    return chains


def record_of(result: Path) -> dict[str, Any]:
    """The record of a result; empty where there is none."""
    path = result / "record.json"
    record: dict[str, Any] = read_json(path) if path.exists() else {}
    return record


def _steps(settings: Report, inputs: Mapping[str, Path]) -> list[Ran]:
    """Every result that the report was given, once, in the order of the work."""
    named = [(entry.input, "data", f"data: {entry.name}") for entry in settings.data]
    named += [(entry.input, "audits", f"audit: {entry.name}") for entry in settings.audits]
    named += [(settings.model, "base model", "base model")] * bool(settings.model)
    named += [(s.input, "training", f"{s.stage} on {s.data}: {_of_seed(s.arm, s.seed)}") for s in settings.stages]
    named += [(r.input, "scoring", f"{r.benchmark}: {_of_seed(r.arm, r.seed)}") for r in settings.runs]
    named += [(d.input, "scoring", f"distance from the base model: {_of_seed(d.arm, d.seed)}") for d in settings.drifts]
    found: dict[Path, tuple[str, str]] = {}
    for name, *what in [*named, ("contrasts", "statistics", "contrasts")]:
        found.setdefault(inputs[name], (what[0], what[1]))  # arms that share a result: named by the first
    return [Ran(part, what, result.name, record_of(result)) for result, (part, what) in found.items()]


def _of_seed(arm: str, seed: int | None) -> str:
    return arm if seed is None else f"{arm}, seed {seed}"


def _notes(settings: Report, inputs: Mapping[str, Path]) -> dict[str, list[str]]:
    notes: dict[str, dict[str, None]] = {}
    for run in settings.runs:
        for note in read_json(inputs[run.input] / "summary.json").get("notes") or []:
            notes.setdefault(run.benchmark, {})[note] = None
    return {benchmark: list(found) for benchmark, found in notes.items()}
