"""Variants of LoRA, and layers that it cannot be put on."""

from pathlib import Path
from typing import Any

import pytest

from datatrial.errors import ModelError
from datatrial.policies import load_policy
from datatrial.records import read_json
from datatrial.training.dpo import Dpo
from datatrial.training.reward import Reward
from datatrial.training.sft import Sft
from tests import tiny

SETTINGS: dict[str, Any] = {"learning_rate": 5e-3, "epochs": 2, "batch_size": 4, "max_length": 64, "held_out": 0.25}
VARIANTS: list[dict[str, Any]] = [{"rslora": True}, {"dora": True}, {"rslora": True, "dora": True, "dropout": 0.1}]


def sft(**lora: Any) -> Sft:
    return Sft.model_validate({**SETTINGS, "lora": lora})


def logits(policy: Path) -> Any:
    import torch

    model, tokenizer = load_policy(policy, "cpu")
    with torch.no_grad():
        return model(**tokenizer("Question: What colour is vesp number 2?", return_tensors="pt")).logits[0, -1]


@pytest.mark.slow
@pytest.mark.parametrize("lora", VARIANTS)
@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_a_variant_is_trained_trained_further_and_loaded(
    wide_base: Path, tmp_path: Path, lora: dict[str, Any], quantization: str | None
) -> None:
    base = tiny.loaded_as(wide_base, tmp_path, quantization=quantization) if quantization else wide_base
    data = tiny.demonstrations(tmp_path / "d")
    policy = tiny.result(sft(**lora), tmp_path, "sft", policy=base, data=data)
    counts = tiny.summary(policy)
    assert counts["loss_last"] < counts["loss_first"] - 1
    config = read_json(policy / "adapter" / "adapter_config.json")
    assert (config["use_rslora"], config["use_dora"]) == (lora.get("rslora", False), lora.get("dora", False))
    assert not (logits(policy) == logits(base)).all()
    stage = Dpo.model_validate({**SETTINGS, "lora": lora})
    further = tiny.result(stage, tmp_path, "dpo", policy=policy, data=tiny.comparisons(tmp_path / "p"))
    assert tiny.curve(further, "eval_loss")[0] == pytest.approx(0.693147, abs=1e-5)
    still = stage.model_copy(update={"learning_rate": 1e-30})
    same = tiny.result(still, tmp_path, "still", policy=policy, data=tmp_path / "p")
    assert tiny.adapter_bytes(same) == tiny.adapter_bytes(policy)


@pytest.mark.slow
def test_rslora_scales_by_the_root_of_r(base: Path, tmp_path: Path) -> None:
    """At r = 4 and alpha = 8 it is LoRA with alpha = 16, to the last bit."""
    data = tiny.demonstrations(tmp_path / "d")
    one = tiny.result(sft(r=4, alpha=8, rslora=True), tmp_path, "one", policy=base, data=data)
    other = tiny.result(sft(r=4, alpha=16), tmp_path, "other", policy=base, data=data)
    assert tiny.adapter_bytes(one) == tiny.adapter_bytes(other)


@pytest.mark.slow
def test_dora_begins_as_the_base_and_has_a_length_for_each_row(base: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from datatrial.shapes import shape_of

    policy = tiny.result(
        sft(r=2, dora=True).model_copy(update={"learning_rate": 1e-30}),
        tmp_path,
        "sft",
        policy=base,
        data=tiny.demonstrations(tmp_path / "d"),
    )
    assert logits(policy).tolist() == pytest.approx(logits(base).tolist(), abs=1e-5)
    tensors = load_file(policy / "adapter" / "adapter_model.safetensors")
    shape = shape_of(read_json(base / "weights" / "config.json"))
    assert shape
    assert shape.adapter(2, "all-linear", dora=True) == sum(t.size for t in tensors.values())
    assert tiny.summary(policy)["parameters_trained"] == shape.adapter(2, "all-linear", dora=True)


@pytest.mark.slow
def test_a_reward_model_goes_on_from_dora(base: Path, tmp_path: Path) -> None:
    policy = tiny.result(sft(dora=True), tmp_path, "sft", policy=base, data=tiny.demonstrations(tmp_path / "d"))
    stage = Reward.model_validate({**SETTINGS, "lora": {"dora": True}})
    judge = tiny.result(stage, tmp_path, "reward", policy=policy, data=tiny.comparisons(tmp_path / "p"))
    assert tiny.summary(judge)["held_out_accuracy"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rslora", "dora"])
def test_another_variant_than_the_adapters_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    data = tiny.demonstrations(tmp_path / "d")
    policy = tiny.result(sft(), tmp_path, "sft", policy=base, data=data)
    with pytest.raises(
        ModelError, match=f"has {name} False, this stage's lora {name} True: .* set lora.{name} to match"
    ):
        tiny.result(sft(**{name: True}), tmp_path, "again", policy=policy, data=data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "hint"), [("q_prj", "; did you mean 'q_proj'"), ("query_key_value", ""), ("mlp", ""), ("lm_head", "")]
)
def test_a_layer_that_is_not_there_is_named_with_those_that_are(
    base: Path, tmp_path: Path, target: str, hint: str
) -> None:
    known = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    data = tiny.demonstrations(tmp_path / "d")
    with pytest.raises(
        ModelError, match=rf"no layer called '{target}' in this model{hint}.*; on these it can: {known}"
    ):
        tiny.result(sft(target_modules=["v_proj", target]), tmp_path, "sft", policy=base, data=data)


@pytest.mark.slow
def test_a_target_can_be_the_end_of_a_name(base: Path, tmp_path: Path) -> None:
    data = tiny.demonstrations(tmp_path / "d")
    policy = tiny.result(sft(target_modules=["self_attn.q_proj"]), tmp_path, "sft", policy=base, data=data)
    assert tiny.summary(policy)["parameters_trained"] == 2 * 8 * (32 + 32)


def test_variants_that_are_not_asked_for_are_no_part_of_an_identity() -> None:
    assert sft().identity()["lora"].keys() == {"r", "alpha", "dropout", "target_modules"}
    assert sft(dora=True).identity() != sft().identity()
