"""Run a study: resolve what it reads, build every step that the store lacks, then summarize what finished."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from datatrial.component import Component, did_you_mean
from datatrial.engine import schedule
from datatrial.engine.live import About
from datatrial.engine.local import Here
from datatrial.engine.presence import registered
from datatrial.engine.ray import OnRay
from datatrial.engine.remote import RemoteStore, store_at
from datatrial.engine.schedule import Event, Listener, Outcome, all_of
from datatrial.engine.step import Step, upstream_first
from datatrial.engine.store import Store
from datatrial.engine.time_left import TimeLeft
from datatrial.errors import DatatrialError, Problem, StoppedError, StudyError
from datatrial.estimates.devices import Device, device_of
from datatrial.estimates.expected import Expected, expected
from datatrial.estimates.sharing import workers_per_gpu
from datatrial.hub import HubExternal
from datatrial.planner import DEFAULT_STORE, loaded, plan_of, resolver_of
from datatrial.results import Results
from datatrial.steps import Plan
from datatrial.study import Study
from datatrial.web import WebExternal

EXECUTORS = ("local", "ray")


def _ignore(event: Event, step: Step) -> None:
    pass


@dataclass(frozen=True)
class Trial:
    """A study that is ready to run: everything it reads has been found or fetched."""

    plan: Plan
    store: Store
    place: Here | OnRay
    dashboard: str = ""  # where a cluster shows its work
    what: str = "run"  # or "audit"
    found: frozenset[str] = frozenset()  # the digests whose results were there when it was made ready
    times: Expected = field(default_factory=Expected)  # what its steps should take

    @cached_property
    def steps(self) -> list[Step]:
        """Every step, the summary's included, each after its inputs."""
        summary = self.plan.summary({})
        return upstream_first(*self.plan.goals, *([summary] if summary else []))

    @property
    def slots(self) -> int:
        """How many steps run at once."""
        return self.place.slots

    @cached_property
    def time_left(self) -> TimeLeft:
        """The time that is left, while it runs."""

        def anew() -> Mapping[str, float | None]:
            return _expected(self.plan, self.store, self.place).warm

        far = isinstance(self.store, RemoteStore)  # to look at what was made would fetch it
        asked = None if far else anew
        return TimeLeft(self.steps, self.store, self.slots, self.times.warm, self.times.absolute, asked)

    @property
    def about(self) -> About:
        study = self.plan.study
        return About(study.name, str(study.path or ""), study.overrides, self.what)

    def run(self, listen: Listener = _ignore) -> Results:
        """Do what the store lacks, then summarize what finished.

        Raises: StoppedError when it was asked to stop before all was done.
        """
        with self.running(listen) as results:
            return results

    @contextmanager
    def running(self, listen: Listener = _ignore) -> Iterator[Results]:
        """The same, around what looks at the results: nobody removes them as long as that takes."""
        with registered(self.store.board, self.about, self.steps, self.time_left) as presence:
            with self.place.executor(self.store, self.times.seconds) as executor:
                if any(step.digest in self.found and not self.store.has(step) for step in self.plan.steps):
                    _fetch(self.plan, self.store)  # somebody removed a result meanwhile
                told = all_of(self.time_left, presence, listen)
                outcome = schedule.run(self.plan.goals, self.store, executor, told, presence.look_around)
                summary = self.plan.summary(outcome.unfinished) if not outcome.left else None
                if summary is not None:
                    presence.needs(upstream_first(summary))
                    sound = outcome.cached | outcome.done
                    also = schedule.run([summary], self.store, executor, told, presence.look_around, sound)
                    outcome = _both(outcome, also)
            if outcome.left:
                ended = len(outcome.cached) + len(outcome.done) + len(outcome.unfinished)
                raise StoppedError(len(outcome.done), len(self.steps) - ended)
            yield Results(self.plan, self.store, summary, outcome)


def prepare(
    study: Study | str | Path,
    store: str | Path = DEFAULT_STORE,
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    device: str = "auto",
    executor: str = "local",
    address: str | None = None,
) -> Trial:
    """Load and plan a study, resolve and fetch what it reads from the hub; the arguments and errors are `run`'s."""
    place = _place(executor, address, jobs, device)
    study = loaded(study, overrides)
    kept = store_at(store)
    plan = plan_of(study, resolver_of(study, kept, ask_hub=True))
    return _ready(plan, kept, _sized(place, plan) if isinstance(place, Here) else place)


def _sized(place: Here, plan: Plan) -> Here:
    """The place with as many workers for each GPU as its study makes use of, if it is not said how many there are.

    Raises: DatatrialError where a stage is to run on several machines.
    """
    launched = (step.resources.launch for step in plan.steps)
    if any(launch and launch.num_machines > 1 for launch in launched):
        raise DatatrialError("launch.num_machines: several machines train together on Ray only; add --executor ray")
    processes = plan.study.launch.num_processes
    return replace(place, processes=processes, per_gpu=workers_per_gpu(plan, device_of()) if place.gpus else 1)


def _place(executor: str, address: str | None, jobs: int | None, device: str) -> Here | OnRay:
    if executor not in EXECUTORS:
        raise DatatrialError(f"the executor should be one of {', '.join(EXECUTORS)}, not {executor!r}")
    if executor == "ray":
        return OnRay(address, jobs, device)
    if address is not None:
        raise DatatrialError("an address is a Ray cluster's: add --executor ray")
    return Here(jobs, device)


