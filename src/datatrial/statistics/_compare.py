"""Scores and paired differences on one sheet, as records."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from datatrial.effects import ArmScore, Contrast, Unevenness
from datatrial.statistics._arrays import Array, Mask
from datatrial.statistics._bootstrap import percentile_interval
from datatrial.statistics._evidence import Evidence
from datatrial.statistics._influence import GroupSafety, Influence, Mean, is_binary
from datatrial.statistics._one_seed import adjusted_wald, exact_p
from datatrial.statistics._paired import Pair, Paired, Runs, View
from datatrial.statistics._safety_null import SafetyNull
from datatrial.statistics._unevenness import unevenness
from datatrial.statistics.levels import ALPHA


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
class Findings:
    """What comes of a comparison, not yet judged."""

    scores: Sequence[ArmScore]
    contrasts: Sequence[Contrast] = ()
    unevenness: Sequence[Unevenness] = ()
    seen: Sequence[tuple[str, str, str]] = ()  # arm, benchmark, and an item of it that is in the arm's data
    # What a mean over benchmarks is made of: by title and arm, and by pair; without what each item says.
    of_arms: Mapping[str, Mapping[str, Evidence]] = field(default_factory=dict)
    of_pairs: Mapping[Pair, Evidence] = field(default_factory=dict)


class Comparison(Paired):
    """All that is computed from one sheet."""

    def findings(self, *, part_of_capability: bool) -> Findings:
        """All of it; `part_of_capability` where its benchmark may be one of those over which capability is the mean."""
        title, main = self.sheet.benchmark, self.sheet.main
        capable = part_of_capability and self.sheet.is_capability
        return Findings(
            self.scores(),
            self.contrasts(),
            self.unevenness(),
            [(arm, title, item) for arm, items in self.seen.items() for item in sorted(items)] if main else [],
            {title: {arm: self.evidence_of(arm).in_sum() for arm in self.arms}} if capable else {},
            {pair: self.evidence_between(pair).in_sum() for pair in self.comparable} if capable else {},
        )

    def scores(self) -> list[ArmScore]:
        """Every arm on every endpoint of the sheet; endpoints that are not defined for an arm are left out."""
        return [score for arm in self.arms for score in self._scores_of(arm)]

    def contrasts(self) -> list[Contrast]:
        """Every pair on every endpoint, over the seeds and the items that both arms have; not yet judged."""
        return [contrast for pairs, views in self._blocks() for contrast in self._contrasts_in(pairs, views)]

    def unevenness(self) -> list[Unevenness]:
        """For every pair, whether its change of safety differs between groups; nothing where there are no groups."""
        return [found for pair in self.comparable for found in self._unevenness_of(*pair)]

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

    def _contrasts_in(self, pairs: Sequence[Pair], views: Sequence[View]) -> list[Contrast]:
        drawn = self._replicates(views)
        return [contrast for pair in pairs for contrast in self._contrasts_of(*pair, drawn)]

    def _contrasts_of(self, arm: str, against: str, drawn: Mapping[View, Array]) -> Iterable[Contrast]:
        runs, kept = self._runs((arm, against)), self._kept((arm, against))
        pairs = self._views((arm, against))
        ours, theirs = ([self._influence(view) for view in views] for views in zip(*pairs, strict=True))
        evidence = self.evidence_between((arm, against))
        p, interval = self._tested(evidence, runs, kept)
        low, high = self._possible(interval, -1.0)
        unseen = self._unseen(arm, against)
        clean = None if unseen.all() else self._clean(self._differences(runs, kept & unseen), kept & unseen, -1.0)
        boot_low, boot_high = percentile_interval([drawn[a].astype(float) - drawn[b] for a, b in pairs], self.seed)
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

    def _safety_of(self, runs: Sequence[int]) -> SafetyNull | None:
        statistic = self.sheet.statistic
        if not isinstance(statistic, GroupSafety):
            return None
        return SafetyNull.of(statistic, [self.sheet.values[run] for run in runs], self.seed)

    def _items(self, views: Sequence[View], group: str) -> int:
        """How many items are behind an endpoint, on average over the seeds."""
        members = getattr(self.sheet.statistic, "members", None)
        kept = members[self.sheet.groups.index(group)] if group and members is not None else True
        return round(fmean(int((self._items_of(view) & kept).sum()) for view in views))

    def _clean(self, influences: Sequence[Influence], kept: Mask, least: float) -> Clean:
        """Of an arm, or of the difference of two, without the items seen in training."""
        evidence = self._evidence(influences, kept)
        low, high = self._possible(evidence.interval(), least)
        members = getattr(self.sheet.statistic, "members", np.empty((0, len(kept)), dtype=bool))
        counts = [int((kept & member).sum()) for member in members]
        return Clean(evidence.estimate, low, high, [*counts, int(kept.sum())])


def _largest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
