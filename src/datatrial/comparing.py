"""Two arms of different studies, or of one study in two stores, compared where they answered the same items."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from datatrial.component import did_you_mean
from datatrial.effects import Contrast, EvaluationRun
from datatrial.engine.remote import store_at
from datatrial.engine.step import Step, differences, upstream_first
from datatrial.engine.store import Store
from datatrial.errors import DatatrialError
from datatrial.planner import plan
from datatrial.records import Runtime
from datatrial.report.wording import difference, listed, number, plural
from datatrial.same_items import Asked, in_words, mismatch
from datatrial.statistics.contrasts import Contrasts
from datatrial.statistics.endpoints import endpoint_of
from datatrial.steps import ArmRun, Plan

if TYPE_CHECKING:
    from datatrial.report.analysis import Analysis
    from datatrial.report.tables import TextTable

COLUMNS = ("on", "first", "second", "difference, 95% interval", "items", "seeds", "verdict")


@dataclass(frozen=True)
class Side:
    """One of the two arms: its study's plan, and the store that has its results."""

    name: str  # STUDY:ARM in tables
    arm: str
    plan: Plan
    store: Store

    @classmethod
    def read(cls, text: str, store: str | Path) -> "Side":
        """Reads `STUDY.yaml:ARM`.

        Raises: DatatrialError for another form, or an arm that the study has not; StudyError for a bad study.
        """
        study, colon, arm = text.rpartition(":")
        if colon and study and not Path(study).is_file():
            raise DatatrialError(f"{study}: there is no such file; name a study's, as in study.yaml:careful")
        if not colon or not study:
            raise DatatrialError(f"{text}: name a study's file and one of its arms, as in study.yaml:careful")
        planned = plan(study, store)
        if arm not in planned.study.arms:
            raise DatatrialError(f"{study}: has no arm {arm!r}; {did_you_mean(arm, list(planned.study.arms))}")
        return cls(f"{planned.study.name}:{arm}", arm, planned, store_at(store))

    @property
    def runs(self) -> list[ArmRun]:
        return [run for run in self.plan.runs if run.arm == self.arm]

    @property
    def benchmarks(self) -> list[str]:
        return [benchmark.title for benchmark in self.plan.study.benchmarks]

    def results(self, benchmark: str) -> dict[int | None, Path]:
        """The finished results on a benchmark, by seed."""
        steps = {run.seed: run.scores[benchmark] for run in self.runs}
        return {seed: self.store.path(step) for seed, step in steps.items() if self.store.has(step)}

    @cached_property
    def packages(self) -> dict[str, str]:
        """The versions that the arm's results were made with, Python's included; several where they differ."""
        found: dict[str, dict[str, None]] = {}
        for step in upstream_first(*(score for run in self.runs for score in run.scores.values())):
            if self.store.has(step):
                record = self.store.record(step)
                for name, version in {"python": record["python"], **record["packages"]}.items():
                    found.setdefault(name, {})[version] = None
        return {name: ", ".join(versions) for name, versions in found.items()}


@dataclass(frozen=True)
class Compared:
    """What came of it."""

    table: "TextTable | None"  # of contrasts; None where nothing could be compared
    refused: Mapping[str, list[str]]  # benchmarks that could not be compared, and why
    notes: list[str]  # on the seeds
    recipes: list[str]  # what differs in how the two arms were made


def compare(ours: Side, theirs: Side) -> Compared:
    """The first arm against the second, on every benchmark that both have finished, and what differs in their recipes.

    Raises: DatatrialError when nothing of an arm is finished.
    """
    if ours.name == theirs.name:
        ours, theirs = replace(ours, name=f"{ours.name} (first)"), replace(theirs, name=f"{theirs.name} (second)")
    for side in (ours, theirs):
        if not any(side.results(benchmark) for benchmark in side.benchmarks):
            raise DatatrialError(f"{side.name}: nothing is scored yet in {side.store}; `datatrial run` does that")
    refused: dict[str, list[str]] = {}
    notes: dict[str, None] = {}
    results: dict[EvaluationRun, Path] = {}
    for benchmark in dict.fromkeys([*ours.benchmarks, *theirs.benchmarks]):
        if why := list(_refusal(ours, theirs, benchmark)):
            refused[benchmark] = why
            continue
        pairs, note = _paired(ours.results(benchmark), theirs.results(benchmark))
        notes |= {note: None} if note else {}
        for side, found in zip((ours, theirs), pairs, strict=True):
            for seed, result in found.items():
                run = EvaluationRun(side.name, seed, benchmark, f"{side.name}/{seed}/{benchmark}")
                results[run] = result
    return Compared(_table(results, ours.name, theirs.name), refused, list(notes), list(_recipes(ours, theirs)))


