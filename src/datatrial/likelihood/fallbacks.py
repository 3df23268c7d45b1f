"""Scoring for models in which a token cannot be told which of the tokens before it to see."""

import copy
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache

from datatrial.errors import ModelError
from datatrial.likelihood.budget import Budget
from datatrial.likelihood.decoder import looks_at_texts, needed, without_adapter
from datatrial.likelihood.layout import Layout, Pass, Prefix, Row, in_passes
from datatrial.likelihood.rope_scaling import apart
from datatrial.likelihood.trie import Ints, Trie

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class PlainRows:
    """Each distinct text a row by itself, padded on the right: what every model that reads from left to right can do.

    No mask says which tokens are padding: none of the others sees them.
    """

    name = "rows"

    def __init__(self, model: "PreTrainedModel | PeftModel"):
        self.model = model
        self.device = model.device
        self.selects = selects_logits(model)

    def lay_out(self, trie: Trie, budget: Budget) -> Layout:
        passes = [
            one
            for alike in apart(trie, self.model)
            for one in in_passes(alike, None, _rows(alike, range(len(alike))), self._tokens(budget))
        ]
        return Layout(tuple(passes), budget)

    def prefix(self, prefix: Prefix, parent: Any) -> None:
        """Nothing: every row begins with its first token."""

    def states(self, one: Pass, prefix: Any) -> torch.Tensor:
        return self._at_slots(one, use_cache=False)

    def head(self, states: torch.Tensor) -> torch.Tensor:
        return states  # logits already

    def _tokens(self, budget: Budget) -> int:
        """Of a pass, all of whose logits may be there at once."""
        return min(budget.tokens, budget.logits)

    def _at_slots(self, one: Pass, **inputs: Any) -> torch.Tensor:
        """[u, vocabulary] of a forward pass over the tokens of a pass."""
        tokens = torch.from_numpy(one.tokens).to(self.device)
        if self.selects:
            picked: torch.Tensor = self.model(
                input_ids=tokens, logits_to_keep=needed(one, self.device), **inputs
            ).logits
            return picked
        logits: torch.Tensor = self.model(input_ids=tokens, **inputs).logits
        # Learned prompts come before the text.
        return logits[:, -tokens.shape[1] :][needed(one, self.device)]


class CachedContexts(PlainRows):
    """Each context once, into the model's own cache; its continuations as rows after copies of that."""

    name = "contexts"

    def __init__(self, model: "PreTrainedModel | PeftModel"):
        """Raises: ModelError for a model whose cache does not begin with the text's first token."""
        if looks_at_texts(model):
            raise ModelError("its adapter looks at each text as a whole")
        super().__init__(model)

    def lay_out(self, trie: Trie, budget: Budget) -> Layout:
        within, beyond = apart(trie, self.model)
        tokens, passes = self._tokens(budget), list[Pass]()
        alone: list[Row] = []  # rows of contexts that are not worth a pass of their own
        for places in _by_context(within):
            rows, context = list(_rows(within, places)), _context(within, places[0])
            if len(context) * (len(rows) - 1) >= budget.keep:
                passes += in_passes(within, Prefix(context, len(context), None), rows, tokens)
            else:
                alone += rows
        passes += in_passes(within, None, alone, tokens)
        return Layout((*passes, *super().lay_out(beyond, budget).passes), budget)

    def prefix(self, prefix: Prefix, parent: Any) -> Cache:
        """What the model itself keeps of a context.

        Raises: ModelError when it keeps nothing that could be handed on.
        """
        tokens = torch.from_numpy(prefix.tokens).to(self.device)[None]
        last = {"logits_to_keep": 1} if self.selects else {}
        cache = getattr(self.model(input_ids=tokens, use_cache=True, **last), "past_key_values", None)
        if not isinstance(cache, Cache):
            raise ModelError("it keeps no cache of a context that transformers could copy")
        return cache

    def states(self, one: Pass, prefix: Cache | None) -> torch.Tensor:
        if prefix is None or one.prefix is None:
            return super().states(one, None)
        rows, width = one.tokens.shape
        cache = copy.deepcopy(prefix)
        cache.reorder_cache(torch.zeros(rows, dtype=torch.long, device=self.device))
        seen = torch.ones(rows, one.prefix.depth + width, dtype=torch.long, device=self.device)
        return self._at_slots(one, attention_mask=seen, past_key_values=cache, use_cache=True)


def selects_logits(model: "PreTrainedModel | PeftModel") -> bool:
    """Whether a model computes logits where a mask asks for them only."""
    if looks_at_texts(model):
        return False  # it would take the learned tokens' places for the text's
    # Code that comes with a model may have the argument, and take numbers for it alone.
    return hasattr(sys.modules[type(without_adapter(model)).__module__], "slice_logits_to_keep")


def _context(trie: Trie, place: int) -> Ints:
    """What a branch reads before the first token whose logits are needed, which is its context's last."""
    branch = trie.branches[place]
    return branch.tokens[: branch.first]


def _by_context(trie: Trie) -> list[list[int]]:
    """The branches that begin with each context, ascending."""
    found = defaultdict(list)
    for place in range(len(trie)):
        found[_context(trie, place).tobytes()].append(place)
    return list(found.values())


def _rows(trie: Trie, places: Iterable[int]) -> Iterator[Row]:
    """Branches as rows: those of which each begins with the one before share theirs."""
    start = end = -1
    for place in places:
        if place != end or trie.shared[place] < trie.lengths[place - 1]:
            if end > start:
                yield [(start, end)]
            start = place
        end = place + 1
    if end > start:
        yield [(start, end)]
