"""How much of a batch goes through a model at a time, by its shape and the device's memory."""

from dataclasses import replace
from typing import Any

import pytest

from datatrial.estimates.policies import published
from datatrial.records import Launch
from datatrial.training._at_once import (
    ENOUGH,
    MOST,
    MOST_ON_CPU,
    UNKNOWN,
    AtOnce,
    at_once,
    parameters_trained,
    taken,
    weights_beside,
)
from datatrial.training._base import Stage
from datatrial.training.dpo import Dpo
from datatrial.training.sft import Sft

GIB = 2**30
LLAMA = published()["meta-llama/llama-2-7b-hf"]
PAPER: dict[str, Any] = {"lora": {"r": 8, "target_modules": ["q_proj", "v_proj"]}, "max_length": 1024}


def on_gpu(gib: float, stage: Stage, quantized: bool = True) -> AtOnce:
    return at_once(stage, LLAMA, "bfloat16", quantized, gib * GIB, on_gpu=True)


def test_a_large_gpu_keeps_everything_and_a_small_one_computes_blocks_again() -> None:
    stage = Sft.model_validate({**PAPER, "batch_size": 64})
    assert on_gpu(141, stage) == AtOnce(MOST, checkpointing=False)
    small = on_gpu(16, stage)
    assert small.checkpointing
    assert small.tokens >= 4 * 1024


def test_a_small_batch_needs_no_more_than_itself() -> None:
    """With checkpointing it would take a third longer for memory that nobody needs."""
    assert not on_gpu(24, Sft.model_validate({**PAPER, "batch_size": 2})).checkpointing
    assert on_gpu(24, Sft.model_validate({**PAPER, "batch_size": 64})).checkpointing


@pytest.mark.parametrize("gib", [16, 24, 40, 80, 141])
def test_more_memory_is_never_less_at_a_time(gib: float) -> None:
    stage = Dpo.model_validate({**PAPER, "batch_size": 16})
    less, more = on_gpu(gib, stage), on_gpu(2 * gib, stage)
    assert (more.tokens, not more.checkpointing) >= (less.tokens, not less.checkpointing) or not more.checkpointing


def test_what_leaves_no_room_goes_one_token_at_a_time_and_memory_runs_out_by_itself() -> None:
    """The weights alone are more than there is: the device says so, not we."""
    assert on_gpu(8, Sft.model_validate(PAPER), quantized=False).tokens == 1


def test_of_an_unknown_architecture_little_goes_at_a_time() -> None:
    assert at_once(Sft(), None, "bfloat16", False, 80 * GIB, on_gpu=True) == AtOnce(UNKNOWN, checkpointing=True)


def test_where_every_weight_is_trained_their_optimizer_leaves_less_room() -> None:
    """16 bytes a parameter, and a copy in 16 bits: 7 billion take 121 GB before a token goes through."""
    whole = Sft.model_validate({**PAPER, "lora": False, "batch_size": 64})
    assert parameters_trained(whole, LLAMA) == LLAMA.parameters
    assert on_gpu(141, whole, quantized=False).tokens < on_gpu(141, Sft.model_validate(PAPER), quantized=False).tokens
    assert on_gpu(80, whole, quantized=False).tokens == 1
    assert taken(whole, LLAMA, 2, quantized=False, on_gpu=True) > 18 * LLAMA.parameters
    assert weights_beside(whole, LLAMA, 4, quantized=False) == 0


def test_a_small_model_with_a_large_vocabulary_trains_in_useful_parts_on_a_laptop() -> None:
    small = replace(LLAMA, hidden=384, intermediate=1024, layers=7, heads=6, kv_heads=6, head_width=64)
    part = at_once(Sft(), small, "float32", False, 16 * GIB, on_gpu=False)
    assert part.tokens == MOST_ON_CPU


def test_of_a_model_that_processes_share_each_has_less() -> None:
    """What every weight's training takes of a GPU of 80 GB alone leaves no room; eight of them have some."""
    whole = Sft.model_validate({**PAPER, "lora": False, "batch_size": 64})
    zero = {stage: Launch(8, deepspeed={"zero_optimization": {"stage": stage}}) for stage in (0, 1, 2)}

    def bytes_of(launch: Launch | None) -> float:
        return taken(whole, LLAMA, 2, quantized=False, on_gpu=True, launch=launch)

    assert bytes_of(None) == bytes_of(zero[0]) > bytes_of(zero[1]) > bytes_of(zero[2]) > bytes_of(Launch(8, fsdp={}))
    assert at_once(whole, LLAMA, "bfloat16", False, 80 * GIB, True, Launch(8, fsdp={})).tokens >= ENOUGH
