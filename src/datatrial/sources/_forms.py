"""Rows of files under TRL's column names, or others that are mapped to them, as the rows of each form."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from datatrial.component import did_you_mean
from datatrial.errors import DataError
from datatrial.foreign.plain_json import value_of
from datatrial.records import Comparison, Demonstration, Document, Form, Message, Question, Statement
from datatrial.sources import _conversations
from datatrial.sources._bounds import Row
from datatrial.sources._conversations import HUMAN, UnusableError, messages_in, names_of, shown, transcript

COLUMNS: Mapping[Form, tuple[str, ...]] = {
    "comparisons": ("messages", "prompt", "chosen", "rejected"),
    "demonstrations": ("messages", "prompt", "completion"),
    "questions": ("question", "choices", "answer"),
    "statements": ("text", "harmful", "toxicity", "groups"),
    "documents": ("text",),
}
"""The column names understood for each form."""

_ALSO = {"harmful": "label", "toxicity": "toxicity_score", "groups": "target_groups"}  # SafeNLP's names for them
_TELLING: tuple[tuple[Form, tuple[str, ...]], ...] = (  # in order: many a file of comparisons has `messages` besides
    ("comparisons", ("chosen", "rejected")),
    ("demonstrations", ("messages",)),
    ("demonstrations", ("prompt", "completion")),
    ("questions", ("question", "choices", "answer")),
    ("statements", ("text", "harmful", "toxicity", "groups")),
    ("documents", ("text",)),
)
_HARMFUL = {"true": True, "1": True, "hate": True, "harmful": True}
_HARMFUL |= {"false": False, "0": False, "neutral": False, "benign": False}


class Cells:
    """One row's values by our names for the columns; remembers which of its columns were used."""

    def __init__(self, row: Row, columns: Mapping[str, str], advice: str = ""):
        self.row = row
        self.columns = columns
        self.advice = advice  # what to do when a column is missing, where it cannot be mapped
        self.used: set[str] = set()

    def theirs(self, ours: str) -> str:
        """The file's name for a column: the one it is mapped to, or ours, or SafeNLP's."""
        if ours in self.columns:
            return self.columns[ours]
        also = _ALSO.get(ours, ours)
        return also if ours not in self.row and also in self.row else ours

    def has(self, *ours: str) -> bool:
        return all(self.theirs(name) in self.row for name in ours)

    def __getitem__(self, ours: str) -> Any:
        name = self.theirs(ours)
        if name not in self.row:
            known = names_of(self.row)
            if name != ours:
                what = f"`columns` maps {ours} to {name!r}, which this row does not have"
                raise DataError(f"{what}; {did_you_mean(name, list(self.row))}")
            mapping = f"add it, or map the column that holds it with `columns: {{{ours}: its_name}}`"
            raise DataError(f"no column {name!r} (columns of this row: {known}); {self.advice or mapping}")
        self.used.add(name)
        return self.row[name]

    def text(self, ours: str) -> str:
        value = self[ours]
        if not isinstance(value, str):
            raise DataError(f"the column {self.theirs(ours)!r} should be text, not {shown(value)}")
        return value

    def number(self, ours: str) -> float:
        value = self[ours]
        try:
            if not isinstance(value, bool):
                return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
        raise DataError(f"the column {self.theirs(ours)!r} should be a number, not {shown(value)}")

    def listed(self, ours: str) -> list[Any]:
        """A list; a text that holds one as JSON is read (CSV knows no lists)."""
        value = self[ours]
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = value_of(value)
            except ValueError as error:
                raise DataError(f"the column {self.theirs(ours)!r} should hold a list as JSON ({error})") from None
        if not isinstance(value, list):
            raise DataError(f"the column {self.theirs(ours)!r} should be a list, not {shown(value)}")
        return value

    def texts(self, ours: str) -> list[str]:
        value = self.listed(ours)
        for item in value:
            if not isinstance(item, str):
                raise DataError(f"the column {self.theirs(ours)!r} should be a list of texts, but holds {shown(item)}")
        return value


def form_of(cells: Cells) -> Form:
    """The form that a row's columns tell of.

    Raises: DataError when they tell of none.
    """
    for form, telling in _TELLING:
        if cells.has(*telling):
            return form
    if isinstance(cells.row.get(cells.theirs("prompt")), list):
        return "demonstrations"
    raise DataError(
        f"the columns ({names_of(cells.row)}) tell of no form of rows; map them, for example with "
        "`columns: {prompt: question_text, completion: answer_text}`"
    )


def demonstration(cells: Cells) -> Demonstration:
    """From `messages`, from `prompt` and `completion` (texts or messages), or from messages under `prompt` alone."""
    if cells.has("messages") and "completion" not in cells.columns:
        messages = messages_in(cells.listed("messages"), cells.theirs("messages"))
    elif not cells.has("prompt") and not cells.has("completion"):
        messages = messages_in(cells["messages"], "messages")  # tells that it is missing
    elif not cells.has("completion") and isinstance(cells["prompt"], list):
        messages = messages_in(cells["prompt"], cells.theirs("prompt"))
    else:
        messages = _continued(_prompt(cells), cells, "completion")
    return _conversations.demonstration(messages)


