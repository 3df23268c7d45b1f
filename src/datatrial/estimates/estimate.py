"""Every step of a plan with what it takes, the totals, and what is read from the hub and kept on disk."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from datatrial.curation._base import Bound
from datatrial.data_set import DataSet
from datatrial.engine.step import External, Step
from datatrial.engine.store import Store
from datatrial.estimates.benchmarks import BenchmarkSize, benchmark_size, title_of, workload_of
from datatrial.estimates.cost import cost
from datatrial.estimates.data import DataSize, data_size
from datatrial.estimates.devices import Device
from datatrial.estimates.policies import Policy, cached, policy_of
from datatrial.estimates.scoring import answering_estimate, scoring_estimate
from datatrial.estimates.training import Trained, from_scratch_estimate, reference_estimate, stage_estimate
from datatrial.evaluation._base import Benchmark
from datatrial.hub import HubExternal
from datatrial.models._base import Model
from datatrial.models.from_scratch import FromScratch
from datatrial.models.hub import Hub
from datatrial.reference_log_probs import ReferenceLogProbs
from datatrial.steps import Plan
from datatrial.training._base import EVALUATIONS, Stage
from datatrial.training.grpo import Grpo
from datatrial.tuning.candidate import Candidate
from datatrial.tuning.tuned import Tuned
from datatrial.web import WebExternal

Sort = Literal["data", "model", "training", "scoring", "small"]

_MUCH = 0.3  # share of a stage's FLOPs for the held-out loss from which it is pointed out
_SMALL_SECONDS = 2.0  # of a step that computes little, such as an audit
_KEPT_TEXT = 0.5  # bytes of a character in a Parquet file
_ITEM = 300  # bytes of an item's scores and texts


@dataclass(frozen=True)
class StepEstimate:
    """What one step takes. None is unknown; what does not apply is None too."""

    sort: Sort
    rows: float | None = None  # of the data set
    bound: Bound = ""  # of `rows`, and of what follows from them
    examples: float | None = None  # trained on, as often as each is seen
    passes: float | None = None
    optimizer_steps: float | None = None
    items: float | None = None
    requests: float | None = None
    tokens: float | None = None
    flops: float | None = None
    seconds: float | None = None
    busy: float | None = None  # of the seconds, those in which the device computes or moves bytes
    memory: float | None = None  # peak, bytes
    memory_parts: Mapping[str, float] = field(default_factory=dict)
    fits: bool | None = None  # whether the peak is within the device's memory
    disk: float | None = None  # bytes of the result
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Total:
    """Steps added up; `unknown` of them have no estimate and are not in the sums."""

    steps: int
    tokens: float
    flops: float
    seconds: float
    busy: float
    disk: float
    unknown: int
    bounded: bool  # whether some numbers are upper bounds


@dataclass(frozen=True)
class Download:
    """What is to be fetched from the hub; `size` in bytes, None where unknown."""

    repo: str
    size: float | None


class Estimates:
    """The steps of a plan on a device. Nothing is computed, loaded or downloaded for them."""

    def __init__(self, plan: Plan, store: Store, device: Device | None):
        self.plan, self.store, self.device = plan, store, device
        self._audits = {step.inputs["data"].digest: step for step in plan.audits.values()}
        self._policies: dict[str, Policy] = {}
        self._data: dict[str, DataSize] = {}
        self._sizes: dict[str, BenchmarkSize] = {}
        self._trained: dict[tuple[str, Policy, DataSize], Trained] = {}
        self._scored: dict[tuple[str, Policy], StepEstimate] = {}

    @cached_property
    def steps(self) -> dict[str, StepEstimate]:
        """The estimate of every step, by digest."""
        return {step.digest: self._of(step) for step in self.plan.steps}

    def policy(self, step: Step) -> Policy:
        """The model below a step."""
        below = step
        while not isinstance(below.task, Model):
            below = below.inputs["policy"]
        if below.digest not in self._policies:
            self._policies[below.digest] = policy_of(below, self.store)
        return self._policies[below.digest]

    def data(self, step: Step) -> DataSize:
        if step.digest not in self._data:
            self._data[step.digest] = data_size(step, self.store, self._audits.get(step.digest))
        return self._data[step.digest]

    def benchmark(self, step: Step) -> BenchmarkSize:
        """The size of a step's benchmark: the same for every policy that it scores."""
        title = title_of(step)
        if title not in self._sizes:
            self._sizes[title] = benchmark_size(step, self.store)
        return self._sizes[title]

    def total(self, steps: Iterable[Step]) -> Total:
        found = [self.steps[step.digest] for step in steps]
        return Total(
            steps=len(found),
            tokens=sum(one.tokens or 0.0 for one in found),
            flops=sum(one.flops or 0.0 for one in found),
            seconds=sum(one.seconds or 0.0 for one in found),
            busy=sum(one.busy or 0.0 for one in found),
            disk=sum(one.disk or 0.0 for one in found),
            unknown=sum(one.seconds is None for one in found),
            bounded=any(one.bound == "at most" for one in found),
        )

    @cached_property
    def notes(self) -> list[str]:
        """Where the sizes of models, texts and benchmarks are from, each said once."""
        policies = [note for policy in self._policies.values() for note in policy.notes if self.steps]
        return list(dict.fromkeys([*policies, *(note for one in self.steps.values() for note in one.notes)]))

    @cached_property
    def downloads(self) -> list[Download]:
        """Repositories and files that are not in the hub's cache, each once."""
        found: dict[str, float | None] = {}
        for step in self.plan.steps:
            for external in step.externals.values():
                if _is_absent(external) and not self.store.has(step):
                    found[str(external)] = found.get(str(external)) or self._download(step)
        return [Download(repo, size) for repo, size in found.items()]

    def _download(self, step: Step) -> float | None:
        task = step.task
        if isinstance(task, Model):
            shape = self.policy(step).shape
            return None if shape is None else shape.parameters * 2.0  # as most are published: 16 bits
        return self.data(step).total if isinstance(task, DataSet) and not task.curation else None

    def _of(self, step: Step) -> StepEstimate:
        task = step.task
        if isinstance(task, DataSet):
            return self._data_set(step)
        if isinstance(task, FromScratch):
            return self._from_scratch(task, step)
        if isinstance(task, Hub):
            return StepEstimate("model", seconds=0.0, disk=0.0, flops=0.0)
        if isinstance(task, Model):
            return StepEstimate("model")
        if isinstance(task, Candidate):
            return self._stage(task.stage, step)
        if isinstance(task, Tuned) and not task.first_seed:  # with the first seed it is one of the candidates
            return self._stage(task.stage, step)
        if isinstance(task, Stage):
            return self._stage(task, step)
        if isinstance(task, ReferenceLogProbs):
            return self._reference(task, step)
        if isinstance(task, Benchmark):
            return self._scoring(step)
        return StepEstimate("small", seconds=_SMALL_SECONDS, flops=0.0, disk=0.0)

    def _data_set(self, step: Step) -> StepEstimate:
        size = self.data(step)
        disk = None if size.total is None else size.total * _KEPT_TEXT
        return StepEstimate("data", size.rows, size.bound, seconds=_SMALL_SECONDS, flops=0.0, disk=disk)

    def _from_scratch(self, task: FromScratch, step: Step) -> StepEstimate:
        policy = self.policy(step)
        corpus = [self.data(part) for part in step.inputs.values()]
        totals = [None if size.total is None else size.chosen_share * size.total for size in corpus]
        characters = None if None in totals else sum(filter(None, totals))
        found = from_scratch_estimate(task, policy, characters, self.device)
        return StepEstimate(
            "model",
            rows=None if any(size.rows is None for size in corpus) else sum(size.rows or 0 for size in corpus),
            bound=_bound(corpus),
            examples=found.examples,
            passes=found.passes,
            optimizer_steps=found.steps,
            tokens=found.tokens,
            **cost(found.work, found.memory, self.device, "float32", "training"),
            disk=None if found.parameters is None else found.parameters * 4.0,
        )

    def _stage(self, task: Stage, step: Step) -> StepEstimate:
        policy, size = self.policy(step), self.data(step.inputs["data"])
        key = repr(task.model_copy(update={"seed": 0, "init_seed": None})), policy, size
        if key not in self._trained:  # seeds take the same
            self._trained[key] = stage_estimate(task, policy, size, self.device)
        found = self._trained[key]
        return StepEstimate(
            "training",
            rows=size.rows,
            bound="at most" if isinstance(task, Grpo) else size.bound,  # answers may be shorter
            examples=found.examples,
            passes=found.passes,
            optimizer_steps=found.steps,
            tokens=found.tokens,
            **cost(found.work, found.memory, self.device, policy.dtype, "training"),
            disk=None if found.parameters is None else found.parameters * 4.0,
            notes=_much_measured(found.measuring, size, task, f"{task.kind} on {_name(step.inputs['data'])}"),
        )

    def _reference(self, task: ReferenceLogProbs, step: Step) -> StepEstimate:
        policy, size = self.policy(step), self.data(step.inputs["data"])
        found = reference_estimate(task, policy, size, self.device)
        return StepEstimate(
            "training",
            rows=size.rows,
            bound=size.bound,
            examples=found.examples,
            passes=found.passes,
            tokens=found.tokens,
            **cost(found.work, found.memory, self.device, policy.dtype, "scoring"),
            disk=None if size.rows is None else size.rows * 16.0,
        )

    def _scoring(self, step: Step) -> StepEstimate:
        policy = self.policy(step)
        key = title_of(step), policy
        if key not in self._scored:  # arms differ in their adapter, which costs next to nothing
            self._scored[key] = self._scoring_of(step, policy)
        return self._scored[key]

    def _scoring_of(self, step: Step, policy: Policy) -> StepEstimate:
        size, work = self.benchmark(step), workload_of(step)
        if work is None:
            return StepEstimate("scoring", items=size.items, notes=size.notes)
        if answered := work.asks == "prompts":
            data = step.inputs.get("data")
            prompt = self.data(data).tokens_of_a_prompt(policy.characters_per_token) if data else None
            found = answering_estimate(size, policy, self.device, work, prompt)
        else:
            found = scoring_estimate(size, policy, self.device)
        by_lm_eval = work.asks == "choices"
        around = (found.requests or 0.0) * self.device.request_seconds if self.device and by_lm_eval else 0.0
        return StepEstimate(
            "scoring",
            bound="at most" if answered else "",
            items=found.items,
            requests=found.requests,
            tokens=found.tokens,
            **cost(found.work, found.memory, self.device, policy.dtype, "scoring", around),
            disk=None if found.items is None else found.items * _ITEM,
            notes=size.notes,
        )


def _bound(sizes: Sequence[DataSize]) -> Bound:
    return next((size.bound for size in sizes if size.bound), "")


def _is_absent(external: External) -> bool:
    """Whether something has to be downloaded."""
    if isinstance(external, HubExternal):
        return cached(external.needs, external.commit) is None
    return isinstance(external, WebExternal) and not external.is_cached()


def _name(data: Step) -> str:
    return data.label.removeprefix("data ")


def _much_measured(share: float | None, size: DataSize, stage: Stage, what: str) -> tuple[str, ...]:
    """A caution where most of a stage goes into measuring the held-out loss, as with a short budget on much data."""
    if share is None or share < _MUCH or size.rows is None:
        return ()
    return (
        f"{what}: {share:.0%} of its FLOPs go into the loss on {stage.held_out_of(size.rows):,} held-out examples, "
        f"measured {EVALUATIONS} times; a smaller held_out saves most of that",
    )
