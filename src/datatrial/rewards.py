"""Reward models: one number for an answer, from a score head on a base model and its LoRA adapter.

The head is the one that transformers puts on a model for sequence classification with a single label, so the reward is
a linear function of the hidden state at the last token that is no padding token. It is unbounded, and only differences
between answers to the same prompt mean anything (Bradley & Terry 1952).
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrial.errors import DataError, ModelError
from datatrial.prompts import PromptFormat
from datatrial.records import Message, ModelRef, Progress, read_json

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from datatrial.likelihood.values import Valuer


_FILE = "reward.json"
_QUANTIZED = ("is_loaded_in_4bit", "is_quantized", "quantization_method", "hf_quantizer")


@dataclass(frozen=True)
class Reading:
    """How a reward model reads a conversation: as it was trained on the comparisons."""

    prompt: PromptFormat
    max_length: int  # tokens; an answer loses what does not fit
    max_prompt_length: int | None = None  # tokens; a prompt loses its start

    def write(self, out: Path) -> None:
        (out / _FILE).write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def of(cls, result: Path) -> "Reading":
        """Raises: ModelError when the result is no reward model."""
        if not (result / _FILE).exists():
            raise ModelError(f"{result} is no reward model: it has no {_FILE}; train one with the stage `reward`")
        return cls(**read_json(result / _FILE))


@dataclass(frozen=True)
class RewardModel:
    """A trained reward model, ready to score."""

    model: "PeftModel"
    tokenizer: "PreTrainedTokenizerBase"
    reading: Reading

    @classmethod
    def load(cls, result: Path, device: str) -> "RewardModel":
        """The result of a `reward` stage, on a device ("cpu", "cuda" or "mps").

        Raises: ModelError when the result is no reward model, or its adapter does not fit the base model.
        """
        from datatrial.policies import load_adapter, load_base, load_tokenizer

        reading, ref = Reading.of(result), ModelRef.read(result)
        tokenizer = load_tokenizer(Path(ref.weights))
        shell = with_score_head(load_base(ref, device), tokenizer)
        return cls(load_adapter(shell, Path(str(ref.adapter))).eval(), tokenizer, reading)

    @cached_property
    def valuer(self) -> "Valuer":
        """Made when it is first used, for it tries the model out."""
        from datatrial.likelihood.values import Valuer

        return Valuer(self.model)

    def rewards(
        self, conversations: Sequence[Sequence[Message]], progress: Progress, journal: Path | None = None
    ) -> list[float]:
        """The reward of each conversation's last message, which is an answer; NaN where its prompt leaves no room.

        Raises: DataError when a conversation does not end with an answer.
        """
        return self.of_tokens(self.read(conversations), progress, journal)

    def read(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Token ids of each conversation as it is scored; none where its prompt leaves no room for the answer.

        Raises: DataError when a conversation does not end with an answer.
        """
        from datatrial.encoding import encode, fit

        for number, turns in enumerate(conversations, start=1):
            if not turns or turns[-1]["role"] != "assistant":
                raise DataError(f"conversation {number} does not end with an answer (a message of the assistant)")
        rows = [(list(turns[:-1]), [turns[-1]["content"]]) for turns in conversations]
        limits = self.reading.max_length, self.reading.max_prompt_length
        examples = [fit(example, *limits) for example in encode(rows, self.tokenizer, self.reading.prompt)]
        return [e.prompt + e.answers[0] if e.answers[0] else [] for e in examples]

    def of_tokens(
        self, sequences: Sequence[Sequence[int]], progress: Progress, journal: Path | None = None
    ) -> list[float]:
        """The reward of each sequence of token ids; NaN for an empty one. Equal sequences get the very same reward.

        journal: a folder to keep finished work in, to go on from after an interruption.

        Raises: ModelError when the model gives no number for one.
        """
        read = [self._without_padding(ids) for ids in sequences]
        rewards: list[float] = self.valuer.values(read, progress, journal).tolist()
        if not all(map(math.isfinite, (reward for reward, ids in zip(rewards, read, strict=True) if ids))):
            raise ModelError("the reward model gives a reward that is no number; are its weights sound?")
        return rewards

    def _without_padding(self, ids: Sequence[int]) -> Sequence[int]:
        # As transformers: where the padding token also ends texts, the last token of these is not read.
        end = next((n for n in range(len(ids), 0, -1) if ids[n - 1] != self.tokenizer.pad_token_id), 1)
        return ids[:end]


def reward_scores(
    result: Path, conversations: Sequence[Sequence[Message]], device: str, progress: Progress
) -> list[float]:
    """The reward of each conversation's last message, by the result of a `reward` stage.

    Unbounded; higher is better. A conversation is read as in training: in that prompt format, within that max_length.
    Where its prompt leaves no room for the answer, the reward is NaN.

    Raises: ModelError when the result is no reward model; DataError when a conversation does not end with an answer.
    """
    return RewardModel.load(result, device).rewards(conversations, progress)


def with_score_head(base: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """A model that scores a sequence, over the very layers of a causal one; its head is drawn from torch's seed.

    Nothing is copied: the base keeps its memory, quantized or not, and should not be used any more.

    Raises: ModelError when transformers has no such model of this architecture.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(base.config)
    config.num_labels = 1
    config.name_or_path = ""  # a path on this machine, which PEFT would write beside the adapter
    config.pad_token_id = tokenizer.pad_token_id  # the reward is read off the last token that is another
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        layers, head = getattr(base, base.base_model_prefix), model.score
    except (ValueError, AttributeError) as error:
        kind = type(base).__name__
        raise ModelError(f"{kind} cannot be a reward model: transformers has no score head for it") from error
    setattr(model, model.base_model_prefix, layers)
    model.score = _head(head.in_features, config, base.device)
    for name in _QUANTIZED:
        if hasattr(base, name):
            setattr(model, name, getattr(base, name))
    return model.requires_grad_(False).eval()


def _head(width: int, config: Any, device: Any) -> Any:
    import torch

    class Score(torch.nn.Linear):  # type: ignore[misc]
        """In float32 whatever the model is in: bfloat16 has 8 bits, and would take close answers for equal ones."""

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            with torch.autocast(hidden.device.type, enabled=False):
                return torch.nn.functional.linear(hidden.float(), self.weight.float())

    head = Score(width, 1, bias=False)
    torch.nn.init.normal_(head.weight, std=getattr(config, "initializer_range", 0.02))
    return head.to(device)
