"""Rows of a data set as token ids: a prompt, and one answer to learn or two to compare."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from datatrial.errors import DataError, ModelError
from datatrial.prompts import PromptFormat, answer_text, prompt_text
from datatrial.records import Form, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from datatrial.tables import Table
    from datatrial.training._base import Stage

Row = tuple[list[Message], list[str]]  # the turns up to the answer, and the answers

NO_ANSWER_LEFT = "the prompt alone has max_length tokens"
SAME_ANSWERS = "both answers are the same"


@dataclass(frozen=True)
class Example:
    """Token ids. `answers` holds the one to learn, or the chosen and the rejected one."""

    prompt: list[int]
    answers: tuple[list[int], ...]


@dataclass(frozen=True)
class Examples:
    """What to train on, what to measure the loss on, and what became of the rows on the way."""

    train: list[Example]
    held_out: list[Example]
    max_length: int  # tokens of an example, at most
    truncated: int  # rows whose answer (either of them) lost its end
    dropped: Mapping[str, int]  # rows left out, by reason


def prepare(
    table: "Table", tokenizer: "PreTrainedTokenizerBase", stage: "Stage", answers: int, longest: int | None = None
) -> Examples:
    """The rows of a data set as examples of one answer or two.

    None is longer than the stage's `max_length`, nor than `longest`, which is what the model takes.

    Raises: DataError when the rows are of another form, or no example is left.
    """
    if table.card.form not in stage.forms:
        raise DataError(f"{stage.kind} trains on {' or '.join(stage.forms)}, not on {table.card.form}")
    whole = encode(list(_turns(table, answers)), tokenizer, stage.prompt)
    max_length = min(stage.max_length, longest or stage.max_length)
    fitted = [_cut(example, max_length) for example in whole]
    reasons = [_reason_to_drop(example) for example in fitted]
    kept = [example for example, reason in zip(fitted, reasons, strict=True) if reason is None]
    if not kept:
        hint = f"raise max_length (now {max_length})" if NO_ANSWER_LEFT in reasons else "check the data"
        raise DataError(
            f"none of {len(whole)} rows can be trained on ({Counter(reasons).most_common(1)[0][0]}): {hint}"
        )
    truncated = sum(a != b and r is None for a, b, r in zip(whole, fitted, reasons, strict=True))
    train, held_out = split(kept, stage.held_out)
    return Examples(train, held_out, max_length, truncated, Counter(reason for reason in reasons if reason))


def _turns(table: "Table", answers: int) -> Iterator[Row]:
    """Each row's messages up to the answer, and the answers."""
    form: Form = table.card.form
    for row in table.rows.iter_rows(named=True):
        if form == "comparisons":
            yield row["messages"], [row["chosen"], row["rejected"]][:answers]
        else:
            *prompt, answer = row["messages"]
            yield prompt, [answer["content"]]


def encode(rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat) -> list[Example]:
    """Token ids of prompts and answers, as TRL makes them of `prompt` and `completion`.

    An answer ends with the end-of-text token, or however the chat template ends it. It begins where the ids of the
    prompt alone and of prompt and answer part, should a tokenizer merge across the two.

    Raises: ModelError when the tokenizer lacks a chat template or an end-of-text token; DataError for a row that the
    template refuses.
    """
    encoded = _chat_ids(rows, tokenizer) if prompt_format == "chat" else _plain_ids(rows, tokenizer, prompt_format)
    examples = []
    for prompt, wholes in encoded:
        start = min(_common_prefix(prompt, whole) for whole in wholes)
        examples.append(Example(prompt[:start], tuple(whole[start:] for whole in wholes)))
    return examples


def _plain_ids(
    rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase", style: Literal["question_answer", "transcript"]
) -> Iterator[tuple[list[int], list[list[int]]]]:
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("the tokenizer has no end-of-text token, so no answer could be learned to end")
    prompts = [prompt_text(messages, style) for messages, _ in rows]
    texts = [p + answer_text(a) for p, (_, answers) in zip(prompts, rows, strict=True) for a in answers]
    # One call for all: a fast tokenizer spends most of a single call on the way in and out.
    ids = tokenizer([*prompts, *texts], return_attention_mask=False, verbose=False)["input_ids"]
    wholes = iter(ids[len(prompts) :])
    for prompt, (_, answers) in zip(ids, rows, strict=False):
        ended = [next(wholes) for _ in answers]
        yield prompt, [whole if whole[-1:] == [end] else [*whole, end] for whole in ended]


def _chat_ids(rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase") -> Iterator[tuple[list[int], list[list[int]]]]:
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise ModelError("`prompt: chat` needs a tokenizer with a chat template; use `prompt: question_answer`")
    for number, (messages, answers) in enumerate(rows, start=1):
        try:
            prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
            turns = [[*messages, {"role": "assistant", "content": answer}] for answer in answers]
            yield prompt, [tokenizer.apply_chat_template(turn, return_dict=True)["input_ids"] for turn in turns]
        except TemplateError as error:
            raise DataError(f"row {number}: the model's chat template refuses the conversation: {error}") from error


def _common_prefix(a: list[int], b: list[int]) -> int:
    if b[: len(a)] == a:
        return len(a)
    return next(i for i, (x, y) in enumerate(zip(a, [*b, None], strict=False)) if x != y)


def _cut(example: Example, max_length: int) -> Example:
    room = max(0, max_length - len(example.prompt))
    return replace(example, answers=tuple(answer[:room] for answer in example.answers))


def _reason_to_drop(example: Example) -> str | None:
    if not all(example.answers):
        return NO_ANSWER_LEFT
    if len(example.answers) == 2 and example.answers[0] == example.answers[1]:
        return SAME_ANSWERS
    return None


def split(examples: list[Example], share: float) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those held out, about `share` of them; equal prompts stay together.

    Which are held out depends on the prompts alone, so every seed has the same. At least one prompt is trained on.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        ids = ",".join(map(str, example.prompt)).encode()
        places[hashlib.sha256(ids).digest()].append(place)
    wanted = round(share * len(examples))
    held_out: set[int] = set()
    for key in sorted(places)[:-1]:
        if len(held_out) + len(places[key]) <= wanted:
            held_out.update(places[key])
    train = [example for place, example in enumerate(examples) if place not in held_out]
    return train, [example for place, example in enumerate(examples) if place in held_out]
