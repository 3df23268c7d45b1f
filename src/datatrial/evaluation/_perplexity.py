"""Perplexities of sentences, each as if it were alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datatrial.errors import ModelError
from datatrial.likelihood.scorer import Scorer
from datatrial.likelihood.trie import Request, Trie
from datatrial.policies import longest_input
from datatrial.records import Progress

WINDOW = 512  # tokens: of a longer sentence SafeNLP's script scores these first ones, whatever it asks of the model


@dataclass(frozen=True)
class Perplexities:
    """Of each sentence, in the order in which they were given; and how they were computed."""

    values: list[float]  # ≥ 1; NaN for a sentence of less than two tokens, or without a likelihood
    tokens: list[int]  # special ones included
    without: list[int]  # places of sentences whose likelihood is no number
    scoring: Mapping[str, Any]  # method, sizes of forward passes, and counts of requests and tokens
    notes: list[str]  # what the scorer has to say


def sentence_perplexities(
    model: Any,
    tokenizer: Any,
    sentences: Sequence[str],
    progress: Progress,
    journal: Path | None = None,
) -> Perplexities:
    """The perplexity of each sentence: exp(mean negative log-likelihood of tokens 2…n).

    The tokens are `tokenizer.encode(sentence, truncation=True)`: a beginning-of-text token counts as the first where
    the tokenizer puts one. Log-probabilities are taken in float32 and added in float64.

    journal: a folder to keep finished passes in, to go on from after an interruption.

    Raises: ModelError when the tokenizer does not belong to the model, or no sentence has a likelihood.
    """
    longest = _longest(model, tokenizer)
    encoded = [tokenizer.encode(sentence, truncation=True, max_length=longest) for sentence in sentences]
    # What lacks a second token has no continuation: the trie leaves it out.
    trie = Trie.of([Request(ids[:1], ids[1:]) for ids in encoded], longest)
    scorer = Scorer(model)
    found = scorer.score(trie, len(encoded), progress, journal)
    asked = [branch.request for branch in trie.branches]
    without = sorted(place for place in asked if math.isnan(found.log_likelihood[place]))
    if asked and len(without) == len(asked):
        raise ModelError("this model's likelihood of every sentence is no number; are its weights sound?")
    lengths = np.array([len(ids) for ids in encoded])
    with np.errstate(over="ignore"):  # a token of no probability at all: infinitely perplexing
        values = np.exp(-found.log_likelihood / np.maximum(lengths - 1, 1))
    counts = {"requests": len(trie), "tokens": found.tokens}
    counts |= {"distinct_tokens": trie.distinct, "request_tokens": trie.total}
    scoring = {**scorer.recorded(), **counts}
    return Perplexities(values.tolist(), lengths.tolist(), without, scoring, list(scorer.notes))


def _longest(model: Any, tokenizer: Any) -> int:
    positions = longest_input(model.config) or WINDOW
    return min(WINDOW, int(positions), int(tokenizer.model_max_length))
