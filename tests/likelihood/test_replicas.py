from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datatrial.errors import ModelError
from datatrial.likelihood.replicas import Replicas, other_devices, split
from datatrial.likelihood.scorer import Scorer
from datatrial.likelihood.trie import Request, Trie
from tests.likelihood.drawn import ENDLESS, many, ordinary, requests
from tests.likelihood.tiny_lm import make_model


@ordinary
@given(requests, st.integers(1, 6))
def test_parts_are_the_whole(asked: list[Request], parts: int) -> None:
    trie = Trie.of(asked, ENDLESS)
    found = split(trie, parts)
    assert len(found) <= parts
    assert all(len(part) for part in found)
    assert [b.request for part in found for b in part.branches] == [b.request for b in trie.branches]


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_are_about_equal(parts: int) -> None:
    trie = Trie.of([one for seed in range(40) for one in many(seed)], ENDLESS)
    sizes = [part.distinct for part in split(trie, parts)]
    assert len(sizes) == parts
    assert max(sizes) < 1.1 * trie.distinct / parts
    assert sum(sizes) < 1.02 * trie.distinct


def test_a_cut_is_made_where_least_is_repeated() -> None:
    # Of 46 and 54 tokens; a cut in the middle would repeat most of the longer one's prefix.
    asked = [
        Request([subject, *[0] * length, question], [1])
        for subject, length in ((1, 40), (2, 48))
        for question in range(5)
    ]
    parts = split(Trie.of(asked, ENDLESS), 2)
    assert [part.distinct for part in parts] == [46, 54]


def test_copies_answer_as_one_model(tmp_path: Path) -> None:
    asked = many(3)
    trie = Trie.of(asked, 48)
    told: list[tuple[float, float, str]] = []
    one = Scorer(make_model()).score(trie, len(asked), lambda *_: None)
    copies = Replicas([make_model(), make_model(), make_model()])
    found = copies.score(trie, len(asked), lambda *done: told.append(done), tmp_path)
    np.testing.assert_allclose(found.log_likelihood, one.log_likelihood, atol=1e-4)
    assert np.isnan(found.log_likelihood).any()  # of those that are in no trie
    np.testing.assert_array_equal(found.greedy, one.greedy)
    assert found.tokens >= one.tokens
    assert told[-1] == (found.tokens, found.tokens, "tokens")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert (copies.recorded()["method"], copies.notes) == ("trie", [])
    assert len(list(tmp_path.iterdir())) == 3


def test_the_smallest_budget_and_all_notes_are_said() -> None:
    copies = Replicas([make_model(), make_model()])
    halved = copies.budget.halved()
    assert halved
    copies._scorers[1].budget = halved
    copies._scorers[1].notes.append("memory ran out")
    assert copies.budget == halved
    assert copies.notes == ["memory ran out"]


def test_what_goes_wrong_on_one_device_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = Replicas([make_model(), make_model()])

    def score(*_: object) -> None:
        raise RuntimeError("the second device is gone")

    monkeypatch.setattr(copies._scorers[1], "score", score)
    with pytest.raises(RuntimeError, match="second device"):
        copies.score(Trie.of(many(3), 48), len(many(3)), lambda *_: None)


def test_devices_are_gpus_beside_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert other_devices(torch.device("cuda"), 2) == ["cuda:1"]
    assert other_devices(torch.device("cuda:1"), "all") == ["cuda:0", "cuda:2"]
    assert other_devices(torch.device("cpu"), 3) == ["cpu", "cpu"]
    assert other_devices(torch.device("cpu"), "all") == []
    for wanted in (0, "abc", -1):
        with pytest.raises(ModelError, match=f"devices={wanted}: a number from 1 on"):
            other_devices(torch.device("cuda"), wanted)
    with pytest.raises(ModelError, match="devices=4: there are 3 GPUs"):
        other_devices(torch.device("cuda"), 4)
