"""What is trained on one after the other: passes through the examples, each in an order of its own."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from datatrial.encoding import Example
from datatrial.training._base import Budget

if TYPE_CHECKING:
    from datatrial.training._base import Stage


@dataclass(frozen=True)
class Order:
    """In what order examples are trained on, each as often as it is seen."""

    places: list[int]  # among the examples
    passes: float  # how often the data are gone through
    rows: int | None = None  # of packed examples


def tokens_of(example: Example) -> int:
    """Tokens that go through the model, without padding: a prompt counts with each of its answers."""
    return sum(len(example.prompt) + len(answer) for answer in example.answers)


def in_order(examples: Sequence[Example], stage: "Stage", row: int | None = None) -> Order:
    """The examples of a stage's budget (or epochs); every pass is in an order of its own, drawn from the stage's seed.

    `row` is the number of tokens of a packed row; a batch is then one of rows.
    """
    budget = stage.budget or Budget(examples=math.ceil(stage.epochs * len(examples)))
    chosen: list[int] = []
    lengths = list(map(tokens_of, examples))
    tokens, rows = 0, _whole_rows(budget, stage.batch_size, row) if row else None
    enough = _until(budget, stage.batch_size, rows * row if rows and row else None)
    for place in _passes(len(examples), stage.seed):
        if enough(len(chosen), tokens):
            break
        chosen.append(place)
        tokens += lengths[place]
    if row is None:
        return Order(chosen, len(chosen) / len(examples))
    rows = min(rows or math.ceil(tokens / row), math.ceil(tokens / row))
    return Order(chosen, min(tokens, rows * row) / sum(lengths), rows)


def packed(examples: Sequence[Example], order: Order, row: int) -> Iterator[tuple[list[int], list[bool]]]:
    """Rows of token ids, with whether each is of an answer: the examples end to end, cut every `row` tokens.

    The last row may be shorter.
    """
    seen = [examples[place] for place in order.places]
    ids = [token for e in seen for part in (e.prompt, e.answers[0]) for token in part]
    of_answer = [learned for e in seen for learned in [False] * len(e.prompt) + [True] * len(e.answers[0])]
    for start in range(0, len(ids), row)[: order.rows]:
        yield ids[start : start + row], of_answer[start : start + row]


def _passes(examples: int, seed: int) -> Iterator[int]:
    for number in count():
        places = list(range(examples))
        Random(f"pass {number} of seed {seed}").shuffle(places)
        yield from places


def _whole_rows(budget: Budget, batch: int, row: int) -> int | None:
    """Rows of a budget of steps or tokens: whole batches."""
    steps = budget.steps or (budget.tokens and math.ceil(budget.tokens / (batch * row)))
    return steps * batch if steps else None


def _until(budget: Budget, batch: int, in_rows: int | None) -> Callable[[int, int], bool]:
    """Whether so many examples, of so many tokens in all, are the budget."""
    wanted = budget.examples or (budget.steps or 0) * batch
    tokens = budget.tokens or 0
    if in_rows:
        return lambda _, seen: seen >= in_rows
    if tokens:
        return lambda examples, seen: seen >= tokens and examples % batch == 0
    return lambda examples, _: examples >= wanted
