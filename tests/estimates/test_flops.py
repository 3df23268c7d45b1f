"""FLOPs and parameters against PyTorch's own counts on tiny models."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig, PreTrainedConfig, Qwen2Config

from datatrial.estimates.compute import Rows, forward, pretraining, training
from datatrial.shapes import Shape, shape_of

LLAMA = LlamaConfig(
    hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    vocab_size=300, max_position_embeddings=128, tie_word_embeddings=False,
)  # fmt: skip
QWEN = Qwen2Config(
    hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    vocab_size=200, tie_word_embeddings=True,
)  # fmt: skip
GPT2 = GPT2Config(n_embd=48, n_layer=2, n_head=4, vocab_size=150, n_positions=64)
MIXTRAL = MixtralConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    vocab_size=100, num_local_experts=4, num_experts_per_tok=2,
)  # fmt: skip
ROWS = Rows(rows=2, length=24, scored=48)


def model_of(config: PreTrainedConfig) -> Any:
    torch.manual_seed(0)
    # PyTorch counts no FLOPs of the fused attention of CPUs.
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def shape(config: PreTrainedConfig) -> Shape:
    found = shape_of(config.to_dict())
    assert found
    return found


def counted(work: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def tokens() -> torch.Tensor:
    return torch.ones((2, 24), dtype=torch.long)


@pytest.mark.slow
@pytest.mark.parametrize("config", [LLAMA, QWEN, GPT2, MIXTRAL], ids=lambda c: c.model_type)
def test_a_config_tells_the_number_of_parameters(config: PreTrainedConfig) -> None:
    assert shape(config).parameters == sum(p.numel() for p in model_of(config).parameters())


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")], ids=str)
def test_an_adapter_has_the_parameters_that_peft_makes(targets: Any) -> None:
    lora = LoraConfig(r=4, target_modules=targets if isinstance(targets, str) else list(targets), task_type="CAUSAL_LM")
    adapted = get_peft_model(model_of(LLAMA), lora)
    assert shape(LLAMA).adapter(4, targets) == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


@pytest.mark.slow
def test_a_forward_pass_has_the_flops_that_torch_counts() -> None:
    model = model_of(LLAMA).eval()
    assert forward(shape(LLAMA), ROWS, 4).flops == pytest.approx(counted(lambda: model(tokens())), rel=0.01)


@pytest.mark.slow
def test_training_a_lora_costs_a_pass_forward_and_one_back() -> None:
    adapted = get_peft_model(model_of(LLAMA), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapted.enable_input_require_grads()  # as under gradient checkpointing: gradients go all the way back

    def step() -> None:
        adapted(tokens(), labels=tokens()).loss.backward()

    found = training(shape(LLAMA), ROWS, 4, shape(LLAMA).adapter(4, "all-linear"), checkpointing=False)
    # TRL's head computes its logits anew on the way back; the model's own, which is counted here, does not.
    head = 2 * 64 * 300 * 48
    assert found.flops - head == pytest.approx(counted(step), rel=0.03)


@pytest.mark.slow
def test_pretraining_costs_three_forward_passes() -> None:
    model = model_of(LLAMA).train()
    flops = counted(lambda: model(tokens(), labels=tokens()).loss.backward())
    assert pretraining(shape(LLAMA), ROWS, 4).flops == pytest.approx(flops, rel=0.03)


def test_checkpointing_costs_one_more_pass_through_the_blocks() -> None:
    kept, again = (training(shape(LLAMA), ROWS, 4, 0, checkpointing) for checkpointing in (False, True))
    head = 2 * 64 * 300 * 48
    assert again.flops - kept.flops == pytest.approx(forward(shape(LLAMA), ROWS, 4).flops - head)
