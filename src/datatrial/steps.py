"""The steps of a study, and the summary over those that finished."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from datatrial.effects import EvaluationRun
from datatrial.engine.step import Step, upstream_first
from datatrial.engine.store import Store
from datatrial.report.page import DriftRun, MissingRun, NamedInput, Report, ReportArm, ReportVariant, StageRun
from datatrial.statistics.contrasts import Contrasts
from datatrial.study import ArmStage, Study
from datatrial.variants import Variant

Stages = tuple[tuple[ArmStage, Step], ...]


@dataclass(frozen=True)
class ArmRun:
    """An arm with one seed: its stages in order, the policy they end in, and the scoring of that policy."""

    arm: str
    seed: int | None  # None where nothing is trained
    stages: Stages
    policy: Step
    scores: Mapping[str, Step]  # by benchmark title
    drift: Step | None = None  # None where nothing was trained from the study's own model

    @property
    def steps(self) -> list[Step]:
        drift = [self.drift] if self.drift else []
        return [*(step for _, step in self.stages), *self.scores.values(), *drift]


@dataclass(frozen=True)
class RewardModelRun:
    """A reward model of the study: its stages in order, the last of which makes it."""

    stages: Stages

    @property
    def step(self) -> Step:
        return self.stages[-1][1]


@dataclass(frozen=True)
class Plan:
    """The steps of a study, each identified by what its result depends on."""

    study: Study  # with the arms of its controls and sweeps
    model: Step
    data: Mapping[str, Step]  # the data sets in use, by name
    runs: tuple[ArmRun, ...]
    audits: Mapping[str, Step]  # of the data sets that something is trained on
    reward_models: Mapping[str, RewardModelRun]
    variants: tuple[Variant, ...] = ()

    @cached_property
    def goals(self) -> list[Step]:
        """The steps that nothing but the summary reads."""
        scores = [step for run in self.runs for step in run.scores.values()]
        drifts = [run.drift for run in self.runs if run.drift]
        return [*scores, *drifts, *(model.step for model in self.reward_models.values()), *self.audits.values()]

    @cached_property
    def steps(self) -> list[Step]:
        """Every step but the summary's, each after its inputs."""
        return upstream_first(*self.goals)

    @cached_property
    def arms_of(self) -> dict[str, list[str]]:
        """For each step's digest, the arms whose scores depend on it: none for an audit."""
        users: dict[str, dict[str, None]] = {step.digest: {} for step in self.steps}
        for run in self.runs:
            for step in upstream_first(*run.scores.values()):
                users[step.digest][run.arm] = None
        return {digest: list(arms) for digest, arms in users.items()}

    def unfinished(self, store: Store) -> dict[str, str]:
        """Why the steps have no result that have none, by digest."""
        return {step.digest: store.failure(step) or "not run yet" for step in self.steps if not store.has(step)}

    def summary(self, unfinished: Mapping[str, str], *, redact: bool = False) -> Step | None:
        """The report over the evaluations that finished; `unfinished` gives the reason for each digest that did not.

        `redact` leaves out texts of items, answers and rows.
        None when no evaluation of the baseline finished.
        """
        return self._summary_without(unfinished, redact) if unfinished or redact else self._whole_summary

    @cached_property
    def _whole_summary(self) -> Step | None:
        """The report over all evaluations, which a run without failures asks for several times."""
        return self._summary_without({}, redact=False)

    def _summary_without(self, unfinished: Mapping[str, str], redact: bool) -> Step | None:
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
        return _summary(self, finished, missing, unfinished, redact)


def _reasons(step: Step, unfinished: Mapping[str, str]) -> list[str]:
    """Why a step is not finished: the reasons of those below it that are not, the deepest first."""
    if not unfinished:  # as most often
        return []
    return [unfinished[below.digest] for below in upstream_first(step) if below.digest in unfinished]


def _summary(
    plan: Plan,
    finished: list[tuple[ArmRun, str]],
    missing: list[MissingRun],
    unfinished: Mapping[str, str],
    redact: bool,
) -> Step:
    inputs = dict[str, Step]()
    evaluations = tuple(
        EvaluationRun(arm=run.arm, seed=run.seed, benchmark=title, input=_input(run.arm, run.seed, title))
        for run, title in finished
    )
    inputs |= {named.input: run.scores[title] for named, (run, title) in zip(evaluations, finished, strict=True)}
    scored = [run for run, _ in finished]
    resources = plan.study.resources.other.of_step(runs_model=False)
    compared = _contrasts(plan, evaluations, _audits_of(plan, scored, unfinished, inputs))
    contrasts = Step(compared, dict(inputs), label="contrasts", resources=resources)
    used = {step.digest for step in plan.steps} - unfinished.keys()
    report = _report(plan, evaluations, tuple(missing), redact).model_copy(
        update={
            "stages": _stage_runs(plan, scored, unfinished, inputs),
            "data": _named("data", {name: step for name, step in plan.data.items() if step.digest in used}, inputs),
            "audits": _named("audit", {name: one for name, one in plan.audits.items() if one.digest in used}, inputs),
            "drifts": _drifts(plan, scored, unfinished, inputs),
            "model": "model" if plan.model.digest in used else "",  # not where every arm is a checkpoint
        }
    )
    inputs |= {"model": plan.model} if report.model else {}
    return Step(report, {**inputs, "contrasts": contrasts}, label="report", resources=resources)


