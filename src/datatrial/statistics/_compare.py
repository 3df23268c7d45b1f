"""Scores and paired differences on one sheet, with percentile intervals over items and seeds crossed.

In every resample the items are drawn anew once for all models, and the seeds once for all arms that have them, so a
difference keeps what its two sides have in common: easy and hard items, and the order of the data.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from zlib import crc32

import numpy as np
import numpy.typing as npt

from datatrial.records import ArmScore, Contrast
from datatrial.statistics._bootstrap import Array, Under, item_weights, seed_weights
from datatrial.statistics._sheet import Sheet
from datatrial.statistics.verdict import verdict

Pair = tuple[str, str]  # arm, against
View = tuple[int, bytes]  # a run, and which of its items are looked at
LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class Comparison:
    """All the resampling of one sheet: done once, read by its scores and its contrasts."""

    sheet: Sheet
    pairs: tuple[Pair, ...]
    baseline: str
    resamples: int
    seed: int

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(run.arm for run in self.sheet.runs))

    def scores(self) -> list[ArmScore]:
        """Every arm on every endpoint of the sheet; endpoints that are not defined for an arm are left out."""
        return [score for arm in self.arms for score in self._scores_of(arm)]

    def contrasts(self) -> list[Contrast]:
        """Every pair on every endpoint, over the seeds and the items that both arms have."""
        return [contrast for pair in self.pairs if self._runs(pair) for contrast in self._contrasts_of(*pair)]

    def _scores_of(self, arm: str) -> Iterable[ArmScore]:
        views = [self._view(run, self._present[run]) for run in self._runs_of(arm).values()]
        by_seed = np.stack([self._estimates[view] for view in views])
        low, high = self._interval([self._replicates[view] for view in views])
        spread = by_seed.std(axis=0, ddof=1) if len(views) > 1 else None
        used = [self.sheet.summaries[view[0]] for view in views]
        same = [share for s in used if (share := s.get("same_answer")) is not None]
        for e, (endpoint, group) in enumerate(zip(self.sheet.endpoints, self.sheet.groups, strict=True)):
            if np.isnan(by_seed[:, e]).any():
                continue
            chance = None if group else (used[0].get("chance") or {}).get(self.sheet.metric)
            yield ArmScore(
                arm=arm,
                benchmark=self.sheet.benchmark,
                endpoint=endpoint,
                metric=self.sheet.metric,
                group=group,
                main=self.sheet.main,
                baseline=arm == self.baseline,
                estimate=float(by_seed[:, e].mean()),
                low=float(low[e]),
                high=float(high[e]),
                items=self._items(views, group),
                seeds=len(views),
                spread=None if spread is None else float(spread[e]),
                chance=chance,
                majority=None if group else (used[0].get("majority") or {}).get(self.sheet.metric),
                near_chance=chance is not None and bool(low[e] <= chance <= high[e]),
                same_answer=fmean(same) if same else None,
                higher_is_better=self.sheet.higher_is_better,
            )

    def _contrasts_of(self, arm: str, against: str) -> Iterable[Contrast]:
        pairs = self._paired_views(arm, against)
        ours = np.stack([self._estimates[a] for a, _ in pairs]).mean(axis=0)
        theirs = np.stack([self._estimates[b] for _, b in pairs]).mean(axis=0)
        low, high = self._interval([self._replicates[a] - self._replicates[b] for a, b in pairs])
        for e, (endpoint, group) in enumerate(zip(self.sheet.endpoints, self.sheet.groups, strict=True)):
            if np.isnan(ours[e] - theirs[e]):
                continue
            yield Contrast(
                arm=arm,
                against=against,
                endpoint=endpoint,
                estimate=float(ours[e] - theirs[e]),
                low=float(low[e]),
                high=float(high[e]),
                items=self._items([a for a, _ in pairs], group),
                seeds=len(pairs),
                arm_score=float(ours[e]),
                against_score=float(theirs[e]),
                verdict=verdict(low[e], high[e], self.sheet.higher_is_better),
            )

    def _interval(self, by_seed: Sequence[Array]) -> Array:
        """The 95% percentile interval of the mean over seeds, from (endpoints × resamples) of each seed."""
        weights = seed_weights(len(by_seed), self.resamples, self.seed)
        mean = np.einsum("seb,sb->eb", np.stack(by_seed), weights)
        with warnings.catch_warnings():  # an endpoint that is not defined has only NaN; it is left out by its estimate
            warnings.simplefilter("ignore", RuntimeWarning)
            interval: Array = np.nanquantile(mean, LEVELS, axis=1)
        return interval

    def _runs_of(self, arm: str) -> dict[int | None, int]:
        return {run.seed: place for place, run in enumerate(self.sheet.runs) if run.arm == arm}

    def _runs(self, pair: Pair) -> list[tuple[int, int]]:
        """The runs to compare, seed by seed; an arm with a single run without a seed is compared with every one."""
        ours, theirs = (self._runs_of(arm) for arm in pair)
        if list(theirs) == [None]:
            return [(run, theirs[None]) for run in ours.values()]
        if list(ours) == [None]:
            return [(ours[None], run) for run in theirs.values()]
        return [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]

    def _paired_views(self, arm: str, against: str) -> list[tuple[View, View]]:
        # Pair by item: one arm's run may have skipped an item that another's has.
        both = [(a, b, self._present[a] & self._present[b]) for a, b in self._runs((arm, against))]
        return [(self._view(a, items), self._view(b, items)) for a, b, items in both]

    def _view(self, run: int, items: npt.NDArray[np.bool_]) -> View:
        return run, np.packbits(items).tobytes()

    @cached_property
    def _present(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.sheet.values)

    def _scores_in(self, view: View) -> Array:
        run, packed = view
        items = np.unpackbits(np.frombuffer(packed, np.uint8), count=self.sheet.values.shape[1]).astype(bool)
        return np.where(items, self.sheet.values[run], np.nan)

    def _items(self, views: Sequence[View], group: str) -> int:
        """How many items are behind an endpoint, on average over the seeds."""
        members = getattr(self.sheet.statistic, "members", None)
        kept = members[self.sheet.groups.index(group)] if group and members is not None else True
        return round(fmean(int((~np.isnan(self._scores_in(view)) & kept).sum()) for view in views))

    @cached_property
    def _views(self) -> list[View]:
        alone = [self._view(run, present) for run, present in enumerate(self._present)]
        paired = [view for pair in self.pairs for views in self._paired_views(*pair) for view in views]
        return list(dict.fromkeys([*alone, *paired]))

    @cached_property
    def _under(self) -> Under:
        return self.sheet.statistic(np.stack([self._scores_in(view) for view in self._views]))

    @cached_property
    def _estimates(self) -> dict[View, Array]:
        once = np.ones((self.sheet.values.shape[1], 1))
        return dict(zip(self._views, self._under(once)[:, :, 0], strict=True))

    @cached_property
    def _replicates(self) -> dict[View, Array]:
        rng = np.random.default_rng([self.seed, crc32(self.sheet.benchmark.encode())])
        parts = [self._under(weights) for weights in item_weights(self.sheet.strata, self.resamples, rng)]
        return dict(zip(self._views, np.concatenate(parts, axis=2), strict=True))
