"""Log-likelihoods of requests by a model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from datatrial.errors import ModelError
from datatrial.likelihood.budget import budget_for
from datatrial.likelihood.journal import Answers, Journal, fingerprint
from datatrial.likelihood.layout import Layout, Pass, Prefix
from datatrial.likelihood.method import Method, states_of
from datatrial.likelihood.self_check import method_for
from datatrial.likelihood.trie import Ints, Trie
from datatrial.policies import is_out_of_memory
from datatrial.records import Progress

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_CHUNK = 2**18  # logits whose exponentials are summed at a time: they fit into a core's cache


# From logits [n, vocabulary], the places in them [t] and the tokens [t] that are asked about: log-likelihoods [t],
# and whether these tokens are the likeliest [t].
Reading = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Likelihoods:
    """Of each request, in the order in which they were asked."""

    log_likelihood: NDArray[np.float64]  # nats; NaN where the model gave no number, or was not asked
    greedy: NDArray[np.bool_]
    tokens: int  # that went through the model


class Scorer:
    """A model made ready to score: by the fastest method that is right for it, at sizes that follow from it.

    `notes` says what people should know: why the fastest method was not taken, how often memory ran out.
    """

    def __init__(self, model: "PreTrainedModel | PeftModel", reading: Reading | None = None):
        """reading: what is read off logits; log-likelihoods if not told."""
        self._model = model
        self.method, self.notes = method_for(model)
        self.budget = budget_for(model)
        self._reading = reading or read_log_likelihoods

    def recorded(self) -> dict[str, Any]:
        """By which method, and at which sizes."""
        return {"method": self.method.name, "budget": self.budget.recorded()}

    def score(self, trie: Trie, requests: int, progress: Progress, journal: Path | None = None) -> Likelihoods:
        """The log-likelihoods of a trie's branches, which are some or all of so many requests.

        journal: a folder in which finished passes are kept. Those that are found there are not made again.

        Raises: ModelError when the model has no such tokens; torch.OutOfMemoryError when not even a few tokens at a
        time fit into memory.
        """
        self._check_tokens(trie)
        while True:
            try:
                return self._score(trie, requests, progress, journal)
            except (RuntimeError, MemoryError) as error:
                smaller = self.budget.halved()
                if smaller is None or not is_out_of_memory(error):
                    raise
            # Outside of the handler, which would keep the failed attempt's tensors.
            self.notes.append(f"memory ran out with {self.budget.tokens} tokens at a time: halved")
            self.budget = smaller

    def _check_tokens(self, trie: Trie) -> None:
        embedded = self._model.get_input_embeddings().weight.shape[0]
        if (token := trie.highest) >= embedded:
            raise ModelError(
                f"the tokenizer gives token {token}, but the model embeds {embedded}: they do not belong together"
            )

    def _score(self, trie: Trie, requests: int, progress: Progress, folder: Path | None) -> Likelihoods:
        found = self._laid_out(self.method.lay_out(trie, self.budget), requests, progress, folder)
        # Where there is no number for one text, there is none for those that share a row with it.
        lost = Trie([branch for branch in trie.branches if np.isnan(found.log_likelihood[branch.request])])
        if not len(lost):
            return found
        apart = self.method.lay_out(lost, replace(self.budget, row=1, keep=lost.total))
        again = self._laid_out(apart, requests, progress, folder)
        log_likelihood = np.where(np.isnan(found.log_likelihood), again.log_likelihood, found.log_likelihood)
        greedy = np.where(np.isnan(found.log_likelihood), again.greedy, found.greedy)
        return Likelihoods(log_likelihood, greedy, found.tokens + again.tokens)

    def _laid_out(self, layout: Layout, requests: int, progress: Progress, folder: Path | None) -> Likelihoods:
        log_likelihood, greedy = np.full(requests, np.nan), np.zeros(requests, bool)
        done, total = 0, layout.tokens
        with torch.inference_mode(), ExitStack() as opened:
            journal = opened.enter_context(self._journal(folder, layout)) if folder else None
            for answers, tokens in _answered(layout, self.method, self._reading, journal):
                log_likelihood[answers.requests], greedy[answers.requests] = answers.log_likelihood, answers.greedy
                done += tokens
                progress(done, total, "tokens")
        return Likelihoods(log_likelihood, greedy, total)

    def _journal(self, folder: Path, layout: Layout) -> Journal:
        return Journal(folder, fingerprint(layout, self._model, self.method.name, self._reading.__qualname__))


def _answered(
    layout: Layout, method: Method, reading: Reading, journal: Journal | None
) -> Iterator[tuple[Answers, int]]:
    """The answers of each group of passes, those in the journal first, and the tokens that are done with them."""
    groups, finished = layout.groups, journal.finished if journal else {}
    left = [number for number in range(len(groups)) if number not in finished]
    spared = layout.tokens - replace(layout, passes=tuple(one for number in left for one in groups[number])).tokens
    for found in finished.values():
        yield found, spared
        spared = 0
    kept: list[tuple[Prefix, Any]] = []  # the prefix at hand and those before it, outermost first
    for number in left:
        found_states = [states_of(one, kept, method) for one in groups[number]]
        states = torch.cat([some for some, _ in found_states])
        answers = _answers(groups[number], states, method, reading, layout.budget.logits)
        if journal:
            journal.add(number, answers)
        yield answers, sum(tokens for _, tokens in found_states)


def _answers(group: Sequence[Pass], states: torch.Tensor, method: Method, reading: Reading, at_once: int) -> Answers:
    """What the states at the slots of a group's passes say of its requests, by so many logits at a time."""
    pick = _joined([one.pick for one in group], [len(one.slots) for one in group])
    starts = _joined([one.starts for one in group], [len(one.targets) for one in group])
    targets = np.concatenate([one.targets for one in group])
    values, greedy = np.empty(len(targets)), np.empty(len(targets), bool)
    for start in range(0, len(states), at_once):
        asked = np.flatnonzero((pick >= start) & (pick < start + at_once))
        places, tokens = (torch.from_numpy(a).to(states.device) for a in (pick[asked] - start, targets[asked]))
        read = reading(method.head(states[start : start + at_once]), places, tokens)
        values[asked], greedy[asked] = (found.cpu().numpy() for found in read)
    sums = np.add.reduceat(values, starts)  # in float64
    requests = np.concatenate([one.requests for one in group])
    return Answers(requests, sums, np.logical_and.reduceat(greedy, starts))


