"""What is found out about models before they score anything."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import BertConfig, BertLMHeadModel, Gemma3Config

from datatrial.likelihood import decoder
from datatrial.likelihood.decoder import Decoder
from datatrial.likelihood.layout import Pass
from datatrial.likelihood.random_texts import RandomTexts
from datatrial.likelihood.scorer import Scorer
from datatrial.likelihood.self_check import choose, method_for
from datatrial.likelihood.trie import Request, Trie
from tests.likelihood import zoo

FLOAT32, HALVES = torch.float32, [torch.bfloat16, torch.float16]
SOME = ["llama", "gemma2", "gpt2 eager", "mixtral"]
states = Decoder.states
EXPECTED = {
    **dict.fromkeys(zoo.TRIE, "trie"),
    **dict.fromkeys(zoo.CONTEXTS, "contexts"),
    **dict.fromkeys(zoo.ROWS, "rows"),
}


def assert_chosen(name: str, std: float | None, dtype: torch.dtype) -> None:
    method, notes = choose(zoo.model(name, std, dtype))
    assert method.name == EXPECTED[name]
    assert len(notes) == (0 if method.name == "trie" else 1)


@pytest.mark.parametrize("name", [*SOME, *zoo.CONTEXTS, *zoo.ROWS])
def test_the_fastest_way_that_is_right_is_taken(name: str) -> None:
    assert_chosen(name, 0.25, FLOAT32)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_rounding_in_half_precision_is_no_error(name: str, dtype: torch.dtype) -> None:
    assert_chosen(name, 0.25, dtype)


def test_rounding_that_grows_from_layer_to_layer_is_no_error() -> None:
    method, notes = choose(zoo.model("llama", dtype=torch.bfloat16, num_hidden_layers=12))
    assert (method.name, notes) == ("trie", [])


@pytest.mark.slow
@pytest.mark.parametrize("std", [None, 0.25])  # None: 0.02, as most are drawn, so that answers are nearly uniform
@pytest.mark.parametrize("name", zoo.TRIE)
def test_what_is_right_is_taken_in_half_precision_whatever_the_weights(name: str, std: float | None) -> None:
    assert_chosen(name, std, torch.bfloat16)


@pytest.mark.parametrize("dtype", [FLOAT32, *HALVES])
@pytest.mark.parametrize("std", [None, 0.25])
@pytest.mark.parametrize("name", ["gpt-neo", "mpt"])
def test_models_that_would_be_silently_wrong_are_found_by_their_answers(
    name: str, std: float | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if nothing in their configs told.
    monkeypatch.setattr(decoder, "_kinds", lambda _: {"full_attention"})
    monkeypatch.setattr(decoder, "_counts_places", lambda _: False)
    method, notes = choose(zoo.model(name, std, dtype))
    assert method.name == "contexts"
    assert "differ by up to" in notes[0]


def forgetting(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
    return states(self, replace(one, prefix=None), None)


def counting_places(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
    start = one.prefix.depth if one.prefix else 0
    places = np.tile(np.arange(start, start + one.tokens.shape[1]), (len(one.tokens), 1))
    return states(self, replace(one, positions=places), prefix)


def seeing_all_before(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
    return states(self, replace(one, last=np.full_like(one.last, one.tokens.shape[1] - 1)), prefix)


def seeing_all_before_under_a_longer_prefix(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
    return (seeing_all_before if len(one.ancestry) == 2 else states)(self, one, prefix)


def seeing_beyond_the_window(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
    self.window = 10**6
    return states(self, one, prefix)


def mixing_rows(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
    return states(self, replace(one, tokens=one.tokens[:1].repeat(len(one.tokens), 0)), prefix)


def without_numbers(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
    return states(self, one, prefix) * math.nan


def raising(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
    raise IndexError("too many indices\nand so on")


@pytest.mark.parametrize("dtype", [FLOAT32, torch.bfloat16])
@pytest.mark.parametrize(
    "broken",
    [
        forgetting,
        counting_places,
        seeing_all_before,
        seeing_all_before_under_a_longer_prefix,
        seeing_beyond_the_window,
        mixing_rows,
        without_numbers,
        raising,
    ],
)
def test_a_broken_way_is_refused(broken: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "states", broken)
    method, notes = choose(zoo.model("mistral", dtype=dtype, sliding_window=40))  # longer than most of the texts
    assert method.name == "contexts"
    assert notes[0].startswith("this model (MistralForCausalLM) does not take block attention masks (")


def test_the_reason_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "states", raising)
    assert choose(zoo.model("llama"))[1] == [
        "this model (LlamaForCausalLM) does not take block attention masks (too many indices): contexts are cached "
        "instead, and what several of them begin with is read again for each"
    ]


def test_a_model_without_numbers_is_scored_row_by_row() -> None:
    model = zoo.model("llama")
    model.get_input_embeddings().weight.data.fill_(math.nan)
    method, notes = choose(model)
    assert method.name == "rows"
    assert "gives no numbers" in notes[0]


def test_a_model_that_sees_what_comes_next_is_told_of() -> None:
    sizes = {"vocab_size": zoo.VOCABULARY, "hidden_size": 64, "intermediate_size": 64, "max_position_embeddings": 64}
    config = BertConfig(**sizes, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.25)
    method, notes = choose(BertLMHeadModel(config).eval())
    assert method.name == "rows"
    assert "answers otherwise in padded batches" in notes[0]


def test_adapters_are_checked_with_their_model() -> None:
    adapted = get_peft_model(zoo.model("llama"), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    assert choose(adapted)[0].name == "trie"
    prompted = get_peft_model(zoo.model("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    method, notes = choose(prompted)
    assert method.name == "rows"
    assert "its adapter looks at each text as a whole" in notes[0]


def test_short_models_are_checked_with_short_texts() -> None:
    method, notes = choose(zoo.model("gpt2", n_positions=10))
    assert (method.name, notes) == ("trie", [])


def test_texts_have_none_of_the_tokens_that_a_config_gives_a_meaning() -> None:
    config = Gemma3Config(text_config={"vocab_size": 12, "sliding_window": 8}, image_token_id=7, boi_token_index=9)
    texts = RandomTexts(config)
    used = {token for one in texts.with_shared_starts() for token in [*one.context, *one.continuation]}
    assert used <= set(range(12)) - {7, 9, config.get_text_config().pad_token_id, config.get_text_config().bos_token_id}
    assert [len(one.context) > 8 for one in texts.across_the_window(longest=8)] == [True, True]
    assert texts.across_the_window(longest=7) == []


def test_an_adapter_that_acts_from_a_phrase_on_is_scored_text_by_text() -> None:
    """Its layers are told where the phrase is by PEFT's own forward pass; else they change nothing."""
    phrase = [7, 3]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=["q_proj", "v_proj"],
        init_lora_weights=False,
        alora_invocation_tokens=phrase,
    )
    torch.manual_seed(0)
    model = get_peft_model(zoo.model("llama"), config).eval()
    method_for(zoo.model("llama"))
    method, _ = method_for(model)
    assert method.name == "rows"
    asked = [Request([5, *phrase, 9], [4, 2]), Request([5, *phrase, 9], [4, 6]), Request([5, 1, 9], [4, 2])]
    found = Scorer(model).score(Trie.of(asked, 40), len(asked), lambda *_: None).log_likelihood
    with torch.no_grad():
        for (context, continuation), value in zip(asked, found, strict=True):
            ids = [*context, *continuation]
            said = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            plain = sum(float(said[len(context) + n - 1, token]) for n, token in enumerate(continuation))
            assert value == pytest.approx(plain, abs=1e-4)


def test_memory_that_runs_out_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(Decoder, "states", full)
    with pytest.raises(torch.OutOfMemoryError):
        choose(zoo.model("llama"))


def test_texts_need_prefixes_within_prefixes_and_several_rows_after_each() -> None:
    used: list[Pass] = []

    def noting(self: Decoder, one: Pass, prefix: Any) -> torch.Tensor:
        used.append(one)
        return states(self, one, prefix)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "states", noting)
        choose(zoo.model("mistral"))
    assert {(len(one.ancestry), len(one.tokens) > 1) for one in used} == {(0, True), (1, True), (2, True)}


def test_the_model_and_the_state_of_chance_are_left_as_they_were() -> None:
    model = zoo.model("gpt2")  # with dropout
    model.train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    choose(model)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert all(parameter.requires_grad for parameter in model.parameters())
    model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()
