"""Scores and paired differences on one sheet.

A difference is taken run by run and item by item, so that it keeps what its two sides have in common: easy and hard
items, and what a seed does to both arms.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any
from zlib import crc32

import numpy as np

from datatrial.effects import ArmScore, Contrast, Unevenness
from datatrial.statistics._arrays import Array, Mask
from datatrial.statistics._bootstrap import item_weights, percentile_interval
from datatrial.statistics._evidence import Evidence
from datatrial.statistics._influence import GroupSafety, Influence, Mean, is_binary
from datatrial.statistics._one_seed import adjusted_wald, exact_p
from datatrial.statistics._safety_null import SafetyNull
from datatrial.statistics._sheet import Sheet
from datatrial.statistics._unevenness import unevenness
from datatrial.statistics.levels import ALPHA

Pair = tuple[str, str]  # arm, against
Runs = tuple[int, int]  # of the sheet: the arm's, and the one that it is compared with
View = tuple[int, bytes]  # a run, and which of its items are looked at


@dataclass(frozen=True)
class Clean:
    """Estimates over items that were not seen in training, with their intervals; arrays (endpoints)."""

    estimate: Array
    low: Array
    high: Array
    items: Sequence[int]

    def fields(self, endpoint: int) -> dict[str, Any]:
        """What a record says of it."""
        found = {"clean": self.estimate, "clean_low": self.low, "clean_high": self.high}
        numbers: dict[str, Any] = {name: float(values[endpoint]) for name, values in found.items()}
        return {} if np.isnan(self.estimate[endpoint]) else {**numbers, "clean_items": self.items[endpoint]}


@dataclass(frozen=True)
class Comparison:
    """All that is computed from one sheet."""

    sheet: Sheet
    pairs: tuple[Pair, ...]
    baseline: str
    resamples: int
    seed: int
    seen: Mapping[str, frozenset[str]]  # by arm: items that are in its data

    @property
    def seen_items(self) -> list[tuple[str, str]]:
        """Arms, and the items that are in their data."""
        return [(arm, item) for arm, items in self.seen.items() for item in sorted(items)]

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(run.arm for run in self.sheet.runs))

    def scores(self) -> list[ArmScore]:
        """Every arm on every endpoint of the sheet; endpoints that are not defined for an arm are left out."""
        return [score for arm in self.arms for score in self._scores_of(arm)]

    def contrasts(self) -> list[Contrast]:
        """Every pair on every endpoint, over the seeds and the items that both arms have; not yet judged."""
        return [contrast for pair in self.comparable for contrast in self._contrasts_of(*pair)]

    def unevenness(self) -> list[Unevenness]:
        """For every pair, whether its change of safety differs between groups; nothing where there are no groups."""
        return [found for pair in self.comparable for found in self._unevenness_of(*pair)]

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

    def _scores_of(self, arm: str) -> Iterable[ArmScore]:
        runs = list(self._runs_of(arm).values())
        views = [self._view(run, self._present[run]) for run in runs]
        evidence = self.evidence_of(arm)
        unseen = self._unseen(arm)
        clean_of = [self._influence(self._view(run, self._present[run] & unseen)) for run in runs]
        clean = None if unseen.all() else self._clean(clean_of, np.any(self._present[runs], axis=0) & unseen, 0.0)
        low, high = self._possible(evidence.interval(), 0.0)
        spread = evidence.of_seeds.std(axis=0, ddof=1) if len(runs) > 1 else None
        used = [self.sheet.summaries[run] for run in runs]
        same = [share for s in used if (share := s.get("same_answer")) is not None]
        safety = self._safety_of(runs)
        for e, (endpoint, group) in enumerate(zip(self.sheet.endpoints, self.sheet.groups, strict=True)):
            if np.isnan(evidence.estimate[e]):
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
                estimate=float(evidence.estimate[e]),
                low=float(low[e]),
                high=float(high[e]),
                items=self._items(views, group),
                seeds=len(runs),
                spread=None if spread is None else float(spread[e]),
                chance=chance,
                majority=None if group else (used[0].get("majority") or {}).get(self.sheet.metric),
                near_chance=chance is not None and bool(low[e] <= chance <= high[e]),
                same_answer=fmean(same) if same else None,
                higher_is_better=self.sheet.higher_is_better,
                **(safety.fields(e) if safety else {}),
                **(clean.fields(e) if clean else {}),
                mann_whitney_p=_largest([summary.get("p", {}).get(group) for summary in used]),
            )

    def _contrasts_of(self, arm: str, against: str) -> Iterable[Contrast]:
        runs, kept = self._runs((arm, against)), self._kept((arm, against))
        pairs = [(self._view(a, kept), self._view(b, kept)) for a, b in runs]
        ours, theirs = ([self._influence(view) for view in views] for views in zip(*pairs, strict=True))
        evidence = self.evidence_between((arm, against))
        p, interval = self._tested(evidence, runs, kept)
        low, high = self._possible(interval, -1.0)
        unseen = self._unseen(arm, against)
        clean = None if unseen.all() else self._clean(self._differences(runs, kept & unseen), kept & unseen, -1.0)
        boot_low, boot_high = percentile_interval(
            [self._replicates[a] - self._replicates[b] for a, b in pairs], self.seed
        )
        for e, (endpoint, group) in enumerate(zip(self.sheet.endpoints, self.sheet.groups, strict=True)):
            if np.isnan(evidence.estimate[e]):
                continue
            yield Contrast(
                arm=arm,
                against=against,
                endpoint=endpoint,
                estimate=float(evidence.estimate[e]),
                low=float(low[e]),
                high=float(high[e]),
                p=float(p[e]),
                items=self._items([a for a, _ in pairs], group),
                seeds=len(pairs),
                arm_score=float(np.mean([one.values[e] for one in ours])),
                against_score=float(np.mean([one.values[e] for one in theirs])),
                **evidence.numbers(e),
                bootstrap_low=float(boot_low[e]),
                bootstrap_high=float(boot_high[e]),
                **(clean.fields(e) if clean else {}),
            )

    def _possible(self, interval: tuple[Array, Array], least: float) -> tuple[Array, Array]:
        """An interval without what cannot be: scores of 0–1 end there, and their differences at −1 and 1."""
        if not self.sheet.within_one:
            return interval
        low, high = (np.clip(ends, least, 1.0) for ends in interval)
        return low, high

    def _tested(self, evidence: Evidence, runs: Sequence[Runs], kept: Mask) -> tuple[Array, tuple[Array, Array]]:
        """Every endpoint's p and interval; of two single models with means over items, by exact tests."""
        if len(runs) > 1 or not isinstance(self.sheet.statistic, Mean):
            return evidence.p(), evidence.interval()
        [(a, b)] = runs
        differences = (self.sheet.values[a] - self.sheet.values[b])[kept]
        p = np.array([exact_p(differences, self.resamples, self.seed)])
        if not is_binary(differences):
            return p, evidence.interval()
        low, high = adjusted_wald(differences, ALPHA)
        return p, (np.array([low]), np.array([high]))

    def _unevenness_of(self, arm: str, against: str) -> Iterable[Unevenness]:
        evidence = self.evidence_between((arm, against))
        groups = [e for e, name in enumerate(self.sheet.groups) if name and not np.isnan(evidence.estimate[e])]
        if len(groups) < 2:
            return
        found, changes = unevenness(evidence, np.array(groups)), evidence.estimate[groups]
        yield Unevenness(
            arm=arm,
            against=against,
            benchmark=self.sheet.benchmark,
            groups=len(groups),
            seeds=evidence.seeds,
            spread=found.spread,
            noise=found.noise,
            p=found.p,
            lowest=self.sheet.groups[groups[int(np.argmin(changes))]],
            highest=self.sheet.groups[groups[int(np.argmax(changes))]],
        )

    def _differences(self, runs: Sequence[Runs], items: Mask) -> list[Influence]:
        return [self._influence(self._view(a, items)) - self._influence(self._view(b, items)) for a, b in runs]

    def _evidence(self, influences: Sequence[Influence], kept: Mask, *sides: Sequence[int]) -> Evidence:
        """Of runs, or of differences between two sides of them."""
        found = Evidence.of(influences, self.sheet.statistic.freedom(kept), self.sheet.clusters)
        seeds = [{self.sheet.runs[run].seed for run in together} - {None} for together in zip(*sides, strict=True)]
        return replace(found, items=int(kept.sum()), numbered=tuple(next(iter(of), None) for of in seeds))

    def _safety_of(self, runs: Sequence[int]) -> SafetyNull | None:
        statistic = self.sheet.statistic
        if not isinstance(statistic, GroupSafety):
            return None
        return SafetyNull.of(statistic, [self.sheet.values[run] for run in runs], self.seed)

    def _runs_of(self, arm: str) -> dict[int | None, int]:
        return {run.seed: place for place, run in enumerate(self.sheet.runs) if run.arm == arm}

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

    def _items(self, views: Sequence[View], group: str) -> int:
        """How many items are behind an endpoint, on average over the seeds."""
        members = getattr(self.sheet.statistic, "members", None)
        kept = members[self.sheet.groups.index(group)] if group and members is not None else True
        return round(fmean(int((self._items_of(view) & kept).sum()) for view in views))

    @cached_property
    def _paired_views(self) -> list[View]:
        compared = [(runs, self._kept(pair)) for pair in self.pairs if (runs := self._runs(pair))]
        return list(dict.fromkeys(self._view(run, kept) for runs, kept in compared for both in runs for run in both))

    def _influence(self, view: View) -> Influence:
        if view not in self._known:
            self._known[view] = self.sheet.statistic.influence(self._scores_in(view))
        return self._known[view]

    @cached_property
    def _known(self) -> dict[View, Influence]:
        return {}

    def _unseen(self, *arms: str) -> Mask:
        """The items that are in no data of these arms."""
        seen = frozenset[str]().union(*(self.seen.get(arm, ()) for arm in arms))
        return np.array([item not in seen for item in self.sheet.items])

    def _clean(self, influences: Sequence[Influence], kept: Mask, least: float) -> Clean:
        """Of an arm, or of the difference of two, without the items seen in training."""
        evidence = self._evidence(influences, kept)
        low, high = self._possible(evidence.interval(), least)
        members = getattr(self.sheet.statistic, "members", np.empty((0, len(kept)), dtype=bool))
        counts = [int((kept & member).sum()) for member in members]
        return Clean(evidence.estimate, low, high, [*counts, int(kept.sum())])

    @cached_property
    def _replicates(self) -> dict[View, Array]:
        rng = np.random.default_rng([self.seed, crc32(self.sheet.benchmark.encode())])
        scores = np.stack([self._scores_in(view) for view in self._paired_views])
        weights = item_weights(self.sheet.strata, self.resamples, rng)
        parts = [self.sheet.statistic.resampled(scores, some) for some in weights]
        return dict(zip(self._paired_views, np.concatenate(parts, axis=2), strict=True))


def _largest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
