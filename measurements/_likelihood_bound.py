"""The least that scoring a trie can take: its floating-point operations, at the best rate the model reaches here."""

import time
from dataclasses import dataclass
from statistics import harmonic_mean, median
from typing import Any, NamedTuple

import numpy as np
import torch

from datatrial.likelihood.trie import Trie

GRID = [
    *((1, n) for n in (64, 128, 256, 512, 1024, 2048)),
    *((2, n) for n in (64, 128, 256)),
    *((4, n) for n in (32, 64, 128)),
    *((8, n) for n in (16, 32, 64)),
    *((16, n) for n in (16, 32)),
    *((32, n) for n in (8, 16)),
]
PARTS = {"all": "whole forward passes", "body": "the body alone", "head": "the head alone"}
Shape = tuple[int, int]  # batch, length
_SWEEPS, _SECONDS_IN_SWEEP = 3, 0.25  # the best shape is the one with the highest median over sweeps


class Rate(NamedTuple):
    """Floating-point operations a second of the clock, and a CPU-second of all threads together."""

    wall: float
    cpu: float


Rates = dict[str, Rate]  # of each part of the model
Shapes = dict[str, Shape]


@dataclass(frozen=True)
class Work:
    """Floating-point operations, an addition and a multiplication counted as two."""

    body: float  # all linear layers but the head, for each token; attention of each to itself and what it sees
    head: float  # the logits

    @property
    def total(self) -> float:
        return self.body + self.head


class Costs:
    """What tokens cost in a decoder of linear layers and attention, and how fast the model computes."""

    def __init__(self, model: Any):
        self.model = model
        config = model.config
        linear = [m for m in model.base_model.modules() if isinstance(m, torch.nn.Linear)]
        self.per_token = 2.0 * sum(m.weight.numel() for m in linear)
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        # Of each pair of a token and one that it sees: a product of the query with the key, and the weighted value.
        self.per_pair = 4.0 * config.num_hidden_layers * config.num_attention_heads * size
        self.per_logits = 2.0 * config.vocab_size * config.hidden_size

    def forward(self, shape: Shape) -> Work:
        """A plain causal forward pass with all logits."""
        batch, length = shape
        pairs = batch * length * (length + 1) / 2
        return Work(self.per_token * batch * length + self.per_pair * pairs, self.per_logits * batch * length)

    def trie(self, trie: Trie) -> Work:
        """Each distinct token once, and the logits of each distinct token that are needed."""
        return Work(self.per_token * trie.distinct + self.per_pair * _pairs(trie), self.per_logits * needed(trie))

    def rate(self, shape: Shape, seconds: float, part: str = "all") -> Rate:
        """That of plain forward passes for so many seconds: of the whole, the body or the head."""
        work, run = self._run(shape, part)
        run()
        count, start, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            run()
            count += 1
        return Rate(work * count / (time.perf_counter() - start), work * count / (time.process_time() - cpu))

    def rates(self, shapes: Shapes, seconds: float) -> Rates:
        """Those of all parts, each at its shape."""
        return {part: self.rate(shape, seconds, part) for part, shape in shapes.items()}

    def _run(self, shape: Shape, part: str) -> tuple[float, Any]:
        tokens = torch.randint(10, self.model.config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
        work = self.forward(shape)
        if part == "head":
            states = torch.randn(shape[0] * shape[1], self.model.config.hidden_size)
            return work.head, _inferred(lambda: self.model.lm_head(states))
        if part == "body":
            return work.body, _inferred(lambda: self.model.base_model(input_ids=tokens, use_cache=False))
        return work.total, _inferred(lambda: self.model(input_ids=tokens, use_cache=False).logits)


def _inferred(run: Any) -> Any:
    return torch.inference_mode()(run)


def sweep(costs: Costs) -> dict[str, dict[Shape, float]]:
    """For each part of the model, operations a second at each shape: medians over sweeps of all of them."""
    longest = costs.model.config.max_position_embeddings
    tried = [(part, shape) for part in PARTS for shape in GRID if shape[1] <= longest]
    sweeps = [[costs.rate(shape, _SECONDS_IN_SWEEP, part).wall for part, shape in tried] for _ in range(_SWEEPS)]
    found: dict[str, dict[Shape, float]] = {part: {} for part in PARTS}
    for (part, shape), rates in zip(tried, zip(*sweeps, strict=True), strict=True):
        found[part][shape] = median(rates)
    return found


def mean(one: Rates, other: Rates) -> Rates:
    """The rates of two times that are as long as each other."""
    return {part: Rate(*(harmonic_mean(pair) for pair in zip(one[part], other[part], strict=True))) for part in one}


def needed(trie: Trie) -> int:
    """Distinct tokens after which logits are needed."""
    asked = np.zeros(int(trie.lengths.max(initial=0)), bool)  # by depth, on the path to the branch at hand
    count = 0
    for first, length, shared in zip(trie.first, trie.lengths, trie.shared[:-1], strict=True):
        asked[shared:] = False
        count += int((~asked[first:length]).sum())
        asked[first:length] = True
    return count


def _pairs(trie: Trie) -> float:
    """Pairs of a distinct token and one on its path, itself included."""
    below, above = trie.lengths.astype(float), np.minimum(trie.shared[:-1], trie.lengths).astype(float)
    return float((below * (below + 1) - above * (above + 1)).sum() / 2)
