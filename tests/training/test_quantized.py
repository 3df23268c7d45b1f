"""QLoRA: adapters are trained on a base model in four bits, on a CPU too."""

import math
from pathlib import Path
from typing import Any

import pytest

from datatrial.policies import load_policy
from datatrial.records import ModelRef
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft
from tests import tiny
from tests.training.test_dpo import answer_logps, flat, reference_logps

pytestmark = pytest.mark.slow
SFT = Sft(learning_rate=5e-3, epochs=2, batch_size=4, max_length=64, held_out=0.25)
DPO = Dpo(learning_rate=5e-3, epochs=4, batch_size=4, max_length=64, held_out=0.25)


@pytest.fixture
def base4(wide_base: Path, tmp_path: Path) -> Path:
    return tiny.loaded_as(wide_base, tmp_path, quantization="nf4")


@pytest.fixture
def sft(base4: Path, tmp_path: Path) -> Path:
    return tiny.result(SFT, tmp_path, "sft", policy=base4, data=tiny.demonstrations(tmp_path / "demonstrations"))


def dtypes(policy: Path) -> set[str]:
    from safetensors.numpy import load_file

    return {str(tensor.dtype) for tensor in load_file(policy / "adapter" / "adapter_model.safetensors").values()}


def weights_in_4_bits(model: Any) -> dict[str, bytes]:
    return {n: p.numpy().tobytes() for n, p in model.named_parameters() if type(p).__name__ == "Params4bit"}


def test_sft_then_dpo_learn_on_a_base_in_4_bits_that_stays_as_it_is(base4: Path, sft: Path, tmp_path: Path) -> None:
    untouched = weights_in_4_bits(load_policy(base4, "cpu")[0])
    dpo = tiny.result(DPO, tmp_path, "dpo", policy=sft, data=tiny.comparisons(tmp_path / "pairs"))
    for policy in (sft, dpo):
        counts = tiny.summary(policy)
        assert counts["loss_last"] < counts["loss_first"]
        assert counts["held_out_loss_last"] < counts["held_out_loss_first"]
        assert ModelRef.read(policy) == ModelRef(
            ModelRef.read(base4).weights, str(policy / "adapter"), "float32", "nf4"
        )
        assert dtypes(policy) == {"float32"}
    assert len(untouched) == 14  # seven matrices of each of two layers; neither embeddings nor head
    model, _ = load_policy(dpo, "cpu")
    assert sorted(weights_in_4_bits(model).values()) == sorted(untouched.values())  # nothing was merged
    assert list(model.peft_config) == ["default"]
    start = tiny.curve(dpo, "eval_loss")[0], tiny.curve(dpo, "loss")[0]
    assert start == pytest.approx((math.log(2), math.log(2)), abs=1e-6)
    assert tiny.curve(dpo, "rewards/margins")[0] == pytest.approx(0, abs=1e-6)


def test_the_reference_of_dpo_is_the_quantized_sft_policy(base4: Path, sft: Path, tmp_path: Path) -> None:
    pairs = tiny.comparisons(tmp_path / "pairs")
    reference = flat(reference_logps(sft, pairs, tmp_path))
    assert reference == pytest.approx(flat(answer_logps(sft, pairs)), abs=1e-4)
    assert min(abs(a - b) for a, b in zip(reference, flat(answer_logps(base4, pairs)), strict=True)) > 0.01


def test_an_adapter_goes_on_from_where_it_was(sft: Path, tmp_path: Path) -> None:
    """TRL would round it to bfloat16 first."""
    data = tmp_path / "demonstrations"
    still = tiny.result(SFT.model_copy(update={"learning_rate": 1e-30}), tmp_path, "still", policy=sft, data=data)
    assert tiny.adapter_bytes(still) == tiny.adapter_bytes(sft)


def test_bfloat16_is_computed_in_where_the_model_says_so(base4: Path, tmp_path: Path) -> None:
    import torch

    half = tiny.loaded_as(base4, tmp_path, dtype="bfloat16")
    model, _ = load_policy(half, "cpu")
    layer = model.model.layers[0].mlp.up_proj
    assert (layer.compute_dtype, model.lm_head.weight.dtype) == (torch.bfloat16, torch.bfloat16)
    sft = tiny.result(SFT, tmp_path, "half", policy=half, data=tiny.demonstrations(tmp_path / "d"))
    dpo = tiny.result(DPO, tmp_path, "half", policy=sft, data=tiny.comparisons(tmp_path / "pairs"))
    # The reference was asked in other batches, and so is rounded otherwise.
    assert tiny.curve(dpo, "eval_loss")[0] == pytest.approx(math.log(2), abs=2e-3)
    assert tiny.summary(dpo)["loss_last"] < math.log(2)
    assert dtypes(dpo) == {"float32"}


def test_checkpointing_gradients_changes_nothing(base4: Path, tmp_path: Path) -> None:
    """On a GPU it is on; the gradient has to find its way through a base that has none."""
    data = tiny.demonstrations(tmp_path / "d")
    checkpointed = SFT.model_copy(update={"trl": {"gradient_checkpointing": True}})
    one, other = (tiny.result(s, tmp_path, n, policy=base4, data=data) for s, n in ((SFT, "a"), (checkpointed, "b")))
    assert tiny.curve(one, "loss") == pytest.approx(tiny.curve(other, "loss"), abs=1e-5)
