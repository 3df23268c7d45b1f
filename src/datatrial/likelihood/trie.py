"""Requests as a token trie: sorted, each with how much it shares with the one before."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Request(NamedTuple):
    """What is asked: the log-likelihood of a continuation (0 tokens or more) after a context (1 token or more)."""

    context: Sequence[int]
    continuation: Sequence[int]


@dataclass(frozen=True, eq=False)
class Branch:
    """A request as what the model reads and what it should say next."""

    request: int  # its place among the requests
    tokens: Ints  # [n] what the model reads: context and continuation but for the last token
    targets: Ints  # [t] the continuation; the last t tokens read are those after which it is expected

    @property
    def first(self) -> int:
        """The depth of the first token whose logits are needed."""
        return len(self.tokens) - len(self.targets)


class Trie:
    """Branches in the order of their tokens, so that whatever shares a prefix lies together.

    The trie is never built as such: a branch begins where it leaves the one before it, at the depth `shared`.
    """

    def __init__(self, branches: Sequence[Branch]):
        keys = [branch.tokens.astype(">i4").tobytes() for branch in branches]
        order = sorted(range(len(branches)), key=keys.__getitem__)
        self.branches = [branches[i] for i in order]
        self.lengths: Ints = np.array([len(b.tokens) for b in self.branches], dtype=np.int64)
        self.first: Ints = np.array([b.first for b in self.branches], dtype=np.int64)
        # [n + 1] depth down to which a branch shares its tokens with the one before; 0 at both ends.
        self.shared: Ints = np.zeros(len(branches) + 1, dtype=np.int64)
        for i in range(1, len(branches)):
            self.shared[i] = _common(self.branches[i - 1].tokens, self.branches[i].tokens)
        self._before: Ints = np.cumsum([0, *(self.lengths - self.shared[:-1])])  # [n + 1] distinct tokens before each

    @classmethod
    def of(cls, requests: Sequence[Request], max_length: int) -> "Trie":
        """The trie of the requests, cut as lm-eval cuts them: the model reads the last `max_length` tokens.

        Requests without a continuation are left out: theirs is certain. So are those whose continuation alone is
        longer than `max_length`, which no model answers.
        """
        branches = []
        before: Sequence[int] = ()
        read: Ints = np.array(before, dtype=np.int64)
        for place, (context, continuation) in enumerate(requests):
            if continuation and len(continuation) <= max_length:
                # Making arrays of lists takes longest, and the answers to a question mostly follow each other.
                if context != before:
                    before, read = context, np.array(context, dtype=np.int64)
                targets: Ints = np.array(continuation, dtype=np.int64)
                whole = np.concatenate([read, targets])[-(max_length + 1) :]
                branches.append(Branch(place, whole[:-1], targets))
        return cls(branches)

    def __len__(self) -> int:
        return len(self.branches)

    @cached_property
    def distinct(self) -> int:
        """Distinct tokens: those of which no other branch has the same prefix."""
        return self.tokens(0, len(self), 0)

    @cached_property
    def highest(self) -> int:
        """The highest token id that is read or expected."""
        return max((int(max(branch.tokens.max(), branch.targets.max())) for branch in self.branches), default=0)

    @cached_property
    def total(self) -> int:
        """Tokens of all branches, each read by itself."""
        return int(self.lengths.sum())

    def tokens(self, low: int, high: int, depth: int) -> int:
        """Distinct tokens of the branches [low, high) below a depth that all of them share."""
        return int(self._before[high] - self._before[low] + self.shared[low]) - depth if low < high else 0

    def common(self, low: int, high: int) -> int:
        """The depth down to which the branches [low, high) are one and none of their logits is needed."""
        inner = self.shared[low + 1 : high]
        shortest = int(inner.min()) if len(inner) else int(self.lengths[low])
        return min(shortest, int(self.first[low:high].min()))


def _common(one: Ints, other: Ints) -> int:
    shorter = min(len(one), len(other))
    differ = one[:shorter] != other[:shorter]
    return int(differ.argmax()) if differ.any() else shorter
