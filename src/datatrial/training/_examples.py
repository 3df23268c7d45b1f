"""Rows of a data set as examples to train on, and which of them are held out."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from datatrial.encoding import NO_ANSWER_LEFT, Example, encode, fit, reason_to_drop, rows_of
from datatrial.errors import DataError
from datatrial.policies import load_policy, load_tokenizer, longest_input, read_config
from datatrial.records import ModelRef, Runtime
from datatrial.reference_log_probs import read_log_probs, with_reference
from datatrial.tables import Table
from datatrial.training._launch import log_probs_together
from datatrial.training._order import Order, in_order

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from datatrial.training._base import Stage


@dataclass(frozen=True)
class Examples:
    """What to train on, what to measure the loss on, and what became of the rows on the way."""

    train: list[Example]  # each once
    held_out: list[Example]
    max_length: int  # tokens of an example (of a row, if they are packed), at most
    truncated: int  # rows whose answer (either of them) lost its end
    prompts_cut: int  # rows whose prompt lost its start
    dropped: Mapping[str, int]  # rows left out, by reason
    order: Order  # in which those to train on are seen


def opened(
    inputs: Mapping[str, Path], stage: "Stage", answers: int
) -> "tuple[ModelRef, PreTrainedTokenizerBase, Examples]":
    """The policy that a stage starts from, its tokenizer, and what the stage trains on.

    Raises: what `prepare` raises.
    """
    ref = ModelRef.read(inputs["policy"])
    base = Path(ref.weights)
    tokenizer, longest = load_tokenizer(base), longest_input(read_config(base))
    table, reference = Table.read(inputs["data"]), inputs.get("reference")
    return ref, tokenizer, prepare(table, tokenizer, stage, answers, longest, reference)


def prepare(
    table: Table,
    tokenizer: "PreTrainedTokenizerBase",
    stage: "Stage",
    answers: int,
    longest: int | None = None,
    reference: Path | None = None,
) -> Examples:
    """The rows of a data set as examples of one answer or two, ready to be trained on as long as the stage says.

    None is longer than the stage's `max_length`, nor than `longest`, which is what the model takes; where the stage
    packs, that is what a row of many examples has, so those to train on stay whole. `reference` is the result of a
    `ReferenceLogProbs` for the same rows.

    Raises: DataError when the rows are of another form, or no example is left.
    """
    if table.card.form not in stage.forms:
        raise DataError(f"{stage.kind} trains on {' or '.join(stage.forms)}, not on {table.card.form}")
    whole = encode(list(rows_of(table, answers)), tokenizer, stage.prompt)
    max_length = min(stage.max_length, longest or stage.max_length)
    fitted = [fit(example, max_length, stage.longest_prompt(max_length)) for example in whole]
    if reference:
        fitted = with_reference(fitted, read_log_probs(reference))
    reasons = [reason_to_drop(example) for example in fitted]
    kept = [example for example, reason in zip(fitted, reasons, strict=True) if reason is None]
    if not kept:
        hint = "check the data"
        if NO_ANSWER_LEFT in reasons:
            window = f"the model reads {max_length} tokens at most: shorten the prompts"
            hint = window if max_length < stage.max_length else f"raise max_length (now {max_length})"
        raise DataError(
            f"none of {len(whole)} rows can be trained on ({Counter(reasons).most_common(1)[0][0]}): {hint}"
        )
    train, held_out = split(kept, stage.held_out_of(len(kept)))
    row = max_length if stage.packs else None
    if stage.packs:
        apart = set(map(id, held_out))
        train = [a for a, b in zip(whole, fitted, strict=True) if id(b) not in apart]
    lost = (0, 0, {}) if stage.packs else _lost(whole, fitted, reasons)
    return Examples(train, held_out, max_length, *lost, in_order(train, stage, row))


def _lost(whole: list[Example], fitted: list[Example], reasons: list[str | None]) -> tuple[int, int, Mapping[str, int]]:
    """Rows truncated, prompts cut, and rows left out by reason, of whole examples made to fit."""
    pairs = [(a, b) for a, b, reason in zip(whole, fitted, reasons, strict=True) if reason is None]
    truncated = sum(a.answers != b.answers for a, b in pairs)
    cut = sum(len(a.prompt) > len(b.prompt) for a, b in pairs)
    return truncated, cut, Counter(reason for reason in reasons if reason)


def split(examples: list[Example], wanted: int) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those held out, `wanted` of them at most; equal prompts stay together.

    Which are held out depends on the prompts alone, so every seed has the same. At least one prompt is trained on.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        ids = ",".join(map(str, example.prompt)).encode()
        places[hashlib.sha256(ids).digest()].append(place)
    held_out: set[int] = set()
    for key in sorted(places)[:-1]:
        if len(held_out) + len(places[key]) <= wanted:
            held_out.update(places[key])
    train = [example for place, example in enumerate(examples) if place not in held_out]
    return train, [example for place, example in enumerate(examples) if place in held_out]


def with_own_reference(data: Examples, policy: Path, runtime: Runtime) -> Examples:
    """The examples that are seen, with what the policy that training starts from says of them."""
    seen = sorted(set(data.order.places))
    asked = [*(data.train[place] for place in seen), *data.held_out]
    model, _ = load_policy(policy, runtime.device)
    found = with_reference(asked, log_probs_together(model, asked, runtime, "log_probs"))
    train = with_reference(data.train, [(math.nan,) * len(example.answers) for example in data.train])
    for place, example in zip(seen, found, strict=False):
        train[place] = example
    return replace(data, train=train, held_out=found[len(seen) :])
