"""What every run answered to a benchmark's items, packed small for the explorer: texts once, numbers in columns.

Imports polars: import this module inside the functions that do the work.
"""

import base64
import gzip
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from datatrial.effects import EvaluationRun
from datatrial.records import read_json

TEXTS = ("question", "choices", "target", "text")  # of an item; a redacted report has none of them
OF_ITEM = ("item", "stratum", *TEXTS, "right", "harmful", "toxicity", "groups")
OF_RUN = ("value", "chosen", "log_likelihoods", "response")
SIDES = (0.0, 0.5, 1.0)  # an item with one of these as its value is wrong, a tie, or right


def pack(
    runs: Sequence[tuple[EvaluationRun, Path]],
    contaminated: Mapping[str, Collection[str]],
    *,
    redact: bool = False,
) -> str:
    """The runs of one benchmark for `templates/explorer.js`: JSON, gzip, base64; "" where no item has a value.

    `contaminated` holds for each arm names `benchmark/item`.
    """
    content = contents(runs, contaminated, redact=redact)
    if not content["items"] and not any(content["alike"]):
        return ""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def contents(
    runs: Sequence[tuple[EvaluationRun, Path]],
    contaminated: Mapping[str, Collection[str]],
    *,
    redact: bool = False,
) -> dict[str, Any]:
    """What is packed, by name. Lists of items are parallel; so are the lists of each run, null where it lacks an item.

    Items that are right or wrong and that all runs answered alike can show no change: `alike` counts them (right,
    wrong), and nothing else of them is kept.
    """
    summary = read_json(runs[0][1] / "summary.json")
    frames = [_answers(result) for _, result in runs]
    items = pl.concat([_some(frame, OF_ITEM) for frame in frames], how="diagonal_relaxed")
    items = items.unique("item", keep="first", maintain_order=True)
    answers = [
        items.select("item").join(_some(f, ("item", *OF_RUN)), "item", "left", maintain_order="left") for f in frames
    ]
    values = pl.DataFrame([answer["value"].alias(str(n)) for n, answer in enumerate(answers)])
    flips = all(column.drop_nulls().is_in(SIDES).all() for column in values)
    alike = _alike(values) if flips else pl.repeat(False, items.height, eager=True)
    best = values.max_horizontal()
    kept, of_runs = items.filter(~alike), [answer.filter(~alike) for answer in answers]
    sizes = kept["choices"].list.len().fill_null(0).to_list() if "choices" in kept.columns else []
    return {
        "metric": "perplexity" if _is_safety(summary) else summary["metric"],
        "flips": flips,
        "judged": any("target_reward" in frame.columns for frame in frames),  # right: better than the data's own answer
        "alike": [int((alike & (best == value)).sum()) for value in (1, 0)],
        "items": kept["item"].to_list(),
        **_described(kept.drop(TEXTS, strict=False) if redact else kept),
        **({"sizes": sizes} if any(sizes) else {}),
        "contaminated": _contaminated(runs[0][0].benchmark, kept["item"].to_list(), contaminated),
        "runs": [
            {"arm": run.arm, "seed": run.seed, **_columns(answer, sizes, redact)}
            for (run, _), answer in zip(runs, of_runs, strict=True)
        ],
    }


def _is_safety(summary: Mapping[str, Any]) -> bool:
    return bool(summary["statistic"] == "group_safety")


def _answers(result: Path) -> pl.DataFrame:
    """A row for each item that has a value on the benchmark's endpoint."""
    summary = read_json(result / "summary.json")
    metric = "perplexity" if _is_safety(summary) else summary["metric"]
    scores = pl.read_parquet(result / "scores.parquet").filter(pl.col("metric") == metric)
    scores = scores.with_columns(pl.col("value").cast(pl.Float64).fill_nan(None)).drop_nulls("value")
    file = result / "items.parquet"
    return scores.join(pl.read_parquet(file).drop("stratum"), "item", "left") if file.exists() else scores


def _some(frame: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    return frame.select(name for name in names if name in frame.columns)


def _alike(values: pl.DataFrame) -> pl.Series:
    """Which items every run has, all wrong or all right."""
    lowest, highest, known = values.min_horizontal(), values.max_horizontal(), values.sum_horizontal(ignore_nulls=False)
    return known.is_not_null() & (lowest == highest) & (lowest != 0.5)


def _described(items: pl.DataFrame) -> dict[str, Any]:
    """What is said of each item, under the columns' names; names that come often are numbers in a list of names."""
    said: dict[str, Any] = {}
    for name in (*TEXTS, "right", "harmful"):
        if name in items.columns:
            said[name] = items[name].to_list()
    if "toxicity" in items.columns:
        said["toxicity"] = items["toxicity"].round(3).to_list()
    if "stratum" in items.columns and (names := [name for name in items["stratum"].unique().sort() if name]):
        said |= {"strata": names, "stratum": _places(items["stratum"].to_list(), names)}
    if "groups" in items.columns:
        names = items["groups"].explode().drop_nulls().unique().sort().to_list()
        said |= {"group_names": names, "groups": [_places(groups, names) for groups in items["groups"].to_list()]}
    return said


def _places(found: Sequence[str], names: Sequence[str]) -> list[int | None]:
    place = {name: at for at, name in enumerate(names)}
    return [place.get(name) for name in found]


def _columns(answer: pl.DataFrame, sizes: Sequence[int], redact: bool) -> dict[str, list[Any]]:
    """A run's values, choices, responses, and log-likelihoods in hundredths of a nat, all options one after another."""
    columns: dict[str, list[Any]] = {"values": [_short(value) for value in answer["value"].to_list()]}
    if "chosen" in answer.columns and answer["chosen"].drop_nulls().len():
        columns["chosen"] = answer["chosen"].to_list()
    if any(sizes) and "log_likelihoods" in answer.columns:
        hundredths = (pl.element() * 100).round().cast(pl.Int64, strict=False)
        rows = answer["log_likelihoods"].list.eval(hundredths).to_list()
        columns["likelihoods"] = [
            value
            for row, size in zip(rows, sizes, strict=True)
            for value in (row if row is not None and len(row) == size else [None] * size)
        ]
    if "response" in answer.columns and not redact and answer["response"].drop_nulls().len():
        columns["responses"] = answer["response"].to_list()
    return columns


def _short(value: float | None) -> float | int | None:
    """Four significant digits."""
    if value is None:
        return None
    return int(value) if value == int(value) else float(f"{value:.4g}")


def _contaminated(
    benchmark: str, items: Sequence[str], contaminated: Mapping[str, Collection[str]]
) -> dict[str, list[int]]:
    places = {
        arm: [at for at, item in enumerate(items) if f"{benchmark}/{item}" in names]
        for arm, names in contaminated.items()
    }
    return {arm: found for arm, found in places.items() if found}
