"""From a study to its steps; this module alone knows the order of the work."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datatrial.component import Component
from datatrial.engine.step import Step, upstream_first
from datatrial.engine.store import Store
from datatrial.errors import DatatrialError, Problem, StudyError
from datatrial.externals import Lock, Resolver, default_hub_root
from datatrial.records import EvaluationRun
from datatrial.report.page import MissingRun, NamedInput, Report, ReportArm, StageRun
from datatrial.statistics.contrasts import Contrasts
from datatrial.study import ArmStage, Study

DEFAULT_STORE = Path(".datatrial")


@dataclass(frozen=True)
class ArmRun:
    """An arm with one seed: its stages in order, the policy they end in, and the scoring of that policy."""

    arm: str
    seed: int | None  # None where nothing is trained
    stages: tuple[tuple[ArmStage, Step], ...]
    policy: Step
    scores: Mapping[str, Step]  # by benchmark title

    @property
    def steps(self) -> list[Step]:
        return [*(step for _, step in self.stages), *self.scores.values()]


@dataclass(frozen=True)
class Plan:
    """The steps of a study, each identified by what its result depends on."""

    study: Study
    model: Step
    data: Mapping[str, Step]  # the data sets in use, by name
    runs: tuple[ArmRun, ...]

    @classmethod
    def of(cls, study: Study, resolver: Resolver) -> "Plan":
        """The plan of a study.

        Raises: StudyError when a file or repository that it reads cannot be found.
        """
        return _Planner(study, resolver).plan()

    @cached_property
    def goals(self) -> list[Step]:
        """The steps that nothing but the summary reads."""
        return [step for run in self.runs for step in run.scores.values()]

    @cached_property
    def steps(self) -> list[Step]:
        """Every step but the summary's, each after its inputs."""
        return list(upstream_first(*self.goals))

    @cached_property
    def arms_of(self) -> dict[str, list[str]]:
        """For each step's digest, the arms whose scores depend on it."""
        users: dict[str, dict[str, None]] = {}
        for run in self.runs:
            for step in upstream_first(*run.scores.values()):
                users.setdefault(step.digest, {})[run.arm] = None
        return {digest: list(arms) for digest, arms in users.items()}

    def summary(self, unfinished: Mapping[str, str]) -> Step | None:
        """The report over the evaluations that finished; `unfinished` gives the reason for each digest that did not.

        None when no evaluation of the baseline finished.
        """
        finished: list[tuple[ArmRun, str]] = []
        missing: list[MissingRun] = []
        for run in self.runs:
            untrained = _reasons(run.policy, unfinished)
            if untrained:
                missing.append(MissingRun(arm=run.arm, seed=run.seed, reason=untrained[0]))
                continue
            for title, step in run.scores.items():
                if reasons := _reasons(step, unfinished):
                    missing.append(MissingRun(arm=run.arm, seed=run.seed, benchmark=title, reason=reasons[0]))
                else:
                    finished.append((run, title))
        if not any(run.arm == self.study.baseline_arm for run, _ in finished):
            return None
        data = {name: step for name, step in self.data.items() if step.digest not in unfinished}
        return _summary(self, finished, missing, data)


def _reasons(step: Step, unfinished: Mapping[str, str]) -> list[str]:
    """Why a step is not finished: the reasons of those below it that are not, the deepest first."""
    return [unfinished[below.digest] for below in upstream_first(step) if below.digest in unfinished]


def plan(study: Study | str | Path, store: str | Path = DEFAULT_STORE, overrides: Sequence[str] = ()) -> Plan:
    """The plan of a study (or of its YAML file), without asking the hub; `Store(store).has(step)` says what is done.

    Raises: StudyError with every problem of the study.
    """
    study = loaded(study, overrides)
    return Plan.of(study, resolver_of(study, Store(Path(store))))


def loaded(study: Study | str | Path, overrides: Sequence[str]) -> Study:
    """The study itself, or that of its file with overrides.

    Raises: ValueError for overrides of a study that is loaded already; StudyError with every problem of the study.
    """
    if not isinstance(study, Study):
        return Study.load(study, overrides)
    if overrides:
        raise ValueError("give the overrides to Study.load: this study is loaded already")
    return study


def resolver_of(study: Study, store: Store, *, ask_hub: bool = False) -> Resolver:
    """Finds what a study reads: under `hub_root`, on disk, or on the hub at the commits of its lock."""
    hub_root = study.hub_root or default_hub_root()
    if hub_root and not hub_root.is_dir():
        raise StudyError([Problem("hub_root", f"there is no directory {hub_root} (hub_root, or DATATRIAL_HUB_ROOT)")])
    return Resolver(Lock.beside(study.path), hub_root, store.root / "file-digests.json", ask_hub)


