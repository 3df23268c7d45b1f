"""A model is tried out once for all of its kind."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from datatrial.likelihood import self_check
from datatrial.likelihood.self_check import method_for


def llama(seed: int, **settings: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, initializer_range=0.3, **{**shape, **settings})).eval()


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that are tried out, from a state in which none was."""
    seen: list[Any] = []
    choose = self_check.choose
    monkeypatch.setattr(self_check, "_RIGHT", set())
    monkeypatch.setattr(self_check, "choose", lambda model: (seen.append(model), choose(model))[1])
    return seen


def test_models_that_differ_in_weights_only_are_tried_out_once(tried: list[Any]) -> None:
    found = [method_for(llama(seed))[0] for seed in (0, 1)]
    assert [method.name for method in found] == ["trie", "trie"]
    assert len(tried) == 1
    assert found[1].model is not found[0].model  # type: ignore[attr-defined]


def test_a_model_with_another_config_or_adapter_is_tried_out_too(tried: list[Any]) -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(llama(0), LoraConfig(target_modules=["q_proj"]))
    for model in (llama(0), llama(0, rope_theta=500.0), llama(0).bfloat16(), adapted):
        method_for(model)
    assert len(tried) == 4


def test_a_model_without_numbers_says_nothing_of_the_next(tried: list[Any]) -> None:
    broken = llama(0)
    broken.lm_head.weight.data.fill_(torch.nan)
    assert method_for(broken)[0].name == "rows"
    assert method_for(llama(0))[0].name == "trie"
    assert len(tried) == 2
