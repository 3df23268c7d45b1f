"""A transformers model that reads rows of a trie: each token sees its ancestors only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from transformers import PreTrainedModel

from datatrial.errors import ModelError
from datatrial.likelihood.budget import Budget
from datatrial.likelihood.layout import Layout, Pass, Prefix, lay_out
from datatrial.likelihood.prefix_cache import PrefixCache
from datatrial.likelihood.rope_scaling import apart
from datatrial.likelihood.trie import Ints, Trie

if TYPE_CHECKING:
    from peft import PeftModel

Mask: TypeAlias = torch.Tensor | dict[str, torch.Tensor]
_FULL, _SLIDING = "full_attention", "sliding_attention"


class Decoder:
    """The logits of passes, by a model in which a 4-D mask and position ids say all about attention."""

    name = "trie"

    def __init__(self, model: "PreTrainedModel | PeftModel"):
        """Raises: ModelError for a model of which it is plain that masks and position ids do not say all."""
        if looks_at_texts(model):
            raise ModelError("its adapter looks at each text as a whole")
        self.model = without_adapter(model)
        decoder = self.model.get_decoder()  # of some models the attribute of that name is the head
        self.body = decoder if isinstance(decoder, PreTrainedModel) else self.model.base_model
        self.device = self.model.device
        self._any_token = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        self.window: int | None = getattr(self.model.config.get_text_config(), "sliding_window", None)
        self.kinds = _kinds(self.model)
        if unknown := self.kinds - {_FULL, _SLIDING}:
            raise ModelError(f"it has layers of another kind than attention to all or the last tokens: {min(unknown)}")
        if _counts_places(self.model):
            raise ModelError("its attention biases (ALiBi) count places in a row, whatever the positions")

    def lay_out(self, trie: Trie, budget: Budget) -> Layout:
        within, beyond = apart(trie, self.model)
        layouts = [lay_out(within, budget)] if len(within) else []
        if len(beyond):  # a prefix of theirs may itself be short, and would get other positions
            layouts.append(lay_out(beyond, replace(budget, keep=beyond.total)))
        return Layout(tuple(one for layout in layouts for one in layout.passes), budget)

    def prefix(self, prefix: Prefix, parent: PrefixCache | None) -> PrefixCache:
        """The keys and values of a prefix, its parent's included."""
        cache = PrefixCache(parent)
        tokens = self._tensor(prefix.tokens)[None]
        positions = torch.arange(prefix.depth - tokens.shape[1], prefix.depth, device=self.device)[None]
        keys = torch.arange(prefix.depth, device=self.device)[None]
        sees = keys[:, None, :] <= positions[:, :, None]
        self.body(
            input_ids=tokens,
            position_ids=positions,
            # From a text's start on the model's own mask says the same, and attention is not computed where it hides.
            attention_mask=None if parent is None else self._mask(sees, positions, keys),
            past_key_values=cache,
            use_cache=True,
        )
        return cache.keep()

    def states(self, one: Pass, prefix: PrefixCache | None) -> torch.Tensor:
        """[u, hidden size] what the last layer makes of the tokens at the slots of a pass."""
        tokens, positions = self._tensor(one.tokens), self._tensor(one.positions)
        output = self.body(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=self.block_mask(one, positions),
            past_key_values=prefix,
            use_cache=prefix is not None,
        )
        self._output = type(output)
        states: torch.Tensor = output.last_hidden_state[needed(one, self.device)]
        return states

    def head(self, states: torch.Tensor) -> torch.Tensor:
        """[n, vocabulary] logits by the model's own way from its last layer, soft caps and scaling included.

        Few states at a time are dear, since each time all weights of the head are read.
        """
        output = self._output(last_hidden_state=states[None])
        with _answering(self.body, output):
            logits: torch.Tensor = self.model(input_ids=self._any_token, logits_to_keep=0).logits
        return logits[0]

    def block_mask(self, one: Pass, positions: torch.Tensor) -> Mask:
        """What each token of a pass sees, for each kind of layer; positions: [rows, width] those of the pass."""
        rows, width = one.tokens.shape
        place = torch.arange(width, device=self.device)
        sees = (place[None, :] <= place[:, None]) & (place[None, :, None] <= self._tensor(one.last)[:, None, :])
        done = one.prefix.depth if one.prefix else 0
        before = torch.arange(done, device=self.device).expand(rows, -1)
        sees = torch.cat([sees.new_ones(rows, width, done), sees], -1)
        return self._mask(sees, positions, torch.cat([before, positions], 1))

    def _mask(self, sees: torch.Tensor, positions: torch.Tensor, keys: torch.Tensor) -> Mask:
        """The mask of each kind of layer, [rows, 1, width, keys], to be added to attention scores."""
        masks = {}
        for kind in self.kinds:
            near = positions[:, :, None] - keys[:, None, :] < self.window if kind == _SLIDING else True
            masks[kind] = self._added(sees & near)
        return masks if len(masks) > 1 else masks.popitem()[1]

    def _added(self, sees: torch.Tensor) -> torch.Tensor:
        # Numbers, not booleans: those are what eager attention takes, and sdpa takes both.
        dtype = self.model.dtype
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=self.device)
        return torch.where(sees[:, None], hidden.new_zeros(()), hidden)

    def _tensor(self, values: Ints) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device)


def looks_at_texts(model: "PreTrainedModel | PeftModel") -> bool:
    """Whether an adapter needs each text as a row: it puts learned tokens before it, or acts from a phrase in it on."""
    config = getattr(model, "active_peft_config", None)
    return config is not None and (config.is_prompt_learning or bool(getattr(config, "alora_invocation_tokens", None)))


def without_adapter(model: "PreTrainedModel | PeftModel") -> "PreTrainedModel":
    """The model that an adapter lies in, with its changed layers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def _answering(module: torch.nn.Module, output: Any) -> Iterator[None]:
    """Have a module answer with an output, whatever it is asked."""
    own = vars(module).get("forward")  # what a library put over the class's
    module.forward = lambda *_, **__: output
    try:
        yield
    finally:
        del module.forward
        if own:
            module.forward = own


def needed(one: Pass, device: torch.device) -> torch.Tensor:
    """[rows, width] whether a token's logits are asked for, as transformers' `logits_to_keep` takes it."""
    mask = torch.zeros(one.tokens.size, dtype=torch.bool, device=device)
    mask[torch.from_numpy(one.slots).to(device)] = True
    return mask.view(one.tokens.shape)


def _kinds(model: "PreTrainedModel") -> set[str]:
    """The kinds of layers of a model, by how far their tokens see."""
    config = model.config.get_text_config()
    # GPT-Neo lists its own kinds elsewhere: its local layers count places in a row, whatever the positions.
    if listed := getattr(config, "layer_types", None) or getattr(config, "attention_layers", None):
        return set(listed)
    # A window in the config alone says little: Llama does not heed it, Moshi neither. Those that do import the mask.
    heeds = hasattr(sys.modules[type(model.base_model).__module__], "create_sliding_window_causal_mask")
    return {_SLIDING if heeds and config.sliding_window is not None else _FULL}


def _counts_places(model: "PreTrainedModel") -> bool:
    """Whether what a token sees is weighed by how far away it lies in the row."""
    config = model.config.get_text_config()
    return config.model_type in ("bloom", "mpt") or bool(getattr(config, "alibi", False))
