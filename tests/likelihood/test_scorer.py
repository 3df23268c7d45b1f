"""Scores against forward passes of one request at a time, and against a method that remembers what it has read."""

import math
import zlib
from copy import copy, deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from datatrial.likelihood import scorer as scoring
from datatrial.likelihood.budget import Budget
from datatrial.likelihood.decoder import Decoder
from datatrial.likelihood.layout import Layout, Pass, Prefix, lay_out
from datatrial.likelihood.method import Method
from datatrial.likelihood.scorer import Likelihoods, Scorer, read_log_likelihoods
from datatrial.likelihood.trie import Request, Trie
from tests.likelihood.drawn import (
    ALPHABET,
    ENDLESS,
    Tokens,
    answerable,
    budgets,
    ordinary,
    read_tokens,
    requests,
    windows,
)

NAN, INF = math.nan, math.inf
UNREADABLE = ALPHABET - 1
LOGITS = torch.randint(-3, 3, (997, ALPHABET), generator=torch.Generator().manual_seed(0)).float()


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=ALPHABET,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def scorer(llama: LlamaForCausalLM) -> Scorer:
    return Scorer(llama)


@pytest.fixture(scope="module")
def spoilt(llama: LlamaForCausalLM) -> Decoder:
    other = deepcopy(llama)
    with torch.no_grad():
        other.get_input_embeddings().weight[UNREADABLE] = NAN
    return Decoder(other)


def silent(done: float, total: float, what: str) -> None:
    pass


class Recalling:
    """A method that answers by all the tokens that a slot sees: any that is missing changes the logits."""

    name = "recalling"

    def __init__(self) -> None:
        self.prefixes: list[Tokens] = []
        self.most_states = 0
        self._seen: list[Tokens] = []

    def lay_out(self, trie: Trie, budget: Budget) -> Layout:
        return lay_out(trie, budget)

    def prefix(self, prefix: Prefix, parent: Tokens | None) -> Tokens:
        self.prefixes.append((*(parent or ()), *prefix.tokens.tolist()))
        assert len(self.prefixes[-1]) == prefix.depth
        return self.prefixes[-1]

    def states(self, one: Pass, prefix: Tokens | None) -> torch.Tensor:
        numbers = range(len(self._seen), len(self._seen) + len(one.slots))
        for slot in one.slots.tolist():
            row, q = divmod(slot, one.tokens.shape[1])
            inside = [k for k in range(q + 1) if q <= one.last[row, k]]
            self._seen.append((*(prefix or ()), *one.tokens[row, inside].tolist()))
        return torch.tensor(numbers)[:, None]

    def head(self, states: torch.Tensor) -> torch.Tensor:
        self.most_states = max(self.most_states, len(states))
        return torch.stack([self.logits(self._seen[number]) for number in states.flatten()])

    @staticmethod
    def logits(seen: Tokens) -> torch.Tensor:
        """[ALPHABET] of a few values only, so that several tokens may be the likeliest."""
        return LOGITS[zlib.crc32(bytes(seen)) % len(LOGITS)]


def one_by_one(asked: list[Request], window: int, logits: Any) -> Likelihoods:
    """What `logits`, from the tokens read to those [n, ALPHABET] at each of them, say of each request."""
    found, greedy = np.full(len(asked), NAN), np.zeros(len(asked), bool)
    total = 0
    for place in answerable(asked, window):
        read, targets = read_tokens(asked[place], window), torch.tensor(list(asked[place].continuation))
        said = logits(read)[-len(targets) :].double()
        found[place] = said.log_softmax(-1).gather(-1, targets[:, None]).sum().item()
        greedy[place] = said.numpy().argmax(-1).tolist() == targets.tolist()
        total += len(read)
    return Likelihoods(found, greedy, total)


@given(requests, windows, budgets)
@settings(ordinary, max_examples=20)
def test_scores_are_those_of_plain_forward_passes(
    scorer: Scorer, llama: LlamaForCausalLM, asked: list[Request], window: int, budget: Budget
) -> None:
    def plain(read: Tokens) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = llama(input_ids=torch.tensor([read])).logits[0]
        return logits

    scorer.budget = budget
    found, expected = scorer.score(Trie.of(asked, window), len(asked), silent), one_by_one(asked, window, plain)
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=0, atol=1e-4)
    assert found.greedy.tolist() == expected.greedy.tolist()
    assert found.tokens <= expected.tokens


