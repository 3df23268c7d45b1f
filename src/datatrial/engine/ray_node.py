"""What happens on a node of a Ray cluster: one step, whose progress is left in a mailbox for the driver."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datatrial.engine.ray_machines import OtherMachines
from datatrial.engine.store import Store, Work
from datatrial.engine.worker import Reply, build, keep_to


@dataclass(frozen=True)
class Note:
    """What a step says while it runs; of which attempt, since one that was lost may have left some behind."""

    digest: str
    attempt: int
    reply: Reply


class Mailbox:
    """An actor beside the driver. It keeps what steps say until the driver asks, which nodes cannot reach."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def put(self, note: Note) -> None:
        self.notes.append(note)

    def take(self) -> list[Note]:
        """All that came since the last time, in the order in which it came."""
        notes, self.notes = self.notes, []
        return notes

    def has_all(self) -> None:
        """Returns once everything is here that its caller put before: calls are answered in turn."""


def do(store: Store, mark: str, work: Work, device: str, attempt: int, mailbox: Any) -> Reply:
    """Do a step; how it ended. `mark` is what the driver's own store shows to those who see it."""
    import ray

    node = ray.get_runtime_context().get_node_id()

    def tell(reply: Reply) -> Any:
        return mailbox.put.remote(Note(work.digest, attempt, reply))

    tell(Reply("started", node))
    if gpus := ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0):
        keep_to(min(gpus, 1.0), device)
    reply = _do(store, mark, work, device, tell)
    ray.get(mailbox.has_all.remote())  # the driver reads its mail once it has the reply
    return reply


def _do(store: Store, mark: str, work: Work, device: str, tell: Callable[[Reply], object]) -> Reply:
    if not store.shows(mark):
        place = f"{platform.node()} does not see the store {store} of this run"
        return Reply("failed", f"{place}: put it where every node has it, or name one such as s3://bucket/folder")
    # What stands in Ray's own log of this step: the dashboard shows it there.
    print(f"{work.label or work.key}: its log is {store.log_place(work)}", flush=True)
    launch = work.resources.launch
    others = OtherMachines() if launch and launch.num_machines > 1 else None
    return build(store, work, device, tell, others)
