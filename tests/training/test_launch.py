"""One stage in two processes: the same losses as one at the same batch."""

import os
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import psutil
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file

from datatrial import resources
from datatrial.errors import DivergedError, ModelError
from datatrial.records import Launch, ModelRef, Runtime
from datatrial.resources import Fsdp, Launching
from datatrial.training import _launch, _parts
from datatrial.training._base import Stage
from datatrial.training._checkpoints import latest
from datatrial.training._sharded import refuse_lone_head, sharding
from datatrial.training.sft import Sft
from tests import tiny
from tests.engine.tasks import FailsElsewhere
from tests.training.every_step import HOLD, SavedEveryStep

SETTINGS: dict[str, Any] = {"learning_rate": 5e-3, "batch_size": 4, "max_length": 64, "held_out": 0.25, "epochs": 2}
SETTINGS["lora"] = {"dropout": 0.1}
IN_TWO = Launch(2)


def in_two(
    stage: Stage, out: Path, scratch: Path, progress: Any = lambda *_: None, launch: Launch = IN_TWO, **inputs: Path
) -> Path:
    for folder in (out, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    stage.run(inputs, out, Runtime(scratch=scratch, launch=launch, progress=progress))
    return out


def assert_trained_alike(one: Path, two: Path, learning_rate: float) -> None:
    metrics = {"loss", "eval_loss", "num_tokens", "grad_norm", "entropy", "mean_token_accuracy", "logps/chosen"}
    for metric in metrics & {*pl.read_parquet(one / "history.parquet")["metric"]}:
        assert tiny.curve(two, metric) == pytest.approx(tiny.curve(one, metric), rel=1e-3), metric
    [file] = (path.relative_to(one) for path in one.rglob("*.safetensors"))
    ours, theirs = load_file(one / file), load_file(two / file)
    assert ours.keys() == theirs.keys()
    steps = tiny.summary(one)["steps"]
    assert all((ours[name] - theirs[name]).abs().mean() < 0.02 * steps * learning_rate for name in ours)


def test_nobody_else_can_put_a_pickle_into_the_folder_that_processes_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    class Ended:
        returncode = 0

        def __init__(self, *_: Any):
            modes.append((tmp_path / _launch.FOLDER).stat().st_mode & 0o777)

        def poll(self) -> int:
            return 0

        def terminate(self) -> None: ...
        def wait(self) -> None: ...

    monkeypatch.setattr(_launch.subprocess, "Popen", Ended)
    before = os.umask(0)
    try:
        _launch.train_in_processes(Sft.model_validate(SETTINGS), {}, tmp_path, Runtime(scratch=tmp_path, launch=IN_TWO))
    finally:
        os.umask(before)
    assert modes == [0o700]


def test_what_processes_say_is_passed_on_once(tmp_path: Path) -> None:
    """Else one that hangs would be heard all the while."""
    file, heard = tmp_path / "progress.json", list[tuple[Any, ...]]()
    runtime, told = Runtime(progress=lambda *said: heard.append(said)), ""
    for said in (None, '[1, 9, "steps"]', None, None, '[2, 9, "steps"]', None):
        if said:
            file.write_text(said)
        told = _launch._tell(file, runtime, told)
    assert heard == [(1, 9, "steps"), (2, 9, "steps")]


@pytest.mark.slow
def test_two_processes_train_as_one_does(base: Path, tmp_path: Path) -> None:
    """13 examples in batches of 4: at the end, there is one, and a process without any."""
    stage = Sft.model_validate({**SETTINGS, "epochs": 1})
    rows = tiny.demonstrations(tmp_path / "data", 17)
    one = tiny.result(stage, tmp_path, "one", policy=base, data=rows)
    seen: list[tuple[float, float, str]] = []
    two = tmp_path / "a" / "two"
    in_two(stage, two, tmp_path / "s", lambda *told: seen.append(told), policy=base, data=rows)
    assert_trained_alike(one, two, stage.learning_rate)
    assert "training steps" in {what for _, _, what in seen}
    assert {path.name for path in two.iterdir()} == tiny.TRAINED


@pytest.mark.slow
def test_sharded_training_is_that_of_one_process_and_goes_on_where_it_was(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is interrupted by the death of what started its processes, which must not train on."""
    stage = SavedEveryStep.model_validate({**SETTINGS, "epochs": 1})
    inputs = {"policy": base, "data": tiny.comparisons(tmp_path / "data")}
    one = tiny.result(stage, tmp_path, "one", **inputs)
    processes: list[psutil.Process] = []

    def until_the_third(done: float, _: float, what: str) -> None:
        if what == "training steps" and done >= 3 and not processes:
            [launcher] = (one for one in psutil.Process().children() if "torch.distributed.run" in one.cmdline())
            processes.extend(launcher.children())
            launcher.kill()

    scratch, sharded = tmp_path / "s", Launch(2, fsdp={"reshard_after_forward": False})
    scratch.mkdir()
    (scratch / HOLD).touch()
    with pytest.raises(ModelError, match=r"a training process died|if another process was killed"):
        in_two(stage, tmp_path / "a" / "killed", scratch, until_the_third, sharded, **inputs)
    (scratch / HOLD).unlink()
    assert len(processes) == 2
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert latest(scratch / "trl") is None  # for processes that have the whole model
    last = latest(scratch / "trl", "fsdp")
    assert last
    capfd.readouterr()
    two = in_two(stage, tmp_path / "a" / "two", scratch, launch=sharded, **inputs)
    assert f"going on from {last.name}" in capfd.readouterr().out
    assert_trained_alike(one, two, stage.learning_rate)
    assert {path.name for path in two.iterdir()} == tiny.TRAINED
    assert {path.name for path in (two / "adapter").iterdir()} == tiny.ADAPTER


@pytest.mark.slow
def test_deepspeed_shares_the_optimizer(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed", reason="pip install deepspeed")
    stage = Sft.model_validate({**SETTINGS, "learning_rate": 1e-3, "lora": False})
    inputs = {"policy": base, "data": tiny.demonstrations(tmp_path / "data")}
    one = tiny.result(stage, tmp_path, "one", **inputs)
    launch = Launch(2, deepspeed={"zero_optimization": {"stage": 2}})
    two = in_two(stage, tmp_path / "a" / "two", tmp_path / "s", launch=launch, **inputs)
    assert_trained_alike(one, two, stage.learning_rate)


def test_what_would_train_otherwise_than_one_process_is_refused() -> None:
    with pytest.raises(ModelError, match="nf4 cannot be sharded"):
        sharding(Launch(2, fsdp={}), ModelRef("weights", quantization="nf4"))
    with pytest.raises(ModelError, match="DeepSpeed would round what is trained to bfloat16"):
        sharding(Launch(2, deepspeed={}), ModelRef("weights", dtype="bfloat16"))


def test_what_goes_wrong_in_a_process_is_said_and_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="the second process is out of order"):
        in_two(FailsElsewhere(), tmp_path / "a" / "two", tmp_path / "s")


def test_every_process_has_as_many_parts_where_there_are_enough_rows() -> None:
    rows = [{"n": n} for n in range(5)]
    assert [len(part) for part in _parts.for_all(2, [rows])] == [2, 3]
    assert [len(part) for part in _parts.for_all(2, [rows[:3], rows[3:4], rows[4:]])] == [1, 2, 1, 1]
    assert [len(part) for part in _parts.for_all(2, [rows[:1]])] == [1]
    assert [len(part) for part in _parts.for_all(1, [rows])] == [5]


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_whose_gradients_would_not_be_added_up_is_refused(tied: bool) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

    def asked(model: Any) -> None:
        refuse_lone_head(SimpleNamespace(model=model, is_fsdp_enabled=True))

    size = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    asked(LlamaForCausalLM(LlamaConfig(**size, intermediate_size=16, tie_word_embeddings=tied)))
    inner = OPTForCausalLM(OPTConfig(**size, ffn_dim=16, word_embed_proj_dim=16, tie_word_embeddings=tied))
    with nullcontext() if tied else pytest.raises(ModelError, match="FSDP cannot train every weight of this model"):
        asked(inner)


def test_a_model_is_sharded_in_one_way_and_by_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    zero = {"zero_optimization": {"stage": 2}}
    if find_spec("deepspeed") is None:
        with pytest.raises(ValidationError, match="DeepSpeed is not installed"):
            Launching.model_validate({"num_processes": 2, "deepspeed": zero})
    monkeypatch.setattr(resources, "find_spec", lambda _: True)
    assert Launching.model_validate({"num_processes": 2, "deepspeed": zero}).of_stage == Launch(2, deepspeed=zero)
    with pytest.raises(ValidationError, match="fsdp or deepspeed, not both"):
        Launching.model_validate({"num_processes": 2, "fsdp": {}, "deepspeed": zero})
    with pytest.raises(ValidationError, match="what shares the weights too is `fsdp`"):
        Launching.model_validate({"num_processes": 2, "deepspeed": {"zero_optimization": {"stage": 3}}})
    with pytest.raises(ValidationError, match="what shares the weights too is `fsdp`"):
        Launching.model_validate({"num_processes": 2, "deepspeed": {"zero_optimization": {"stage": None}}})
    with pytest.raises(ValidationError, match="optimizer would change the training"):
        Launching.model_validate({"num_processes": 2, "deepspeed": {**zero, "optimizer": {"type": "SGD"}}})
    with pytest.raises(ValidationError, match="should be a multiple of num_machines, which is 2"):
        Launching.model_validate({"num_processes": 3, "num_machines": 2})


def test_settings_of_deepspeed_can_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "find_spec", lambda _: True)
    (tmp_path / "zero.json").write_text('{"zero_optimization": {"stage": 1}}')
    read = Launching.model_validate({"num_processes": 2, "deepspeed": "zero.json"}, context={"folder": tmp_path})
    assert read.of_stage
    assert read.of_stage.zero_stage == 1
    told = sharding(read.of_stage, ModelRef("weights"))["deepspeed"]
    assert told == {"train_micro_batch_size_per_gpu": "auto", "gradient_clipping": "auto", **(read.deepspeed or {})}


def test_settings_of_fsdp_reach_the_trainer() -> None:
    launch = Launching.model_validate({"num_processes": 2, "fsdp": {"cpu_offload": True}}).of_stage
    told = sharding(launch, ModelRef("weights"))
    assert told["fsdp"] is True
    assert told["fsdp_config"]["cpu_offload"] is True
    assert told["fsdp_config"].keys() <= {*Fsdp.model_fields, "state_dict_type"}
    assert sharding(None, ModelRef("weights")) == sharding(Launch(2), ModelRef("weights")) == {}
