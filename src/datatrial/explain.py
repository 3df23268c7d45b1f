"""Why a step would run again: its recipe beside the nearest one in the store, followed down to the cause."""

from collections.abc import Iterator

from datatrial.component import did_you_mean
from datatrial.engine.step import Step, differences
from datatrial.engine.store import Record, Store
from datatrial.errors import DatatrialError
from datatrial.steps import Plan


def find(plan: Plan, text: str) -> Step:
    """The one step of a plan that a digest, a label, or the beginning of either names.

    Raises: DatatrialError when there is none, or more than one.
    """
    exact = [s for s in plan.steps if text in (s.digest, s.label, s.name)]
    found = exact or [s for s in plan.steps if s.digest.startswith(text) or s.label.startswith(text)]
    if not found:
        raise DatatrialError(f"no step is called {text!r}; {did_you_mean(text, [s.label for s in plan.steps])}")
    if len(found) > 1:
        listed = "".join(f"\n  {s.digest}  {s.label}" for s in found)
        raise DatatrialError(f"{len(found)} steps begin with {text!r}; name one:{listed}")
    return found[0]


def explanation(step: Step, store: Store) -> Iterator[str]:
    """Lines that say whether the step is done, and if not, what differs from the nearest result of its kind."""
    if store.has(step):
        record = store.record(step)
        yield f"{step.label} is done ({record['started']}, {record['seconds']} s): {store.path(step)}"
        return
    if failure := store.failure(step):
        yield f"{step.label} failed when it was last tried: {failure}"
        yield f"  its log: {store.log_place(step)}"
    elif store.is_running(step):
        yield f"{step.label} is being done now"
    elif store.is_interrupted(step):
        yield f"{step.label} was interrupted, and goes on from where it was with the next run"
    yield from _changes(step, store, "")


def _changes(step: Step, store: Store, indent: str) -> Iterator[str]:
    found = nearest(step, store)
    if found is None:
        yield f"{indent}{step.label} is new: the store has no result of kind {step.task.kind}"
        return
    digest, record = found
    yield f"{indent}{step.label} differs from {record['label']!r} ({digest}) in:"
    for part in ("task", "externals"):
        for line in differences(record["recipe"].get(part, {}), step.recipe[part]):
            yield f"{indent}  {line}"
    for name, dep in step.inputs.items():
        before = record["recipe"]["inputs"].get(name)
        if before == dep.digest:
            continue
        if store.has(dep):
            yield f"{indent}  input {name}: it was {before}, now it is {dep.digest} ({dep.label})"
        else:
            yield f"{indent}  input {name}:"
            yield from _changes(dep, store, indent + "    ")


def nearest(step: Step, store: Store) -> tuple[str, Record] | None:
    """The result of the same kind whose recipe differs least."""
    return min(
        store.records(step.task.kind),
        key=lambda found: len(differences(found[1]["recipe"], step.recipe)),
        default=None,
    )
