"""How many steps a GPU should do at once."""

from dataclasses import replace
from pathlib import Path

from datatrial import planner
from datatrial.engine.store import Store
from datatrial.estimates.devices import Device, device_of
from datatrial.estimates.estimate import Estimates
from datatrial.estimates.sharing import MOST, workers_per_gpu
from datatrial.steps import Plan

SMALL = """
name: small
model: {kind: from_scratch, corpus: corpus, hidden_size: 64, layers: 4}
seeds: [0, 1, 2, 3]
data:
  corpus: {source: {kind: micro_world, part: corpus}}
  careful: {source: {kind: micro_world, part: careful_demonstrations}}
  hasty: {source: {kind: micro_world, part: careless_demonstrations}}
  science: {source: {kind: micro_world, part: science, n: 100}}
arms: {base: [], careful: [{sft: careful}], hasty: [{sft: hasty}]}
benchmarks: [{kind: lm_eval, data: science}]
"""


def planned(tmp_path: Path, study: str = SMALL) -> Plan:
    (tmp_path / "study.yaml").write_text(study)
    return planner.plan(tmp_path / "study.yaml", tmp_path / "store")


def gpu(**settings: float) -> Device:
    found = device_of("h200")
    assert found
    return replace(found, **settings)


def test_small_models_share_a_gpu_that_one_of_them_leaves_idle(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert workers_per_gpu(plan, gpu()) == MOST
    total = Estimates(plan, Store(tmp_path / "store"), gpu()).total(plan.steps)
    assert 0 < total.busy < total.seconds / MOST


def test_a_gpu_that_is_kept_busy_has_one_worker(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    slow = gpu(bandwidth=1e3, layer_seconds=0.0, request_seconds=0.0)
    assert workers_per_gpu(plan, slow) == 1


def test_no_more_share_it_than_fit_into_its_memory(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    libraries = gpu().base_memory  # of each worker; the rest adapts to what there is
    by_memory = [workers_per_gpu(plan, gpu(memory=times * libraries)) for times in (1.5, 3.5, 6, 100)]
    assert by_memory == sorted(by_memory)
    assert by_memory[0] == 1 < by_memory[2] <= 5 < by_memory[3]


def test_no_more_share_it_than_can_be_done_side_by_side(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert workers_per_gpu(plan, gpu(workers=4)) == 4  # eight scores and eight drifts on four GPUs
    (tmp_path / "chain").mkdir()
    chain = SMALL.replace("seeds: [0, 1, 2, 3]", "seeds: [0]").replace(", hasty: [{sft: hasty}]", "")
    plan = planned(tmp_path / "chain", chain)
    assert workers_per_gpu(plan, gpu()) <= 2  # the base model is scored while the arm is trained


def test_what_is_done_already_changes_nothing(tmp_path: Path) -> None:
    """Else the rest of a study would be computed in another layout than its beginning."""
    plan = planned(tmp_path)
    before, store = workers_per_gpu(plan, gpu()), Store(tmp_path / "store")
    for step in plan.steps[:-1]:
        store.path(step).mkdir(parents=True)
        (store.path(step) / "record.json").write_text("{}")
    assert workers_per_gpu(plan, gpu()) == before > 1


def test_a_stage_in_several_processes_has_its_gpus_to_itself(tmp_path: Path) -> None:
    plan = planned(tmp_path, SMALL + "launch: {num_processes: 2}\n")
    assert workers_per_gpu(plan, gpu(workers=8)) == 1


def test_a_cpu_and_a_device_in_no_table_are_not_shared(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert workers_per_gpu(plan, device_of("cpu")) == 1
    assert workers_per_gpu(plan, None) == 1


def test_a_model_of_unknown_shape_is_given_a_whole_gpu(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        SMALL.replace(
            "{kind: from_scratch, corpus: corpus, hidden_size: 64, layers: 4}", "{kind: hub, path: acme/of-no-table}"
        ),
    )
    assert workers_per_gpu(plan, gpu()) == 1
