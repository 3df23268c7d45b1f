"""Examples, passes and memory of stages."""

from dataclasses import replace
from typing import Any

import pytest

from datatrial.estimates.data import DataSize
from datatrial.estimates.devices import Device, device_of
from datatrial.estimates.policies import Policy, published
from datatrial.estimates.training import Trained, reference_estimate, stage_estimate
from datatrial.reference_log_probs import ReferenceLogProbs
from datatrial.training._at_once import at_once, bytes_per_token
from datatrial.training._base import Stage

LLAMA = Policy("llama", published()["meta-llama/llama-2-7b-hf"], "bfloat16", True, 4.0)
LIMA, ORCA = DataSize(1030, "", 2769), DataSize(100_000, "", 1700)
LORA = {"r": 8, "target_modules": ["q_proj", "v_proj"]}


def gpu() -> Device:
    found = device_of("h200")
    assert found
    return found


def estimate(kind: str, data: DataSize = LIMA, device: Device | None = None, **settings: Any) -> Trained:
    stage = Stage.of_kind(kind).model_validate({"lora": LORA, **settings})
    return stage_estimate(stage, LLAMA, data, device or gpu())


def test_stack_llama_2s_steps_are_six_passes_over_lima_and_a_tenth_of_orcas_sample() -> None:
    recipe = {"budget": {"steps": 500}, "batch_size": 8, "packing": True, "max_length": 1024}
    assert estimate("sft", LIMA, **recipe).tokens == 500 * 8 * 1024
    assert estimate("sft", LIMA, **recipe).passes == pytest.approx(6.0, abs=0.1)
    assert estimate("sft", ORCA, **recipe).passes == pytest.approx(0.1, abs=0.005)


def test_epochs_are_passes_over_what_is_not_held_out() -> None:
    found = estimate("sft", DataSize(1000, "", 400), epochs=2, batch_size=10, held_out=0.1)
    assert (found.passes, found.examples, found.steps) == (
        pytest.approx(2),
        pytest.approx(1800),
        180,
    )


@pytest.mark.parametrize("packing", [False, True])
def test_budgets_of_examples_and_tokens_are_what_is_seen(packing: bool) -> None:
    by_examples = estimate("sft", ORCA, budget={"examples": 4000}, packing=packing)
    by_tokens = estimate("sft", ORCA, budget={"tokens": 10**6}, packing=packing)
    assert by_examples.examples == pytest.approx(4000, rel=0.01)
    assert by_tokens.tokens == pytest.approx(10**6, rel=0.02)


def test_where_lengths_are_unknown_only_the_settings_speak() -> None:
    found = estimate("sft", DataSize(1000), epochs=3)
    assert found.passes == 3
    assert found.tokens is None
    assert found.work is None
    assert estimate("sft", DataSize()).passes is None


def test_dpo_adds_a_reference_and_a_second_answer() -> None:
    sft, dpo = (estimate(kind, ORCA, budget={"examples": 1000}, held_out=0.0) for kind in ("sft", "dpo"))
    reward = estimate("reward", ORCA, budget={"examples": 1000}, held_out=0.0)
    assert sft.work
    assert dpo.work
    assert reward.work
    assert dpo.work.flops > max(reward.work.flops, sft.work.flops)
    assert dpo.tokens
    assert sft.tokens
    assert 1 < dpo.tokens / sft.tokens < 2  # the prompt twice, each answer once


def test_a_reference_reads_as_much_as_the_stage_that_it_is_for() -> None:
    unknown, compared = DataSize(1000, "", 2000), DataSize(1000, "", 2000, form="comparisons")
    stage = Stage.of_kind("dpo").model_validate({"max_length": 1024})
    task = ReferenceLogProbs(prompt=stage.prompt, max_length=1024)
    assert reference_estimate(task, LLAMA, unknown, gpu()) == reference_estimate(task, LLAMA, compared, gpu())
    assert estimate("dpo", unknown) == estimate("dpo", compared)


def test_a_head_without_a_kernel_moves_more_for_each_logit() -> None:
    settings = {"budget": {"steps": 10}, "packing": True, "loss": "all_tokens", "held_out": 0.0}
    with_kernel, without = (estimate("sft", ORCA, device_of(name), **settings) for name in ("h200", "cpu"))
    assert with_kernel.work and without.work and without.tokens
    assert without.work.flops == with_kernel.work.flops
    assert without.work.moved - with_kernel.work.moved == pytest.approx(200 * 32_000 * without.tokens)


