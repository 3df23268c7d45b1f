"""Whether two results are about the same items, asked alike: only then can they be compared item by item."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrial.engine.step import differences
from datatrial.imported import ASKED, SETTINGS
from datatrial.records import read_json

if TYPE_CHECKING:
    import polars as pl

# What an item is, by its columns, and how several are called. Each kind of result has some of them.
PARTS = {
    "document": "documents",
    "prompt": "prompts",
    "target": "targets",
    "question": "questions",
    "choices": "choices",
    "text": "sentences",
    "harmful": "labels",
    "toxicity": "toxicities",
    "groups": "groups",
}
REQUEST = {"request": "answers to score, or settings of generation,"}
SCORING = ("version", "output_type", "metric_list", "filter_list", "repeats", "process_results")
SHOWN = 8  # settings that are told of
LONGEST = 100  # characters shown of a setting


@dataclass(frozen=True)
class Asked:
    """What the items of a benchmark are in one result, and how they were asked."""

    items: "pl.DataFrame"  # `item`, and some of PARTS
    unanswered: frozenset[str]  # items that the model could not be asked, which are left out
    settings: Mapping[str, Any]
    by_task: bool = False  # whether the settings are those of lm-eval's tasks, by name, or of a step of ours
    data: str = ""  # digest of the data set of the study that the items are from, if they are from one

    @classmethod
    def read(cls, result: Path) -> "Asked":
        import polars as pl

        failures = frozenset(read_json(result / "summary.json").get("failures") or {})
        if (result / ASKED).exists():
            return cls(pl.read_parquet(result / ASKED), failures, read_json(result / SETTINGS), by_task=True)
        file = next(file for name in ("items", "scores") if (file := result / f"{name}.parquet").exists())
        rows = pl.read_parquet(file)
        kept = rows.select("item", *(part for part in PARTS if part in rows.columns)).unique("item", keep="first")
        recipe = read_json(result / "record.json")["recipe"]
        return cls(kept, failures, recipe["task"], data=recipe["inputs"].get("data", ""))


def mismatch(ours: Asked, theirs: Asked) -> list[str]:
    """What keeps two results from being compared, in words; nothing if they can be.

    A difference of settings alone counts only where it changes what a score means.
    """
    found = [*_left_out(ours, theirs), *_changed(ours, theirs)]
    settings = [said for place, said in _settings(ours, theirs).items() if found or _is_of_scoring(place, ours)]
    more = len(settings) - SHOWN
    return [*found, *settings[:SHOWN], *([f"and {more} more settings"] if more > 0 else [])]


def _left_out(ours: Asked, theirs: Asked) -> Iterator[str]:
    if ours.data and (ours.data, ours.settings) == (theirs.data, theirs.settings):
        return  # the same was asked; what is lacking are items that a model has no answer to, as of a single token
    for one, other, which in ((ours, theirs, "first"), (theirs, ours, "second")):
        names = sorted(set(one.items["item"]) - set(other.items["item"]) - other.unanswered, key=_in_order)
        if names:
            yield f"{len(names)} of {one.items.height} items are only in the {which}, such as {names[0]}"


def _changed(ours: Asked, theirs: Asked) -> Iterator[str]:
    """Of the items that both have: how many differ, and in what."""
    import polars as pl

    both = ours.items.join(theirs.items, on="item", suffix=" of theirs")
    parts = {part: said for part, said in PARTS.items() if f"{part} of theirs" in both.columns}
    # The request holds the prompt, so it says something of its own only where nothing else differs.
    for named in (parts, {part: said for part, said in REQUEST.items() if f"{part} of theirs" in both.columns}):
        differ = {part: both.filter(pl.col(part).ne_missing(pl.col(f"{part} of theirs"))) for part in named}
        changed = {part: rows for part, rows in differ.items() if rows.height}
        for part, rows in changed.items():
            first = min(rows["item"], key=_in_order)
            yield f"the {named[part]} of {rows.height} of {both.height} items differ, such as that of {first}"
        if changed:
            return


def _settings(ours: Asked, theirs: Asked) -> dict[str, str]:
    """Settings that differ, by their place, in words: each once, however many tasks have it."""
    pairs = [(ours.settings, theirs.settings)]
    if ours.by_task:
        pairs = [(own, theirs.settings.get(task, own)) for task, own in ours.settings.items()]
    found: dict[str, str] = {}
    for line in (line for pair in pairs for line in differences(dict(pair[0]), dict(pair[1]))):
        if " at 0x" not in line:  # a function that is named by where it lay in memory
            place, both = in_words(line)
            found.setdefault(place, f"{place}: {both}")
    return found


def in_words(difference: str) -> tuple[str, str]:
    """One of `differences`: the setting's place, and both its values, cut short."""
    place, _, change = difference.partition(": ")
    before, _, after = change.partition(" -> ")
    return place, f"{_short(before)} and {_short(after)}"


def _is_of_scoring(place: str, asked: Asked) -> bool:
    # Of a step of ours every setting changes what its result is.
    return not asked.by_task or place.partition(".")[0].partition("[")[0] in SCORING


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _in_order(item: str) -> tuple[str, int, str]:
    task, _, number = item.rpartition(":")
    return (task, int(number), "") if number.isdigit() else (task, 0, number)
