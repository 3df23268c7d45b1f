"""The machines of a Ray cluster: what they have, and a step that holds several of them."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from datatrial.records import Resources


def held_together(needed: Resources, machines: int) -> Any:
    """Ray's placement group for a step that takes as much of each of so many nodes."""
    import ray

    each = {"CPU": needed.cpus, "GPU": needed.gpus or 0.0, "memory": float(needed.memory), **needed.custom}
    bundle = {name: amount for name, amount in each.items() if amount}
    return ray.util.placement_group([bundle] * machines, strategy="STRICT_SPREAD")


def on_one_of(group: Any, number: int) -> Any:
    """The scheduling strategy of what is to run on one of the nodes that a group holds."""
    import ray

    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
    return strategy(group, placement_group_bundle_index=number)


class OtherMachines:
    """Runs on the first of the machines that a step holds; the others run a command each until it is left."""

    def __init__(self) -> None:
        import ray

        self.address = ray.util.get_node_ip_address()
        with socket.socket() as taken:
            taken.bind(("", 0))
            self.port: int = taken.getsockname()[1]
        self.refs: list[Any] = []

    def run(self, arguments: Sequence[Sequence[str]], shared: Path) -> Self:
        """Have each of the others run Python with its own arguments; `shared` is a file that they need to see."""
        import ray

        group, here = ray.util.get_current_placement_group(), ray.get_runtime_context()
        taken = {name: amount for name, amount in here.get_assigned_resources().items() if "_group_" not in name}
        for number, own in enumerate(arguments, start=1):
            options: Mapping[str, Any] = {
                "num_cpus": taken.get("CPU", 0),
                "num_gpus": taken.get("GPU", 0),
                "max_retries": 0,
                "scheduling_strategy": on_one_of(group, number),
            }
            self.refs.append(ray.remote(_run).options(**options).remote(list(own), str(shared), list(sys.path)))
        return self

    def failure(self) -> str:
        """What went wrong with a command, if anything did."""
        import ray

        ended, _ = ray.wait(self.refs, num_returns=len(self.refs), timeout=0) if self.refs else ([], [])
        for ref in ended:
            try:
                if said := ray.get(ref):
                    return str(said)
            except ray.exceptions.RayError as error:
                return f"one of the other machines was lost ({type(error).__name__})"
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        import ray

        for ref in self.refs:
            with suppress(ray.exceptions.RayError):
                ray.cancel(ref, force=True)


def _run(arguments: list[str], shared: str, path: list[str]) -> str:
    """Run Python on this machine; what went wrong, if anything did. It ends with this process."""
    if not Path(shared).exists():
        return f"{socket.gethostname()} does not see {shared}: machines that train together need one file system"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    code = subprocess.call([sys.executable, *arguments, str(os.getpid())], env=environment)
    return f"training on {socket.gethostname()} ended with exit code {code}" if code else ""


def nodes() -> dict[str, Mapping[str, float]]:
    """What each node that is alive has in all, by its name."""
    import ray

    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def lacking_for(needed: Resources, machines: int = 1) -> str:
    """What a step needs that too few nodes have, in words; empty where enough nodes have it all."""
    asked = {"CPU": needed.cpus, "GPU": needed.gpus or 0.0, "memory": float(needed.memory), **needed.custom}
    every = list(nodes().values())
    having = sum(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in every)
    if having >= machines:
        return ""
    nowhere = {n: a for n, a in asked.items() if a and all(node.get(n, 0) < a for node in every)}
    together = nowhere or {name: amount for name, amount in asked.items() if amount}
    what = " and ".join(_said(name, amount) for name, amount in together.items())
    if machines == 1:
        return f"a node with {what}: the cluster has none"
    return f"{machines} nodes with {what} each: the cluster has {having or 'none'}"


def _said(name: str, amount: float) -> str:
    return f"{amount / 1e9:.3g} GB of memory" if name == "memory" else f"{amount:g} {name}"
