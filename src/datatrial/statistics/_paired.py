"""The runs of a sheet side by side: which are compared on which items, and what these say.

A difference is taken run by run and item by item, so that it keeps what its two sides have in common: easy and hard
items, and what a seed does to both arms.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from zlib import crc32

import numpy as np

from datatrial.statistics._arrays import Array, Mask
from datatrial.statistics._bootstrap import replicates
from datatrial.statistics._evidence import Evidence
from datatrial.statistics._influence import Influence
from datatrial.statistics._sheet import Sheet

Pair = tuple[str, str]  # arm, against
Runs = tuple[int, int]  # of the sheet: the arm's, and the one that it is compared with
View = tuple[int, bytes]  # a run, and which of its items are looked at

HELD = 128 * 2**20  # bytes of influences, and of replicates, that are kept for what may need them next


@dataclass(frozen=True)
class Paired:
    """A sheet, and the pairs of arms to compare on it."""

    sheet: Sheet
    pairs: tuple[Pair, ...]
    baseline: str
    resamples: int
    seed: int
    seen: Mapping[str, frozenset[str]]  # by arm: items that are in its data

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(run.arm for run in self.sheet.runs))

    def evidence_of(self, arm: str) -> Evidence:
        """An arm's own scores, over its seeds."""
        runs = list(self._runs_of(arm).values())
        influences = [self._influence(self._view(run, self._present[run])) for run in runs]
        return self._evidence(influences, np.any(self._present[runs], axis=0), runs)

    def evidence_between(self, pair: Pair) -> Evidence:
        """The differences of two arms, over the seeds and the items that both have."""
        runs, kept = self._runs(pair), self._kept(pair)
        return self._evidence(self._differences(runs, kept), kept, *zip(*runs, strict=True))

    @property
    def comparable(self) -> list[Pair]:
        """The pairs that have runs to compare."""
        return [pair for pair in self.pairs if self._runs(pair)]

    def _differences(self, runs: Sequence[Runs], items: Mask) -> list[Influence]:
        return [self._influence(self._view(a, items)) - self._influence(self._view(b, items)) for a, b in runs]

    def _evidence(self, influences: Sequence[Influence], kept: Mask, *sides: Sequence[int]) -> Evidence:
        """Of runs, or of differences between two sides of them."""
        found = Evidence.of(influences, self.sheet.statistic.freedom(kept), self.sheet.clusters)
        seeds = [{self.sheet.runs[run].seed for run in together} - {None} for together in zip(*sides, strict=True)]
        return replace(found, items=int(kept.sum()), numbered=tuple(next(iter(of), None) for of in seeds))

    def _runs_of(self, arm: str) -> Mapping[int | None, int]:
        return self._by_arm.get(arm, {})

    @cached_property
    def _by_arm(self) -> dict[str, dict[int | None, int]]:
        found: dict[str, dict[int | None, int]] = {}
        for place, run in enumerate(self.sheet.runs):
            found.setdefault(run.arm, {})[run.seed] = place
        return found

    def _runs(self, pair: Pair) -> list[Runs]:
        """The runs to compare, seed by seed; an arm with a single run without a seed is compared with every one."""
        ours, theirs = (self._runs_of(arm) for arm in pair)
        if list(theirs) == [None]:
            return [(run, theirs[None]) for run in ours.values()]
        if list(ours) == [None]:
            return [(ours[None], run) for run in theirs.values()]
        return [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]

    def _kept(self, pair: Pair) -> Mask:
        """The items that every run to be compared has answered: one may have skipped an item that others have."""
        kept: Mask = np.logical_and.reduce([self._present[run] for runs in self._runs(pair) for run in runs])
        return kept

    def _view(self, run: int, items: Mask) -> View:
        return run, np.packbits(items).tobytes()

    @cached_property
    def _present(self) -> Mask:
        return ~np.isnan(self.sheet.values)

    def _items_of(self, view: View) -> Mask:
        return np.unpackbits(np.frombuffer(view[1], np.uint8), count=self.sheet.values.shape[1]).astype(bool)

    def _scores_in(self, view: View) -> Array:
        return np.where(self._items_of(view), self.sheet.values[view[0]], np.nan)

    def _views(self, pair: Pair) -> list[tuple[View, View]]:
        """What is compared, seed by seed: both sides with the items that all runs of both have."""
        kept = self._kept(pair)
        return [(self._view(a, kept), self._view(b, kept)) for a, b in self._runs(pair)]

    def _blocks(self) -> Iterator[tuple[list[Pair], list[View]]]:
        """The pairs, so many at a time that the replicates of all that they compare can be held, and that."""
        most = HELD // (4 * len(self.sheet.groups) * self.resamples)
        pairs: list[Pair] = []
        views: dict[View, None] = {}
        for pair in self.comparable:
            own = dict.fromkeys(view for both in self._views(pair) for view in both)
            if pairs and len(views | own) > most:
                yield pairs, list(views)
                pairs, views = [], {}
            pairs.append(pair)
            views |= own
        if pairs:
            yield pairs, list(views)

    def _influence(self, view: View) -> Influence:
        if view not in self._known:
            if len(self._known) * self.sheet.values.shape[1] * len(self.sheet.groups) * 8 > HELD:
                self._known.clear()  # most of them were needed for one pair
            self._known[view] = self.sheet.statistic.influence(self._scores_in(view))
        return self._known[view]

    @cached_property
    def _known(self) -> dict[View, Influence]:
        return {}

    def _unseen(self, *arms: str) -> Mask:
        """The items that are in no data of these arms."""
        seen = frozenset[str]().union(*(self.seen.get(arm, ()) for arm in arms))
        unseen = np.ones(len(self.sheet.items), dtype=bool)
        unseen[[self._places[item] for item in seen]] = False
        return unseen

    @cached_property
    def _places(self) -> dict[str, int]:
        return {item: place for place, item in enumerate(self.sheet.items)}

    def _replicates(self, views: Sequence[View]) -> dict[View, Array]:
        """Of each, endpoints × resamples; the same items are drawn for all, whatever else is looked at."""
        rng = np.random.default_rng([self.seed, crc32(self.sheet.benchmark.encode())])
        scores = np.stack([self._scores_in(view) for view in views])
        drawn = replicates(self.sheet.statistic, scores, self.sheet.strata, self.resamples, rng)
        return dict(zip(views, drawn, strict=True))
