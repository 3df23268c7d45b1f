"""Cached contexts and plain rows against forward passes over one request at a time."""

from typing import Any

import numpy as np
import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

from datatrial.errors import ModelError
from datatrial.likelihood.budget import Budget
from datatrial.likelihood.fallbacks import CachedContexts, PlainRows
from datatrial.likelihood.method import Method
from datatrial.likelihood.trie import Request, Trie
from tests.likelihood import zoo

TOLERANCE = 1e-4  # nats
SOME = ["llama", "gemma3", "phi3 of long texts"]
BUDGETS = [Budget(row=1, tokens=n, logits=n, keep=keep) for n, keep in [(1, 1), (30, 20), (10**6, 1)]]


def agree(model: Any, method: Method) -> None:
    requests = zoo.asked()
    plain = zoo.one_by_one(model, requests)
    assert plain.std() > 1  # answers differ
    for budget in BUDGETS:
        np.testing.assert_allclose(zoo.by(method, requests, budget), plain, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", [*SOME, *zoo.CONTEXTS])
def test_contexts_are_continued_as_in_plain_passes_whatever_the_budget(name: str) -> None:
    model = zoo.model(name)
    agree(model, CachedContexts(model))


@pytest.mark.parametrize("name", [*SOME, *zoo.CONTEXTS, *zoo.ROWS])
def test_rows_answer_as_plain_passes_do_whatever_the_budget(name: str) -> None:
    model = zoo.model(name)
    agree(model, PlainRows(model))


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig])
def test_rows_come_after_learned_prompts(config: Any) -> None:
    model = get_peft_model(zoo.model("llama"), config(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    agree(model, PlainRows(model))


def test_contexts_are_refused_after_learned_prompts() -> None:
    model = get_peft_model(zoo.model("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(ModelError, match="each text as a whole"):
        CachedContexts(model)


def test_a_model_that_gives_all_logits_is_asked_for_no_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.model("gpt2")

    class WithItsOwnCode(type(model)):  # type: ignore[misc]
        """As models' own code mostly has it: a number of last logits, and no mask."""

        def forward(self, input_ids: Any, logits_to_keep: int = 0, **inputs: Any) -> Any:
            assert logits_to_keep == 0
            return super().forward(input_ids, **inputs)

    plain = zoo.one_by_one(model, zoo.asked())
    monkeypatch.setattr(model, "__class__", WithItsOwnCode)
    for method in (PlainRows(model), CachedContexts(model)):
        np.testing.assert_allclose(zoo.by(method, zoo.asked(), BUDGETS[2]), plain, rtol=0, atol=TOLERANCE)


def test_a_model_that_keeps_no_cache_is_refused() -> None:
    model = zoo.model("mamba")
    with pytest.raises(ModelError, match="no cache"):
        zoo.by(CachedContexts(model), zoo.asked(), BUDGETS[2])


def read(method: Method, requests: list[Request], budget: Budget) -> int:
    return method.lay_out(Trie.of(requests, zoo.LONGEST), budget).tokens


def test_equal_texts_are_read_once_and_so_are_those_that_others_begin_with() -> None:
    context = list(range(3, 13))
    requests = [
        Request(context, [20]),
        Request(context, [21]),
        Request(context, [20, 30, 31]),
        Request(context, [20, 30]),
    ]
    assert read(PlainRows(zoo.model("gpt2")), requests, BUDGETS[2]) == 12


def test_a_context_is_read_once_where_that_saves_enough() -> None:
    method = CachedContexts(zoo.model("gpt2"))
    context = list(range(3, 13))
    requests = [Request(context, [token, token, token]) for token in (20, 21, 22)]  # of each, two are read
    assert read(method, requests, Budget(1, 100, 100, keep=18)) == 9 + 3 * 3
    assert read(method, requests, Budget(1, 100, 100, keep=19)) == 3 * 12


def test_a_cache_can_be_continued_again() -> None:
    method = CachedContexts(zoo.model("gpt2"))
    requests = [Request(range(3, 13), [token, token]) for token in (20, 21, 22)]
    layout = method.lay_out(Trie.of(requests, zoo.LONGEST), BUDGETS[2])
    with torch.no_grad():
        kept = method.prefix(layout.prefixes[0], None)
        first, second = (method.states(layout.passes[0], kept) for _ in range(2))
    assert torch.equal(first, second)
