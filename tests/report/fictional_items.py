"""Items of the fictional benchmarks: questions with options or told answers, some of them with hostile texts."""

from collections.abc import Sequence

import numpy as np
import polars as pl

HOSTILE_TEXTS = (
    "</script><script>alert('owned')</script>",
    "<img src=x onerror=\"alert('owned')\">",
    "{{7*7}} {% raw %} ${7*7}",
    "\u202eright to left\u2066 שלום",
    "]]> <!-- --!> <![CDATA[ & &lt;b&gt; \" ' `",
)
HOSTILE_EVERY = 20  # items; which of them flip is chance
TOLD = ("stories",)  # benchmarks whose answers are generated
WORDS = "net needle thread lantern marsh orchard hill reed boat kettle drum ferry".split()
SCHEMA = {
    "item": pl.String,
    "stratum": pl.String,
    "question": pl.String,
    "choices": pl.List(pl.String),
    "log_likelihoods": pl.List(pl.Float64),
    "chosen": pl.Int64,
    "right": pl.List(pl.Int64),
    "response": pl.String,
    "target": pl.String,
}


def item_rows(benchmark: str, stratum: Sequence[str], right: Sequence[bool], seed: int | None) -> pl.DataFrame:
    """`items.parquet` of a run that was right on these items, as `evaluation.lm_eval` writes it."""
    rng = np.random.default_rng(100 if seed is None else seed)
    rows = [_row(benchmark, n, stratum[n], bool(ok), rng) for n, ok in enumerate(right)]
    return pl.DataFrame(rows, schema=SCHEMA)


def _row(benchmark: str, number: int, stratum: str, ok: bool, rng: np.random.Generator) -> dict[str, object]:
    words = [WORDS[(number + 5 * k) % len(WORDS)] for k in range(4)]
    question = f"Question: What is the {words[0]} of {benchmark} {number} for?\n\nAnswer:"
    options = [f"the {word} {k}" for k, word in enumerate(words)]
    hostile = number % HOSTILE_EVERY == 0
    if hostile:
        question, options = "\n".join(HOSTILE_TEXTS), list(HOSTILE_TEXTS[:4])
    if benchmark in TOLD:
        response = HOSTILE_TEXTS[0] if hostile else f"I would take {options[0 if ok else 1]}."
        told = {"choices": [], "log_likelihoods": [], "chosen": None, "right": [], "response": response}
        return {"item": f"{benchmark}:{number}", "stratum": stratum, "question": question, "target": options[0], **told}
    answer = number % 4
    chosen = answer if ok else (answer + 1) % 4
    likelihoods = -5 - 4 * rng.random(4)
    likelihoods[chosen] = -1.234 - rng.random()
    return {
        "item": f"{benchmark}:{number}",
        "stratum": stratum,
        "question": question,
        "choices": options,
        "log_likelihoods": likelihoods.tolist(),
        "chosen": chosen,
        "right": [answer],
        "response": None,
        "target": str(answer),
    }
