"""Rows of a trie against forward passes over one request at a time, for every architecture that takes block masks."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BitsAndBytesConfig, LlamaForCausalLM, PreTrainedModel

from datatrial.errors import ModelError
from datatrial.likelihood.budget import Budget
from datatrial.likelihood.decoder import Decoder
from datatrial.likelihood.layout import lay_out
from datatrial.likelihood.prefix_cache import PrefixCache
from datatrial.likelihood.trie import Trie
from datatrial.policies import _make_sound
from tests.likelihood import zoo

TOLERANCE = 1e-4  # nats
NESTED = Budget(row=12, tokens=48, logits=40, keep=4)  # prefixes within prefixes, several rows after each
BUDGETS = [
    NESTED,
    Budget(row=1, tokens=1, logits=1, keep=1),
    Budget(row=10**6, tokens=10**6, logits=10**6, keep=10**6),  # all in one row
]
OTHERS = [Budget(row=1, tokens=40, logits=40, keep=10**6), Budget(row=40, tokens=80, logits=40, keep=30)]


def agree(model: Any, *budgets: Budget) -> None:
    requests = zoo.asked()
    plain = zoo.one_by_one(model, requests)
    assert plain.std() > 1  # answers differ
    for budget in budgets:
        np.testing.assert_allclose(zoo.by(Decoder(model), requests, budget), plain, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", zoo.each(*zoo.TRIE))
def test_answers_are_those_of_plain_passes_whatever_the_budget(name: str) -> None:
    agree(zoo.model(name), *BUDGETS)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_no_budget_changes_answers(name: str) -> None:
    agree(zoo.model(name), *OTHERS)


def test_one_of_the_budgets_keeps_prefixes_within_prefixes_and_lays_several_rows_after_them() -> None:
    passes = lay_out(Trie.of(zoo.asked(), zoo.LONGEST), NESTED).passes
    assert max(len(one.ancestry) for one in passes) == 2
    assert all(any(len(one.ancestry) == n and len(one.tokens) > 1 for one in passes) for n in (0, 1, 2))


def test_an_adapter_counts() -> None:
    model = zoo.model("llama")
    before = zoo.one_by_one(model, zoo.asked())
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()
    assert np.abs(zoo.one_by_one(adapted, zoo.asked()) - before).max() > 0.1
    agree(adapted, NESTED)


def test_weights_in_4_bits_give_the_answers_of_weights_in_4_bits(tmp_path: Any) -> None:
    zoo.model("llama").save_pretrained(tmp_path)
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=nf4, device_map={"": "cpu"})
    _make_sound(model, "cpu")
    agree(model.eval(), NESTED)


@pytest.mark.parametrize("name", ["gpt-neo", "llama4", "jamba", "qwen3-next", "mamba"])
def test_layers_of_other_kinds_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="layers of another kind"):
        Decoder(zoo.model(name))


@pytest.mark.parametrize("name", ["mpt", "bloom", "falcon with alibi"])
def test_attention_that_counts_places_in_a_row_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="ALiBi"):
        Decoder(zoo.model(name))


def keys_and_values(rows: int, width: int, heads: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    # As in multi-head latent attention, values may be of another size than keys.
    return torch.randn(rows, heads, width, 6), torch.randn(rows, heads, width, 4)


def after(prefix: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    return torch.cat([prefix.expand(len(new), -1, -1, -1), new], 2)


def test_a_kept_prefix_comes_before_what_any_pass_adds_and_stays_as_it_is() -> None:
    cache, (keys, values) = PrefixCache(), keys_and_values(1, 9)
    cache.update(keys, values, 0)
    cache.keep()
    for rows, width in [(2, 7), (2, 7), (1, 3), (4, 2), (3, 8), (2, 7)]:
        new_keys, new_values = keys_and_values(rows, width)
        found_keys, found_values = cache.update(new_keys, new_values, 0)
        assert torch.equal(found_keys, after(keys, new_keys))
        assert torch.equal(found_values, after(values, new_values))
    assert cache.get_seq_length() == 9


def test_a_longer_prefix_begins_with_its_parents_tokens_and_leaves_the_parent_as_it_is() -> None:
    parent, (keys, values), (more_keys, more_values) = PrefixCache(), keys_and_values(1, 9), keys_and_values(1, 4)
    parent.update(keys, values, 0)
    child = PrefixCache(parent.keep())
    found, _ = child.update(more_keys, more_values, 0)
    assert torch.equal(found, after(keys, more_keys))
    new_keys, new_values = keys_and_values(3, 2)
    assert torch.equal(child.keep().update(new_keys, new_values, 0)[1], after(after(values, more_values), new_values))
    assert torch.equal(parent.update(new_keys, new_values, 0)[0], after(keys, new_keys))


def test_the_prefix_is_not_copied_for_a_pass_like_the_one_before() -> None:
    cache = PrefixCache()
    cache.update(*keys_and_values(1, 9), 0)
    cache.keep()
    first, _ = cache.update(*keys_and_values(2, 7), 0)
    second, _ = cache.update(*keys_and_values(2, 5), 0)
    assert second.data_ptr() == first.data_ptr()


def test_memory_is_freed_with_the_prefix_and_that_of_its_passes_when_one_goes_beyond_it() -> None:
    cache = PrefixCache()
    cache.update(*keys_and_values(1, 9), 0)
    cache.keep()
    of_a_pass = weakref.ref(cache.update(*keys_and_values(2, 7), 0)[0]._base)
    longer = PrefixCache(cache)
    assert of_a_pass() is None
    of_the_prefix = weakref.ref(cache.layers[0].keys)
    del cache
    assert of_the_prefix() is longer.layers[0].keys
    del longer
    gc.collect()
    assert of_the_prefix() is None


def test_a_model_leaves_nothing_of_a_prefix_behind() -> None:
    model: PreTrainedModel = zoo.model("gpt2")
    method = Decoder(model)
    layout = method.lay_out(Trie.of(zoo.asked(), zoo.LONGEST), NESTED)
    kept = method.prefix(layout.prefixes[0], None)
    keys = weakref.ref(kept.layers[0].keys)
    for one in [one for one in layout.passes if one.ancestry == layout.prefixes[:1]]:
        method.head(method.states(one, kept))
    del kept
    assert keys() is None
