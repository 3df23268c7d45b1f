"""The Ray executor: the same steps on the nodes of a cluster, which share the store."""

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Any, Self, cast

from datatrial.engine.local import ATTEMPTS, TIMES_BUSY, Seconds, quiet_seconds, worker_environment
from datatrial.engine.ray_machines import held_together, lacking_for, nodes, on_one_of
from datatrial.engine.ray_node import Mailbox, Note, do
from datatrial.engine.schedule import LOOK_SECONDS, Change, Event
from datatrial.engine.store import Store, Work
from datatrial.engine.worker import explain, last_words
from datatrial.errors import DatatrialError
from datatrial.records import Resources
from datatrial.redaction import redacted

LOSSES = 10  # of nodes, after which a step begins again: machines that may be taken away at any time are the cheap ones
POLL_SECONDS = 0.2  # between two looks into the mailbox
LOG_SECONDS = 30  # for a node to send the log of a worker that died
REACH_SECONDS = 5  # to answer at an address: Ray itself tries for minutes, then ends the process
AT_LEAST = 16  # steps handed over to a cluster that has nothing yet: it may grow with what waits
# Where nodes find what was fetched beforehand, if the driver was told.
FORWARDED = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE")


@dataclass(frozen=True)
class OnRay:
    """A Ray cluster as the place where steps run: the one at `address`, or one that is started on this machine.

    Without an address, Ray looks for one in `RAY_ADDRESS` and for a cluster of this machine first.
    """

    address: str | None = None
    jobs: int | None = None
    device: str = "auto"

    def check(self) -> str:
        """Join the cluster; where its dashboard is, as far as that is known.

        Raises: DatatrialError when Ray is not installed, the cluster does not answer, or there is no such device.
        """
        if self.device not in ("auto", "cpu", "cuda"):
            raise DatatrialError(f"on Ray, the device should be auto, cpu or cuda, not {self.device!r}")
        return _join(self.address)

    @property
    def slots(self) -> int:
        """About how many steps run at once."""
        whole = _ray().cluster_resources()
        return self.jobs or max(1, int(whole.get("GPU", 0) or whole.get("CPU", 0)))

    def executor(self, store: Store, expected: Seconds = MappingProxyType({})) -> "RayExecutor":
        self.check()
        return RayExecutor(store, self.jobs, self.device, expected)


@dataclass(frozen=True)
class _Flight:
    """A step that was handed over."""

    work: Work
    attempt: int = 1
    crashes: int = 0  # of its worker alone
    losses: int = 0  # of the node
    node: str = ""  # where it runs; empty until it began
    group: Any = None  # of the nodes that it holds, if several
    heard: float = 0.0  # when it last said something
    hung: bool = False  # and was ended for that