def by(method: Method, scorer: Scorer, budget: Budget) -> Scorer:
    """The same with another method."""
    other = copy(scorer)
    other.method, other.budget, other.notes = method, budget, []
    return other


def recalled(read: Tokens) -> torch.Tensor:
    return torch.stack([Recalling.logits(read[: n + 1]) for n in range(len(read))])


@given(requests, windows, budgets)
@ordinary
def test_each_target_is_asked_for_after_its_own_branch(
    scorer: Scorer, asked: list[Request], window: int, budget: Budget
) -> None:
    method, trie = Recalling(), Trie.of(asked, window)
    found = by(method, scorer, budget).score(trie, len(asked), silent)
    expected = one_by_one(asked, window, recalled)
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-6)
    assert found.greedy.tolist() == expected.greedy.tolist()
    assert method.most_states <= budget.logits


@given(requests, windows, budgets)
@ordinary
def test_each_prefix_is_read_once_and_progress_counts_all_tokens(
    scorer: Scorer, asked: list[Request], window: int, budget: Budget
) -> None:
    method, trie, told = Recalling(), Trie.of(asked, window), list[tuple[float, float, str]]()
    layout = lay_out(trie, budget)
    found = by(method, scorer, budget).score(trie, len(asked), lambda *what: told.append(what))
    assert len(method.prefixes) == len(layout.prefixes)
    assert found.tokens == layout.tokens
    assert [done for done, _, _ in told] == sorted({done for done, _, _ in told})
    assert {(total, what) for _, total, what in told} <= {(layout.tokens, "tokens")}
    assert not told or told[-1][0] == layout.tokens


class Forgetful(Recalling):
    """One for which only so many tokens fit into memory."""

    def __init__(self, room: int, error: Exception) -> None:
        super().__init__()
        self.room, self.error = room, error

    def states(self, one: Pass, prefix: Tokens | None) -> torch.Tensor:
        if one.tokens.size > self.room:
            raise self.error
        return super().states(one, prefix)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes"),
    MemoryError(),
]
BUDGET = Budget(row=16, tokens=128, logits=64, keep=8)
ASKED = [Request([1, 2, *range(k % 5)], [k % ALPHABET, 3]) for k in range(200)]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=repr)
def test_it_goes_on_with_less_at_a_time_when_memory_runs_out(scorer: Scorer, error: Exception) -> None:
    small = by(Forgetful(40, error), scorer, BUDGET)
    found, expected = small.score(Trie.of(ASKED, ENDLESS), len(ASKED), silent), one_by_one(ASKED, ENDLESS, recalled)
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-6)
    assert small.budget.tokens == 32
    assert [note.split(":")[0] for note in small.notes] == [
        "memory ran out with 128 tokens at a time",
        "memory ran out with 64 tokens at a time",
    ]


@pytest.mark.parametrize("error", [*OUT_OF_MEMORY, RuntimeError("mat1 and mat2 shapes cannot be multiplied")], ids=repr)
def test_what_smaller_passes_do_not_mend_is_raised(scorer: Scorer, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        by(Forgetful(0, error), scorer, BUDGET).score(Trie.of(ASKED, ENDLESS), len(ASKED), silent)
    assert raised.value is error


def test_nothing_asked_is_nothing_read(scorer: Scorer) -> None:
    found = scorer.score(Trie.of([Request([1], [])], ENDLESS), 1, silent)
    assert (found.tokens, found.log_likelihood.tolist()) == (0, pytest.approx([NAN], nan_ok=True))


def read(logits: torch.Tensor, pick: list[int], targets: list[int]) -> tuple[list[float], list[bool]]:
    values, greedy = read_log_likelihoods(logits.clone(), torch.tensor(pick), torch.tensor(targets))
    assert values.dtype == torch.float32
    return values.tolist(), greedy.tolist()


@given(st.integers(0, 2**32), st.sampled_from([torch.bfloat16, torch.float16, torch.float32]), st.integers(1, 40))
@ordinary
def test_log_likelihoods_are_as_exact_as_the_logits(seed: int, dtype: torch.dtype, vocabulary: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 20, (6, vocabulary))).to(dtype)
    pick, targets = rng.integers(0, 6, 20).tolist(), rng.integers(0, vocabulary, 20).tolist()
    values, greedy = read(logits, pick, targets)
    exact = logits.double().log_softmax(-1)[pick, targets].tolist()
    assert values == pytest.approx(exact, rel=1e-5, abs=1e-5)
    firsts = [row.index(max(row)) for row in logits.tolist()]
    assert greedy == [firsts[slot] == target for slot, target in zip(pick, targets, strict=True)]


