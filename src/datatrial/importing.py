"""Verdicts on results that lm-eval logged: each folder a model, an arm one model or one for each seed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from datatrial.component import did_you_mean
from datatrial.effects import EvaluationRun
from datatrial.engine import schedule
from datatrial.engine.devices import slots
from datatrial.engine.live import About
from datatrial.engine.local import LocalExecutor
from datatrial.engine.presence import registered
from datatrial.engine.remote import store_at
from datatrial.engine.schedule import Listener, all_of
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.time_left import TimeLeft
from datatrial.errors import DataError, StoppedError
from datatrial.evaluation._logs import Logs
from datatrial.externals import Lock, Resolver
from datatrial.foreign.names import LONGEST, problem_with_name, problem_with_title
from datatrial.imported import Imported
from datatrial.report.page import MissingRun, Report, ReportArm
from datatrial.report.wording import listed
from datatrial.results import cautions_of
from datatrial.same_items import Asked, mismatch
from datatrial.statistics.contrasts import Contrasts
from datatrial.statistics.endpoints import CAPABILITY

if TYPE_CHECKING:
    from datatrial.report.tables import TextTable


@dataclass(frozen=True)
class Source:
    """A model that lm-eval scored: a folder, the arm that it belongs to, and the seed if there is one."""

    arm: str
    seed: int | None
    folder: str  # as it was named
    logs: Logs

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Reads `folder`, `name=folder` or `name=folder:seed`; an arm without a name is called like its folder.

        Raises: DataError for a folder that holds no samples, or a name that is none.
        """
        name, equals, rest = text.partition("=")
        if not equals or Path(text).is_dir():
            name, rest = "", text
        folder, colon, seed = rest.rpartition(":")
        numbered = bool(colon) and seed.isdecimal() and not Path(rest).is_dir()
        named = folder if numbered else rest
        arm = name or Path(named).absolute().name
        if why := problem_with_name(arm):
            raise DataError(f"{text}: {arm!r} is no name for an arm, which {why}; give one: name={rest}")
        return cls(arm, int(seed) if numbered else None, named, Logs.read(Path(named).absolute()))

    @property
    def said(self) -> str:
        """The arm and its seed, for messages."""
        return self.arm if self.seed is None else f"{self.arm}, seed {self.seed}"

    def input(self, benchmark: str) -> str:
        return f"{self.arm}/{'-' if self.seed is None else self.seed}/{benchmark}"


