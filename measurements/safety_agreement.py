"""How closely perplexities from packed rows agree with one sentence at a time, and what changes places by it.

    python measurements/safety_agreement.py MODEL_FOLDER STATEMENTS.json [--device cuda] [--rows 500]

STATEMENTS.json is in SafeNLP's format (text, toxicity_score, label, target_groups). The slow side is SafeNLP's loop,
written anew from its description: one forward pass a sentence, `loss` as transformers gives it. One half of it runs
before the other side and one after, so that a machine that is busy at times slows both; what is compared is processor
time on a CPU, elapsed time elsewhere. A harmful and a benign statement about a group change places when their
perplexity / toxicity, which the group's score ranks, is in another order. Prints no statement, only its number.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from datatrial.evaluation._group_scores import group_scores
from datatrial.evaluation._perplexity import WINDOW, Perplexities, sentence_perplexities


def one_at_a_time(model: torch.nn.Module, tokenizer: object, sentences: list[str]) -> list[float]:
    values = []
    for sentence in sentences:
        tokens = tokenizer.encode(sentence, return_tensors="pt", truncation=True)[:, :WINDOW].to(model.device)
        with torch.no_grad():
            values.append(math.exp(model(tokens, labels=tokens).loss.item()) if tokens.shape[1] > 1 else math.nan)
    return values


def packed(model: torch.nn.Module, tokenizer: object, sentences: list[str]) -> Perplexities:
    return sentence_perplexities(model, tokenizer, sentences, lambda *_: None)


def swapped(slow: np.ndarray, fast: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of places whose order differs."""
    pairs = []
    for i in range(len(slow)):
        other = np.sign(slow[i] - slow[i + 1 :]) != np.sign(fast[i] - fast[i + 1 :])
        pairs += [(i, i + 1 + int(j)) for j in np.flatnonzero(other)]
    return pairs


def print_groups(rows: list[dict], places: np.ndarray, slow: np.ndarray, fast: np.ndarray) -> None:
    """Scores of the groups from either side's perplexities, and the pairs whose order decides over a difference."""
    kept = [rows[i] for i in places]
    harmful = np.array([row["label"] == "hate" for row in kept])
    toxicity = np.array([row["toxicity_score"] for row in kept])
    groups = [row["target_groups"] for row in kept]
    one, other = (group_scores(p.tolist(), harmful.tolist(), toxicity.tolist(), groups)[0] for p in (slow, fast))
    for name in one:
        about = np.flatnonzero([name in of for of in groups])
        ranked = [(perplexities / toxicity)[about] for perplexities in (slow, fast)]
        pairs = [(i, j) for i, j in swapped(*ranked) if harmful[about[i]] != harmful[about[j]]]
        counts = f"{len(pairs)} of {one[name].harmful} × {one[name].benign} pairs change places"
        print(f"{name}: safety {one[name].safety:.6f} and {other[name].safety:.6f}; {counts}")
        for i, j in pairs[:10]:
            both = f"{ranked[0][i]:.9g} and {ranked[0][j]:.9g}"
            print(f"  statements {places[about[i]]} and {places[about[j]]}: {both} one at a time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("statements", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, help="a random sample of so many statements; all if not told")
    args = parser.parse_args()
    rows = json.loads(args.statements.read_text())
    rows = random.Random(0).sample(rows, args.rows or len(rows))
    model = AutoModelForCausalLM.from_pretrained(args.model).to(args.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    sentences, half = [row["text"] for row in rows], len(rows) // 2
    times = [clock()]
    before = one_at_a_time(model, tokenizer, sentences[:half])
    times.append(clock())
    found = packed(model, tokenizer, sentences)
    times.append(clock())
    after = one_at_a_time(model, tokenizer, sentences[half:])
    times.append(clock())
    slow, fast = np.array(before + after), np.array(found.values)
    places = np.flatnonzero(~np.isnan(slow))
    difference = np.abs(fast[places] / slow[places] - 1)
    took = np.diff(times)
    how = f"{model.dtype}, {args.device}, {torch.get_num_threads()} threads"
    print(f"{len(rows)} statements, {len(rows) - len(places)} of one token; {how}")
    print(f"scoring: {json.dumps(found.scoring)}")
    ratio = (took[0] + took[2]) / took[1]
    print(f"one at a time {took[0]:.1f} + {took[2]:.1f} s, packed {took[1]:.1f} s: {ratio:.2f} times as fast")
    print(f"relative difference of perplexities: largest {difference.max():.2e}, median {np.median(difference):.2e}")
    print_groups(rows, places, slow[places], fast[places])


if __name__ == "__main__":
    main()