def test_of_tokens_that_share_the_highest_logit_the_first_is_greedy() -> None:
    logits = torch.tensor([[1.0, 7.0, 7.004, 7.0]]).bfloat16()  # the difference is below what bfloat16 can tell
    _, greedy = read(logits, [0, 0, 0, 0], [0, 1, 2, 3])
    assert greedy == [False, True, False, False]


@pytest.mark.parametrize("at_a_time", [1, 8, 2**20])
def test_how_many_logits_are_summed_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    expected = read(logits, list(range(9)), [3] * 9)
    monkeypatch.setattr(scoring, "_CHUNK", at_a_time)
    assert read(logits, list(range(9)), [3] * 9) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wrong", [[NAN, 0.0, 1.0], [NAN] * 3, [0.0, INF, 1.0], [INF] * 3, [-INF] * 3])
def test_logits_that_are_no_numbers_give_none_and_leave_others_alone(wrong: list[float], dtype: torch.dtype) -> None:
    right = [[0.5, 1.5, 0.0], [2.0, 0.0, 1.0]]
    logits = torch.tensor([right[0], wrong, right[1]], dtype=dtype)
    values, greedy = read(logits, [0, 1, 2, 1, 2], [1, 0, 2, 2, 0])
    assert math.isnan(values[1]) and math.isnan(values[3])
    kept = read(torch.tensor(right, dtype=dtype), [0, 1, 1], [1, 2, 0])
    assert ([values[0], values[2], values[4]], [greedy[0], greedy[2], greedy[4]]) == kept


def test_a_token_that_cannot_be_has_no_likelihood() -> None:
    values, greedy = read(torch.tensor([[0.0, -INF, 0.0]]), [0, 0], [0, 1])
    assert values == pytest.approx([-math.log(2), -INF])
    assert greedy == [True, False]


class Stammering(Recalling):
    """One that gives no number after one context."""

    def head(self, states: torch.Tensor) -> torch.Tensor:
        logits = super().head(states)
        for row, number in enumerate(states.flatten().tolist()):
            if self._seen[number] == (1, 2, 3):
                logits[row] = NAN
        return logits


def test_only_requests_that_need_a_missing_number_have_none(scorer: Scorer) -> None:
    asked = [
        Request([1, 2], [3]),
        Request([1, 2], [3, 4]),  # asked after 1 2 3
        Request([1, 2, 3], [4]),
        Request([1, 2, 3], [5]),
        Request([1, 2, 3, 4], [5]),
        Request([1, 2, 5], [5]),
    ]
    found = by(Stammering(), scorer, BUDGET).score(Trie.of(asked, ENDLESS), len(asked), silent)
    expected = one_by_one(asked, ENDLESS, recalled)
    assert np.isnan(found.log_likelihood).tolist() == [False, True, True, True, False, False]
    rest = [0, 4, 5]
    np.testing.assert_allclose(found.log_likelihood[rest], expected.log_likelihood[rest], rtol=1e-6)
    assert found.greedy[rest].tolist() == expected.greedy[rest].tolist()


@given(requests, windows, budgets)
@settings(ordinary, max_examples=20)
def test_a_token_that_the_model_cannot_read_spoils_only_what_has_it(
    spoilt: Decoder, scorer: Scorer, asked: list[Request], window: int, budget: Budget
) -> None:
    asked = [*asked, *(Request([*one.context, UNREADABLE], one.continuation) for one in asked[::2])]
    trie = Trie.of(asked, window)
    found, expected = (one.score(trie, len(asked), silent) for one in (by(spoilt, scorer, budget), scorer))
    lost = [UNREADABLE in read_tokens(one, window) for one in asked]
    np.testing.assert_allclose(found.log_likelihood, np.where(lost, NAN, expected.log_likelihood), rtol=0, atol=1e-4)
    assert found.greedy[~np.array(lost, bool)].tolist() == expected.greedy[~np.array(lost, bool)].tolist()