def prepare_audits(
    study: Study | str | Path,
    store: str | Path = DEFAULT_STORE,
    names: Collection[str] = (),
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    device: str = "auto",
) -> Trial:
    """The same for the audits alone, of the data sets named or of all: no arm is trained, nothing is scored.

    A data set that is ranked by a reward model has that one trained first.

    Raises: StudyError for a name that no audit is about, besides what `run` raises.
    """
    study = loaded(study, overrides)
    kept = store_at(store)
    plan = plan_of(study, resolver_of(study, kept, ask_hub=True))
    if not plan.audits:
        raise StudyError([Problem("audits", "the study has none, or trains on no data set")])
    unknown = [name for name in names if name not in plan.audits]
    if unknown:
        known = list(plan.audits)
        message = "no data set of that name is trained on, and only those are audited"
        raise StudyError([Problem(f"data.{name}", message, did_you_mean(name, known)) for name in unknown])
    audits = {name: step for name, step in plan.audits.items() if name in (names or plan.audits)}
    plan = replace(plan, runs=(), reward_models={}, audits=audits)
    return _ready(plan, kept, _sized(Here(jobs, device), plan), "audit")


def _ready(plan: Plan, kept: Store, place: Here | OnRay, what: str = "run") -> Trial:
    kept.open()
    dashboard = place.check()
    _fetch(plan, kept)
    found = frozenset(step.digest for step in plan.steps if kept.has(step))
    return Trial(plan, kept, place, dashboard, what, found, _expected(plan, kept, place))


def _expected(plan: Plan, store: Store, place: Here | OnRay) -> Expected:
    try:
        return expected(plan, store, _device(place))
    except Exception:  # whatever is odd about the study: that nobody knows how long it takes must not stop it
        return Expected()


def _device(place: Here | OnRay) -> Device | None:
    """What a worker has, as far as it is in a table: the nodes of a cluster may be anything."""
    if isinstance(place, OnRay):
        return device_of("cpu") if place.device == "cpu" else None
    return None if place.kind == "mps" else device_of("cpu" if place.kind == "cpu" else None)


def _fetch(plan: Plan, store: Store) -> None:
    """Download what the steps to be done read from afar, and have results that name a place name the present one."""
    fetched = set()
    for step in plan.steps:
        refers = isinstance(step.task, Component) and step.task.refers
        if store.has(step) and not refers:
            continue
        for external in step.externals.values():
            if isinstance(external, HubExternal | WebExternal) and external not in fetched:
                external.fetch()
                fetched.add(external)
        located = {name: str(external.locate()) for name, external in step.externals.items()}
        if refers and store.has(step) and store.record(step)["located"] != located:
            store.forget(step)  # its digest stays, so nothing that was made from it is done again


def run(
    study: Study | str | Path,
    store: str | Path = DEFAULT_STORE,
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    device: str = "auto",
    executor: str = "local",
    address: str | None = None,
    listen: Listener = _ignore,
) -> Results:
    """Run a study and return its results; what the store has already is not done again.

    `jobs` is the number of worker processes (by default as many as
    keep each GPU busy and fit into its memory, or one per core with memory for it), `device` one of
    "auto", "cpu", "cuda", "mps". With the `executor` "ray", steps run on the Ray cluster at `address`, or on one that
    is started here. A step that fails stops only what depends on it: `Results.failed` names it.

    Raises: StudyError for a bad study, StoreError for a store that cannot be written, DataError when the hub cannot
    be read, DatatrialError for a cluster or device that is not there; KeyboardInterrupt on Ctrl-C or SIGTERM, and
    StoppedError, which is one, when it was asked to stop, with everything finished kept.
    """
    trial = prepare(study, store, overrides=overrides, jobs=jobs, device=device, executor=executor, address=address)
    return trial.run(listen)


def results_of(
    study: Study | str | Path,
    store: str | Path = DEFAULT_STORE,
    *,
    overrides: Sequence[str] = (),
    redact: bool = False,
) -> Results:
    """The results of a study as far as they are in the store; the report over them is written if it is not there yet.

    `redact` asks for a report without texts of items, answers or rows, which is kept beside the full one. What is
    damaged is set aside and counts as not done: nothing but the statistics and the report is made here.

    Raises: StudyError for a bad study; StoreError where results cannot be read.
    """
    study = loaded(study, overrides)
    kept = store_at(store)
    plan = plan_of(study, resolver_of(study, kept))
    damaged = {step.digest: damage for step, damage in kept.check([s for s in plan.steps if kept.has(s)])}
    kept.integrity.keep()
    summary = plan.summary({**plan.unfinished(kept), **damaged}, redact=redact)
    outcome = Outcome()
    if summary is not None:
        kept.open()
        with Here(1, "cpu").executor(kept) as executor:
            outcome = schedule.run([summary], kept, executor, _ignore)
    outcome.failed |= damaged
    return Results(plan, kept, summary, outcome)


def _both(work: Outcome, summary: Outcome) -> Outcome:
    cached = work.cached | (summary.cached - work.done)
    failed, skipped = work.failed | summary.failed, work.skipped | summary.skipped
    return Outcome(cached, work.done | summary.done, failed, skipped, work.left | summary.left)