def test_a_prompt_can_be_cut_from_its_start() -> None:
    long = DataSize(1000, "", 8000)
    whole, cut = (estimate("dpo", long, max_length=1024, max_prompt_length=n).tokens for n in (None, 128))
    assert whole
    assert cut
    assert cut < whole


def test_a_short_budget_on_much_data_goes_into_the_held_out_loss() -> None:
    found = estimate("sft", DataSize(348_718, "", 1800), budget={"steps": 100})
    assert found.measuring
    assert found.measuring > 0.5
    assert estimate("sft", LIMA, epochs=3).measuring < 0.2  # type: ignore[operator]


def test_nf4_llama_2_7b_trains_on_a_16_gb_card() -> None:
    small = replace(gpu(), memory=16 * 2**30)
    for kind, settings in (("sft", {"batch_size": 4, "packing": True}), ("dpo", {"batch_size": 16})):
        memory = estimate(kind, ORCA, small, max_length=1024, **settings).memory
        assert memory
        assert 6e9 < memory.total < 16 * 2**30


def test_what_is_kept_for_the_way_back_is_what_goes_through_at_a_time() -> None:
    few, many = (estimate("sft", LIMA, batch_size=n).memory for n in (2, 256))
    stage = Stage.of_kind("sft").model_validate({"lora": LORA, "batch_size": 256})
    assert LLAMA.shape
    part = at_once(stage, LLAMA.shape, "bfloat16", quantized=True, memory=gpu().memory, on_gpu=True)
    assert few
    assert many
    assert few.activations < many.activations
    assert many.activations == part.tokens * bytes_per_token(stage, LLAMA.shape, 2, part.checkpointing)


def test_every_weight_takes_16_bytes_and_more_work() -> None:
    """Half as much again, and a forward pass more as there is no memory left to keep all on the way."""
    lora, whole = (estimate("sft", ORCA, budget={"examples": 1000}, held_out=0.0, lora=of) for of in (LORA, False))
    assert LLAMA.shape
    assert whole.parameters == LLAMA.shape.parameters
    assert whole.memory
    assert whole.memory.trained == 16 * LLAMA.shape.parameters
    assert lora.work
    assert whole.work
    assert 1.8 < whole.work.flops / lora.work.flops < 2.1


def test_dora_has_a_length_for_each_output() -> None:
    plain, dora = (estimate("sft", lora={**LORA, "dora": dora}).parameters for dora in (False, True))
    assert dora == plain + 32 * 2 * 4096  # type: ignore[operator]


def test_of_kto_each_answer_is_an_example() -> None:
    settings = {"batch_size": 10, "held_out": 0.0}
    dpo, kto = (estimate(kind, DataSize(1000, "", 400), **settings) for kind in ("dpo", "kto"))
    assert (kto.examples, kto.steps) == (pytest.approx(2000), 200)
    assert kto.tokens == pytest.approx(dpo.tokens)
    assert dpo.work
    assert kto.work
    assert kto.work.flops > dpo.work.flops  # mismatched answers, and prompts that are not shared


def test_orpo_scores_prompts_and_has_no_reference() -> None:
    settings = {"budget": {"examples": 1000}, "held_out": 0.0}
    dpo, orpo = (estimate(kind, ORCA, **settings) for kind in ("dpo", "orpo"))
    assert orpo.tokens == pytest.approx(dpo.tokens)
    assert dpo.work
    assert orpo.work
    assert orpo.work.flops < dpo.work.flops


def test_grpo_counts_the_answers_that_it_writes() -> None:
    settings = {"reward_model": "judge", "max_length": 1024, "batch_size": 8, "budget": {"steps": 10}}
    few, many = (estimate("grpo", LIMA, num_generations=n, **settings) for n in (4, 8))
    assert few.tokens
    assert few.tokens > 10 * 8 * 4 * 256
    assert many.tokens == pytest.approx(2 * few.tokens)
    assert few.work
    assert few.work.moved > 10 * 256 * 3.5e9  # the weights in 4 bits, read anew for each token of an answer
