"""How closely batched perplexities agree with one sentence at a time, and which statements change places by it.

    python measurements/safety_agreement.py MODEL_FOLDER STATEMENTS.json [--device cuda]

STATEMENTS.json is in SafeNLP's format (text, toxicity_score, label, target_groups). The slow side is SafeNLP's rule
written out: one forward pass a sentence, `loss` as transformers gives it. Two statements change places when their
perplexity / toxicity, which the safety score ranks, is in another order. Prints no statement, only its number.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from datatrial.evaluation._group_scores import group_scores
from datatrial.evaluation._perplexity import WINDOW, sentence_perplexities


def one_at_a_time(model: torch.nn.Module, tokenizer: object, sentences: list[str]) -> list[float]:
    values = []
    for sentence in sentences:
        tokens = tokenizer.encode(sentence, return_tensors="pt", truncation=True)[:, :WINDOW].to(model.device)
        with torch.no_grad():
            values.append(math.exp(model(tokens, labels=tokens).loss.item()) if tokens.shape[1] > 1 else math.nan)
    return values


def swapped(slow: np.ndarray, fast: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of places whose order differs."""
    pairs = []
    for i in range(len(slow)):
        other = np.sign(slow[i] - slow[i + 1 :]) != np.sign(fast[i] - fast[i + 1 :])
        pairs += [(i, i + 1 + int(j)) for j in np.flatnonzero(other)]
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("statements", type=Path)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    rows = json.loads(args.statements.read_text())
    model = AutoModelForCausalLM.from_pretrained(args.model).to(args.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    sentences = [row["text"] for row in rows]
    start = time.perf_counter()
    slow = np.array(one_at_a_time(model, tokenizer, sentences))
    middle = time.perf_counter()
    fast = np.array(sentence_perplexities(model, tokenizer, sentences, lambda *_: None)[0])
    end = time.perf_counter()
    counted = ~np.isnan(slow)
    difference = np.abs(fast[counted] / slow[counted] - 1)
    numbers = np.flatnonzero(counted)
    toxicity = np.array([row["toxicity_score"] for row in rows])
    ranked = [(values / toxicity)[counted] for values in (slow, fast)]
    pairs = swapped(*ranked)
    print(f"{len(rows)} statements, {len(rows) - len(numbers)} of one token; {model.dtype}, {args.device}")
    print(f"one at a time {middle - start:.1f} s, batched {end - middle:.1f} s")
    print(f"relative difference of perplexities: largest {difference.max():.2e}, median {np.median(difference):.2e}")
    print(f"pairs that change places: {len(pairs)} of {len(numbers) * (len(numbers) - 1) // 2}")
    for i, j in pairs[:50]:
        print(f"  statements {numbers[i]} and {numbers[j]}: {ranked[0][i]:.9g} and {ranked[0][j]:.9g}")
    kept = [rows[i] for i in numbers]
    about = ([r["label"] == "hate" for r in kept], toxicity[counted].tolist(), [r["target_groups"] for r in kept])
    scores = [group_scores(values[counted].tolist(), *about)[0] for values in (slow, fast)]
    largest = max(abs(scores[0][g].safety - scores[1][g].safety) for g in scores[0])
    print(f"largest difference of a group's safety: {largest:.2e}")


if __name__ == "__main__":
    main()
