"""What is packed in a page for the explorer, read back, and changes computed from the results themselves."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from tests.report.fiction import Fiction


def unpacked(html: str) -> dict[str, dict[str, Any]]:
    """The content of every block by the number in its id, in the page's order."""
    found = re.findall(r'<script type="application/octet-stream" id="(items-\d+)"[^>]*>([^<]*)</script>', html)
    return {name: json.loads(gzip.decompress(base64.b64decode(block))) for name, block in found}


def by_benchmark(fiction: Fiction, html: str) -> dict[str, dict[str, Any]]:
    titles = list(dict.fromkeys(run.benchmark for run in fiction.runs))
    return dict(zip(titles, unpacked(html).values(), strict=True))


def values(fiction: Fiction, benchmark: str, arm: str, seed: int | None = None) -> dict[str, list[float]]:
    """Each item's values, one for each seed of the arm (or the one seed), from the Parquet files."""
    found: dict[str, list[float]] = {}
    for run in fiction.runs:
        if (run.benchmark, run.arm) == (benchmark, arm) and (seed is None or run.seed in (None, seed)):
            scores = pl.read_parquet(Path(fiction.inputs[run.input]) / "scores.parquet")
            for item, value in scores.select("item", "value").iter_rows():
                found.setdefault(item, []).append(value)
    return found


def flipped(
    fiction: Fiction, benchmark: str, arm: str, against: str, seed: int | None = None
) -> tuple[set[str], set[str]]:
    """The items that most seeds of `arm` got right and most of `against` wrong, and the other way round."""
    one, other = (values(fiction, benchmark, name, seed) for name in (arm, against))
    right, better = ({i: sum(v) / len(v) > 0.5 for i, v in of.items()} for of in (one, other))
    both = right.keys() & better.keys()
    return {i for i in both if right[i] and not better[i]}, {i for i in both if better[i] and not right[i]}