def _joined(places: Sequence[Ints], sizes: Sequence[int]) -> Ints:
    """Places in several arrays of such sizes as places in all of them together."""
    before = np.cumsum([0, *sizes[:-1]])
    return np.concatenate([some + start for some, start in zip(places, before, strict=True)])


def read_log_likelihoods(
    logits: torch.Tensor, pick: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-likelihoods in nats, and whether each token is the likeliest; see `Reading`. The logits are used up.

    The log-softmax is taken in float32, whatever the logits are in. Of several likeliest tokens, as are common in
    bfloat16, it is the first.
    """
    said = logits[pick, targets].float()
    likeliest, log_sums = [], []
    for chunk in logits.split(max(1, _CHUNK // logits.shape[-1])):
        values = chunk.float()
        first = _first_highest(values)
        highest = values.gather(-1, first)
        log_sums.append(values.sub_(highest).exp_().sum(-1, keepdim=True).log_() + highest)
        likeliest.append(first)
    return said - torch.cat(log_sums)[pick, 0], torch.cat(likeliest)[pick, 0] == targets


def _first_highest(values: torch.Tensor) -> torch.Tensor:
    """[n, 1] the place of the highest value in each row, the first of equal ones."""
    if values.device.type == "cpu":  # torch's takes five times as long there
        return torch.from_numpy(values.numpy().argmax(-1, keepdims=True))
    return values.argmax(-1, keepdim=True)
