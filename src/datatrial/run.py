"""Run a study: resolve what it reads, build every step that the store lacks, then summarize what finished."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from datatrial.engine import schedule
from datatrial.engine.local import Device, LocalExecutor
from datatrial.engine.schedule import Event, Listener, Outcome
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.externals import Lock, Resolver, default_hub_root
from datatrial.plan import Plan
from datatrial.results import Results
from datatrial.study import Study

DEFAULT_STORE = Path(".datatrial")


def resolver_of(study: Study, store: Store, *, ask_hub: bool = False) -> Resolver:
    """Finds what a study reads: under `hub_root`, on disk, or on the hub at the commits of its lock."""
    hub_root = study.hub_root or default_hub_root()
    return Resolver(Lock.beside(study.path), hub_root, store.root / "file-digests.json", ask_hub)


def _ignore(event: Event, step: Step) -> None:
    pass


def run(
    study: Study | str | Path,
    store: str | Path = DEFAULT_STORE,
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    device: Device = "auto",
    listen: Listener = _ignore,
) -> Results:
    """Run a study and return its results; what the store has already is not done again.

    `jobs` is the number of worker processes (by default one per GPU, or per core with memory for it). A step that
    fails stops only what depends on it: `Results.failed` names it.

    Raises: StudyError for a bad study, StoreError for a store that cannot be written, DataError when the hub cannot
    be read; KeyboardInterrupt on Ctrl-C or SIGTERM, with everything finished kept.
    """
    study = study if isinstance(study, Study) else Study.load(study, overrides)
    kept = Store(Path(store))
    kept.open()
    plan = Plan.of(study, resolver_of(study, kept, ask_hub=True))
    for external in {str(e): e for e in plan.externals()}.values():
        external.fetch()
    with _sigterm_as_interrupt(), LocalExecutor(kept, jobs, device) as executor:
        outcome = schedule.run(plan.goals, kept, executor, listen)
        summary = plan.summary(outcome.unfinished)
        if summary is not None:
            outcome = _both(outcome, schedule.run([summary], kept, executor, listen))
    return Results(plan, kept, summary, outcome)


def _both(work: Outcome, summary: Outcome) -> Outcome:
    cached = work.cached | (summary.cached - work.done)
    return Outcome(cached, work.done | summary.done, work.failed | summary.failed, work.skipped | summary.skipped)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
