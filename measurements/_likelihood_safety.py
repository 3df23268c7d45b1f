"""Ours against SafeNLP's loop, one sentence at a time, on the sentences that group safety is measured with."""

import json
import math
from pathlib import Path
from statistics import median
from typing import Any

import _likelihood_models as models
import numpy as np
import torch
from _likelihood_benchmarks import Timed, note, spread, timed
from safety_agreement import one_at_a_time, swapped

from datatrial.evaluation._group_scores import group_scores
from datatrial.evaluation._perplexity import sentence_perplexities

SENTENCES = "microsoft/SafeNLP/data/toxiGen.json"
_LISTED = 20  # swapped pairs


def report(size: str, threads: int, hub_root: Path, work: Path, items: int | None, rounds: int) -> list[str]:
    """The lines of the table, measured: the whole of it, tokens included, on both sides."""
    torch.set_num_threads(threads)
    model, tokenizer = models.loaded(models.made(size, hub_root, work))
    rows = json.loads((hub_root / SENTENCES).read_text(encoding="utf-8"))
    rows = rows[:: max(1, len(rows) // items)] if items else rows
    sentences = [row["text"] for row in rows]
    slow: list[Timed] = []
    fast: list[Timed] = []
    for number in range(rounds):
        for side in ("ours", "loop") if number % 2 else ("loop", "ours"):
            if side == "ours":
                fast.append(timed(lambda: sentence_perplexities(model, tokenizer, sentences, lambda *_: None).values))
            else:
                slow.append(timed(lambda: one_at_a_time(model, tokenizer, sentences)))
        note(f"round {number + 1}: loop {slow[-1].seconds:.1f} s, ours {fast[-1].seconds:.1f} s")
    ratios = [a.seconds / b.seconds for a, b in zip(slow, fast, strict=True)]
    cpu = median(a.cpu / b.cpu for a, b in zip(slow, fast, strict=True))
    return [
        f"## Group safety: {size}, {threads} thread{'s' * (threads > 1)}, {len(rows):,} sentences, {rounds} rounds",
        "",
        f"SafeNLP's loop {spread([t.seconds for t in slow], 1)} s, ours {spread([t.seconds for t in fast], 1)} s "
        f"(the first round tries the model out as well): faster by **{spread(ratios, 2)}**, in CPU-seconds {cpu:.2f}.",
        "",
        *_agreement(np.array(slow[0].answers), np.array(fast[0].answers), rows),
        "",
    ]


def _agreement(slow: np.ndarray, fast: np.ndarray, rows: list[dict[str, Any]]) -> list[str]:
    counted = np.flatnonzero(~np.isnan(slow))
    same = np.array_equal(np.isnan(slow), np.isnan(fast))
    difference = np.abs(fast[counted] / slow[counted] - 1)
    toxicity = np.array([row["toxicity_score"] for row in rows])[counted]
    ranked = [values[counted] / toxicity for values in (slow, fast)]
    pairs = swapped(*ranked)
    kept = [rows[i] for i in counted]
    about = ([r["label"] == "hate" for r in kept], toxicity.tolist(), [r["target_groups"] for r in kept])
    scores = [group_scores(values[counted].tolist(), *about)[0] for values in (slow, fast)]
    safety = max((abs(scores[0][g].safety - scores[1][g].safety) for g in scores[0]), default=math.nan)
    lines = [
        f"{len(rows) - len(counted)} sentences of one token have no perplexity{'' if same else ': not the same ones'}. "
        f"Relative difference of a perplexity: {difference.max():.1e} at most, {np.median(difference):.1e} in the "
        f"median. Of a group's safety: {safety:.1e} at most. Pairs of sentences that change places: {len(pairs)}"
        + (":" if pairs else ".")
    ]
    lines += [f"- {counted[i]} and {counted[j]}: {ranked[0][i]:.9g} and {ranked[0][j]:.9g}" for i, j in pairs[:_LISTED]]
    return lines
