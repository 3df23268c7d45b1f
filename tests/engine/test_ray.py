"""A real Ray cluster of two nodes on this machine, which share a store."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from safetensors.torch import load_file

from datatrial.engine import schedule
from datatrial.engine.local import LocalExecutor
from datatrial.engine.ray import OnRay, RayExecutor, _Flight
from datatrial.engine.remote import RemoteStore
from datatrial.engine.schedule import Outcome
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.errors import DatatrialError
from datatrial.records import Launch, Resources
from datatrial.training.sft import Sft
from datatrial.trial import prepare
from tests import tiny
from tests.engine.tasks import Fail, FailsElsewhere, Given, Sleep, TrainedHere, Where, Write

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'datatrial[ray]'")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    """A head node, and a second one that has a `tape`, each with its own cache of remote stores; joined."""
    from ray.cluster_utils import Cluster

    caches = tmp_path_factory.mktemp("caches")
    head = {"num_cpus": 2, "include_dashboard": False, "env_vars": {"DATATRIAL_CACHE": str(caches / "head")}}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=2, resources={"tape": 2}, env_vars={"DATATRIAL_CACHE": str(caches / "tape")})
    made.caches = caches
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    return store


@dataclass(frozen=True)
class Seen:
    """What a run told."""

    outcome: Outcome
    events: list[tuple[str, str, str]]  # change, label, message

    def of(self, change: str) -> list[tuple[str, str]]:
        return [(label, message) for kind, label, message in self.events if kind == change]


def go(store: Store, *goals: Step, during=lambda event, step: None, executor=None) -> Seen:
    events = []

    def listen(event, step):
        events.append((event.change, step.label, event.message))
        during(event, step)

    with executor or RayExecutor(store) as opened:
        return Seen(schedule.run(goals, store, opened, listen), events)


def on_tape(task, label="", **inputs: Step) -> Step:
    return Step(task, inputs, label=label, resources=Resources(custom={"tape": 1}))


def test_steps_make_the_same_results_as_in_workers_of_this_machine(cluster, store, tmp_path):
    first = Step(Write("a"), label="first")
    goals = [Step(Write(text), {"x": first}, label=text) for text in ("b", "c", "d")]
    seen = go(store, *goals)
    local = Store(tmp_path / "local")
    local.open()
    go(local, *goals, executor=LocalExecutor(local, jobs=1, device="cpu"))
    assert len(seen.outcome.done) == 4
    for step in (first, *goals):
        assert store.record(step)["files"] == local.record(step)["files"]
        assert store.record(step)["recipe"] == local.record(step)["recipe"]
    changes = [change for change, label, _ in seen.events if label == "b"]
    assert (changes[0], changes[-1]) == ("started", "done")
    assert ("b", "texts") in seen.of("progress")


def test_a_stopped_run_takes_back_what_no_node_has_begun(cluster, store, tmp_path):
    steps = [Step(Sleep(4.0 + n / 100, str(tmp_path / f"began {n}")), label=str(n)) for n in range(7)]
    started: set[str] = set()

    def listen(event, step):
        if event.change == "started":
            started.add(step.digest)

    with RayExecutor(store) as executor:
        outcome = schedule.run(steps, store, executor, listen, lambda: len(started) >= 4)  # of as many cores
    assert outcome.done == started
    assert outcome.left == {step.digest for step in steps} - started
    assert outcome.left
    assert not any(store.has(step) for step in steps if step.digest in outcome.left)
    assert len(list(tmp_path.glob("began *"))) <= len(started) + 1  # one may have begun that could not say so yet


def test_failures_are_told_as_by_a_local_worker_and_their_log_is_in_the_store(cluster, store, tmp_path):
    told, disk, odd = Step(Fail("data")), Step(Fail("disk")), Step(Fail("odd"))
    below = Step(Write("x"), {"told": told}, label="below")
    seen = go(store, below, disk, odd)
    local = Store(tmp_path / "local")
    local.open()
    expected = go(local, below, disk, odd, executor=LocalExecutor(local, jobs=1, device="cpu"))
    assert seen.outcome.failed.keys() == expected.outcome.failed.keys()
    for step in (told, odd):
        assert seen.outcome.failed[step.digest] == expected.outcome.failed[step.digest]
    assert seen.outcome.failed[disk.digest].startswith("the disk is full")
    assert seen.outcome.skipped == expected.outcome.skipped
    assert "Traceback" in store.log(odd).read_text()


def test_a_step_runs_on_a_node_that_has_what_it_needs(cluster, store):
    steps = {str(n): on_tape(Where(str(n))) for n in range(3)}
    go(store, *steps.values())
    [tape] = [node["NodeID"] for node in ray.nodes() if node["Alive"] and "tape" in node["Resources"]]
    assert {(store.path(step) / "node").read_text() for step in steps.values()} == {tape}


def test_a_step_sees_what_a_worker_sees(cluster, store):
    step = Step(Where("environment"), label="the step's label")
    go(store, step)
    names = ("HF_HUB_OFFLINE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    seen = dict(line.split("=", 1) for line in (store.path(step) / "environment").read_text().splitlines())
    assert {name: seen.get(name) for name in names} == dict(zip(names, ("1", "1", ""), strict=True))
    assert (store.path(step) / "task").read_text() == "the step's label"
    assert store.record(step)["device"] == "cpu"


def test_a_step_whose_worker_dies_is_tried_once_more_and_then_fails_with_the_end_of_its_log(cluster, store, tmp_path):
    once, always = Step(Fail("kill", once=str(tmp_path / "tried")), label="once"), Step(Fail("kill"), label="always")
    good = Step(Write("good"))
    seen = go(store, once, always, good)
    assert {once.digest, good.digest} == seen.outcome.done
    assert sorted(label for label, _ in seen.of("retried")) == ["always", "once"]
    assert "twice" in seen.outcome.failed[always.digest]
    assert "the last words of the worker" in seen.outcome.failed[always.digest]


def test_a_step_whose_node_is_lost_runs_again_on_another(cluster, store, tmp_path):
    lost = cluster.add_node(num_cpus=1, resources={"disk": 1})
    began = tmp_path / "began"
    step = Step(Where("lost", str(began)), label="long", resources=Resources(custom={"disk": 1}))
    replacements = []

    def lose_the_node(event, step):
        if event.change == "started" and not replacements:
            while not began.exists():
                time.sleep(0.05)
            cluster.remove_node(lost, allow_graceful=False)
            replacements.append(cluster.add_node(num_cpus=1, resources={"disk": 1}))

    seen = go(store, step, during=lose_the_node)
    cluster.remove_node(replacements[0])
    assert seen.outcome.done == {step.digest}
    assert seen.of("retried") == [("long", "its node was lost")]
    assert len(began.read_text().split()) == 2
    assert (store.path(step) / "node").read_text() == began.read_text().split()[1]


def test_resources_that_no_node_has_are_told_once_and_the_step_waits_for_them(cluster, store):
    needs = Resources(gpus=1, memory=10**13, custom={"tape": 1, "a100": 4})
    steps = [Step(Write(str(n)), label=f"heavy {n}", resources=needs) for n in range(2)]
    joined = []

    def help_out(event, step):
        if event.change == "held":
            joined.append(cluster.add_node(num_cpus=1, num_gpus=1, memory=10**13, resources={"tape": 1, "a100": 4}))

    seen = go(store, *steps, during=help_out)
    cluster.remove_node(joined[0])
    assert seen.of("held") == [
        ("heavy 0", "waits for a node with 1 GPU and 1e+04 GB of memory and 4 a100: the cluster has none")
    ]
    assert {step.digest for step in steps} == seen.outcome.done
    assert {store.record(step)["device"] for step in steps} == {"cuda"}


def test_where_no_node_has_a_gpu_steps_that_would_take_one_run_without(cluster, store):
    step = Step(Write("x"), resources=Resources(gpus=None))
    go(store, step)
    assert store.record(step)["device"] == "cpu"


@pytest.mark.parametrize(
    ("device", "gpus", "taken"),
    [("cpu", 1.0, 0), ("cpu", None, 0), ("cuda", None, 1), ("cuda", 0.5, 0.5), ("auto", 0, 0)],
)
def test_the_device_says_whether_steps_take_a_gpu(cluster, store, device, gpus, taken):
    with RayExecutor(store, device=device) as executor:
        assert executor._needed(Resources(gpus=gpus)).gpus == taken


def test_a_step_that_loses_node_after_node_begins_again_ten_times_and_is_then_given_up(cluster, store, monkeypatch):
    work, again = store.work(Step(Write("x"), label="unlucky")), []
    with RayExecutor(store) as executor:
        monkeypatch.setattr(executor, "_hand_over", again.append)
        for before in range(11):
            executor._lost(_Flight(work, losses=before), ray.exceptions.NodeDiedError("gone"))
    *retried, given_up = executor.events
    assert [flight.losses for flight in again] == [*range(1, 11)]
    assert {event.change for event in retried} == {"retried"}
    assert given_up.change == "failed"
    assert "its node was lost, 11 times" in given_up.message


def test_a_node_that_does_not_see_the_store_is_named(cluster, store, tmp_path):
    class Elsewhere(Store):
        def mark(self) -> str:
            return "a mark that no node can find"

    kept = Elsewhere(tmp_path / "elsewhere")
    kept.open()
    step = Step(Write("x"))
    seen = go(kept, step)
    assert "does not see the store" in seen.outcome.failed[step.digest]


def test_nodes_need_not_share_a_disk_where_the_store_is_remote(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("DATATRIAL_CACHE", str(tmp_path / "driver"))
    store = RemoteStore(f"file://{tmp_path}/bucket/studies")
    store.open()
    first = on_tape(Write("a"), "first")
    bad = on_tape(Fail("kill"), "bad")
    on_head = Resources(custom={"node:__internal_head__": 0.001})
    goal = Step(Write("b"), {"x": first}, label="goal", resources=on_head)
    seen = go(store, goal, bad)
    assert seen.outcome.done == {first.digest, goal.digest}
    assert "the last words of the worker" in seen.outcome.failed[bad.digest]
    [made] = (cluster.caches / "tape" / "stores").glob(f"*/{first.key}/text")
    [read] = (cluster.caches / "head" / "stores").glob(f"*/{first.key}/text")
    assert made.read_text() == read.read_text() == "a"
    assert not list((tmp_path / "driver").glob(f"stores/*/{first.key}"))
    assert (store.path(goal) / "text").read_text() == "ba"
    assert "Traceback" not in store.read_log(goal)


def test_that_ray_is_not_installed_is_told_with_the_command_that_does_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DatatrialError, match=r"pip install 'datatrial\[ray\]'"):
        OnRay().check()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"executor": "dask"}, "the executor should be one of local, ray, not 'dask'"),
        ({"address": "host:6379"}, "add --executor ray"),
    ],
)
def test_where_steps_cannot_run_is_refused_before_anything_else(tmp_path, arguments, message):
    with pytest.raises(DatatrialError, match=message):
        prepare(tmp_path / "absent.yaml", tmp_path / "store", **arguments)


def test_a_device_that_ray_knows_nothing_of_is_refused():
    with pytest.raises(DatatrialError, match="auto, cpu or cuda, not 'mps'"):
        OnRay(device="mps").check()


def test_an_address_where_no_cluster_answers_is_named(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(DatatrialError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 \(Connection refused\)"):
        OnRay("127.0.0.1:1").check()


def test_a_stage_trains_on_two_machines_as_on_one(cluster, store, base, tmp_path):
    """They share the model, whose every weight is trained."""
    settings = {"learning_rate": 1e-3, "batch_size": 4, "max_length": 64, "held_out": 0.25, "lora": False}
    data = tiny.demonstrations(tmp_path / "data")
    one = tiny.result(Sft(**settings), tmp_path, "one", policy=base, data=data)
    inputs = {name: Step(Given(folder=folder)) for name, folder in (("policy", base), ("data", data))}
    together = Resources(launch=Launch(2, fsdp={}, num_machines=2))
    step = Step(TrainedHere(**settings), inputs, label="together", resources=together)
    seen = go(store, step)
    assert not seen.outcome.failed
    two = store.path(step)
    assert {(two / f"process-{n}").read_text() for n in range(2)} == {str(cluster.caches / n) for n in ("head", "tape")}
    for metric in ("loss", "eval_loss", "num_tokens"):
        assert tiny.curve(two, metric) == pytest.approx(tiny.curve(one, metric), rel=1e-3)
    ours, theirs = (load_file(policy / "weights" / "model.safetensors") for policy in (one, two))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] - theirs[name]).abs().mean() < 1e-4 for name in ours)
    assert "training steps" in {message for _, message in seen.of("progress")}


def test_what_goes_wrong_on_another_machine_ends_the_stage(cluster, store, base, tmp_path):
    data = tiny.demonstrations(tmp_path / "data")
    inputs = {name: Step(Given(folder=folder)) for name, folder in (("policy", base), ("data", data))}
    step = Step(FailsElsewhere(), inputs, resources=Resources(launch=Launch(2, num_machines=2)))
    assert go(store, step).outcome.failed[step.digest] == "the second process is out of order"
