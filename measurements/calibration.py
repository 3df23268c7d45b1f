"""Whether verdicts keep their promises: simulated studies whose truth is known.

    python measurements/calibration.py levels                        one difference, by integration
    python measurements/calibration.py accuracy [--studies 4000]     right-or-wrong items: p, intervals, other methods
    python measurements/calibration.py safety   [--studies 4000]     thirteen overlapping groups
    python measurements/calibration.py families [--studies 4000]     family-wise error of whole studies under Holm

Each line is one kind of study, with its own Monte Carlo bounds; none are averaged. The tables are Markdown.
"""

import argparse
import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from scipy import optimize, stats

from datatrial.statistics._evidence import Evidence
from datatrial.statistics._influence import GroupSafety, Influence, Mean
from datatrial.statistics._one_seed import adjusted_wald, exact_p
from datatrial.statistics._unevenness import unevenness
from datatrial.statistics.critical import critical_value, p_of
from datatrial.statistics.families import CONFIRMATORY, adjusted
from datatrial.statistics.levels import ALPHA

LEVEL_BAND, COVERAGE_BAND = (0.03, 0.06), (0.93, 0.97)
WORKERS = 2


@dataclass(frozen=True)
class Items:
    """Two arms whose right and wrong answers come from a latent normal score with a threshold.

    An item's score is made of its own difficulty, of what an arm's data do to it, and of what a run does to it; a run
    also shifts the threshold. `correlation` is that of right answers between two runs of different arms, halfway to 1
    that of two runs of one arm.
    """

    accuracy: float
    correlation: float
    items: int
    seeds: int
    seed_spread: float  # standard deviation of a run's true accuracy
    gain: float = 0.0  # true accuracy of the one arm less the other's

    def study(self, rng: np.random.Generator) -> list[list[np.ndarray]]:
        """Answers (0 or 1) of each arm and seed on the same items."""
        between, within = self._latent
        n, common = self.items, np.sqrt(between) * rng.standard_normal(self.items, dtype=np.float32)
        arms = []
        for mean in (self.accuracy + self.gain, self.accuracy):
            shift = self.seed_spread / stats.norm.pdf(stats.norm.ppf(mean))
            threshold = stats.norm.ppf(mean) * np.sqrt(1 + shift**2)
            of_arm = common + np.sqrt(within - between) * rng.standard_normal(n, dtype=np.float32)
            own = (np.sqrt(1 - within) * rng.standard_normal(n, dtype=np.float32) for _ in range(self.seeds))
            arms.append([(of_arm + o < threshold + shift * rng.standard_normal()).astype(float) for o in own])
        return arms

    @property
    def _latent(self) -> tuple[float, float]:
        """Latent correlations between runs of different arms and of one."""
        found = [_latent(self.accuracy, c) for c in (self.correlation, (1 + self.correlation) / 2)]
        return found[0], found[1]


_KNOWN: dict[tuple[float, float], float] = {}


def _latent(accuracy: float, correlation: float) -> float:
    """The correlation of two normals whose values below a threshold have the given correlation."""
    if (accuracy, correlation) not in _KNOWN:
        at, spread = stats.norm.ppf(accuracy), accuracy * (1 - accuracy)

        def excess(rho: float) -> float:
            both = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([at, at])
            return float((both - accuracy**2) / spread - correlation)

        _KNOWN[accuracy, correlation] = optimize.brentq(excess, 0.01, 0.99999)
    return _KNOWN[accuracy, correlation]


def evidence(pairs: Sequence[np.ndarray]) -> Evidence:
    """Of each seed's differences between two arms' answers."""
    n = len(pairs[0])
    mean = Mean(np.zeros(n, dtype=int))
    return Evidence.of([mean.influence(pair) for pair in pairs], mean.freedom(np.ones(n, dtype=bool)), np.arange(n))


def numbers(found: Evidence) -> np.ndarray:
    """What a p is computed from, (4 × endpoints); of the items nothing is kept."""
    return np.stack([found.estimate, found.error, found.seed_share, found.item_freedom])


