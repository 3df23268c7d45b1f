"""Finished work on disk: what is found again after a kill, and that the numbers are those of an undisturbed run."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from datatrial.likelihood import journal as journals
from datatrial.likelihood.budget import Budget
from datatrial.likelihood.journal import Answers, Journal, fingerprint
from datatrial.likelihood.layout import Layout, Pass
from datatrial.likelihood.method import Method
from datatrial.likelihood.scorer import Likelihoods, Progress, Scorer
from datatrial.likelihood.trie import Request, Trie

WORDS = 50
SMALL = Budget(row=16, tokens=32, logits=64, keep=8)  # so that there are many groups of passes
REQUESTS = 600
ROOT = Path(__file__).parents[2]


def make_model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config).eval()


def make_trie(seed: int = 0) -> Trie:
    """Questions with three choices each, in subjects that begin with some 30 tokens of their own."""
    rng = Random(seed)

    def text(length: int) -> list[int]:
        return [rng.randrange(WORDS) for _ in range(length)]

    subjects = [text(30) for _ in range(4)]
    questions = [subjects[i % 4] + text(rng.randint(3, 9)) for i in range(REQUESTS // 3 + 1)]
    return Trie.of([Request(questions[i // 3], text(rng.randint(1, 4))) for i in range(REQUESTS)], 10**6)


def scored(journal: Path | None, progress: Progress = lambda *_: None) -> tuple[Likelihoods, list[Pass]]:
    """What a fresh scorer says, and the passes that it made for it."""
    scorer = Scorer(make_model())
    scorer.budget = SMALL
    scorer.method = watched = Watched(scorer.method)
    return scorer.score(make_trie(), REQUESTS, progress, journal), watched.passes


class Watched:
    """A method that remembers its passes."""

    def __init__(self, method: Method):
        self.method, self.name = method, method.name
        self.passes: list[Pass] = []

    def states(self, one: Pass, prefix: Any) -> torch.Tensor:
        self.passes.append(one)
        return self.method.states(one, prefix)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)


def same_bits(one: Likelihoods, other: Likelihoods) -> bool:
    return (
        one.log_likelihood.tobytes() == other.log_likelihood.tobytes()
        and one.greedy.tobytes() == other.greedy.tobytes()
        and one.tokens == other.tokens
    )


def answers(number: int, requests: int = 3) -> Answers:
    places = np.arange(requests) + 10 * number
    return places, -np.sqrt(places + 0.1), places % 2 == 0


def write(folder: Path, numbers: range, block: int = 1) -> bytes:
    """A journal with a block for each so many groups; gives the file."""
    with Journal(folder, "f") as journal:
        for number in numbers:
            with patch.object(journals, "_SECONDS", math.inf if (number + 1) % block else 0.0):
                journal.add(number, Answers(*answers(number)))
    [file] = folder.iterdir()
    return file.read_bytes()


def found(folder: Path) -> dict[int, Answers]:
    with Journal(folder, "f") as journal:
        return dict(journal.finished)


def check(groups: dict[int, Answers], numbers: range) -> None:
    assert list(groups) == list(numbers)
    for number in numbers:
        for got, put in zip(groups[number], answers(number), strict=True):
            assert got.tobytes() == put.astype(got.dtype).tobytes()


KILLED = """
import os, signal, sys
from pathlib import Path
from datatrial.likelihood import journal
from tests.likelihood.test_journal import scored

journal._SECONDS = 0.0
told = []

def progress(done, total, what):
    told.append(done)
    if len(told) == 4:
        os.kill(os.getpid(), signal.SIGKILL)

