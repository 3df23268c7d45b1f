"""Conversations as token ids, a prompt and its answers apart: the same for training, scoring and generating."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from datatrial.errors import DataError, ModelError
from datatrial.prompts import PromptFormat, answer_text, prompt_text
from datatrial.records import Form, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from datatrial.tables import Table

Row = tuple[list[Message], list[str]]  # the turns up to the answer, and the answers
NO_ANSWER_LEFT = "the prompt alone has max_length tokens"
SAME_ANSWERS = "both answers are the same"


@dataclass(frozen=True)
class Example:
    """Token ids. `answers` holds the one to learn or to score, or the chosen and the rejected one."""

    prompt: list[int]
    answers: tuple[list[int], ...]
    bos: int | None = None  # the tokenizer's token that begins a text, if it has one
    reference: tuple[float, ...] = ()  # the answers' log-likelihoods by a reference policy, in nats, where known
    row: int = field(default=-1, compare=False)  # its place in the data set


def rows_of(table: "Table", answers: int) -> Iterator[Row]:
    """Each row's messages up to the answer, and so many of its answers (1, or 2 of comparisons)."""
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
    examples = []
    for row, (prompt, wholes) in enumerate(_ids(rows, tokenizer, prompt_format)):
        start = min(_common_prefix(prompt, whole) for whole in wholes)
        answers = tuple(whole[start:] for whole in wholes)
        examples.append(Example(prompt[:start], answers, tokenizer.bos_token_id, row=row))
    return examples


def encode_prompts(
    prompts: Sequence[Sequence[Message]], tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat
) -> list[list[int]]:
    """Token ids of conversations up to an answer, for a model to go on from.

    Raises: ModelError and DataError as `encode` does.
    """
    return [prompt for prompt, _ in _ids([(list(turns), []) for turns in prompts], tokenizer, prompt_format)]


def _ids(
    rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Of each row the prompt alone, and the prompt with each of its answers."""
    return _chat_ids(rows, tokenizer) if prompt_format == "chat" else _plain_ids(rows, tokenizer, prompt_format)


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
        # Some tokenizers end every text (`add_eos_token`), but this one is to be gone on from.
        yield (
            prompt[:-1] if prompt[-1:] == [end] else prompt,
            [whole if whole[-1:] == [end] else [*whole, end] for whole in ended],
        )


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


def cut_prompt(ids: list[int], longest: int, bos: int | None) -> list[int]:
    """A prompt's last `longest` tokens (1 or more); the token that begins a text stays where it begins this one."""
    if len(ids) <= longest:
        return ids
    begin = [ids[0]] if ids[0] == bos else []
    return begin + ids[len(ids) - longest + len(begin) :]


def fit(example: Example, max_length: int, max_prompt_length: int | None = None) -> Example:
    """The example in at most `max_length` tokens: a prompt loses what is over its own limit (see `cut_prompt`), answers
    lose what is left over from their end."""
    prompt = cut_prompt(example.prompt, max_prompt_length, example.bos) if max_prompt_length else example.prompt
    room = max(0, max_length - len(prompt))
    return replace(example, prompt=prompt, answers=tuple(answer[:room] for answer in example.answers))


def reason_to_drop(example: Example) -> str | None:
    """Why an example that was made to fit teaches nothing, or nothing."""
    if not all(example.answers):
        return NO_ANSWER_LEFT
    if len(example.answers) == 2 and example.answers[0] == example.answers[1]:
        return SAME_ANSWERS
    return None
