"""Values of sequences, such as rewards: what a head for sequence classification says at their last tokens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import linear
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep

from datatrial.likelihood.decoder import without_adapter
from datatrial.likelihood.scorer import Scorer
from datatrial.likelihood.trie import Branch, Trie
from datatrial.records import Progress

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class Valuer:
    """A model for sequence classification with a single label, made ready to value sequences that share prefixes."""

    def __init__(self, model: "PreTrainedModel | PeftModel"):
        self._asked = HeadAtTokens(model)
        with self._asked.for_words():
            self._scorer = Scorer(self._asked, reading=read_values)

    def values(
        self, sequences: Sequence[Sequence[int]], progress: Progress, journal: Path | None = None
    ) -> NDArray[np.float64]:
        """The head's value at the last token of each sequence of token ids; NaN for an empty one.

        Equal sequences have the very same value.
        """
        label = np.zeros(1, dtype=np.int64)  # the only one, asked for at the last token
        branches = [Branch(place, np.array(ids), label) for place, ids in enumerate(sequences) if ids]
        return self._scorer.score(Trie(branches), len(sequences), progress, journal).log_likelihood

    def recorded(self) -> dict[str, Any]:
        """How sequences are valued: by which method, at which sizes."""
        return self._scorer.recorded()

    @property
    def notes(self) -> list[str]:
        """What people should know; see `Scorer`."""
        ours, theirs = type(self._asked).__name__, type(self._asked.classifier).__name__
        return [note.replace(ours, theirs) for note in self._scorer.notes]


class HeadAtTokens(torch.nn.Module):  # type: ignore[misc]
    """A sequence classifier that is asked as a causal model is: for what its head says at chosen tokens.

    transformers' own reads the head at the last token of each row. In rows of a trie the last tokens of many sequences
    lie beside each other.
    """

    def __init__(self, model: "PreTrainedModel | PeftModel"):
        super().__init__()
        self.classifier = without_adapter(model)
        self.config, self.device, self.dtype = model.config, model.device, model.dtype
        self._words: torch.Tensor | None = None  # [vocabulary, hidden size]

    @property
    def base_model(self) -> torch.nn.Module:
        layers: torch.nn.Module = self.classifier.base_model
        return layers

    def get_decoder(self) -> torch.nn.Module:
        return self.base_model

    def get_input_embeddings(self) -> torch.nn.Module:
        embeddings: torch.nn.Module = self.base_model.get_input_embeddings()
        return embeddings

    @contextmanager
    def for_words(self) -> Iterator[None]:
        """Meanwhile it says how likely each token is to come next, by its embeddings, rather than a value.

        So the layers are tried out by all that they compute, as those of any model are.
        """
        self._words = self.get_input_embeddings().weight.detach()
        try:
            yield
        finally:
            self._words = None

    def forward(
        self, input_ids: torch.Tensor, *, logits_to_keep: int | torch.Tensor, **inputs: Any
    ) -> CausalLMOutputWithPast:
        """Values as logits: [u, 1] at the tokens that a mask [rows, width] names, or [rows, n, 1] at the last n."""
        read = self.base_model(input_ids=input_ids, **inputs)
        chosen = slice_logits_to_keep(read.last_hidden_state, logits_to_keep)
        logits = self.classifier.score(chosen) if self._words is None else linear(chosen, self._words)
        return CausalLMOutputWithPast(logits=logits, past_key_values=read.past_key_values)


def read_values(logits: torch.Tensor, pick: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The values [n, 1] that are asked for as they are, in the place of log-likelihoods."""
    values = logits.squeeze(-1).float()[pick]
    return values, torch.zeros_like(values, dtype=torch.bool)
