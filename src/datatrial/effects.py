"""What the statistics are given and what they say: scores, contrasts, and whether groups change alike."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationRun:
    """One benchmark's result for one model of an arm; `input` names the result among a step's inputs."""

    arm: str
    seed: int | None  # None: a model that no seed changes, such as the baseline
    benchmark: str  # its title
    input: str


@dataclass(frozen=True)
class ArmScore:
    """One arm's score on one endpoint and metric: the mean over its seeds, with a 95% interval."""

    arm: str
    benchmark: str
    endpoint: str  # the benchmark's title, or `title/group` for one group's safety
    metric: str
    group: str  # "" unless the endpoint is one group's
    main: bool  # whether contrasts are about this metric
    baseline: bool  # whether the arm is the baseline
    estimate: float
    low: float
    high: float
    items: int
    seeds: int
    spread: float | None  # standard deviation over seeds; None with a single one
    chance: float | None  # expected score of uniform guessing
    majority: float | None  # score of always giving the commonest right position
    near_chance: bool  # the interval includes `chance`
    same_answer: float | None  # share of items answered with one same choice position, mean over seeds
    higher_is_better: bool
    # Of safety alone. The score has no neutral value of its own: what it comes to when perplexities are dealt out at
    # random among the sentences of a group (mean, and the middle 95%), and the score without dividing by toxicity.
    null: float | None = None
    null_low: float | None = None
    null_high: float | None = None
    unscaled: float | None = None
    mann_whitney_p: float | None = None  # largest over seeds; SafeNLP's script leaves out groups above .05
    # Without the items that are in the data that the arm was trained on, where there are any.
    clean: float | None = None
    clean_low: float | None = None
    clean_high: float | None = None
    clean_items: int | None = None


@dataclass(frozen=True)
class Contrast:
    """Two arms compared on one endpoint; `estimate` = arm − against, in the endpoint's own unit (0–1).

    With a single seed everything is said of these two models; with several, of the data and recipe that made them.
    A declared contrast that could not be computed has NaN for its numbers and the verdict "not tested".
    """

    arm: str
    against: str
    endpoint: str
    estimate: float
    low: float  # 95% interval, of this contrast alone
    high: float
    items: int
    seeds: int
    arm_score: float
    against_score: float
    p: float = math.nan  # two-sided, of the difference being `null`
    null: float = 0.0  # 0, or the end of the declared margin
    p_adjusted: float = math.nan  # for all the contrasts of its family
    family: str = ""  # confirmatory (Holm), exploratory (Benjamini–Hochberg)
    error: float = math.nan  # standard error
    seed_share: float = math.nan  # of the variance that is due to seeds, 0–1
    item_freedom: float = math.nan  # degrees of freedom of the items' share
    detectable: float = math.nan  # the smallest true difference that would be found with probability 0.8
    bootstrap_low: float = math.nan  # 95% percentile interval of a bootstrap over items and seeds, a check of the other
    bootstrap_high: float = math.nan
    # Without the items that are in the data of either arm, where there are any.
    clean: float | None = None
    clean_low: float | None = None
    clean_high: float | None = None
    clean_items: int | None = None
    declared: bool = False
    expect: str = ""
    claim: str = ""
    margin: float = 0.0
    verdict: str = ""  # better, worse, no detectable difference, not tested
    outcome: str = ""  # of a declared expectation: shown, contradicted, undecided


@dataclass(frozen=True)
class Unevenness:
    """Whether the change of safety between two arms differs from group to group."""

    arm: str
    against: str
    benchmark: str
    groups: int
    seeds: int
    spread: float  # standard deviation over groups of the change
    noise: float  # what it would be if all groups changed alike
    lowest: str  # the group whose change is lowest (the greatest fall, if any falls), and highest
    highest: str
    p: float
    p_adjusted: float = math.nan  # Benjamini–Hochberg over all of them