class RayExecutor:
    """Runs steps on the Ray cluster that this process has joined; Ray finds each a node with what it needs.

    A step whose node is lost runs again elsewhere; one whose worker died alone, or hangs, is tried once more.
    """

    def __init__(
        self, store: Store, jobs: int | None = None, device: str = "auto", expected: Seconds = MappingProxyType({})
    ):
        ray = _ray()
        self.store, self.jobs, self.device, self.expected = store, jobs, device, expected
        self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self.mark = store.mark()
        self.mailbox = _mailbox()
        self.do = ray.remote(do)
        self.flights: dict[Any, _Flight] = {}  # by the reference to what comes of it
        self.told: set[str] = set()  # of resources that no node has
        self.events: list[Event] = []

    @property
    def slots(self) -> int:
        """Enough to keep every core busy, and so few that what becomes urgent later need not wait for all of it."""
        return self.jobs or max(AT_LEAST, int(_ray().cluster_resources().get("CPU", 0)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        ray = _ray()
        for ref, flight in self.flights.items():
            ray.cancel(ref, force=True)
            _let_go(flight)
        ray.kill(self.mailbox)
        self.store.unmark(self.mark)

    def submit(self, work: Work) -> None:
        self._hand_over(_Flight(work))

    def _hand_over(self, flight: _Flight) -> None:
        work, needed = flight.work, self._needed(flight.work.resources)
        device = "cuda" if needed.gpus else "cpu"
        machines = needed.launch.num_machines if needed.launch else 1
        flight = replace(flight, group=held_together(needed, machines) if machines > 1 else None)
        task = self.do.options(
            name=work.label or work.key,  # what the dashboard shows
            num_cpus=needed.cpus,
            num_gpus=needed.gpus,
            memory=needed.memory or None,
            resources=dict(needed.custom),
            scheduling_strategy=on_one_of(flight.group, 0) if flight.group else None,
            max_retries=0,  # counted and shown here instead
            runtime_env={"env_vars": _environment(device)},
        )
        ref = task.remote(self.store, self.mark, work, device, flight.attempt, self.mailbox)
        self.flights[ref] = flight
        lacking = lacking_for(needed, machines)
        if lacking and lacking not in self.told:
            self.told.add(lacking)
            self.events.append(Event("held", work.digest, f"waits for {lacking}"))

    def _needed(self, resources: Resources) -> Resources:
        """What it takes of a machine, with the GPU that it takes by itself where there are any or `device` says so."""
        processes = float(resources.launch.on_each_machine) if resources.launch else 1.0
        by_itself = 1.0 if self.has_gpus or self.device == "cuda" else 0.0
        gpus = (by_itself if resources.gpus is None else resources.gpus) * processes
        cpus = resources.cpus * processes
        return replace(resources, gpus=gpus if self.device != "cpu" else 0.0, cpus=cpus)

    def wait(self) -> Iterable[Event]:
        ray, until = _ray(), time.monotonic() + LOOK_SECONDS
        while not self.events and time.monotonic() < until:
            ready, _ = ray.wait(list(self.flights), num_returns=1, timeout=POLL_SECONDS)
            if ready:
                ready, _ = ray.wait(list(self.flights), num_returns=len(self.flights), timeout=0)
            for note in ray.get(self.mailbox.take.remote()):
                self._read(note)
            for ref in ready:
                self._ended(ref, self.flights.pop(ref))
        self._end_what_hangs()
        events, self.events = self.events, []
        return events

    def _end_what_hangs(self) -> None:
        """Whether a node computes in silence cannot be seen from here, so each step has the time of one that does."""
        for ref, flight in self.flights.items():
            limit = TIMES_BUSY * quiet_seconds(self.expected.get(flight.work.digest))
            if flight.node and not flight.hung and time.monotonic() - flight.heard > limit:
                self.flights[ref] = replace(flight, hung=True)
                _ray().cancel(ref, force=True)

    def withdraw(self) -> Iterable[str]:
        ray = _ray()
        waiting = {ref: flight for ref, flight in self.flights.items() if not flight.node}
        for ref, flight in waiting.items():
            ray.cancel(ref, force=True)  # one that has begun by now, and could not say so yet, loses a moment's work
            _let_go(flight)
            del self.flights[ref]
        return [flight.work.digest for flight in waiting.values()]

    def _read(self, note: Note) -> None:
        flying = (
            (ref, f) for ref, f in self.flights.items() if (f.work.digest, f.attempt) == (note.digest, note.attempt)
        )
        ref, flight = next(flying, (None, None))
        if flight is None:
            return
        flight = self.flights[ref] = replace(flight, heard=time.monotonic())
        if note.reply.change == "started":
            self.flights[ref] = replace(flight, node=note.reply.message)
            self.events.append(Event("started", note.digest))
        elif flight.node:
            reply = note.reply
            self.events.append(Event(cast(Change, reply.change), note.digest, reply.message, reply.done, reply.total))

    def _ended(self, ref: Any, flight: _Flight) -> None:
        ray = _ray()
        _let_go(flight)
        try:
            reply = ray.get(ref)
            self.events.append(Event(reply.change, flight.work.digest, reply.message))
        except ray.exceptions.RayTaskError as error:  # not the step's own: that is in its reply
            self._failed(flight, explain(error.cause))
        except (ray.exceptions.RuntimeEnvSetupError, ray.exceptions.TaskUnschedulableError) as error:
            self._failed(flight, redacted(f"Ray could not begin it: {error}"))
        except ray.exceptions.RayError as error:
            self._lost(flight, error)

    def _keep_log(self, flight: _Flight) -> None:
        """Have the node of a worker that died send the log, which may be on that node alone."""
        ray = _ray()
        if flight.node:
            keep = ray.remote(_keep_log).options(num_cpus=0, scheduling_strategy=_on_node(flight.node), max_retries=0)
            with suppress(ray.exceptions.RayError):
                ray.get(keep.remote(self.store, flight.work), timeout=LOG_SECONDS)

    def _failed(self, flight: _Flight, reason: str) -> None:
        self.events.append(Event("failed", flight.work.digest, reason))

    def _lost(self, flight: _Flight, error: Exception) -> None:
        ray = _ray()
        if isinstance(error, ray.exceptions.NodeDiedError) or (flight.node and flight.node not in nodes()):
            again = replace(flight, losses=flight.losses + 1)
            reason, times, allowed = "its node was lost", again.losses, LOSSES
        else:
            again = replace(flight, crashes=flight.crashes + 1)
            reason = "its worker said nothing for too long and was ended" if flight.hung else _how_it_died(error)
            times, allowed = again.crashes, ATTEMPTS - 1
            self._keep_log(flight)
        if times > allowed:
            words = last_words(self.store.read_log(flight.work))
            often = "twice" if times == 2 else f"{times} times"
            self._failed(flight, f"{reason}, {often}; the end of its log:\n{words}")
        else:
            self.events.append(Event("retried", flight.work.digest, reason))
            self._hand_over(replace(again, attempt=flight.attempt + 1, node="", hung=False))


def _let_go(flight: _Flight) -> None:
    if flight.group:
        _ray().util.remove_placement_group(flight.group)


def _mailbox() -> Any:
    ray = _ray()
    here = _on_node(ray.get_runtime_context().get_node_id())
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(Mailbox).options(**options).remote()


def _on_node(node: str) -> Any:
    # Not `soft`: Ray then puts an actor anywhere, such as on a node that will be lost.
    return _ray().util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)


def _keep_log(store: Store, work: Work) -> None:
    store.finish_log(work)


def _how_it_died(error: Exception) -> str:
    if isinstance(error, _ray().exceptions.OutOfMemoryError):
        return "its worker was killed: the node ran out of memory; reserve some with `resources`"
    return f"its worker died ({type(error).__name__})"


def _ray() -> Any:
    """Ray, imported when it is used: most runs do without."""
    import ray

    return ray


def _join(address: str | None) -> str:
    """Join the cluster at an address, unless this process is part of one; the address of the dashboard, if known."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a Ray that is started here does not phone home
    try:
        ray = _ray()
    except ImportError as error:
        raise DatatrialError("Ray is not installed: pip install 'datatrial[ray]'") from error
    if ray.is_initialized():
        return ""
    address = address or os.environ.get("RAY_ADDRESS")
    _check_reachable(address)
    try:
        joined = ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (Exception, SystemExit) as error:
        where = f"join the Ray cluster at {address}" if address else "start Ray on this machine"
        token = "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its nodes"
        raise DatatrialError(f"cannot {where}: {explain(error)}{f'; {token}' if address else ''}") from error
    return f"http://{joined.dashboard_url}" if joined.dashboard_url else ""


def _check_reachable(address: str | None) -> None:
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local": nothing to be reached
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatatrialError(
            f"no Ray cluster answers at {address} ({reason}); `ray status` on its head node tells whether one runs"
        ) from error


def _environment(device: str) -> dict[str, str]:
    """Environment variables of a step. Which GPU is its own, Ray says; a step without one sees none."""
    forwarded = {name: os.environ[name] for name in FORWARDED if name in os.environ}
    return {**worker_environment(device, "" if device == "cpu" else None), **forwarded}