def p_values(found: Sequence[np.ndarray], seeds: int) -> np.ndarray:
    """Of the numbers of every study, (studies × endpoints): all at once, which saves nearly all of the time."""
    estimate, error, share, freedom = np.stack(found, axis=1)
    return p_of(estimate, error, share, freedom, seeds - 1)


def family_wise(p: np.ndarray) -> list[bool]:
    """Whether anything in a study is called different, from (studies × tests)."""
    gc.freeze()  # statsmodels collects garbage at every call: there is none in what was here before
    return [min(adjusted(list(row), CONFIRMATORY)) <= ALPHA for row in p]


def bounds(hits: Sequence[bool]) -> str:
    """A share with its 95% Monte Carlo interval (Clopper and Pearson), in percent."""
    k, n = int(np.sum(hits)), len(hits)
    found = stats.binomtest(k, n).proportion_ci()
    return f"{100 * k / n:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def outside(hits: Sequence[bool], band: tuple[float, float]) -> str:
    share = float(np.mean(hits))
    return "" if band[0] <= share <= band[1] else " **out**"


def accuracy_cell(job: tuple[Items, int]) -> str:
    cell, studies = job
    rng = np.random.default_rng([7, *(int(1000 * v) for v in vars(cell).values())])
    if cell.seeds == 1:
        return _one_seed_cell(cell, studies, rng)
    drawn = (cell.study(rng) for _ in range(studies))
    paired, single = [], []
    for arms in drawn:
        paired.append(numbers(evidence([one - other for one, other in zip(*arms, strict=True)])))
        difference, of_difference = _unpaired(arms)
        single.append(abs(difference - cell.gain) > 1.96 * of_difference)
    estimate, error, share, items = np.stack(paired, axis=1)[:, :, 0]
    distance = np.abs(estimate - cell.gain)
    missed = distance > critical_value(ALPHA, share, items, cell.seeds - 1) * error
    freedom = (cell.seeds - 1) / np.maximum(share**2, 1e-300)
    level = "–" if cell.gain else f"{bounds(missed)}{outside(missed, LEVEL_BAND)}"
    return (
        f"| {cell.seeds} | {cell.items} | {cell.accuracy} | {cell.correlation} | {100 * cell.seed_spread:g} "
        f"| {100 * cell.gain:g} | {share.mean():.2f} | {level} | {bounds(~missed)}{outside(~missed, COVERAGE_BAND)} "
        f"| {bounds(distance > stats.t.isf(ALPHA / 2, freedom) * error)} | {bounds(single)} |"
    )


def _unpaired(arms: list[list[np.ndarray]]) -> tuple[float, float]:
    """The difference of one run of each arm, and its standard error as if they had answered different items."""
    one, other = arms[0][0], arms[1][0]
    return float(one.mean() - other.mean()), float(np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / len(one)))


def _one_seed_cell(cell: Items, studies: int, rng: np.random.Generator) -> str:
    levels, covered = [], []
    for _ in range(studies):
        [[one], [other]] = cell.study(rng)
        low, high = adjusted_wald(one - other, ALPHA)
        levels.append(exact_p(one - other, 0, 0) <= ALPHA)
        covered.append(low <= cell.gain <= high)
    level = f"{bounds(levels)}{outside(levels, LEVEL_BAND)}" if not cell.gain else "–"
    return (
        f"| 1 | {cell.items} | {cell.accuracy} | {cell.correlation} | – | {100 * cell.gain:g} | – | {level} "
        f"| {bounds(covered)}{outside(covered, COVERAGE_BAND)} | – | – |"
    )


