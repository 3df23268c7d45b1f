"""Dropout that depends on the token and the optimizer step, not on what else goes through the model with it.

torch draws a mask for each tensor, so that a batch in other parts, in several processes or on another device is trained
with other noise. Here the mask of a token follows from its id, its place in its text, the step, the seed and the layer,
by integer arithmetic that is the same everywhere: however a batch is laid out, the same numbers are left out.
"""

import math
from collections.abc import Iterator
from typing import Any, cast
from zlib import crc32

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# Multipliers of 32 bits that mix well (Steele and Vigna 2021, "Computationally easy, spectrally good multipliers").
_MIX, _OF_ID, _OF_PLACE, _OF_STEP = 0x93D765DD - 2**32, 0x2C9277B5, 0x6B4D7C5B, 0x51ED2705


class TokenKeys(TrainerCallback):  # type: ignore[misc]
    """The key of each token that goes through a model, 32 bits; a hook of its decoder takes them from its inputs."""

    def __init__(self, seed: int):
        self.seed = seed
        self.step = 0
        self.keys: Tensor | None = None  # rows × tokens; None where no ids go in

    def on_step_begin(self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any) -> None:
        self.step = state.global_step

    def take(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            self.keys = None
            return
        both = _mixed(ids.int() * _OF_ID) + _mixed(_places(ids, kwargs).int() * _OF_PLACE)
        self.keys = _mixed(both + (self.seed * _OF_STEP + self.step) % 2**31)


def _places(ids: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Where in its text each token is, padding before it left out."""
    places, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
    if places is not None:
        return cast(Tensor, places).expand_as(ids)
    if isinstance(mask, Tensor) and mask.shape == ids.shape:
        return mask.cumsum(-1) - 1
    return torch.arange(ids.shape[-1], device=ids.device).expand_as(ids)


def _mixed(keys: Tensor) -> Tensor:
    """Integers of 32 bits, each bit of which depends on all of theirs; products wrap around.

    The masks make torch's shift, which repeats the sign, one that shifts in zeros.
    """
    keys = (keys ^ (keys >> 15 & 0x1FFFF)) * _MIX
    return keys ^ (keys >> 16 & 0xFFFF)


class TokenDropout(nn.Dropout):  # type: ignore[misc]
    """Leaves out each number of a token's state with probability `p`, as its key and this layer's salt say."""

    def __init__(self, p: float, salt: int, tokens: TokenKeys):
        super().__init__(p)
        self.salt, self.tokens = salt, tokens

    def forward(self, states: Tensor) -> Tensor:
        """states: … × tokens × width."""
        keys = self.tokens.keys
        if not self.training or not self.p:
            return states
        if keys is None or keys.numel() != math.prod(states.shape[:-1]):  # tokens apart from others, as to an expert
            return functional.dropout(states, self.p)
        places = torch.arange(states.shape[-1], device=states.device, dtype=torch.int32)
        columns = _mixed(places * _OF_PLACE + self.salt)
        drawn = _mixed(keys.to(states.device).reshape(*states.shape[:-1], 1) ^ columns)
        kept = drawn >= round(self.p * 2**32) - 2**31
        return states * kept.to(states.dtype) * (1 / (1 - self.p))


def drop_by_token(trainer: Trainer) -> None:
    """Have the dropout layers of a trainer's model, LoRA's and its own, leave out by token.

    What attention drops by itself, in models that have that, is left to torch.
    """
    tokens = TokenKeys(trainer.args.seed)
    found = list(_dropouts(trainer.model))
    for parent, name, salt in found:
        parent._modules[name] = TokenDropout(cast(nn.Dropout, parent._modules[name]).p, salt, tokens)
    if found:
        model = trainer.model.get_base_model() if isinstance(trainer.model, PeftModel) else trainer.model
        model.base_model.register_forward_pre_hook(tokens.take, with_kwargs=True)
        trainer.add_callback(tokens)


def _dropouts(model: nn.Module) -> Iterator[tuple[nn.Module, str, int]]:
    """Each layer that drops something: its parent, its name there, and a number of its own."""
    for path, parent in model.named_modules():
        for name, module in parent.named_children():
            if type(module) is nn.Dropout and module.p:
                yield parent, name, crc32(f"{path}.{name}".encode()) - 2**31
