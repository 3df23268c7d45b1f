"""What a block keeps for the way back, against what PyTorch keeps."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from datatrial.memory import kept_by_a_block
from datatrial.shapes import shape_of

ROWS, LENGTH = 2, 64


def config(layers: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=64, intermediate_size=176, num_hidden_layers=layers, num_attention_heads=4, vocab_size=100
    )


def kept(layers: int, dtype: torch.dtype, targets: Any, dropout: float) -> int:
    """Bytes of all tensors that autograd keeps of a forward pass, each once, parameters left out."""
    lora = LoraConfig(r=4, target_modules=targets, lora_dropout=dropout, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_config(config(layers)).to(dtype), lora)
    model.enable_input_require_grads()
    owned = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    seen: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in owned:
            seen[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train().base_model.model.model(torch.ones((ROWS, LENGTH), dtype=torch.long), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("targets", "dropout"), [("all-linear", 0.0), (["q_proj", "v_proj"], 0.05)], ids=str)
def test_a_block_keeps_what_autograd_keeps(dtype: torch.dtype, targets: Any, dropout: float) -> None:
    a_block = kept(3, dtype, targets, dropout) - kept(2, dtype, targets, dropout)
    shape = shape_of(config(1).to_dict())
    assert shape
    adapted = shape.adapter_inputs(targets if isinstance(targets, str) else tuple(targets))
    width = 4 if dtype == torch.float32 else 2
    estimate = kept_by_a_block(shape, width, adapted, dropout > 0)
    assert estimate == pytest.approx(a_block / (ROWS * LENGTH), rel=0.25)
