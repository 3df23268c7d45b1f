"""Keys and values of a prefix that many passes begin with."""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

Pair = tuple[torch.Tensor, torch.Tensor]  # keys and values, each [rows, heads, tokens, size]


class PrefixCache(Cache):  # type: ignore[misc]
    """The keys and values of a prefix, which a pass reads and leaves as they are.

    It is made without the model's config, which would have layers with a sliding window forget the prefix's start:
    the attention mask says what a token sees.
    """

    layers: "list[_Layer]"

    def __init__(self, parent: "PrefixCache | None" = None):
        """An empty cache that grows, or one that grows beyond its parent's tokens."""
        super().__init__(layer_class_to_replicate=_Layer)
        if parent:
            self.layers = [layer.longer() for layer in parent.layers]

    def keep(self) -> "PrefixCache":
        """From now on nothing is added."""
        for layer in self.layers:
            layer.kept = True
        return self


class _Layer(DynamicLayer):  # type: ignore[misc]
    keys: torch.Tensor
    values: torch.Tensor
    kept = False
    _room: Pair | None = None  # the prefix in each row, and space after it

    def longer(self) -> "_Layer":
        """A layer that begins with these tokens. Passes under this one are done by then: their space is freed."""
        self._room = None
        layer = _Layer()
        layer.lazy_initialization(self.keys, self.values)
        layer.keys, layer.values = self.keys, self.values
        return layer

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> Pair:
        """The prefix's keys and values, and the given ones after them."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        if not self.kept:
            self.keys, self.values = _after(self.keys, keys), _after(self.values, values)
            return self.keys, self.values
        if keys.device.type != "cpu":
            # Copying is cheap there, and memory for all layers at a time is not.
            return _after(self.keys, keys), _after(self.values, values)
        return self._written(keys, values)

    def _written(self, keys: torch.Tensor, values: torch.Tensor) -> Pair:
        """The same, without a copy of the prefix where the pass before had as many rows and was as wide."""
        (rows, _, width, _), done = keys.shape, self.keys.shape[-2]
        if self._room is None or self._room[0].shape[0] < rows or self._room[0].shape[-2] < done + width:
            self._room = None  # before there is another
            self._room = _with_room(self.keys, rows, width), _with_room(self.values, rows, width)
        for room, new in zip(self._room, (keys, values), strict=True):
            room[:rows, :, done : done + width] = new
        first, second = self._room
        return first[:rows, :, : done + width], second[:rows, :, : done + width]


def _after(kept: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    return torch.cat([kept.expand(new.shape[0], -1, -1, -1), new], -2) if kept.numel() else new


def _with_room(kept: torch.Tensor, rows: int, width: int) -> torch.Tensor:
    _, heads, done, size = kept.shape
    room = kept.new_empty(rows, heads, done + width, size)
    room[:, :, :done] = kept
    return room
