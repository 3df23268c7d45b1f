"""What every way to get a trie's logits is."""

from typing import Any, Protocol

import torch

from datatrial.likelihood.budget import Budget
from datatrial.likelihood.layout import Layout, Pass, Prefix
from datatrial.likelihood.trie import Trie


class Method(Protocol):
    """A way to get the logits of a trie: one for all models that can, others for the rest."""

    name: str

    def lay_out(self, trie: Trie, budget: Budget) -> Layout: ...

    def prefix(self, prefix: Prefix, parent: Any) -> Any:
        """What is kept of a prefix, its parent's included."""

    def states(self, one: Pass, prefix: Any) -> torch.Tensor:
        """[u, …] what `head` makes logits of at the slots of a pass, given what was kept of its prefix."""

    def head(self, states: torch.Tensor) -> torch.Tensor:
        """[n, vocabulary] the logits that follow from states, of one pass or of several."""


def states_of(one: Pass, kept: list[tuple[Prefix, Any]], method: Method) -> tuple[torch.Tensor, int]:
    """The states at the slots of a pass, and the tokens that went through the model for it.

    kept: what is left of the passes before, the first pass's prefix outermost; changed to what this pass needs.
    """
    wanted, tokens = one.ancestry, one.size
    while kept and (len(kept) > len(wanted) or kept[-1][0] is not wanted[len(kept) - 1]):
        kept.pop()
    for prefix in wanted[len(kept) :]:
        kept.append((prefix, method.prefix(prefix, kept[-1][1] if kept else None)))
        tokens += len(prefix.tokens)
    return method.states(one, kept[-1][1] if kept else None), tokens