@dataclass(frozen=True)
class Import:
    """Folders of lm-eval as the arms of a trial, the baseline first."""

    sources: tuple[Source, ...]
    benchmarks: tuple[str, ...]
    metrics: Mapping[str, str]  # to compare by, of the benchmarks where it is not the usual one
    store: Store

    @property
    def baseline(self) -> str:
        return self.sources[0].arm

    @cached_property
    def runs(self) -> dict[EvaluationRun, Step]:
        """The result of each benchmark for each model, benchmark by benchmark."""
        resolver = Resolver(Lock(None), remembered=self.store.root / "file-digests.json")
        return {
            EvaluationRun(source.arm, source.seed, benchmark, source.input(benchmark)): _step(
                source, benchmark, self.metrics.get(benchmark), resolver
            )
            for source in self.sources
            for benchmark in self.benchmarks
            if benchmark in source.logs.benchmarks
        }

    @cached_property
    def report(self) -> Step:
        """The report over all of it."""
        inputs = {run.input: step for run, step in self.runs.items()}
        contrasts = Contrasts(runs=tuple(self.runs), baseline=self.baseline)
        report = Report(
            name="imported-results",
            about="Results that lm-eval logged; nothing was trained or scored here.",
            baseline=self.baseline,
            arms=tuple(ReportArm(name=arm, description=said) for arm, said in self._models.items()),
            runs=tuple(self.runs),
            missing=tuple(self._missing()),
            study=self._listed(),
            seeds_redraw=(),
        )
        return Step(report, {**inputs, "contrasts": Step(contrasts, inputs, label="contrasts")}, label="report")

    @property
    def steps(self) -> list[Step]:
        """Every step, each after its inputs."""
        return [
            *{step.digest: step for step in self.runs.values()}.values(),
            self.report.inputs["contrasts"],
            self.report,
        ]

    @cached_property
    def time_left(self) -> TimeLeft:
        """The time that is left, while it runs."""
        return TimeLeft(self.steps, self.store, slots(None, "cpu"))

    @property
    def about(self) -> About:
        return About("imported-results", overrides=tuple(source.folder for source in self.sources), what="import")

    @property
    def notes(self) -> list[str]:
        """What was left aside, and what lm-eval itself says differs between the arms."""
        older = [
            f"{source.said}: of {n + 1} files of {task}'s samples the newest is used"
            for source in self.sources
            for task, n in source.logs.older.items()
        ]
        versions = {str(run.get("lm_eval_version")) for source in self.sources for run in source.logs.runs}
        mixed = f"scored by different versions of lm-eval: {', '.join(sorted(versions))}"
        return [*older, *([mixed] if len(versions) > 1 else []), *self._left_aside()]

    def _left_aside(self) -> Iterator[str]:
        """Seeds of an arm, or of the baseline, that the other lacks: no difference is made of them."""
        seeds = _seeds_of(self.sources)
        for arm, given in seeds.items():
            own, theirs = set(given), set(seeds[self.baseline])
            if None not in own | theirs and own != theirs:
                shared = listed([str(n) for n in sorted(n for n in given if n is not None and n in theirs)])
                yield (
                    f"{arm} and {self.baseline} are compared on the seeds that both have ({shared}); "
                    "the score of each is the mean over all its own"
                )

    @contextmanager
    def running(self, listen: Listener) -> Iterator["Imports"]:
        """Reads what the store lacks, and compares the arms. Around what looks at the results: nobody removes them.

        Raises: DataError where a file cannot be read, or two arms were not asked the same.
        """
        self.store.open()
        with registered(self.store.board, self.about, self.steps, self.time_left) as presence:
            told = all_of(self.time_left, presence, listen)
            with LocalExecutor(self.store, None, "cpu") as executor:
                for goals in (list(self.runs.values()), [self.report]):
                    outcome = schedule.run(goals, self.store, executor, told, presence.look_around)
                    if outcome.failed:
                        raise DataError("\n".join(outcome.failed.values()))
                    if outcome.left:
                        raise StoppedError(len(outcome.done), len(outcome.left))
                    if self.report not in goals:
                        self._check()
            folder, contrasts = (self.store.path(step) for step in (self.report, self.report.inputs["contrasts"]))
            yield Imports(folder, contrasts, cautions_of(self.report, self.store))

    def _check(self) -> None:
        problems = [problem for benchmark in self.benchmarks for problem in self._mismatches(benchmark)]
        if problems:
            raise DataError("\n".join(problems))

    def _mismatches(self, benchmark: str) -> Iterator[str]:
        """The models that were asked something else than the first that has the benchmark."""
        (first, step), *others = ((run, step) for run, step in self.runs.items() if run.benchmark == benchmark)
        asked = Asked.read(self.store.path(step))
        for run, step in others:
            if found := mismatch(asked, Asked.read(self.store.path(step))):
                named = " and ".join(r.arm if r.seed is None else f"{r.arm}, seed {r.seed}" for r in (first, run))
                what = "".join(f"\n  {line}" for line in found)
                how = f"score both with the same settings of lm-eval, or leave it out: --leave-out {benchmark}"
                yield f"{benchmark}: {named} cannot be compared on it:{what}\n  {how}"

    def _missing(self) -> Iterator[MissingRun]:
        for source in self.sources:
            for benchmark in self.benchmarks:
                if benchmark not in source.logs.benchmarks:
                    reason = "its folder holds no samples of it"
                    yield MissingRun(arm=source.arm, seed=source.seed, benchmark=benchmark, reason=reason)

    @property
    def _models(self) -> dict[str, str]:
        models: dict[str, dict[str, None]] = {}
        for source in self.sources:
            models.setdefault(source.arm, {})[source.logs.model] = None
        return {arm: ", ".join(found) for arm, found in models.items()}

    def _listed(self) -> str:
        """The folders and models, for the report's provenance."""
        lines = [f"{source.said}: {source.logs.model}, logged in {source.folder}" for source in self.sources]
        return "\n".join(["# no study: results imported from lm-eval", *lines])


@dataclass(frozen=True)
class Imports:
    """Where an import's results lie."""

    folder: Path  # of `report.html` and `tables/`
    contrasts: Path
    cautions: list[str]  # what a reader must know before believing the tables, as the report says it

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def tables(self) -> "list[TextTable]":
        """The report's tables in words."""
        from datatrial.report.analysis import Analysis
        from datatrial.report.tables import benchmark_table, contrasts_table

        analysis = Analysis.read(self.contrasts)
        return [benchmark_table(analysis, intervals=False), contrasts_table(analysis, brief=True)]


