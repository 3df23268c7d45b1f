import pytest

from datatrial.engine import devices, local
from datatrial.engine.store import Store
from datatrial.errors import DatatrialError


@pytest.fixture(autouse=True)
def _forget_gpus():
    devices.visible_gpus.cache_clear()
    yield
    devices.visible_gpus.cache_clear()


def test_gpus_are_those_that_cuda_may_use(monkeypatch):
    monkeypatch.setattr(devices, "version", lambda package: "2.13.0+cu130")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 2")
    assert devices.visible_gpus() == ["0", "2"]
    assert devices.slots(None, "auto") == 2
    assert devices.slots(1, "auto") == 1


@pytest.mark.parametrize(
    ("jobs", "per_gpu", "share"), [(2, 1, 1), (3, 1, 0.5), (4, 1, 0.5), (1, 4, 0.25), (8, 2, 0.25)]
)
def test_workers_share_the_memory_of_gpus_alike(monkeypatch, tmp_path, jobs, per_gpu, share):
    monkeypatch.setattr(devices, "version", lambda package: "2.13.0+cu130")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    workers = local.LocalExecutor(Store(tmp_path), jobs, per_gpu=per_gpu).workers
    assert {worker.share for worker in workers} == {share}
    assert [worker.gpu for worker in workers] == [str(n % 2) for n in range(jobs)]


def test_steps_in_several_processes_share_no_gpus(monkeypatch):
    monkeypatch.setattr(devices, "version", lambda package: "2.13.0+cu130")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert devices.slots(None, "auto", processes=2) == devices.slots(2, "auto", processes=2) == 2
    with pytest.raises(DatatrialError, match=r"--jobs 3: each has 2 GPUs \(launch.num_processes\), of 4 here"):
        devices.slots(3, "auto", processes=2)


@pytest.mark.parametrize(("per_gpu", "cores", "slots"), [(1, 2, 4), (2, 16, 8), (4, 6, 6)])
def test_a_gpu_has_as_many_workers_as_a_study_makes_use_of_and_there_are_cores_for(monkeypatch, per_gpu, cores, slots):
    monkeypatch.setattr(devices, "version", lambda package: "2.13.0+cu130")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setattr(devices.machine, "memory", lambda: 2**40)
    monkeypatch.setattr(devices.psutil.Process, "cpu_affinity", lambda self: list(range(cores)), raising=False)
    assert local.Here(per_gpu=per_gpu).slots == slots
    assert local.Here(jobs=3, per_gpu=per_gpu).slots == 3


def test_a_build_of_torch_for_cpus_sees_no_gpu(monkeypatch):
    monkeypatch.setattr(devices, "version", lambda package: "2.13.0+cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert devices.visible_gpus() == []
    with pytest.raises(DatatrialError, match="no GPU"):
        devices.check_device("cuda")


def test_workers_stay_offline_and_on_one_thread_of_a_cpu():
    environment = local.worker_environment("cpu", None)
    assert environment["HF_HUB_OFFLINE"] == environment["OMP_NUM_THREADS"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in environment
    assert local.worker_environment("cuda", "3")["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize(("gib", "cores", "jobs"), [(4, 2, 2), (3.8, 2, 2), (2, 8, 1), (64, 8, 8)])
def test_there_are_as_many_workers_as_cores_and_memory_allow(monkeypatch, gib, cores, jobs):
    monkeypatch.setattr(devices.machine, "memory", lambda: int(gib * 2**30))
    monkeypatch.setattr(devices.psutil.Process, "cpu_affinity", lambda self: list(range(cores)), raising=False)
    assert devices.slots(None, "cpu") == jobs
