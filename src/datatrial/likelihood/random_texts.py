"""Texts of random tokens on which the ways to get log-likelihoods are tried."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from datatrial.likelihood.trie import Request

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")  # what configs call it


class RandomTexts:
    """Requests about tokens of a model's vocabulary, the same ones for the same config."""

    def __init__(self, config: "PreTrainedConfig"):
        text = config.get_text_config()
        meant_otherwise = list(_token_ids(config.to_dict()))  # padding, images and the like
        self._ids = np.setdiff1d(np.arange(text.vocab_size), meant_otherwise)
        self._rng = np.random.default_rng(0)
        windows = [getattr(text, name, None) for name in _WINDOWS]
        self._window = min((window for window in windows if isinstance(window, int) and window > 0), default=None)
        self.longest: int = getattr(text, "max_position_embeddings", None) or 10**9  # tokens that a model takes

    def with_shared_starts(self) -> list[Request]:
        """Contexts that begin alike, some of these further alike, others of their own, with long and short answers."""
        shared = self._tokens(8)
        further = shared + self._tokens(6)
        contexts = [start + self._tokens(4) for start in ([], [], shared, shared, further, further)]
        return [Request(context, self._tokens(n)) for context in contexts for n in (4, 7, 9)]

    def across_the_window(self, longest: int) -> list[Request]:
        """A context longer than the model's window; none if it has none, or one longer than `longest` tokens."""
        if self._window is None or self._window > longest or self._window + 20 > self.longest:
            return []
        context = self._tokens(self._window + 8)
        return [Request(context, self._tokens(12)) for _ in range(2)]

    def _tokens(self, n: int) -> list[int]:
        return [int(token) for token in self._rng.choice(self._ids, n)]


def _token_ids(config: dict[str, Any]) -> Iterator[int]:
    """The tokens that a config gives a meaning, those of its parts included."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _token_ids(value)
        elif "token" in str(key):
            yield from (token for token in (value if isinstance(value, list) else [value]) if isinstance(token, int))
