"""Requests of text as token ids in a trie, kept for the next model with the same tokenizer."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import xxhash

from datatrial.likelihood.trie import Request, Trie

Text = tuple[str, str]  # context and continuation
Tokens = tuple[Text | None, list[int], list[int]]  # as lm-eval has them: the texts if any, context, continuation

_KEPT = 2**27  # tokens of all requests kept: 1 GiB. MMLU with 5 examples has 4·10⁷, a zero-shot benchmark 10⁶


@dataclass(frozen=True)
class Encoded:
    """Requests as a trie, and what is to be said of those that are not in it."""

    trie: Trie
    requests: int
    empty: tuple[int, ...]  # requests whose continuation is empty, and so certain
    unanswerable: Mapping[int, str]  # requests that no model can answer, and why
    truncated: int  # requests that lose the beginning of their context

    @cached_property
    def continuations(self) -> list[int]:
        """The number of tokens of each request's continuation; 0 for a request that is not in the trie."""
        counts = [0] * self.requests
        for branch in self.trie.branches:
            counts[branch.request] = len(branch.targets)
        return counts

    @classmethod
    def of(cls, asked: Iterable[Tokens], max_length: int) -> "Encoded":
        """What lm-eval's `hf` backend would put to a model that reads `max_length` tokens.

        Where that backend fails on an assertion, the request is unanswerable. An empty continuation, on which it fails
        as well, has probability one; but not one whose text is not empty and that has no token of its own.
        """
        requests: list[Request] = []
        empty: list[int] = []
        unanswerable: dict[int, str] = {}
        truncated = 0
        for place, (text, context, continuation) in enumerate(asked):
            if not continuation and not (text and text[1]):
                empty.append(place)
            elif problem := _problem(context, continuation, max_length):
                unanswerable[place] = problem
            else:
                requests.append(Request(context, continuation))
                truncated += len(context) + len(continuation) > max_length + 1
                continue
            requests.append(Request((), ()))  # keeps its place, and stays out of the trie
        trie = Trie.of(requests, max_length)
        return cls(trie, len(requests), tuple(empty), unanswerable, truncated)


def _problem(context: Sequence[int], continuation: Sequence[int], max_length: int) -> str | None:
    if not continuation:
        return "the tokenizer has no token for its continuation that is not part of its context"
    if not context:
        return "no token comes before its continuation"
    if len(continuation) > max_length:
        return f"its continuation has {len(continuation)} tokens, and the model reads {max_length}"
    return None


class Prepared:
    """Encoded requests by what they were made of. The last used are kept, as far as their tokens fit into memory."""

    def __init__(self, tokens: int = _KEPT):
        self._tokens = tokens
        self._kept: OrderedDict[str, Encoded] = OrderedDict()

    def get(self, key: str, make: Callable[[], Encoded]) -> Encoded:
        """What is kept under a key, or else made."""
        found = self._kept.pop(key, None) or make()
        self._kept[key] = found
        while len(self._kept) > 1 and sum(one.trie.total for one in self._kept.values()) > self._tokens:
            self._kept.popitem(last=False)
        return found


def key_of(texts: Iterable[Text], *settings: Any) -> str:
    """Identifies requests and all settings on which their tokens depend."""
    digest = xxhash.xxh3_128(repr(settings).encode())
    for context, continuation in texts:
        digest.update(f"{len(context)} {len(continuation)} {context}{continuation}".encode(errors="surrogatepass"))
    return digest.hexdigest()
