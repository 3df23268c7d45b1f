"""What lm-eval made of a model's answers: to be had without importing lm-eval."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Sample(NamedTuple):
    """What lm-eval made of a model's answers to one item, by one of the task's filters."""

    number: int  # of the item in its task
    filter: str
    metrics: Mapping[str, Any]
    answers: list[Any]  # to its requests: (log-likelihood, greedy), or a text
    tokens: list[int]  # of each continuation whose log-likelihood was asked


@dataclass(frozen=True)
class Outcome:
    """What lm-eval said of a model, and how it was asked."""

    results: Mapping[str, Mapping[str, Any]]  # for each task and group: "metric,filter" → value
    samples: Mapping[str, list[Sample]]  # for each task, its items in order, filter by filter
    higher_is_better: Mapping[str, Mapping[str, bool]]
    fewshot: Mapping[str, int]
    scoring: Mapping[str, Any]  # how log-likelihoods were taken; empty where none was
    failures: Mapping[str, str]  # items that could not be scored, and why
    notes: list[str] = field(default_factory=list)