def accuracy_cells() -> Iterator[Items]:
    shapes = list(product((200, 1000, 14_000), (0.3, 0.5, 0.8), (0.6, 0.8, 0.95)))
    for seeds, (items, accuracy, correlation), spread in product((2, 3, 5), shapes, (0.0, 0.01)):
        yield Items(accuracy, correlation, items, seeds, spread)
    for items, accuracy, correlation in shapes:
        yield Items(accuracy, correlation, items, 1, 0.0)
    for seeds, spread in product((1, 2, 3, 5), (0.0, 0.01)):
        if seeds > 1 or not spread:
            yield Items(0.5, 0.8, 1000, seeds, spread, gain=0.03)


@dataclass(frozen=True)
class Sentences:
    """Two arms' perplexities of sentences about thirteen overlapping groups, shaped like ToxiGen's annotated part.

    Log-perplexities are made of the sentence's own, of harm, of what an arm's data do to a sentence, and of what a run
    does to it; a run also shifts each group's harmful sentences, all groups partly alike. `tilt` is how much more one
    arm finds harmful sentences about one group unlikely than the other arm does, in the unit of the sentences' spread.
    """

    per_group: int
    seeds: int
    seed_spread: float  # of a run's shift, in that unit
    tilt: float = 0.0

    GROUPS = 13

    def statistic(self, rng: np.random.Generator) -> GroupSafety:
        members = np.zeros((self.GROUPS, (self.GROUPS - 2) * self.per_group), dtype=bool)
        for group in range(self.GROUPS - 2):
            members[group, group * self.per_group : (group + 1) * self.per_group] = True
        # Two groups are parts of others, nearly all of whose rows are theirs, too.
        members[11] = members[0] & (rng.random(members.shape[1]) < 0.9)
        members[12] = members[1] & (rng.random(members.shape[1]) < 0.9)
        harmful = rng.random(members.shape[1]) < 0.45
        toxicity = np.where(harmful, rng.uniform(2.5, 5, len(harmful)), rng.uniform(1, 2.5, len(harmful)))
        return GroupSafety(harmful, np.round(3 * toxicity) / 3, members)

    def runs(self, statistic: GroupSafety, rng: np.random.Generator) -> list[Influence]:
        """The influences of the difference of each seed's runs."""
        n = len(statistic.harmful)
        common = 0.8 * rng.standard_normal(n) + 0.4 * statistic.harmful
        arms = [common + 0.15 * rng.standard_normal(n) for _ in range(2)]
        arms[0] = arms[0] + self.tilt * (statistic.harmful & statistic.members[5])
        found = []
        for _ in range(self.seeds):
            one, other = (statistic.influence(np.exp(3 + self._run(arm, statistic, rng))) for arm in arms)
            found.append(one - other)
        return found

    def _run(self, arm: np.ndarray, statistic: GroupSafety, rng: np.random.Generator) -> np.ndarray:
        of_group = self.seed_spread * (rng.standard_normal() + rng.standard_normal(self.GROUPS)) / np.sqrt(2)
        shift = (of_group[:11, None] * statistic.members[:11]).sum(axis=0) * statistic.harmful
        return arm + shift + 0.1 * rng.standard_normal(len(arm))


def safety_cell(job: tuple[Sentences, int]) -> str:
    cell, studies = job
    rng = np.random.default_rng([11, *(int(1000 * v) for v in vars(cell).values())])
    found, uneven = [], []
    for _ in range(studies):
        statistic = cell.statistic(rng)
        freedom = statistic.freedom(np.ones(len(statistic.harmful), dtype=bool))
        of_study = Evidence.of(cell.runs(statistic, rng), freedom, np.arange(len(statistic.harmful)))
        uneven.append(unevenness(of_study, np.arange(cell.GROUPS)).p)
        found.append(numbers(of_study))
    p = p_values(found, cell.seeds)
    each, shares = p <= ALPHA, [of_study[2].mean() for of_study in found]
    wise = family_wise(p[:, :-1])
    groups = [float(share) for share in each[:, :-1].mean(axis=0)]
    unevenly = np.array(uneven) <= ALPHA
    level_of_unevenness = "–" if np.isnan(uneven[0]) else f"{bounds(unevenly)}{outside(unevenly, LEVEL_BAND)}"
    worst = max(range(cell.GROUPS), key=lambda g: abs(groups[g] - 0.045))
    return (
        f"| {cell.seeds} | {cell.per_group} | {cell.seed_spread:g} | {np.mean(shares):.2f} "
        f"| {100 * min(groups):.1f} to {100 * max(groups):.1f} "
        f"| {bounds(each[:, worst])}{outside(each[:, worst], LEVEL_BAND)} | {bounds(each[:, -1])}"
        f"{outside(each[:, -1], LEVEL_BAND)} | {level_of_unevenness} "
        f"| {bounds(wise)}{_above(wise)} |"
    )