def _contrasts(plan: Plan, evaluations: tuple[EvaluationRun, ...], audits: Mapping[str, tuple[str, ...]]) -> Contrasts:
    study = plan.study
    return Contrasts(
        runs=evaluations,
        baseline=study.baseline_arm,
        declared=study.contrasts,
        capability=study.capability,
        primary=study.primary,
        audits=audits,
        benchmarks=tuple(benchmark.title for benchmark in study.benchmarks),
        beside=tuple((variant.name, against) for variant in plan.variants for against in variant.against),
        added=tuple(variant.name for variant in plan.variants),
    )


def _report(
    plan: Plan, evaluations: tuple[EvaluationRun, ...], missing: tuple[MissingRun, ...], redact: bool
) -> Report:
    """The report as far as it follows from the study, without what it reads besides scores."""
    study = plan.study
    return Report(
        name=study.name,
        about=study.about,
        baseline=study.baseline_arm,
        primary=study.primary,
        arms=tuple(ReportArm(name=arm, description=_description(entries)) for arm, entries in study.arms.items()),
        runs=evaluations,
        missing=missing,
        variants=tuple(
            ReportVariant(name=v.name, of=v.of, what=v.what, value=v.value, against=v.against) for v in plan.variants
        ),
        seeds_redraw=study.seeds_redraw,
        assumptions=study.assumptions,
        reference=study.reference,
        study=study.text,
        redact=redact,
    )


def _audits_of(
    plan: Plan, runs: list[ArmRun], unfinished: Mapping[str, str], inputs: dict[str, Step]
) -> dict[str, tuple[str, ...]]:
    """For each arm the finished audits of the data it was trained on; their steps are put into `inputs`."""
    found: dict[str, tuple[str, ...]] = {}
    for run in runs:
        targets = dict.fromkeys(entry.target for entry, _ in run.stages)
        done = {name: plan.audits[name] for name in targets if name in plan.audits}
        named = _named("audit", {name: step for name, step in done.items() if not _reasons(step, unfinished)}, inputs)
        if named:
            found[run.arm] = tuple(audit.input for audit in named)
    return found


def _stage_runs(
    plan: Plan, scored: list[ArmRun], unfinished: Mapping[str, str], inputs: dict[str, Step]
) -> tuple[StageRun, ...]:
    """The finished stages of the arms that were scored, and of the reward models; their steps are put into `inputs`."""
    chains = list({(run.arm, run.seed): run.stages for run in scored}.items())
    chains += [((f"reward model {n}", plan.study.seeds[0]), model.stages) for n, model in plan.reward_models.items()]
    found = []
    for (arm, seed), stages in chains:
        for number, (entry, step) in enumerate(stages):
            if not _reasons(step, unfinished):
                name = _input(arm, seed, f"stage{number}")
                inputs[name] = step
                found.append(StageRun(arm=arm, seed=seed, stage=entry.kind, data=entry.target, input=name))
    return tuple(found)


def _drifts(
    plan: Plan, runs: list[ArmRun], unfinished: Mapping[str, str], inputs: dict[str, Step]
) -> tuple[DriftRun, ...]:
    """The finished measurements of how far the arms moved; their steps are put into `inputs`."""
    found = []
    for run in {(run.arm, run.seed): run for run in runs}.values():
        if run.drift and not _reasons(run.drift, unfinished):
            name = _input(run.arm, run.seed, "drift")
            inputs[name] = run.drift
            found.append(DriftRun(arm=run.arm, seed=run.seed, input=name))
    return tuple(found)


def _named(what: str, steps: Mapping[str, Step], inputs: dict[str, Step]) -> tuple[NamedInput, ...]:
    inputs |= {f"{what}/{name}": step for name, step in steps.items()}
    return tuple(NamedInput(name=name, input=f"{what}/{name}") for name in steps)


def _input(arm: str, seed: int | None, what: str) -> str:
    return f"{arm}/{'-' if seed is None else seed}/{what}"


def _description(entries: tuple[ArmStage, ...]) -> str:
    return " → ".join(["base", *(f"{entry.kind.upper()} {entry.target}" for entry in entries)])
