"""`lora: false`: every weight is trained, and stages go on from the result as from any other."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from datatrial.errors import ModelError
from datatrial.policies import load_base, load_policy
from datatrial.records import ModelRef, read_json
from datatrial.training._base import Stage
from datatrial.training.dpo import Dpo
from datatrial.training.kto import Kto
from datatrial.training.orpo import Orpo
from datatrial.training.reward import Reward
from datatrial.training.sft import Sft
from tests import tiny
from tests.training.test_dpo import answer_logps, flat, reference_logps

SETTINGS: dict[str, Any] = {
    "learning_rate": 2e-3,
    "epochs": 2,
    "batch_size": 4,
    "max_length": 64,
    "held_out": 0.25,
    "lora": False,
}
SFT, DPO = Sft.model_validate(SETTINGS), Dpo.model_validate(SETTINGS)
WITH_LORA = {"lora": {"r": 4}}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return tiny.comparisons(tmp_path / "pairs")


@pytest.fixture
def demonstrations(tmp_path: Path) -> Path:
    return tiny.demonstrations(tmp_path / "demonstrations")


def files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_every_weight_changes_and_neither_the_base_in_memory_nor_on_disk(
    base: Path, demonstrations: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    ref = ModelRef.read(base)
    kept = {name: p.clone() for name, p in load_base(ref, "cpu").named_parameters()}
    before = files(base / "weights")
    policy = tiny.result(SFT, tmp_path, "sft", policy=base, data=demonstrations)
    assert files(base / "weights") == before
    assert all((p == kept[name]).all() for name, p in load_base(ref, "cpu").named_parameters())
    ours, theirs = (load_file(result / "weights" / "model.safetensors") for result in (policy, base))
    assert ours.keys() == theirs.keys()
    assert all(not (ours[name] == theirs[name]).all() for name in ours)
    assert ModelRef.read(policy) == ModelRef(str(policy / "weights"))
    assert {path.name for path in policy.iterdir()} == tiny.TRAINED - {"adapter"} | {"weights"}
    counts = tiny.summary(policy)
    assert counts["parameters_trained"] == sum(p.numel() for p in load_policy(policy, "cpu")[0].parameters())
    assert counts["held_out_loss_last"] < counts["held_out_loss_first"]


@pytest.mark.slow
def test_its_folder_is_a_model_with_the_bases_tokenizer(base: Path, demonstrations: Path, tmp_path: Path) -> None:
    from datatrial.models.hub import weights_problems

    policy = tiny.result(SFT, tmp_path, "sft", policy=base, data=demonstrations)
    weights = policy / "weights"
    assert weights_problems(weights) == []
    assert (weights / "tokenizer.json").read_bytes() == (base / "weights" / "tokenizer.json").read_bytes()
    ours, theirs = (read_json(folder / "config.json") for folder in (weights, base / "weights"))
    assert {**ours, "dtype": None} == {**theirs, "dtype": None}
    assert str(tmp_path) not in (weights / "config.json").read_text()


@pytest.mark.slow
def test_dpo_goes_on_from_it_and_it_is_the_reference(
    base: Path, demonstrations: Path, pairs: Path, tmp_path: Path
) -> None:
    sft = tiny.result(SFT, tmp_path, "sft", policy=base, data=demonstrations)
    assert flat(reference_logps(sft, pairs, tmp_path)) == pytest.approx(flat(answer_logps(sft, pairs)), abs=1e-4)
    for number, changes in enumerate(({}, WITH_LORA)):
        stage = Dpo.model_validate({**SETTINGS, **changes})
        dpo = tiny.result(stage, tmp_path, f"dpo{number}", policy=sft, data=pairs)
        assert tiny.curve(dpo, "eval_loss")[0] == pytest.approx(math.log(2), abs=1e-6)
        assert tiny.summary(dpo)["held_out_loss_last"] < math.log(2)
    ref = ModelRef.read(dpo)
    assert (ref.weights, ref.adapter) == (str(sft / "weights"), str(dpo / "adapter"))


@pytest.mark.slow
def test_an_adapter_is_merged_before_every_weight_is_trained(
    base: Path, demonstrations: Path, pairs: Path, tmp_path: Path
) -> None:
    sft = tiny.result(Sft.model_validate({**SETTINGS, **WITH_LORA}), tmp_path, "sft", policy=base, data=demonstrations)
    dpo = tiny.result(DPO.model_copy(update={"learning_rate": 1e-30}), tmp_path, "dpo", policy=sft, data=pairs)
    assert tiny.curve(dpo, "eval_loss")[0] == pytest.approx(math.log(2), abs=1e-5)
    assert flat(answer_logps(dpo, pairs)) == pytest.approx(flat(answer_logps(sft, pairs)), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kto, Orpo])
def test_other_stages_train_every_weight_too(base: Path, pairs: Path, tmp_path: Path, kind: type[Stage]) -> None:
    policy = tiny.result(kind.model_validate(SETTINGS), tmp_path, "a", policy=base, data=pairs)
    assert (policy / "weights").is_dir()
    assert tiny.summary(policy)["held_out_loss_last"] < tiny.summary(policy)["held_out_loss_first"]


@pytest.mark.slow
def test_in_16_bits_weights_are_trained_and_kept_in_32(base: Path, demonstrations: Path, tmp_path: Path) -> None:
    """Steps are smaller than what bfloat16 can tell from nothing; going on starts from what was reached."""
    from safetensors.torch import load_file

    rounded = tiny.loaded_as(base, tmp_path, dtype="bfloat16")
    stage = SFT.model_copy(update={"learning_rate": 1e-5})
    policy = tiny.result(stage, tmp_path, "sft", policy=rounded, data=demonstrations)
    assert ModelRef.read(policy).dtype == "bfloat16"
    weights = load_file(policy / "weights" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}
    theirs = load_file(base / "weights" / "model.safetensors")
    assert 0 < max(float((weights[name] - theirs[name]).abs().max()) for name in weights) < 1e-3
    still = stage.model_copy(update={"learning_rate": 1e-30})
    again = tiny.result(still, tmp_path, "again", policy=policy, data=demonstrations)
    further = load_file(again / "weights" / "model.safetensors")
    assert all((further[name] == weights[name]).all() for name in weights)
    model, _ = load_policy(policy, "cpu")
    assert {str(p.dtype) for p in model.parameters()} == {"torch.bfloat16"}


@pytest.mark.slow
def test_a_model_in_4_bits_is_refused(wide_base: Path, demonstrations: Path, tmp_path: Path) -> None:
    base = tiny.loaded_as(wide_base, tmp_path, quantization="nf4")
    with pytest.raises(ModelError, match="a model in nf4 cannot have every weight trained: leave `quantization` out"):
        tiny.result(SFT, tmp_path, "sft", policy=base, data=demonstrations)


def test_a_reward_model_without_lora_and_null_are_refused() -> None:
    with pytest.raises(ValidationError, match="a reward model is a LoRA and a score head"):
        Reward.model_validate({"lora": False})
    with pytest.raises(ValidationError, match="settings of LoRA, or false to train every weight"):
        Sft.model_validate({"lora": None})
    with pytest.raises(ValidationError, match="did you mean 'alpha'"):
        Sft.model_validate({"lora": {"alpa": 3}})
