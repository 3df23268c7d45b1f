"""What the statistics found, as the report, the tables and programs read it."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from datatrial.effects import ArmScore, Contrast, Unevenness
from datatrial.statistics.endpoints import CAPABILITY, is_of
from datatrial.statistics.verdict import NOT_TESTED

EXPECTED = {
    "better": "better than",
    "worse": "worse than",
    "not_better": "no better than",
    "not_worse": "no worse than",
    "equivalent": "as good as",
}


@dataclass(frozen=True)
class Claim:
    """A sentence of the study, and the declared contrasts that bear on it."""

    text: str
    parts: tuple[Contrast, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many parts are shown, contradicted, undecided, not tested (or only reported, under "")."""
        return Counter(NOT_TESTED if part.verdict == NOT_TESTED else part.outcome for part in self.parts)

    @property
    def outcome(self) -> str:
        """Shown only if every part is; contradicted if any part is; empty when nothing was expected."""
        counts = self.counts
        if set(counts) == {""}:
            return ""
        return "contradicted" if counts["contradicted"] else "shown" if set(counts) == {"shown"} else "undecided"


@dataclass(frozen=True)
class Analysis:
    """The scores and contrasts of a study, in the order in which the study names arms and benchmarks."""

    scores: tuple[ArmScore, ...]
    contrasts: tuple[Contrast, ...]
    primary: tuple[str, ...] = ()  # benchmarks whose declared contrasts are the study's main question
    unevenness: tuple[Unevenness, ...] = ()

    @classmethod
    def read(cls, result: Path, primary: Sequence[str] = ()) -> "Analysis":
        """Reads what a `contrasts` step wrote."""
        import polars as pl

        scores, contrasts, uneven = (
            pl.read_parquet(result / f"{name}.parquet").to_dicts() for name in ("scores", "contrasts", "unevenness")
        )
        return cls(
            tuple(ArmScore(**row) for row in scores),
            tuple(Contrast(**row) for row in contrasts),
            tuple(primary),
            tuple(Unevenness(**row) for row in uneven),
        )

    @cached_property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(score.arm for score in self.scores))

    @cached_property
    def baseline(self) -> str:
        return next((score.arm for score in self.scores if score.baseline), "the baseline")

    @cached_property
    def others(self) -> list[str]:
        """The arms that are not the baseline."""
        return [arm for arm in self.arms if arm != self.baseline]

    @cached_property
    def benchmarks(self) -> list[str]:
        """Titles of the benchmarks; each is an endpoint, too: that of its main metric."""
        return list(dict.fromkeys(score.benchmark for score in self.scores if score.benchmark != CAPABILITY))

    @cached_property
    def endpoints(self) -> list[str]:
        """The benchmarks and, where there is one, their mean."""
        return [*self.benchmarks, *[CAPABILITY] * any(score.endpoint == CAPABILITY for score in self.scores)]

    @cached_property
    def safety_benchmarks(self) -> list[str]:
        """The benchmarks that also score each group."""
        return list(dict.fromkeys(score.benchmark for score in self.scores if score.group))

    def groups(self, benchmark: str) -> list[str]:
        found = (score.group for score in self.scores if score.benchmark == benchmark and score.group)
        return list(dict.fromkeys(found))

    def score(self, arm: str, endpoint: str) -> ArmScore | None:
        """An arm's score on an endpoint's main metric; None when there is none."""
        return self._main.get((arm, endpoint))

    def any_score(self, endpoint: str) -> ArmScore | None:
        """Some arm's score on an endpoint, for what does not differ between arms: its metric, chance, sense."""
        return next(iter(self._on_endpoint.get(endpoint, ())), None)

    def delta(self, arm: str, endpoint: str) -> Contrast | None:
        """An arm's difference to the baseline; None for the baseline itself or when there is none."""
        return self.contrast(arm, self.baseline, endpoint)

    @cached_property
    def compared(self) -> int:
        """How many differences to the baseline there are, over arms and benchmarks."""
        return sum(self.delta(arm, on) is not None for arm in self.others for on in self.benchmarks)

    def contrast(self, arm: str, against: str, endpoint: str) -> Contrast | None:
        """The difference of two arms on an endpoint; None when they were not compared there."""
        return self._contrasts.get((arm, against, endpoint))

    def scale(self, endpoint: str) -> int:
        """100 for shares and scores on a 0–1 scale, shown in points; 1 for others, such as a perplexity."""
        return self._scales.get(endpoint, 100)

    def is_primary(self, endpoint: str) -> bool:
        return any(is_of(endpoint, benchmark) for benchmark in self.primary)

    @cached_property
    def claims(self) -> list[Claim]:
        """The declared contrasts by their claim, in the study's order; one without a claim is put into words."""
        parts: dict[str, list[Contrast]] = {}
        for contrast in self.contrasts:
            if contrast.declared:
                parts.setdefault(contrast.claim or _in_words(contrast), []).append(contrast)
        return [Claim(text, tuple(found)) for text, found in parts.items()]

    def verdicts(self, arm: str, endpoints: Iterable[str]) -> dict[str, list[str]]:
        """The endpoints by what is said of the arm against the baseline on them."""
        said: dict[str, list[str]] = {}
        for endpoint in endpoints:
            if delta := self.delta(arm, endpoint):
                said.setdefault(delta.verdict, []).append(endpoint)
        return said

    def of_arms(self, arms: Collection[str]) -> "Analysis":
        """The same without other arms, and without claims that are about any; p-values stay adjusted for all."""
        claims = [claim for claim in self.claims if all({part.arm, part.against} <= {*arms} for part in claim.parts)]
        declared = [part for claim in claims for part in claim.parts]
        against = (c for c in self.contrasts if not c.declared and c.arm in arms and c.against in arms)
        return replace(
            self,
            scores=tuple(score for score in self.scores if score.arm in arms),
            contrasts=(*against, *declared),
            unevenness=tuple(one for one in self.unevenness if one.arm in arms and one.against in arms),
        )

    def surest(self, most: int) -> list[str]:
        """So many arms, in the study's order: the baseline, and those whose differences are the least doubtful."""
        main = [c for c in self.contrasts if c.endpoint in self.endpoints and not math.isnan(c.p_adjusted)]
        by_p = sorted(main, key=lambda contrast: (contrast.p_adjusted, contrast.p))
        ranked = dict.fromkeys([self.baseline, *(arm for c in by_p for arm in (c.arm, c.against)), *self.arms])
        chosen = set(list(ranked)[:most])
        return [arm for arm in self.arms if arm in chosen]

    @cached_property
    def _on_endpoint(self) -> dict[str, list[ArmScore]]:
        found: dict[str, list[ArmScore]] = {}
        for (_, endpoint), score in self._main.items():
            found.setdefault(endpoint, []).append(score)
        return found

    @cached_property
    def _scales(self) -> dict[str, int]:
        largest = {name: max(abs(score.estimate) for score in of) for name, of in self._on_endpoint.items()}
        return {name: 100 if found <= 1 else 1 for name, found in largest.items()}

    @cached_property
    def _main(self) -> dict[tuple[str, str], ArmScore]:
        return {(score.arm, score.endpoint): score for score in self.scores if score.main}

    @cached_property
    def _contrasts(self) -> dict[tuple[str, str, str], Contrast]:
        return {(c.arm, c.against, c.endpoint): c for c in self.contrasts if not c.declared}


def _in_words(contrast: Contrast) -> str:
    expected = EXPECTED.get(contrast.expect, "compared with")
    margin = f" (within {100 * contrast.margin:g} points)" if contrast.margin else ""
    return f"{contrast.arm} is {expected} {contrast.against}{margin}"
