"""What a model answered, item by item, and what it would have scored without knowing anything."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datatrial.evaluation._harness import Loaded
    from datatrial.evaluation._harness_task import HarnessTask
    from datatrial.evaluation._outcome import Outcome, Sample


@dataclass(frozen=True)
class Item:
    """One question of a task, as no model has seen it yet."""

    name: str  # task:number
    task: str
    question: str
    choices: tuple[str, ...]  # empty where the answer is generated
    target: str
    if_sure: Mapping[str, Sequence[float]]  # metric → the score of a model that is sure of choice 0, 1, …

    def right(self, metric: str) -> list[int]:
        """The choices that score best under a metric."""
        scores = self.if_sure.get(metric, ())
        best = max(scores, default=0.0)
        return [i for i, score in enumerate(scores) if score == best > 0]


def read_items(loaded: "Loaded", limit: int | None) -> dict[str, dict[int, Item]]:
    """The items of every task by their number in it; the first `limit` of each task."""
    items: dict[str, dict[int, Item]] = {}
    for name, task in loaded.tasks.items():
        docs = task.doc_iterator(limit=limit)
        items[name] = {number: _item(task, name, number, doc) for number, doc in docs}
    return items


def _item(task: "HarnessTask", name: str, number: int, doc: Any) -> Item:
    has_choices = task.OUTPUT_TYPE == "multiple_choice"
    choices = tuple(str(choice) for choice in task.doc_to_choice(doc)) if has_choices else ()
    target = task.doc_to_target(doc)
    question = task.doc_to_text(doc)
    if not isinstance(question, str):  # the choices are put before one common ending, as in WinoGrande
        question = str(target)
    return Item(f"{name}:{number}", name, question, choices, _text(target), task.if_sure(doc) if choices else {})


def item_rows(items: Mapping[str, Mapping[int, Item]], outcome: "Outcome", metric: str) -> list[dict[str, Any]]:
    """One row an item: its question, its choices with their log-likelihoods, what was chosen, and what is right.

    The choice is the one that counts under the metric: for `acc_norm`, log-likelihoods are divided by the choice's
    length in characters, for `acc_bytes` in bytes.
    """
    several = len(items) > 1
    rows = []
    for task, numbered in items.items():
        for sample in _one_filter(outcome.samples[task], metric):
            item = numbered[sample.number]
            answers = sample.answers[: len(item.choices)]
            likelihoods = [float(answer[0]) for answer in answers]
            rows.append(
                {
                    "item": item.name,
                    "stratum": task if several else "",
                    "question": item.question,
                    "choices": list(item.choices),
                    "log_likelihoods": likelihoods,
                    "greedy": [bool(answer[1]) for answer in answers],
                    "tokens": sample.tokens[: len(item.choices)],
                    "bytes": [len(choice.encode()) for choice in item.choices],
                    "chosen": chosen(item.choices, likelihoods, _plain(metric)),
                    "right": item.right(_plain(metric)),
                    "response": None if item.choices else _text(sample.answers),
                    "target": item.target,
                }
            )
    return rows


def score_rows(outcome: "Outcome", metrics: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each item and metric: the metric's value for the item."""
    several = len(outcome.samples) > 1
    rows = []
    for task, samples in outcome.samples.items():
        for sample in samples:
            for name, value in _values(sample).items():
                if name in metrics:
                    row = {"item": f"{task}:{sample.number}", "stratum": task if several else ""}
                    rows.append({**row, "metric": name, "value": value})
    return rows


def item_means(outcome: "Outcome") -> dict[str, dict[str, float]]:
    """For each task the mean over its items of every metric that gives an item a number."""
    means: dict[str, dict[str, float]] = {}
    for task, samples in outcome.samples.items():
        values: dict[str, list[float]] = {}
        for sample in samples:
            for name, value in _values(sample).items():
                values.setdefault(name, []).append(value)
        means[task] = {name: math.fsum(v) / len(v) for name, v in values.items()}
    return means


def scored(items: Mapping[str, Mapping[int, Item]], outcome: "Outcome") -> list[Item]:
    """The items that the model answered."""
    numbers = {task: {sample.number: None for sample in samples} for task, samples in outcome.samples.items()}
    return [items[task][number] for task, found in numbers.items() for number in found]


def chance(items: Sequence[Item]) -> dict[str, float]:
    """The expected score of guessing uniformly, for each metric; items without choices have none."""
    return {
        metric: math.fsum(float(np.mean(item.if_sure[metric])) for item in items) / len(items)
        for metric in _metrics_of_all(items)
    }


def majority(items: Sequence[Item]) -> dict[str, float]:
    """The score of always giving the one position that scores best, for each metric.

    Left out where the right choice is always at one position although the choices are other texts in each item, as
    in TruthfulQA's file: no model sees the position.
    """
    longest = max((len(item.choices) for item in items), default=0)
    same_texts = len({item.choices for item in items}) == 1
    scores = {}
    for metric in _metrics_of_all(items):
        if same_texts or len({tuple(item.right(metric)[:1]) for item in items}) > 1:
            by_position = [
                math.fsum(i.if_sure[metric][p] for i in items if p < len(i.choices)) / len(items)
                for p in range(longest)
            ]
            scores[metric] = max(by_position)
    return scores


def same_answer(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of items answered with the commonest position; 1 is a constant answerer. None without choices."""
    chosen = Counter(row["chosen"] for row in rows if row["chosen"] is not None)
    return chosen.most_common(1)[0][1] / len(rows) if chosen else None


def chosen(choices: Sequence[str], likelihoods: Sequence[float], metric: str) -> int | None:
    """The place of the choice that counts under a metric, from log-likelihoods (nats); None without choices."""
    if not likelihoods:
        return None
    lengths = {"acc_norm": [len(c) for c in choices], "acc_bytes": [len(c.encode()) for c in choices]}
    return int(np.argmax(np.array(likelihoods) / np.array(lengths.get(metric, [1] * len(likelihoods)), dtype=float)))


def metric_name(key: str) -> str:
    """lm-eval's "metric,filter" as shown here: without the filter where there is none."""
    return key.removesuffix(",none")


def is_number(value: Any) -> bool:
    """Whether a metric's value for an item is one that can be averaged; F1, say, gives a pair."""
    return isinstance(value, bool | int | float | np.number | np.bool_)


def _plain(metric: str) -> str:
    return metric.partition(",")[0]


def _metrics_of_all(items: Sequence[Item]) -> list[str]:
    return [m for m in items[0].if_sure if all(m in item.if_sure for item in items)] if items else []


def _values(sample: "Sample") -> dict[str, float]:
    numbers = {metric: value for metric, value in sample.metrics.items() if is_number(value)}
    return {metric_name(f"{metric},{sample.filter}"): float(value) for metric, value in numbers.items()}


def _one_filter(samples: "Sequence[Sample]", metric: str) -> "list[Sample]":
    wanted = metric.partition(",")[2] or samples[0].filter
    return [sample for sample in samples if sample.filter == wanted]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