class _Planner:
    def __init__(self, study: Study, resolver: Resolver):
        self.study, self.resolver = study, resolver
        self.data = {name: self._step(data_set, f"data {name}") for name, data_set in study.data.items()}
        corpus = {f"corpus-{n}": self.data[name] for n, name in enumerate(study.model.corpus_names)}
        self.model = self._step(study.model, f"model {study.model.kind}", corpus)

    def _step(self, task: Component, label: str, inputs: Mapping[str, Step] | None = None) -> Step:
        try:
            externals = {name: self.resolver.resolve(need) for name, need in task.needs().items()}
        except DatatrialError as error:
            raise StudyError([Problem(label, str(error))]) from error
        return Step(task, inputs or {}, externals, label)  # type: ignore[arg-type]

    def plan(self) -> Plan:
        runs = []
        for arm, entries in self.study.arms.items():
            trained = any(entry.kind != "model" for entry in entries)
            runs += [self._run(arm, entries, seed) for seed in (self.study.seeds if trained else [None])]
        plan = Plan(self.study, self.model, {}, tuple(runs))
        used = {step.digest for step in plan.steps}
        return Plan(self.study, self.model, {n: s for n, s in self.data.items() if s.digest in used}, tuple(runs))

    def _run(self, arm: str, entries: tuple[ArmStage, ...], seed: int | None) -> ArmRun:
        policy, label = self.model, ""
        stages: list[tuple[ArmStage, Step]] = []
        for entry in entries:
            label += f"{' → ' if label else ''}{entry.kind} {entry.target}"
            if entry.kind == "model":
                start = self.study.start(entry)
                policy = self._step(start, label, {"base": self.model} if start.may_be_adapter else {})
                continue
            assert seed is not None
            inputs = {"policy": policy, "data": self.data[entry.target]}
            policy = self._step(self.study.stage(entry, seed), f"{label}, seed {seed}", inputs)
            stages.append((entry, policy))
        name = policy.label if entries else "base model"
        return ArmRun(arm, seed, tuple(stages), policy, dict(self._scores(policy, name)))

    def _scores(self, policy: Step, name: str) -> Iterator[tuple[str, Step]]:
        for benchmark in self.study.benchmarks:
            data = {"data": self.data[benchmark.data]} if benchmark.data else {}
            yield benchmark.title, self._step(benchmark, f"{benchmark.title} of {name}", {"policy": policy, **data})


def _summary(
    plan: Plan, finished: list[tuple[ArmRun, str]], missing: list[MissingRun], data: Mapping[str, Step]
) -> Step:
    study = plan.study
    inputs: dict[str, Step] = {}

    def named(name: str, step: Step) -> str:
        inputs[name] = step
        return name

    evaluations = tuple(
        EvaluationRun(arm=run.arm, seed=run.seed, benchmark=title, input=named(_input(run, title), run.scores[title]))
        for run, title in finished
    )
    contrasts = Contrasts(runs=evaluations, baseline=study.baseline_arm, declared=study.contrasts)
    contrasts_step = Step(contrasts, dict(inputs), label="contrasts")
    stages = tuple(
        StageRun(
            arm=run.arm,
            seed=run.seed,
            stage=entry.kind,
            data=entry.target,
            input=named(_input(run, f"stage{number}"), step),
        )
        for run in {id(run): run for run, _ in finished}.values()
        for number, (entry, step) in enumerate(run.stages)
    )
    report = Report(
        name=study.name,
        about=study.about,
        baseline=study.baseline_arm,
        primary=study.primary,
        arms=tuple(ReportArm(name=arm, description=_description(entries)) for arm, entries in study.arms.items()),
        runs=evaluations,
        stages=stages,
        data=tuple(NamedInput(name=name, input=named(f"data/{name}", step)) for name, step in data.items()),
        model="model",
        missing=tuple(missing),
        study=study.text,
    )
    return Step(report, {**inputs, "model": plan.model, "contrasts": contrasts_step}, label="report")


def _input(run: ArmRun, what: str) -> str:
    return f"{run.arm}/{'-' if run.seed is None else run.seed}/{what}"


def _description(entries: tuple[ArmStage, ...]) -> str:
    return " → ".join(["base", *(f"{entry.kind.upper()} {entry.target}" for entry in entries)])