scored(Path(sys.argv[1]), progress)
"""


@pytest.mark.slow
def test_scoring_that_was_killed_goes_on_without_a_pass_made_twice_and_ends_in_the_same_bits(tmp_path: Path) -> None:
    undisturbed, all_passes = scored(None)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert killed.returncode == -9, killed.stderr
    layout = Scorer(make_model()).method.lay_out(make_trie(), SMALL)
    finished = sum(len(group) for group in layout.groups[:4])
    assert 0 < finished < len(all_passes) - 16
    resumed, passes = scored(tmp_path)
    assert len(passes) == len(all_passes) - finished
    assert same_bits(resumed, undisturbed)


def test_scoring_that_failed_goes_on_where_it_was_however_short_it_ran(tmp_path: Path) -> None:
    def fail(done: float, total: float, what: str) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path, fail)
    undisturbed, all_passes = scored(None)
    resumed, passes = scored(tmp_path)
    assert 0 < len(passes) < len(all_passes) / 2 + 16
    assert same_bits(resumed, undisturbed)
    again, none = scored(tmp_path)
    assert none == []
    assert same_bits(again, undisturbed)


def test_progress_goes_on_where_it_was_and_reaches_the_end(tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []

    def fail(done: float, total: float, what: str) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path, fail)
    scored(tmp_path, lambda done, total, what: told.append((done, total)))
    assert told[0][0] > told[0][1] / 3
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("block", [1, 3])
def test_groups_are_found_again(tmp_path: Path, block: int) -> None:
    write(tmp_path, range(7), block)
    check(found(tmp_path), range(7))


def test_what_was_being_written_when_the_process_died_is_dropped_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = write(tmp_path, range(4), block=2)
    [file] = tmp_path.iterdir()
    kept = []
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        groups = found(tmp_path)
        check(groups, range(len(groups)))
        kept.append(len(groups))
    assert sorted(set(kept)) == [0, 2]
    file.write_bytes(whole[:-1])
    write(tmp_path, range(2, 5))
    check(found(tmp_path), range(5))


def test_what_a_disk_garbled_is_dropped_with_all_that_follows(tmp_path: Path) -> None:
    whole = write(tmp_path, range(4))
    [file] = tmp_path.iterdir()
    block = (len(whole) - 2) // 4
    for place in range(2 + block, 2 + 2 * block):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        check(found(tmp_path), range(1))


def test_nothing_is_found_under_another_fingerprint(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    with Journal(tmp_path, "g") as journal:
        assert journal.finished == {}


def test_blocks_are_written_about_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(journals.time, "monotonic", lambda: clock[0])
    sizes = []
    with Journal(tmp_path, "f") as journal:
        [file] = tmp_path.iterdir()
        for number in range(35):
            clock[0] += 0.1
            journal.add(number, Answers(*answers(number)))
            sizes.append(file.stat().st_size)
    assert 3 <= len(set(sizes)) <= 4
    check(found(tmp_path), range(35))


def half(model: LlamaForCausalLM) -> LlamaForCausalLM:
    return model.to(torch.bfloat16)  # type: ignore[no-any-return]


def other_weight(model: LlamaForCausalLM) -> LlamaForCausalLM:
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    return model


def laid_out(seed: int = 0, budget: Budget = SMALL) -> Layout:
    return Scorer(make_model()).method.lay_out(make_trie(seed), budget)


@pytest.mark.parametrize(
    "changed",
    [
        lambda: fingerprint(laid_out(seed=1), make_model(), "trie"),
        lambda: fingerprint(laid_out(budget=Budget(row=15, tokens=32, logits=64, keep=8)), make_model(), "trie"),
        lambda: fingerprint(laid_out(budget=Budget(row=16, tokens=32, logits=63, keep=8)), make_model(), "trie"),
        lambda: fingerprint(laid_out(), half(make_model()), "trie"),
        lambda: fingerprint(laid_out(), other_weight(make_model()), "trie"),
        lambda: fingerprint(laid_out(), make_model(seed=1), "trie"),
        lambda: fingerprint(laid_out(), make_model(), "rows"),
    ],
    ids=["texts", "rows", "logits", "dtype", "a weight", "weights", "method"],
)
def test_another_fingerprint_says_that_numbers_may_differ(changed: Callable[[], str]) -> None:
    assert fingerprint(laid_out(), make_model(), "trie") == fingerprint(laid_out(), make_model(), "trie")
    assert changed() != fingerprint(laid_out(), make_model(), "trie")