def comparison(cells: Cells) -> Comparison:
    """From `chosen` and `rejected`, each an answer to `prompt` (or `messages`) or the whole conversation."""
    chosen, rejected = cells["chosen"], cells["rejected"]
    turns: list[Message] = []
    if cells.has("prompt"):
        turns = _prompt(cells)
    elif cells.has("messages") and isinstance(chosen, str):
        turns = messages_in(cells.listed("messages"), cells.theirs("messages"))
    elif any(isinstance(answer, str) and not answer.startswith(HUMAN) for answer in (chosen, rejected)):
        turns = _prompt(cells)  # tells that it is missing
    return _conversations.comparison(_continued(turns, cells, "chosen"), _continued(turns, cells, "rejected"))


def _prompt(cells: Cells) -> list[Message]:
    value = cells["prompt"]
    if isinstance(value, list):
        return messages_in(value, cells.theirs("prompt"))
    text = cells.text("prompt")
    if not text.startswith(HUMAN):
        return [Message(role="user", content=text)]
    turns = transcript(text)
    asks = turns[-1] == Message(role="assistant", content="")  # "\n\nAssistant:" at the end only asks for the answer
    return turns[:-1] if asks else turns


def _continued(prompt: list[Message], cells: Cells, ours: str) -> list[Message]:
    """The whole conversation that an answer ends; the answer is a text, the turns after the prompt, or all turns."""
    value = cells[ours]
    if value is None:
        raise UnusableError("an empty answer")
    if isinstance(value, list):
        turns = messages_in(value, cells.theirs(ours))
    elif cells.text(ours).startswith(HUMAN):
        turns = transcript(value)
    else:
        turns = [Message(role="assistant", content=value)]
    if not turns or turns[0]["role"] == "assistant":
        return [*prompt, *turns]
    if not all(turn in turns[:-1] for turn in prompt):
        raise UnusableError("the conversation does not contain its prompt")
    return turns


def document(cells: Cells) -> Document:
    """From `text`."""
    return Document(text=_filled(cells, "text"))


def question(cells: Cells) -> Question:
    """From `question`, `choices` and `answer`: the right choice's index from 0, its letter from A, or its text."""
    choices = cells.texts("choices")
    if len(choices) < 2:
        what = f"the column {cells.theirs('choices')!r} should list at least two choices"
        raise DataError(f"{what}, not {shown(choices)}")
    text = _filled(cells, "question")
    return Question(question=text, choices=choices, answer=_right_choice(cells, choices))


def _right_choice(cells: Cells, choices: list[str]) -> int:
    answer, meant = cells["answer"], set[int]()
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool):
        meant = {answer}
    elif isinstance(answer, str):
        meant = {number for number, choice in enumerate(choices) if choice == answer}
        if len(answer) == 1 and answer.isascii() and answer.isalpha():
            meant.add(ord(answer.upper()) - ord("A"))
        elif answer.isascii() and answer.isdigit() and len(answer) < 10:
            meant.add(int(answer))
    meant &= set(range(len(choices)))
    if len(meant) != 1:
        may_be = f"may be any of the choices {sorted(meant)}" if meant else "is none of the choices"
        raise DataError(
            f"the column {cells.theirs('answer')!r} {may_be}: {shown(answer)}; give the right choice's index "
            f"(0–{len(choices) - 1}), its letter or its text"
        )
    return meant.pop()


def statement(cells: Cells) -> Statement:
    """From `text`, `harmful` (or SafeNLP's `label`: hate or neutral), `toxicity` (1–5) and `groups`."""
    text, value = _filled(cells, "text"), cells["harmful"]
    harmful = _HARMFUL.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None
    if harmful is None:
        raise DataError(
            f"the column {cells.theirs('harmful')!r} should be true or false, or hate or neutral, not {shown(value)}"
        )
    toxicity = cells.number("toxicity")
    if not 1 <= toxicity <= 5 or math.isnan(toxicity):
        raise DataError(f"the column {cells.theirs('toxicity')!r} should be from 1 to 5, not {toxicity}; rescale it")
    groups = list(dict.fromkeys(_groups(cells)))
    if not groups:
        raise UnusableError("no group is named")
    return Statement(text=text, harmful=harmful, toxicity=toxicity, groups=groups)


def _groups(cells: Cells) -> list[str]:
    value = cells["groups"]
    one = isinstance(value, str) and not value.lstrip().startswith("[")
    return [name for name in ([value] if one else cells.texts("groups")) if name.strip()]


def _filled(cells: Cells, ours: str) -> str:
    text = cells.text(ours)
    if not text.strip():
        raise UnusableError(f"an empty {ours}")
    return text


PARSERS: Mapping[Form, Callable[[Cells], Mapping[str, Any]]] = {
    "comparisons": comparison,
    "demonstrations": demonstration,
    "documents": document,
    "questions": question,
    "statements": statement,
}
