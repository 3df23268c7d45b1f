"""Padded batches read so that each distinct prefix goes through a model's layers once, and padding not at all."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datatrial.likelihood.budget import Budget
from datatrial.likelihood.decoder import Decoder
from datatrial.likelihood.layout import Pass, lay_out
from datatrial.likelihood.self_check import method_for
from datatrial.likelihood.trie import Branch, Trie

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


WORTH = 0.95  # of a padded batch's tokens: one of which more would be left is read as it is
_EVERYTHING = 2**62  # tokens: one pass, nothing kept of a prefix
_TRIED = 8  # numbers of rows at most
_NARROW = 512  # tokens: rows so wide are well filled by many short texts
_ROOM = 1.05  # texts never fill all rows to the end


class SharedPrefixes:
    """Hooks on a model's layers: they read the texts of a batch as branches of a trie, packed into rows.

    What comes out is padded again, so loss, metrics and gradients are those of the padded batch up to rounding,
    whatever is computed from the layers' states. At padding, states are arbitrary; nothing may be computed from them.
    """

    def __init__(self, decoder: Decoder):
        self._decoder = decoder
        self._hidden = decoder.body.config.get_text_config().hidden_size
        self._places: torch.Tensor | None = None  # [texts, length] of the batch at hand, in its packed rows
        decoder.body.register_forward_pre_hook(self._pack, with_kwargs=True)
        decoder.body.register_forward_hook(self._pad)

    def _pack(self, _: torch.nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> Any:
        self._places = None
        ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
        if ids is None and args:
            ids, args = args[0], args[1:]
        if args or ids is None or mask is None or mask.dim() != 2 or inputs.get("position_ids") is not None:
            return None
        one = packed(ids, mask, self._hidden)
        if one.tokens.size > WORTH * ids.numel():
            return None
        self._places = places(one, ids.shape).to(ids.device)
        positions = torch.from_numpy(one.positions).to(ids.device)
        own = {
            "input_ids": torch.from_numpy(one.tokens).to(ids.device),
            "position_ids": positions,
            "attention_mask": self._decoder.block_mask(one, positions),
        }
        return (), {**inputs, **own}

    def _pad(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        if self._places is not None:
            output.last_hidden_state = output.last_hidden_state.flatten(0, 1)[self._places]
        return output


def share_prefixes(model: "PreTrainedModel | PeftModel", *, balances_experts: bool = False) -> list[str]:
    """Have a model share prefixes from now on, if tries are right for it; notes say why they are not.

    The model is tried out as it is for scoring, without hooks. `balances_experts`: its loss has a part that counts how
    many tokens each expert gets, so each must be read as often as it is in the batch.
    """
    if balances_experts:
        return ["batches are padded: the loss that balances experts is over all their tokens"]
    method, notes = method_for(model)
    if isinstance(method, Decoder):
        SharedPrefixes(method)
    return notes


def packed(ids: torch.Tensor, mask: torch.Tensor, hidden: int) -> Pass:
    """The texts of a batch [texts, length], padded at their ends, as a single pass: that with the least to compute.

    Few long rows are filled best, but attention compares each token of a row with each. A token costs the matrices of
    a block 24 · hidden² FLOPs and attention 4 · hidden · width, counted as in `estimates/compute.py`.
    """
    lengths = mask.sum(1).tolist()
    texts = (text[:length] for text, length in zip(ids.cpu().numpy(), lengths, strict=True))
    # As if each token were asked about: a pass says where those are.
    trie = Trie([Branch(number, text, text) for number, text in enumerate(texts)])
    tokens, longest = trie.tokens(0, len(trie), 0), max(lengths)
    most = max(1, tokens // longest)
    rows = {round(number) for number in np.geomspace(1, most, min(most, _TRIED))}
    widths = {max(longest, _NARROW), *(math.ceil(_ROOM * tokens / number) for number in rows)}
    found = (_in_rows(trie, width) for width in sorted(widths))
    return min(found, key=lambda one: one.tokens.size * (6 * hidden + one.tokens.shape[1]))


def _in_rows(trie: Trie, width: int) -> Pass:
    [one] = lay_out(trie, Budget(row=width, tokens=_EVERYTHING, logits=1, keep=_EVERYTHING)).passes
    return one


def places(one: Pass, shape: tuple[int, ...]) -> torch.Tensor:
    """[texts, length] where each token of a batch lies in the rows of its pass; 0 for padding."""
    found = np.zeros(shape, np.int64)
    for text, where in zip(one.requests, np.split(one.slots[one.pick], one.starts[1:]), strict=True):
        found[text, : len(where)] = where
    return torch.from_numpy(found)
