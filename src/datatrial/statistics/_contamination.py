"""Which items of a benchmark an arm may have seen in training."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from datatrial.records import read_json

Seen = Mapping[str, frozenset[str]]  # benchmark title → items, as the texts of benchmarks call them


def seen_items(audits: Iterable[Path], titles: Sequence[str]) -> Seen:
    """The items that the contamination audit found in any of some data sets; `titles` are the study's, in its order."""
    found: dict[str, set[str]] = {}
    for audit in audits:
        for item in read_json(audit / "audit.json").get("contamination", {}).get("items", ()):
            _, number, name = item.split("/", 2)
            found.setdefault(titles[int(number)], set()).add(name)
    return {title: frozenset(items) for title, items in found.items()}


def among(items: Sequence[str], seen: Collection[str]) -> frozenset[str]:
    """Those of a benchmark's items that were seen.

    Benchmarks on the study's own data are called otherwise in their texts than in their scores; numbers are the same.
    """
    if not seen:
        return frozenset()
    tasks = {item.rpartition(":")[0] for item in items}
    by_number = {item.rpartition(":")[2]: item for item in items} if len(tasks) == 1 else {}
    known = frozenset(items)
    named = (name if name in known else by_number.get(name.rpartition(":")[2], "") for name in seen)
    return frozenset(name for name in named if name)