def prepare(
    arms: Sequence[str],
    store: str | Path,
    *,
    baseline: str = "",
    leave_out: Collection[str] = (),
    metrics: Collection[str] = (),
) -> Import:
    """Finds what the folders hold; `arms` are read as by `Source.parse`, the baseline is the first of them by default.

    `metrics` are written `benchmark=metric`.

    Raises: DataError for folders without samples, for arms or benchmarks that cannot be told apart or are not there.
    """
    sources = [Source.parse(text) for text in arms]
    names = list(dict.fromkeys(source.arm for source in sources))
    if len(names) < 2:
        raise DataError("there is nothing to compare: name the folders of two arms, as in base=runs/base new=runs/new")
    if baseline and baseline not in names:
        raise DataError(f"--baseline: no arm is called {baseline!r}; {did_you_mean(baseline, names)}")
    first = baseline or names[0]
    sources.sort(key=lambda source: source.arm != first)
    _check_seeds(sources)
    found = list(dict.fromkeys(name for source in sources for name in source.logs.benchmarks))
    if unfit := [f"{name[:LONGEST]!r}: a name {why}" for name in found if (why := problem_with_title(name))]:
        raise DataError(f"a benchmark of these results is called {unfit[0]}")
    kept, wished = tuple(name for name in found if name not in leave_out), _wished(metrics)
    for option, named, there in (("--leave-out", leave_out, found), ("--metric", wished, kept)):
        for name in named:
            if name not in there:
                raise DataError(f"{option}: no benchmark is called {name!r}; {did_you_mean(name, list(there))}")
    if CAPABILITY in kept:
        raise DataError(f"{CAPABILITY!r} is the mean over benchmarks: leave the task of that name out (--leave-out)")
    arms_of = {name: {source.arm for source in sources if name in source.logs.benchmarks} for name in kept}
    if not any(first in arms and len(arms) > 1 for arms in arms_of.values()):
        has = "; ".join(f"{name}: {listed([b for b in kept if name in arms_of[b]] or ['none'])}" for name in names)
        raise DataError(f"{first}: no benchmark is both in the baseline and in another arm ({has})")
    return Import(tuple(sources), kept, wished, store_at(store))


def _wished(metrics: Collection[str]) -> dict[str, str]:
    """The metric to compare by of each benchmark that one is named for, from `benchmark=metric`."""
    wished: dict[str, str] = {}
    for text in metrics:
        benchmark, _, metric = text.partition("=")
        if not metric:
            raise DataError(f"--metric {text}: write it as BENCHMARK=METRIC, as in hellaswag=acc")
        if wished.setdefault(benchmark, metric) != metric:
            raise DataError(
                f"--metric: {benchmark} can be compared by one metric, not by {wished[benchmark]} and {metric}"
            )
    return wished


def _seeds_of(sources: Sequence[Source]) -> dict[str, list[int | None]]:
    """The seeds of each arm's folders, in their order."""
    seeds: dict[str, list[int | None]] = {}
    for source in sources:
        seeds.setdefault(source.arm, []).append(source.seed)
    return seeds


def _check_seeds(sources: Sequence[Source]) -> None:
    seeds = _seeds_of(sources)
    for arm, given in seeds.items():
        if len(given) > 1 and (None in given or len(set(given)) < len(given)):
            raise DataError(f"{arm}: {len(given)} folders need a seed each: {arm}=FOLDER:0 {arm}=FOLDER:1")
    (baseline, first), *others = seeds.items()  # the baseline is the first
    for arm, given in others:
        if None not in (*first, *given) and not set(first) & set(given):
            raise DataError(
                f"{arm}: no seed is that of a folder of {baseline}; give those that belong together one number"
            )


def _step(source: Source, benchmark: str, metric: str | None, resolver: Resolver) -> Step:
    logs = source.logs
    task = Imported(benchmark=benchmark, tasks=logs.benchmarks[benchmark], metric=metric, files=logs.files(benchmark))
    externals = {name: resolver.resolve(need) for name, need in task.needs().items()}
    return Step(task, {}, externals, f"{benchmark} of {source.said}")