def _refusal(ours: Side, theirs: Side, benchmark: str) -> Iterator[str]:
    """Why the two cannot be compared on a benchmark; nothing if they can."""
    for side in (ours, theirs):
        if benchmark not in side.benchmarks:
            yield f"only the other study has it; {side.name} has {listed(side.benchmarks)}"
            return
    unscored = [side.name for side in (ours, theirs) if not side.results(benchmark)]
    if unscored:
        yield f"{listed(unscored)}: not scored on it yet; `datatrial run` does that"
        one, other = (side.runs[0].scores[benchmark] for side in (ours, theirs))
        yield from _changes("setting", _settings(one), _settings(other))
        return
    first, *others = (Asked.read(path) for side in (ours, theirs) for path in side.results(benchmark).values())
    for asked in others:
        if found := mismatch(first, asked):
            yield from found
            return


def _paired(
    ours: Mapping[int | None, Path], theirs: Mapping[int | None, Path]
) -> tuple[tuple[dict[int | None, Path], dict[int | None, Path]], str]:
    """The results of both sides under seeds that say which belong together, and what is to be said of that."""
    if None in ours or None in theirs or list(ours) == list(theirs):
        return (dict(ours), dict(theirs)), ""
    counts = f"The first arm has results of {plural(len(ours), 'seed')}, the second of {len(theirs)}"
    if shared := [seed for seed in ours if seed in theirs]:
        said = f"{counts}: compared on the {plural(len(shared), 'seed')} that both have."
        return ({seed: ours[seed] for seed in shared}, {seed: theirs[seed] for seed in shared}), said
    pairs = list(enumerate(zip(ours.values(), theirs.values(), strict=False)))
    said = f"{counts}, and none is the same: paired in their order, {plural(len(pairs), 'pair')}."
    return ({n: one for n, (one, _) in pairs}, {n: other for n, (_, other) in pairs}), said


def _table(results: Mapping[EvaluationRun, Path], ours: str, theirs: str) -> "TextTable | None":
    from datatrial.report.analysis import Analysis
    from datatrial.report.tables import TextTable

    if not results:
        return None
    with TemporaryDirectory() as folder:  # inputs are in two stores: the result belongs to neither
        inputs = {run.input: path for run, path in results.items()}
        Contrasts(runs=tuple(results), baseline=theirs).run(inputs, Path(folder), Runtime())
        analysis = Analysis.read(Path(folder))
    named = [n for on in analysis.endpoints for n in (on, *(endpoint_of(on, group) for group in analysis.groups(on)))]
    found = [delta for name in named if (delta := analysis.delta(ours, name))]
    note = (
        "Points (100 × the 0–1 score), mean over seeds; the difference is first − second, with its own 95% interval. "
        "Verdicts go by p adjusted for all that was compared (Benjamini–Hochberg)."
    )
    return TextTable(f"{ours} against {theirs}", COLUMNS, tuple(_row(analysis, c) for c in found), note)


def _row(analysis: "Analysis", contrast: Contrast) -> tuple[str, ...]:
    scale, score = analysis.scale(contrast.endpoint), analysis.any_score(contrast.endpoint)
    return (
        f"{contrast.endpoint} ({score.metric})" if score else contrast.endpoint,
        number(contrast.arm_score, scale),
        number(contrast.against_score, scale),
        difference(contrast, scale),
        str(contrast.items),
        str(contrast.seeds),
        contrast.verdict,
    )


def _recipes(ours: Side, theirs: Side) -> Iterator[str]:
    """What differs in how the arms were made: the model they begin with, stages and their data, seeds, packages."""
    (start, stages), (other_start, other_stages) = _chain(ours), _chain(theirs)
    yield from _changes("model to begin with", _made(start), _made(other_start))
    for place, (one, other) in enumerate(zip_longest(stages, other_stages), start=1):
        if one and other:
            yield from _changes(f"stage {place}", _settings(one, "seed"), _settings(other, "seed"))
            yield from _changes(f"stage {place}, data", _made(one.inputs["data"]), _made(other.inputs["data"]))
        else:
            side, which = (ours, "first") if one else (theirs, "second")
            entry, _ = side.runs[0].stages[place - 1]
            yield f"stage {place} is only in the {which}: {entry.kind} on {entry.target}"
    seeds = [{"": [run.seed for run in side.runs if run.seed is not None]} for side in (ours, theirs)]
    yield from _changes("seeds", *seeds)
    yield from _changes("packages", ours.packages, theirs.packages)


def _chain(side: Side) -> tuple[Step, list[Step]]:
    """The model that an arm begins with, and its stages of training in order (of its first seed)."""
    step, stages = side.runs[0].policy, list[Step]()
    while "policy" in step.inputs:
        stages.insert(0, step)
        step = step.inputs["policy"]
    return step, stages


def _made(step: Step) -> dict[str, Any]:
    """How a result is made, with all that is below it: settings, and the content of what was read."""
    if not step.inputs and not step.externals:
        return _settings(step)
    below = {name: _made(part) for name, part in step.inputs.items()}
    return {**_settings(step), **below, **{name: found.digest for name, found in step.externals.items()}}


def _settings(step: Step, *but: str) -> dict[str, Any]:
    return {name: value for name, value in step.task.identity().items() if name not in but}


def _changes(place: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for setting, both in map(in_words, differences(dict(ours), dict(theirs))):
        yield f"{place}{f' {setting}' if setting else ''}: {both}"
