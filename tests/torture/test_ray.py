"""A whole study on a Ray cluster of two nodes, one of which is lost while it trains; and steps that hang there."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from datatrial import run
from datatrial.engine import local, schedule
from datatrial.engine import ray as ray_executor
from datatrial.engine.schedule import Event
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from tests.end_to_end.conftest import datatrial, tiny
from tests.engine.tasks import Hang
from tests.torture.conftest import Figure

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'datatrial[ray]'")

pytestmark = [pytest.mark.torture, pytest.mark.timeout(600)]
__all__ = ["datatrial", "tiny"]  # fixtures


def smaller(study: Path, **changes: Any) -> None:
    """The study with one seed, one arm beside the base, one benchmark: on a cluster, every step costs seconds."""
    whole = yaml.safe_load(study.read_text())
    arms = {name: whole["arms"][name] for name in ("base", "careful")}
    few = {"seeds": [0], "arms": arms, "benchmarks": whole["benchmarks"][:1], "contrasts": []}
    study.write_text(yaml.safe_dump({**whole, **few, **changes}, sort_keys=False))


@pytest.fixture
def cluster():
    """A head that trains nothing, and no second node yet; joined."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


class LosesItsTrainer:
    """Kills the node that trains when a training stage is in the middle of its steps, and then adds another."""

    def __init__(self, cluster: Any):
        self.cluster = cluster
        self.trainer = self._add()
        self.told: list[tuple[str, str]] = []
        self.lost_at = 0.0  # share of the training that was done then

    def _add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, resources={"trainer": 1})

    def __call__(self, event: Event, step: Step) -> None:
        self.told.append((event.change, step.label))
        trains = event.change == "progress" and step.task.kind == "sft" and event.message == "training steps"
        if trains and not self.lost_at and 0 < event.done < event.total:
            self.lost_at = event.done / event.total
            self.cluster.remove_node(self.trainer, allow_graceful=False)
            self.trainer = self._add()


def numbers(store: Path) -> dict[str, pl.DataFrame]:
    return {p.parent.name: pl.read_parquet(p) for p in sorted(Store(store).root.glob("*/*/scores.parquet"))}


def digests_and_times(store: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in store.glob("*/*/record.json")}


def test_a_study_that_loses_a_node_in_the_middle_of_training_ends_with_the_same_numbers(
    cluster, tiny, tmp_path, figure: Figure
):
    # Long enough that the node dies in the middle, and on a node of its own.
    long = {"sft": {"learning_rate": 1e-3, "epochs": 12}}
    smaller(tiny, training=long, resources={"training": {"custom": {"trainer": 1}}})
    loses = LosesItsTrainer(cluster)
    on_ray = run(tiny, tmp_path / "ray", device="cpu", executor="ray", listen=loses)
    assert not on_ray.outcome.unfinished
    assert 0 < loses.lost_at < 1
    retried = {label for change, label in loses.told if change == "retried"}
    assert any(label.startswith("sft careful") for label in retried)
    figure("share of a training that was done when its node was lost", f"{loses.lost_at:.0%}")

    here = run(tiny, tmp_path / "here", jobs=2, device="cpu")
    assert on_ray.outcome.done == here.outcome.done
    assert_frame_equal(on_ray.contrasts, here.contrasts, check_exact=True)
    ours, theirs = numbers(tmp_path / "ray"), numbers(tmp_path / "here")
    assert ours.keys() == theirs.keys()
    for digest, scores in ours.items():
        assert_frame_equal(scores, theirs[digest], check_exact=True)


def test_a_study_runs_on_a_ray_of_its_own_over_a_remote_store_that_any_machine_reads(datatrial, tiny, tmp_path):
    smaller(tiny)
    where = ("--store", f"file://{tmp_path}/bucket/studies")
    ran = datatrial("run", tiny, "--executor", "ray", *where, DATATRIAL_CACHE="one", RAY_ADDRESS="local")
    assert "Ray's dashboard: http://" in ran.stderr
    assert "careful" in ran.stdout
    assert list((tmp_path / "bucket" / "studies").rglob("report.html"))

    def elsewhere(*command):
        return datatrial(*command, *where, DATATRIAL_CACHE="another").stdout

    arms = [line.split() for line in elsewhere("status", tiny).splitlines()[1:]]
    assert {arm for arm, *_ in arms} == {"base", "careful"}
    assert all(int(done) > 0 and left == ["0"] * 4 for _, done, *left in arms)
    assert not list((tmp_path / "another").glob("stores/*/sft"))  # it asked for no result
    told = elsewhere("explain", tiny, "sft careful, seed 0", "training.sft.learning_rate=0.01")
    assert "learning_rate: 0.001 -> 0.01" in told
    tables = elsewhere("report", tiny)
    assert tables.partition("report:")[0] == ran.stdout.partition("report:")[0]
    assert "adapters" in elsewhere("export", tiny)
    adapters = (tmp_path / "tiny-export" / "adapters").glob("*/*.safetensors")
    assert {path.parent.name for path in adapters} == {"careful-seed-0"}
    made = digests_and_times(tmp_path / "bucket" / "studies")
    assert elsewhere("run", tiny).partition("report:")[0] == tables.partition("report:")[0]
    assert digests_and_times(tmp_path / "bucket" / "studies") == made


def test_a_step_that_hangs_on_a_cluster_is_ended_and_tried_once_more(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "QUIET_SECONDS", 0.5)
    monkeypatch.setattr(ray_executor, "LOOK_SECONDS", 0.5)
    cluster.add_node(num_cpus=1)
    store, step, events = Store(tmp_path / "store"), Step(Hang("waits", str(tmp_path / "tried"))), list[Event]()
    store.open()
    with ray_executor.RayExecutor(store) as executor:
        outcome = schedule.run([step], store, executor, lambda event, _: events.append(event))
    assert outcome.done == {step.digest}
    [retried] = [event.message for event in events if event.change == "retried"]
    assert retried == "its worker said nothing for too long and was ended"
