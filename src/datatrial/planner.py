"""From a study to its steps; this module alone knows the order of the work."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from datatrial.benchmark_texts import BenchmarkTexts
from datatrial.component import Component
from datatrial.data_audit import DataAudit
from datatrial.drift import Drift
from datatrial.engine.remote import store_at
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.errors import DatatrialError, Problem, StudyError
from datatrial.evaluation._base import Benchmark
from datatrial.externals import Lock, Resolver, default_hub_root
from datatrial.models.from_scratch import FromScratch
from datatrial.records import Resources
from datatrial.reference_log_probs import ReferenceLogProbs
from datatrial.report.wording import settings_said
from datatrial.steps import ArmRun, Plan, RewardModelRun, Stages
from datatrial.study import ArmStage, Study
from datatrial.training._base import TRAINING_STEPS, Stage
from datatrial.tuning.candidate import Candidate
from datatrial.tuning.tuned import CANDIDATE, Tuned
from datatrial.variants import written_out

T = TypeVar("T")
DEFAULT_STORE = Path(".datatrial")


def plan(study: Study | str | Path, store: str | Path = DEFAULT_STORE, overrides: Sequence[str] = ()) -> Plan:
    """The plan of a study (or of its YAML file), without asking the hub; `store_at(store).has(step)` says what is done.

    Raises: StudyError with every problem of the study.
    """
    study = loaded(study, overrides)
    return plan_of(study, resolver_of(study, store_at(store)))


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
    return Resolver(Lock.beside(study.origin), hub_root, store.root / "file-digests.json", ask_hub)


def plan_of(study: Study, resolver: Resolver) -> Plan:
    """The plan of a study that reads what `resolver` finds.

    Raises: StudyError when a file or repository that it reads cannot be found, or a part of it depends on itself.
    """
    return _Planner(study, resolver).plan()


class _Planner:
    """Makes each step once; a part of the study that reads another asks for it by name."""

    def __init__(self, study: Study, resolver: Resolver):
        self.study, self.variants = written_out(study)
        self.resolver = resolver
        self.made: dict[str, Any] = {}
        self.being_made: list[str] = []

    def plan(self) -> Plan:
        runs = []
        for arm, entries in self.study.arms.items():
            trained = any(entry.kind != "model" for entry in entries)
            runs += [self._run(arm, entries, seed) for seed in (self.study.seeds if trained else [None])]
        rewards = {name: self._reward_model(name) for name in self.study.reward_models}
        chains = [*(run.stages for run in runs), *(model.stages for model in rewards.values())]
        targets = [entry.target for stages in chains for entry, _ in stages]
        audits = {name: self._audit(name) for name in dict.fromkeys(targets)} if self.study.audits else {}
        plan = Plan(self.study, self._model(), {}, tuple(runs), audits, rewards, self.variants)
        used = {step.digest for step in plan.steps}
        made = {
            name: self.made.get(f"data {name}") for name in self.study.data
        }  # a data set that nothing reads has none
        return replace(plan, data={name: step for name, step in made.items() if step and step.digest in used})

    def _step(self, task: Component, label: str, inputs: Mapping[str, Step] | None = None) -> Step:
        try:
            externals = {name: self.resolver.resolve(need) for name, need in task.needs().items()}
        except DatatrialError as error:
            raise StudyError([Problem(label, str(error))]) from error
        read = {**dict(self._parts(task)), **(inputs or {})}
        counts = TRAINING_STEPS if isinstance(task, Stage | Candidate | Tuned) else ""
        return Step(task, read, externals, label, self._resources(task), counts)  # type: ignore[arg-type]

    def _resources(self, task: Component) -> Resources:
        declared, every = self.study.resources, self.study.checkpoints.of_stage
        if isinstance(task, Tuned) and task.first_seed:  # it copies a candidate
            return declared.other.of_step(runs_model=False)
        if isinstance(task, Stage | Candidate | Tuned):
            stage = task if isinstance(task, Stage) else task.stage
            launch = self.study.launch.of_stage if stage.goes_in_parts else None
            return replace(declared.training.of_step(runs_model=True), launch=launch, checkpoint_every=every)
        if isinstance(task, FromScratch | ReferenceLogProbs):
            return replace(declared.training.of_step(runs_model=True), checkpoint_every=every)
        ranks = any(part.what == "reward_model" for part in task.reads().values())
        if isinstance(task, Benchmark | Drift) or ranks:
            return declared.scoring.of_step(runs_model=True)
        return declared.other.of_step(runs_model=False)

    def _parts(self, task: Component) -> Iterator[tuple[str, Step]]:
        """What a component reads of the study, under its names for it."""
        for name, part in task.reads().items():
            match part.what:
                case "model":
                    yield name, self._model()
                case "tokenizer":
                    yield name, self._tokenizer()
                case "data":
                    yield name, self._data(part.name)
                case "reward_model":
                    yield name, self._reward_model(part.name).step
                case "benchmarks":
                    for number, benchmark in enumerate(self.study.benchmarks):
                        yield f"{name}/{number}", self._texts(benchmark)

    def _once(self, what: str, make: Callable[[], T]) -> T:
        """A part of the study, made when it is first asked for.

        Raises: StudyError when making it asks for itself.
        """
        if what in self.being_made:
            circle = [*self.being_made[self.being_made.index(what) :], what]
            raise StudyError([Problem(what, f"depends on itself: {' → '.join(circle)}")])
        if what not in self.made:
            self.being_made.append(what)
            self.made[what] = make()
            self.being_made.pop()
        made: T = self.made[what]
        return made

    def _model(self) -> Step:
        return self._once("model", lambda: self._step(self.study.model, f"model {self.study.model.kind}"))

    def _tokenizer(self) -> Step:
        made = self.study.model.tokenizer()
        return self._model() if made is self.study.model else self._step(made, "tokenizer")

    def _data(self, name: str, seed: int | None = None) -> Step:
        """A data set as a seed of the study draws it; all seeds share it unless they redraw the sample."""
        declared = self.study.data[name]
        drawn = declared if seed is None else self.study.drawn(declared, seed)
        label = f"data {name}" if drawn is declared else f"data {name}, drawn by seed {seed}"
        return self._once(label, lambda: self._step(drawn, label))

    def _texts(self, benchmark: Benchmark) -> Step:
        label = f"texts of {benchmark.title}"
        return self._once(label, lambda: self._step(BenchmarkTexts(benchmark=benchmark.bare), label))

    def _audit(self, name: str) -> Step:
        return self._step(DataAudit(audits=self.study.audits), f"audit of {name}", {"data": self._data(name)})

    def _reward_model(self, name: str) -> RewardModelRun:
        entries, seed = self.study.reward_models[name], self.study.seeds[0]
        return self._once(f"reward model {name}", lambda: RewardModelRun(self._stages(entries, seed)[1]))

    def _run(self, arm: str, entries: tuple[ArmStage, ...], seed: int | None) -> ArmRun:
        policy, stages = self._stages(entries, seed)
        name = policy.label if entries else "base model"
        trained = bool(stages) and entries[0].kind != "model"
        return ArmRun(
            arm, seed, stages, policy, dict(self._scores(policy, name)), self._drift(policy) if trained else None
        )

    def _drift(self, policy: Step) -> Step:
        return self._step(Drift(), f"drift of {policy.label}", {"policy": policy, "base": self._model()})

    def _stages(self, entries: Sequence[ArmStage], seed: int | None) -> tuple[Step, Stages]:
        """The result of the last entry, and the training stages on the way there."""
        policy, label = self._model(), ""
        stages: list[tuple[ArmStage, Step]] = []
        for number, entry in enumerate(entries):
            label += f"{' → ' if label else ''}{entry.said}"
            if entry.kind == "model":
                start = self.study.start(entry)
                policy = self._step(start, label, {"base": self._model()} if start.may_be_adapter else {})
                continue
            assert seed is not None
            stage = self.study.stage(entry, seed)
            inputs = self._inputs(policy, entry, stage, seed)
            task: Component = stage
            if stage.tune:
                inputs |= self._candidates(entries[: number + 1], label)
                task = self._tuned(stage, first_seed=seed == self.study.seeds[0] and not entry.other_seeds)
            policy = self._step(task, f"{label}, seed {seed}", inputs)
            stages.append((entry, policy))
        return policy, tuple(stages)

    def _tuned(self, stage: Stage, *, first_seed: bool) -> Tuned:
        settings = stage.candidates
        first = stage.with_settings(settings[0])  # so that what is replaced does not count
        return Tuned(stage=first, settings=tuple(settings), first_seed=first_seed)

    def _candidates(self, entries: Sequence[ArmStage], label: str) -> dict[str, Step]:
        """The last entry with each of the settings to pick from, trained with the study's first seed.

        An arm that is trained again reads those of the arm itself: picked anew, more than its seeds could differ.
        """
        seed, entries = self.study.seeds[0], [entry.with_the_studys_seeds() for entry in entries]
        stage = self.study.stage(entries[-1], seed)
        inputs = self._inputs(self._stages(entries[:-1], seed)[0], entries[-1], stage, seed)
        found = {}
        for number, settings in enumerate(stage.candidates):
            said = settings_said(settings)
            task = Candidate(stage=stage.with_settings(settings))
            found[CANDIDATE.format(number)] = self._step(task, f"{label}, {said}, seed {seed}", inputs)
        return found

    def _inputs(self, policy: Step, entry: ArmStage, stage: Stage, seed: int) -> dict[str, Step]:
        """What a stage reads: the policy that it starts from, its data, and what is made of both beforehand."""
        inputs = {"policy": policy, "data": self._data(entry.target, self.study.seed_of(entry, seed))}
        for name, task in stage.reads_beforehand().items():
            inputs[name] = self._step(task, f"{name} of {policy.label} on {entry.target}", dict(inputs))
        return inputs

    def _scores(self, policy: Step, name: str) -> Iterator[tuple[str, Step]]:
        for benchmark in self.study.benchmarks:
            asked = benchmark.asked_in(self.study.prompt)
            yield benchmark.title, self._step(asked, f"{benchmark.title} of {name}", {"policy": policy})
