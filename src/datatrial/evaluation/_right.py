"""Which choices are right, as logged scores tell: lm-eval logs what a task calls its target, not how it is meant."""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datatrial.evaluation._answers import chosen, is_number


@dataclass(frozen=True)
class Scored:
    """A question with choices as it was logged: what is known of it, and what the model's answer scored."""

    document: Mapping[str, Any]
    choices: tuple[str, ...]
    target: str
    log_likelihoods: tuple[float, ...]  # nats, one a choice
    metrics: Mapping[str, Any]


_LONGEST_PLACE = 1000  # characters of a list of places

Places = tuple[int, ...]  # of the right choices, from 0


def worth(questions: Sequence[Scored]) -> list[dict[str, list[float]]]:
    """For each question of a task and each metric, the score of a model that is sure of choice 0, 1, and so on.

    Several readings of the target are tried: a place, a choice's text, the labels of the document's choices, and what
    the scores of questions with two choices leave open. One is believed if it explains every score of a metric, and
    only such metrics are told of; without any, nothing is.
    """
    for reading in (_as_place, _as_text, _by_labels, _by_elimination):
        right = [reading(question) for question in questions]
        if not all(places is not None for places in right):
            continue
        known = [(question, places or ()) for question, places in zip(questions, right, strict=True)]
        if metrics := [m for m in questions[0].metrics if _explained(m, known)]:
            return [{m: [float(i in places) for i in range(len(q.choices))] for m in metrics} for q, places in known]
    return [{} for _ in questions]


def _as_place(question: Scored) -> Places | None:
    try:
        value = ast.literal_eval(question.target) if len(question.target) <= _LONGEST_PLACE else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # the last two: of many brackets
        return None
    values = value if isinstance(value, list) else [value]
    return tuple(map(int, values)) if all(isinstance(place, int) for place in values) else None


def _as_text(question: Scored) -> Places | None:
    return (question.choices.index(question.target),) if question.target in question.choices else None


def _by_labels(question: Scored) -> Places | None:
    """The choices labelled 1 where the document has such labels beside its choices, as TruthfulQA's does."""
    for part in question.document.values():
        if isinstance(part, Mapping) and part.get("choices") == list(question.choices):
            labels = part.get("labels")
            return tuple(n for n, label in enumerate(labels) if label == 1) if isinstance(labels, list) else None
    return None


def _by_elimination(question: Scored) -> Places | None:
    # WinoGrande's target is what follows either choice; its score says which of the two is right.
    score, place = question.metrics.get("acc"), chosen(question.choices, question.log_likelihoods, "acc")
    if len(question.choices) != 2 or score not in (0, 1) or place is None:
        return None
    return (place if score else 1 - place,)


def _explained(metric: str, known: Sequence[tuple[Scored, Places]]) -> bool:
    """Whether one way of scoring gives all of a metric's values."""
    values = [question.metrics.get(metric) for question, _ in known]
    if not all(is_number(value) for value in values):
        return False
    hits = [chosen(q.choices, q.log_likelihoods, metric) in places for q, places in known]
    masses = [_mass(question, places) for question, places in known]
    return any(np.allclose(scores, np.array(values, dtype=float), rtol=0, atol=1e-6) for scores in (hits, masses))


def _mass(question: Scored, places: Places) -> float:
    """The share of the likelihood of all choices that is on the right ones (TruthfulQA's MC2, Lin et al. 2022).

    NaN, as in lm-eval, where all likelihoods are too small for a float.
    """
    likelihoods = np.exp(np.array(question.log_likelihoods))
    right = [place for place in places if 0 <= place < len(likelihoods)]
    total = float(likelihoods.sum())
    return float(likelihoods[right].sum()) / total if total else math.nan
