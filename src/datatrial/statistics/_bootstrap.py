"""Resampling items and seeds, crossed: the hierarchical bootstrap that the intervals are checked against.

Over three seeds it undercovers (three values, resampled, have two thirds of their variance on average), so it decides
nothing. But it takes nothing for normal and linear: an effect that it cannot tell from zero is not to be trusted.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from datatrial.statistics._arrays import Array, Labels, Weights
from datatrial.statistics._influence import Statistic

CHUNK = 8_000_000  # weights, or values of models under them, held at once: 32 MB
LEVELS = (0.025, 0.975)


def replicates(
    statistic: Statistic, scores: Array, strata: Labels, resamples: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The statistic of several models (models × items) when items are resampled, models × endpoints × resamples.

    In 32 bits, as there are a billion of a study with hundreds of arms; all models have the same items drawn.
    """
    endpoints = len(statistic.freedom(np.ones(scores.shape[1], dtype=bool)))
    found = np.empty((len(scores), endpoints, resamples), dtype=np.float32)
    width, done = max(1, CHUNK // (len(scores) * endpoints)), 0
    for weights in item_weights(strata, resamples, rng):
        for first in range(0, weights.shape[1], width):
            some = weights[:, first : first + width]
            found[:, :, done : done + some.shape[1]] = statistic.resampled(scores, some)
            done += some.shape[1]
    return found


def item_weights(strata: Labels, resamples: int, rng: np.random.Generator) -> Iterator[Weights]:
    """How often each item is drawn when items are resampled with replacement within their strata.

    Yields arrays (items × some resamples), `resamples` columns in all: whole numbers, in 32 bits, since reading and
    writing them is most of the work.
    """
    items = len(strata)
    order = np.argsort(strata, kind="stable")
    _, starts, sizes = np.unique(strata[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes).astype(float), np.repeat(sizes, sizes).astype(float)
    width = max(1, CHUNK // max(1, items))
    for first in range(0, resamples, width):
        weights = np.empty((min(width, resamples - first), items), dtype=np.float32)
        for row in weights:  # one at a time: its counts stay in the processor's cache
            drawn = order[(start + rng.random(items) * size).astype(np.int64)]
            row[:] = np.bincount(drawn, minlength=items)
        yield weights.T


def seed_weights(seeds: int, resamples: int, seed: int) -> Array:
    """Share of each seed when seeds are resampled with replacement, (seeds × resamples)."""
    rng = np.random.default_rng([seed, seeds])
    drawn: Array = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples).T / seeds
    return drawn


def percentile_interval(by_seed: Sequence[Array], seed: int) -> Array:
    """The middle 95% of the mean over seeds, (2 × endpoints), from replicates (endpoints × resamples) of each seed."""
    weights = seed_weights(len(by_seed), by_seed[0].shape[1], seed)
    mean = np.einsum("seb,sb->eb", np.stack(by_seed), weights)
    defined = ~np.isnan(mean).all(axis=1)
    interval = np.full((2, len(mean)), np.nan)
    interval[:, defined] = np.nanquantile(mean[defined], LEVELS, axis=1)
    return interval
