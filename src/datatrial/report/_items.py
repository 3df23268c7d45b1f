"""What every run answered to a benchmark's items, packed small for the explorer: texts once, numbers in columns.

Imports polars: import this module inside the functions that do the work.
"""

import base64
import gzip
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from datatrial.effects import EvaluationRun
from datatrial.records import read_json
from datatrial.redaction import redacted
from datatrial.statistics._arrays import Array, Mask
from datatrial.statistics._sheet import Gathered

TEXTS = ("question", "choices", "target", "text")  # of an item; a redacted report has none of them
OF_ITEM = ("item", "stratum", *TEXTS, "right", "harmful", "toxicity", "groups")
OF_RUN = ("value", "chosen", "log_likelihoods", "response")
MOST = 32_000_000  # characters of a benchmark's items and answers, before they are compressed to about a fifth
CELL = 30  # characters of an item's value, choice and log-likelihoods in one run, about
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
    text = _json(content)
    if redacted(text) != text:  # looked through at once: there are many texts, and hardly ever a secret
        text = _json(_without_secrets(content))
    # At 9, the default, it takes several times as long for a few percent less.
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _without_secrets(value: Any) -> Any:
    match value:
        case str():
            return redacted(value)
        case list():
            return [_without_secrets(part) for part in value]
        case dict():
            return {name: _without_secrets(part) for name, part in value.items()}
    return value


def contents(
    runs: Sequence[tuple[EvaluationRun, Path]],
    contaminated: Mapping[str, Collection[str]],
    *,
    redact: bool = False,
) -> dict[str, Any]:
    """What is packed, by name. Lists of items are parallel; so are the lists of each run, null where it lacks an item.

    Items that are right or wrong and that all runs answered alike can show no change: `alike` counts them (right,
    wrong), and nothing else of them is kept. Of more items than a page has room for some are kept, evenly spread, and
    `left_out` counts the others. Results are read one after another, twice: there may be millions of answers.
    """
    summary, gathered = read_json(runs[0][1] / "summary.json"), Gathered()
    judged, written = False, 0
    for number, (_, result) in enumerate(runs):
        frame = _answers(result)
        gathered.add(number, _some(frame, (*OF_ITEM, "value")))
        judged = judged or "target_reward" in frame.columns
        written += 0 if redact else _characters(_some(frame, ("response",)))
    values = gathered.values(len(runs))
    flips = bool(np.isin(values[~np.isnan(values)], SIDES).all())
    alike = _alike(values) if flips else np.zeros(values.shape[1], dtype=bool)
    kept = gathered.items.filter(~alike)
    shown = _as_fit(kept, CELL * len(runs) + written / max(1, gathered.items.height), () if redact else TEXTS)
    return {
        "metric": "perplexity" if _is_safety(summary) else summary["metric"],
        "flips": flips,
        "judged": judged,  # right: better than the data's own answer
        "alike": [int((values[0, alike] == value).sum()) for value in (1, 0)],
        "left_out": kept.height - shown.height,
        **_of_items(shown, runs, contaminated, redact),
    }


def _of_items(
    items: pl.DataFrame,
    runs: Sequence[tuple[EvaluationRun, Path]],
    contaminated: Mapping[str, Collection[str]],
    redact: bool,
) -> dict[str, Any]:
    """What is said of the items, and what each run said to them."""
    names = items["item"]
    sizes = items["choices"].list.len().fill_null(0).to_list() if "choices" in items.columns else []
    return {
        "items": names.to_list(),
        **_described(items.drop(TEXTS, strict=False) if redact else items),
        **({"sizes": sizes} if any(sizes) else {}),
        "contaminated": _contaminated(runs[0][0].benchmark, names.to_list(), contaminated),
        "runs": [
            {"arm": run.arm, "seed": run.seed, **_columns(_answered(names, result), sizes, redact)}
            for run, result in runs
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


def _answered(items: pl.Series, result: Path) -> pl.DataFrame:
    """What a run says of some items, in their order."""
    answers = _some(_answers(result), ("item", *OF_RUN))
    return items.to_frame().join(answers, "item", "left", maintain_order="left")


def _alike(values: Array) -> Mask:
    """Which items every run (runs × items) has, all wrong or all right."""
    alike: Mask = (values == values[0]).all(axis=0) & (values[0] != 0.5)
    return alike


def _as_fit(items: pl.DataFrame, answers: float, texts: Collection[str]) -> pl.DataFrame:
    """The items that a page has room for, evenly spread; `answers` is about how many characters are said of each."""
    needed = items.height * answers + _characters(_some(items, texts))
    number = items.height if needed <= MOST else max(1, int(items.height * MOST / needed))
    return items[np.linspace(0, items.height - 1, number).round().astype(np.int64)] if number < items.height else items


def _characters(texts: pl.DataFrame) -> int:
    """Of all texts, or lists of them, in UTF-8."""
    plain = (column.explode() if column.dtype == pl.List else column for column in texts)
    return sum(int(column.cast(pl.String).str.len_bytes().sum() or 0) for column in plain)


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