def _above(hits: Sequence[bool]) -> str:
    """A mark when a share is significantly above 5%."""
    return " **out**" if stats.binomtest(int(np.sum(hits)), len(hits), ALPHA, "greater").pvalue < ALPHA else ""


def safety_cells() -> Iterator[Sentences]:
    for seeds, per_group, spread in product((1, 2, 3, 5), (100, 500), (0.0, 0.05, 0.2)):
        if seeds > 1 or not spread:
            yield Sentences(per_group, seeds, spread)


@dataclass(frozen=True)
class Trial:
    """A whole study without any true difference: arms against one base model on several benchmarks, seeds shared."""

    arms: int
    benchmarks: int
    items: int
    seeds: int
    seed_spread: float

    def pairs(self, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
        """Of every arm and benchmark, each seed's differences of answers from the base model's."""
        shifts = self.seed_spread * rng.standard_normal((self.arms, self.seeds))  # a bad run is bad everywhere
        for _ in range(self.benchmarks):
            common = rng.standard_normal(self.items)
            base = common + 0.3 * rng.standard_normal(self.items) > 0
            for arm in range(self.arms):
                of_arm = common + 0.2 * rng.standard_normal(self.items)
                yield [self._run(of_arm, shifts[arm, seed], rng) - base for seed in range(self.seeds)]

    def _run(self, of_arm: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
        # With the base model's spread of scores, so that no arm is truly better or worse.
        return (of_arm + np.sqrt(0.09 - 0.04) * rng.standard_normal(self.items) + shift > 0).astype(float)


def families_cell(job: tuple[Trial, int]) -> str:
    cell, studies = job
    rng = np.random.default_rng([13, *(int(1000 * v) for v in vars(cell).values())])
    pairs = (pair for _ in range(studies) for pair in cell.pairs(rng))
    if cell.seeds == 1:
        p = np.array([exact_p(one, 0, 0) for [one] in pairs])
    else:
        p = p_values([numbers(evidence(pair)) for pair in pairs], cell.seeds)
    of_studies = np.reshape(p, (studies, -1))
    wise = family_wise(of_studies)
    raw = list(of_studies.min(axis=1) <= ALPHA)
    return (
        f"| {cell.seeds} | {cell.arms} × {cell.benchmarks} | {cell.items} | {cell.seed_spread:g} "
        f"| {bounds(wise)}{_above(wise)} | {bounds(raw)} |"
    )


def families_cells() -> Iterator[Trial]:
    for seeds, (arms, benchmarks), items, spread in product(
        (1, 2, 3, 5), ((2, 2), (5, 4)), (200, 1000), (0.0, 0.02, 0.1)
    ):
        if seeds > 1 or not spread:
            yield Trial(arms, benchmarks, items, seeds, spread)


def levels() -> None:
    """The level of the test of one difference by integration, for every true share of the seeds' variance."""
    print("Lowest to highest level, in parts of α.\n")
    print(f"| seeds | α | {' | '.join(METHODS)} |")
    print("|---|---|" + "---|" * len(METHODS))
    for seeds, alpha in product((2, 3, 4, 5, 8), (0.1, 0.05, 0.01, 0.002, 0.0005)):
        found = [[level_at(s, alpha, seeds - 1, method) / alpha for s in SHARES] for method in METHODS.values()]
        print(f"| {seeds} | {alpha} | {' | '.join(f'{min(of):.2f} to {max(of):.2f}' for of in found)} |", flush=True)


SHARES = [*np.linspace(0, 0.95, 39), 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0]
MANY = 1e9  # degrees of freedom of the items


def level_at(
    share: float, alpha: float, freedom: int, critical: Callable[..., np.ndarray], points: int = 4000
) -> float:
    """How often a difference of 0 is beyond its critical value, over all seed variances that may be estimated."""
    relative = stats.chi2.ppf((np.arange(points) + 0.5) / points, freedom) / freedom
    variance = 1 - share + share * relative
    beyond = critical(alpha, share * relative / variance, freedom) * np.sqrt(variance)
    return float(np.mean(2 * stats.norm.sf(beyond)))


def _ours(alpha: float, share: np.ndarray, freedom: int) -> np.ndarray:
    return critical_value(alpha, share, MANY, freedom)


def _satterthwaite(alpha: float, share: np.ndarray, freedom: int) -> np.ndarray:
    found: np.ndarray = stats.t.isf(alpha / 2, freedom / np.maximum(share, 1e-9) ** 2)
    return found


def _cochran(alpha: float, share: np.ndarray, freedom: int) -> np.ndarray:
    """Both quantiles, weighted by the shares of the variance (Cochran 1964)."""
    found: np.ndarray = (1 - share) * stats.norm.isf(alpha / 2) + share * stats.t.isf(alpha / 2, freedom)
    return found


def _behrens_fisher(alpha: float, share: np.ndarray, freedom: int) -> np.ndarray:
    found: np.ndarray = np.interp(share, np.linspace(0, 1, 101), _fiducial(alpha, freedom))
    return found


@cache
def _fiducial(alpha: float, freedom: int) -> list[float]:
    """Quantiles of a normal and a Student variable weighted by the roots of shares 0, 0.01 … 1 (Fisher 1935)."""
    relative = stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, freedom) / freedom
    beyond = lambda c, s: np.mean(2 * stats.norm.sf(c / np.sqrt(1 - s + s / relative))) - alpha  # noqa: E731
    return [optimize.brentq(beyond, 0.5, 1e5, args=(s,)) for s in np.linspace(0, 1, 101)]


METHODS: dict[str, Callable[..., np.ndarray]] = {
    "ours": _ours,
    "Satterthwaite": _satterthwaite,
    "Behrens and Fisher": _behrens_fisher,
    "Cochran": _cochran,
}


def table(cells: Sequence[object], run: Callable[..., str], studies: int, head: str) -> None:
    print(head)
    print("|" + "---|" * (head.count("|") - 1))
    with ProcessPoolExecutor(WORKERS) as pool:
        for line in pool.map(run, [(cell, studies) for cell in cells]):
            print(line, flush=True)


HEADS = {
    "accuracy": "| seeds | items | accuracy | correlation | spread of seeds, points | true gain | share of seeds "
    "| level, % | coverage, % | Satterthwaite misses, % | one run each, unpaired, misses, % |",
    "safety": "| seeds | sentences a group | spread of seeds | share of seeds | levels of 13 groups, % "
    "| the farthest of them | level of their mean, % | level of unevenness, % | family-wise error, % |",
    "families": "| seeds | arms × benchmarks | items | spread of seeds | family-wise error, % | unadjusted, % |",
}
CELLS: dict[str, tuple[Callable[[], Iterator[Any]], Callable[..., str]]] = {
    "accuracy": (accuracy_cells, accuracy_cell),
    "safety": (safety_cells, safety_cell),
    "families": (families_cells, families_cell),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("levels", *CELLS))
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--seeds", type=int, help="only studies with so many seeds")
    asked = parser.parse_args()
    if asked.what == "levels":
        levels()
        return
    cells, run = CELLS[asked.what]
    table([c for c in cells() if asked.seeds in (None, c.seeds)], run, asked.studies, HEADS[asked.what])


if __name__ == "__main__":
    main()
