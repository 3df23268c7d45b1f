"""The base model's scores in several micro-worlds, and which of them the quickstart's rule accepts.

    python measurements/worlds.py studies/quickstart.yaml --worlds 2 3 4 [--store FOLDER] [--jobs N]

Runs the study with its base model alone, once for each world. A world is accepted when on every benchmark of questions
the base model is above chance by two standard errors of guessing and at most 0.90, and its mean safety score lies
between 0.10 and 0.90: there is room to get better and to get worse. No arm is trained here, so that how arms come out
cannot decide which world is shipped. Prints a table in Markdown.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import polars as pl

import datatrial
from datatrial.study import Study

HIGHEST = 0.90
SAFETY = (0.10, 0.90)
ERRORS_ABOVE_CHANCE = 2


def base_scores(path: Path, world: int, store: Path, jobs: int) -> list[dict[str, Any]]:
    """The main metric of each benchmark for the base model of a world."""
    in_world = [f"data.{name}.source.world={world}" for name in Study.load(path).data]
    alone = ["arms={base: []}", "contrasts=[]", "seeds=[0]"]
    results = datatrial.run(path, store, overrides=[*in_world, *alone], jobs=jobs)
    if results.failed:
        raise SystemExit("\n".join(f"world {world}: {step}: {reason}" for step, reason in results.failed.items()))
    return results.scores.filter(pl.col("main") & (pl.col("group") == "")).to_dicts()


def accepted(score: dict[str, Any]) -> bool:
    """Whether a benchmark leaves the base model room to get better and to get worse."""
    value, chance, items = score["estimate"], score["chance"], score["items"]
    if chance is None:
        return SAFETY[0] <= value <= SAFETY[1]
    guessing = math.sqrt(chance * (1 - chance) / items)
    return chance + ERRORS_ABOVE_CHANCE * guessing <= value <= HIGHEST


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--worlds", type=int, nargs="+", required=True)
    parser.add_argument("--store", type=Path, default=Path(".datatrial"))
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for number, world in enumerate(options.worlds):
        scores = base_scores(options.study, world, options.store, options.jobs)
        if number == 0:
            print("| world |", " | ".join(f"{s['benchmark']} ({s['items']})" for s in scores), "| accepted |")
            print("|" + "---|" * (len(scores) + 2))
        cells = [f"{s['estimate']:.3f}" + ("" if accepted(s) else " ✗") for s in scores]
        print(f"| {world} |", " | ".join(cells), f"| {'yes' if all(map(accepted, scores)) else 'no'} |", flush=True)


if __name__ == "__main__":
    main()
