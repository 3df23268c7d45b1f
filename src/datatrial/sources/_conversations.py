"""Conversations as sources find them: checked, never repaired; what cannot be used is left out under its reason."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, get_args

from datatrial.component import LISTED
from datatrial.errors import DataError, named, quoted
from datatrial.records import Comparison, Demonstration, Message, Role

ROLES: tuple[Role, ...] = get_args(Role)
HUMAN = "\n\nHuman:"  # what every transcript in HH-RLHF's format begins with
_MARK = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_SHAREGPT: dict[str, Role] = {"human": "user", "gpt": "assistant"}


class UnusableError(Exception):
    """A well-formed row that cannot be learned from; it is left out and counted under this reason."""


def messages_in(value: Any, column: str) -> list[Message]:
    """A column's value as messages; keys besides `role` and `content` are left out, and so are empty system turns.

    Raises: DataError when it is anything but a list of `{role, content}`, or of ShareGPT's `{from, value}`.
    """
    if not isinstance(value, list):
        raise DataError(f"the column {column!r} should be a list of messages, not {shown(value)}")
    return [
        message
        for number, item in enumerate(value)
        if (message := _message(item, f"{column}[{number}]"))["role"] != "system" or message["content"].strip()
    ]


def _message(item: Any, where: str) -> Message:
    if isinstance(item, dict) and "from" in item and "value" in item:
        speaker, text = item["from"], item["value"]
        item = {"role": _SHAREGPT.get(speaker, speaker) if isinstance(speaker, str) else speaker, "content": text}
    if not isinstance(item, dict) or "role" not in item or "content" not in item:
        raise DataError(f"{where} should be {{role: …, content: …}}, not {shown(item)}")
    role, content = item["role"], item["content"]
    if role not in ROLES:
        raise DataError(f"{where}: unknown role {quoted(role, 60)}; rename it to one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise DataError(f"{where}.content should be text, not {shown(content)}")
    return Message(role=role, content=content)


def transcript(text: str) -> list[Message]:
    r"""The turns of a transcript in HH-RLHF's format, `\n\nHuman: …\n\nAssistant: …`.

    Raises: UnusableError when it does not begin with a human turn.
    """
    if not text.startswith(HUMAN):
        raise UnusableError("the transcript does not begin with a human turn")
    parts = _MARK.split(text)[1:]
    return [
        Message(role=_SPEAKERS[speaker], content=content.strip())
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def with_answer(messages: list[Message]) -> tuple[list[Message], str]:
    """The turns up to the last answer, and that answer.

    Raises: UnusableError when user and assistant do not take turns, the last turn is the user's, or one is empty.
    """
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    expected = [("user", "assistant")[number % 2] for number in range(len(turns))]
    if [turn["role"] for turn in turns] != expected:
        raise UnusableError("the turns do not alternate between user and assistant")
    if len(turns) % 2 or not turns:
        raise UnusableError("the last turn has no answer")
    if not turns[-1]["content"].strip():
        raise UnusableError("an empty answer")
    if not all(turn["content"].strip() for turn in turns):
        raise UnusableError("an empty turn")
    return messages[:-1], messages[-1]["content"]


def demonstration(messages: list[Message]) -> Demonstration:
    """A conversation whose last turn is the answer to learn.

    Raises: UnusableError when it is unusable as a conversation.
    """
    with_answer(messages)
    return Demonstration(messages=messages)


def comparison(better: list[Message], worse: list[Message]) -> Comparison:
    """Two conversations that differ in their last answer only.

    Raises: UnusableError when either is unusable as a conversation, or when they differ before it or not at all.
    """
    messages, chosen = with_answer(better)
    others, rejected = with_answer(worse)  # first what is wrong with one: turns that do not alternate differ, too
    if messages != others:
        raise UnusableError("the two conversations differ before their last answer")
    if chosen.strip() == rejected.strip():
        raise UnusableError("the chosen answer equals the rejected one")
    return Comparison(messages=messages, chosen=chosen, rejected=rejected)


def shown(value: Any) -> str:
    """A value as an error message shows it: its type and its beginning."""
    if value is None:
        return "empty (null)"
    return f"a {type(value).__name__} ({quoted(value, 60)})"


def names_of(columns: Iterable[str]) -> str:
    """Some of a row's columns, as an error message lists them."""
    return ", ".join(map(named, islice(columns, LISTED))) or "none"
