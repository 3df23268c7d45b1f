"""Several copies of a model that score parts of a trie at the same time, each on a device of its own."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datatrial.errors import ModelError
from datatrial.likelihood.budget import Budget
from datatrial.likelihood.scorer import Likelihoods, Scorer
from datatrial.likelihood.trie import Trie
from datatrial.records import Progress

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def split(trie: Trie, parts: int) -> list[Trie]:
    """The trie in so many parts or, where it has too few branches, fewer: of about equal distinct tokens.

    A cut costs the tokens that the part after it repeats, and those by which it is off the place where parts would be
    equal: it is made where both together are fewest.
    """
    reached = np.concatenate([[0], np.cumsum(trie.lengths - trie.shared[:-1])])  # distinct tokens before each branch
    inner = np.arange(1, len(trie))
    cuts = {0, len(trie)}
    for part in range(1, parts if len(inner) else 1):
        off = np.abs(reached[inner] - reached[-1] * part / parts)
        cuts.add(int(inner[np.argmin(off + trie.shared[inner])]))
    return [Trie(trie.branches[low:high]) for low, high in pairwise(sorted(cuts))]


def other_devices(first: torch.device, wanted: int | str) -> list[str]:
    """The devices of so many copies of a model (or "all" that there are) beside that of the first.

    On other kinds of device than CUDA's all copies lie on the one there is.

    Raises: ModelError when there are fewer GPUs, or for less than one.
    """
    if wanted != "all" and (not str(wanted).isdecimal() or int(wanted) < 1):
        raise ModelError(f"devices={wanted}: a number from 1 on, or `all`")
    if first.type != "cuda":
        return [str(first)] * (0 if wanted == "all" else int(wanted) - 1)
    there = torch.cuda.device_count()
    count = there if wanted == "all" else int(wanted)
    if count > there:
        raise ModelError(f"devices={wanted}: there are {there} GPUs")
    return [f"cuda:{number}" for number in range(there) if number != (first.index or 0)][: count - 1]


class Replicas:
    """Copies of a model, each on its own device, to be used as one `Scorer`."""

    def __init__(self, models: "Sequence[PreTrainedModel | PeftModel]"):
        self._devices = [model.device for model in models]
        self._scorers = []
        for model in models:
            with _current(model.device):
                self._scorers.append(Scorer(model))

    def recorded(self) -> dict[str, Any]:
        """By which method, and at which sizes."""
        return {"method": self._scorers[0].method.name, "budget": self.budget.recorded()}

    @property
    def budget(self) -> Budget:
        """The smallest: memory may have run out on one device only."""
        return min((scorer.budget for scorer in self._scorers), key=lambda budget: budget.tokens)

    @property
    def notes(self) -> list[str]:
        """What the scorers have to say, each thing once."""
        return list(dict.fromkeys(note for scorer in self._scorers for note in scorer.notes))

    def score(self, trie: Trie, requests: int, progress: Progress, journal: Path | None = None) -> Likelihoods:
        """As `Scorer.score`, of a trie that is not empty."""
        parts = split(trie, len(self._scorers))
        tell = _Sum(progress, [part.distinct for part in parts])

        def score(number: int) -> Likelihoods:
            with _current(self._devices[number]):
                return self._scorers[number].score(parts[number], requests, tell.of(number), journal)

        with ThreadPoolExecutor(len(parts)) as threads:
            answered = list(threads.map(score, range(len(parts))))
        log_likelihood, greedy = np.full(requests, np.nan), np.zeros(requests, bool)
        for part, answer in zip(parts, answered, strict=True):
            places = [branch.request for branch in part.branches]
            log_likelihood[places], greedy[places] = answer.log_likelihood[places], answer.greedy[places]
        return Likelihoods(log_likelihood, greedy, sum(answer.tokens for answer in answered))


class _Sum:
    """The progress of several parts as one; before a part has said its total, it is taken to be the expected."""

    def __init__(self, progress: Progress, expected: list[int]):
        self._progress, self._lock = progress, Lock()
        self._done: list[float] = [0] * len(expected)
        self._totals: list[float] = list(expected)

    def of(self, part: int) -> Progress:
        def tell(done: float, total: float, what: str) -> None:
            with self._lock:
                self._done[part], self._totals[part] = done, total
                self._progress(sum(self._done), sum(self._totals), what)

        return tell


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU the one that kernels written outside of torch run on; each thread has its own."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
