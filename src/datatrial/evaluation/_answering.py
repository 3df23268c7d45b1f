"""What a policy answers: greedy generation, many prompts at a time."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria
from xxhash import xxh3_128_hexdigest

from datatrial.encoding import cut_prompt, encode, encode_prompts
from datatrial.errors import ModelError
from datatrial.evaluation._batches import batch_size
from datatrial.files import sealed, unsealed
from datatrial.policies import longest_input
from datatrial.prompts import PromptFormat, next_question
from datatrial.records import Message, Progress

_TAIL = 16  # tokens in which the mark of the next question would lie


@dataclass(frozen=True)
class Answer:
    """An answer in the policy's own words; `ended` is false for one that was cut at `max_new_tokens`."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Answers:
    """The answers, in the order of their prompts, and how many prompts lost their start to fit into the model."""

    answers: list[Answer]
    cut_prompts: int


def answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    style: PromptFormat,
    max_new_tokens: int,
    progress: Progress,
    scratch: Path | None = None,
) -> Answers:
    """Greedy answers. One ends with the end-of-text token, with what the chat template ends it with, or where the
    policy goes on to ask the next question itself, as a base model does.

    The policy is left with a generation config of our own.

    scratch: a folder of this policy's to keep finished answers in, to go on from after an interruption.

    Raises: ModelError when the policy has no room for an answer of `max_new_tokens`.
    """
    longest = longest_input(model.config)
    room = longest - max_new_tokens if longest else None
    if room is not None and room < 1:
        raise ModelError(f"max_new_tokens is {max_new_tokens}, but the model takes only {longest} tokens in all")
    whole = encode_prompts(prompts, tokenizer, style)
    encoded = [cut_prompt(ids, room, tokenizer.bos_token_id) if room else ids for ids in whole]
    writer = _Writer(model, tokenizer, style, max_new_tokens)
    batches = list(_batches(encoded, batch_size(model.device.type)))
    finished = _Finished(scratch, encoded, batches, sorted(writer.ends), max_new_tokens, str(model.device))
    found: dict[int, Answer] = {}
    for number, batch in enumerate(batches):
        answers = finished.get(number)
        if not answers:
            answers = writer.answers([encoded[place] for place in batch])
            finished.put(number, answers)
        found.update(zip(batch, answers, strict=True))
        progress(len(found), len(encoded), "answers")
    cut = sum(len(a) < len(b) for a, b in zip(encoded, whole, strict=True))
    return Answers([found[place] for place in range(len(encoded))], cut)


class _Finished:
    """The answers of batches that are done, a file for each in a folder if there is one."""

    def __init__(self, folder: Path | None, *depend_on: Any):
        packages = [version(name) for name in ("datatrial", "torch", "transformers")]
        self.folder = folder / f"answers-{xxh3_128_hexdigest(repr((packages, depend_on)).encode())}" if folder else None
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, number: int) -> list[Answer]:
        """The answers of a batch; none unless it is done."""
        file = self.folder / f"{number}.answers" if self.folder else None
        text = unsealed(file.read_bytes()) if file and file.exists() else None
        return [Answer(**answer) for answer in json.loads(text)] if text else []

    def put(self, number: int, answers: Sequence[Answer]) -> None:
        if self.folder:
            part = self.folder / f"{number}.part"
            part.write_bytes(sealed(json.dumps([asdict(answer) for answer in answers]).encode()))
            part.replace(part.with_suffix(".answers"))


class _Writer:
    def __init__(self, model: Any, tokenizer: Any, style: PromptFormat, max_new_tokens: int):
        self.model, self.tokenizer = model, tokenizer
        self.mark = None if style == "chat" else next_question(style)
        self.ends = _ends(model, tokenizer, style)
        # The likeliest token each time and nothing else, whatever the checkpoint's own config says.
        model.generation_config = GenerationConfig(
            max_new_tokens=max_new_tokens, eos_token_id=sorted(self.ends), pad_token_id=tokenizer.pad_token_id
        )

    def answers(self, prompts: Sequence[Sequence[int]]) -> list[Answer]:
        try:
            return [self._answer(ids) for ids in self._continued(prompts)]
        except torch.OutOfMemoryError:
            if len(prompts) == 1:
                raise
        half = len(prompts) // 2  # outside of the handler, which would keep the failed attempt's tensors
        return [*self.answers(prompts[:half]), *self.answers(prompts[half:])]

    def _continued(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        tokens = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=self.model.device)
        stops = [_NextQuestion(self.tokenizer, self.mark, width)] if self.mark else None
        with torch.inference_mode():
            whole = self.model.generate(input_ids=tokens, attention_mask=mask, stopping_criteria=stops)
        written: list[list[int]] = whole[:, width:].tolist()
        return written

    def _answer(self, ids: list[int]) -> Answer:
        kept = list(takewhile(lambda token: token not in self.ends, ids))
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        said, mark, _ = text.partition(self.mark) if self.mark else (text, "", "")
        return Answer(said.strip(), bool(mark) or len(kept) < len(ids))


class _NextQuestion(StoppingCriteria):  # type: ignore[misc]
    """Ends the rows in which the mark of the next question has been written."""

    def __init__(self, tokenizer: Any, mark: str, start: int):
        self.tokenizer, self.mark, self.start = tokenizer, mark, start

    def __call__(self, ids: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
        tails = self.tokenizer.batch_decode(ids[:, self.start :][:, -_TAIL:])
        return torch.tensor([self.mark in tail for tail in tails], device=ids.device)


def _ends(model: Any, tokenizer: Any, style: PromptFormat) -> set[int]:
    """The tokens that end an answer: those that end a text, and what a chat template puts after an answer first."""
    configured = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])} - {None}
    if style == "chat":
        [asked] = encode([([{"role": "user", "content": "?"}], ["No.", "Yes, so it is!"])], tokenizer, style)
        pairs = zip(*(reversed(ids) for ids in asked.answers), strict=False)
        after = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)][::-1]
        added = tokenizer.added_tokens_decoder
        ends |= set([token for token in after if token in added and added[token].special][:1])
    return ends


def _batches(encoded: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Places of prompts, the longest first: there is little padding, and what does not fit fails early."""
    places = sorted(range(len(encoded)), key=lambda i: (-len(encoded[i]), i))
    return (places[start : start + size] for start in range(0, len(places), size))
