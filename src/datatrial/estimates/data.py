"""How many rows a data set has and how long they are: from its result, its files, or what is known of its source."""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datatrial.component import of_number
from datatrial.curation._base import Expected
from datatrial.data_set import DataSet
from datatrial.engine.step import External, Step
from datatrial.engine.store import Store
from datatrial.estimates._parquet import parquet_rows
from datatrial.externals import LocalExternal
from datatrial.records import read_json
from datatrial.regular_files import opened

# Of a row's characters, those of its prompt: 0.54 in HH-RLHF (harmless-base), 0.09 in LIMA.
_PROMPT_OF_COMPARISONS, _PROMPT_OF_OTHERS = 0.5, 0.2
_LARGEST_PLAIN, _LARGEST_PACKED = 64 * 2**20, 4 * 2**20  # bytes of files whose lines are worth counting
_QUOTED = 0.95  # share of a JSON line that is text


@dataclass(frozen=True)
class DataSize(Expected):
    """Rows and the mean characters of one, and where that is from."""

    source: str = "unknown"
    tokens: float | None = None  # mean of a row by the study's tokenizer, where an audit counted them
    form: str | None = None
    prompt_characters: float | None = None  # of a row, where they were counted

    @property
    def prompt_share(self) -> float:
        """Of a row, what is its prompt."""
        if self.prompt_characters is not None and self.characters:
            return self.prompt_characters / self.characters
        return _PROMPT_OF_COMPARISONS if self.form == "comparisons" else _PROMPT_OF_OTHERS

    @property
    def chosen_share(self) -> float:
        """Of a row, what is left of it with the chosen answer alone, where there are two."""
        return (1 + self.prompt_share) / 2 if self.form == "comparisons" else 1.0

    @property
    def total(self) -> float | None:
        """Characters of all rows."""
        return None if self.rows is None or self.characters is None else self.rows * self.characters

    def tokens_of_a_row(self, characters_per_token: float) -> float | None:
        """Mean tokens of a row: the prompt once, each answer once."""
        if self.tokens is not None:
            return self.tokens
        return None if self.characters is None else self.characters / characters_per_token

    def tokens_of_a_prompt(self, characters_per_token: float) -> float | None:
        row = self.tokens_of_a_row(characters_per_token)
        return None if row is None else row * self.prompt_share


def data_size(step: Step, store: Store, audit: Step | None = None) -> DataSize:
    """The size of a data set: known once it was made, else what its source says less what its ops take away."""
    task = step.task
    if not isinstance(task, DataSet):
        return DataSize()
    if not store.has(step):
        return _before(task, step, store)
    card = read_json(store.path(step) / "card.json")
    stated = (card.get("source") or {}).get("characters") or task.source.facts.characters
    characters = card.get("characters") or stated or _before(task, step, store).characters
    prompt = card.get("prompt_characters")
    return DataSize(card["rows"], "", characters, "its result", _audited(audit, store), card["form"], prompt)


def _before(task: DataSet, step: Step, store: Store) -> DataSize:
    """What can be said of a data set that was not made yet."""
    size = replace(_of_source(task, step), form=task.source.form)
    for number, op in enumerate(task.curation):
        parts = of_number(step.inputs, number).items()
        others = {name: data_size(part, store) for name, part in parts if isinstance(part.task, DataSet)}
        left = op.rows_left(size, others)
        size = replace(size, rows=left.rows, bound=left.bound, characters=left.characters)
    return size


def _audited(audit: Step | None, store: Store) -> float | None:
    """Mean tokens of a row as the audit of lengths counted them, with the study's own tokenizer."""
    if audit is None or not store.has(audit):
        return None
    facts = read_json(store.path(audit) / "audit.json").get("lengths", {}).get("facts", [])
    found = {fact.get("name"): fact.get("value") for fact in facts}
    return found["tokens"] / found["rows"] if found.get("tokens") and found.get("rows") else None


def _of_source(task: DataSet, step: Step) -> DataSize:
    facts = task.source.facts
    if counted := _counted([e for name, e in step.externals.items() if ":" not in name]):
        rows, characters = counted
        return DataSize(rows, "at most", facts.characters or characters, "its files, counted")
    if facts.published_rows:
        return DataSize(facts.published_rows, "", facts.characters, "as published")
    return DataSize(None, "", facts.characters)


def _counted(externals: Sequence[External]) -> tuple[int, float | None] | None:
    """Rows of files on this disk, and their mean length where the files are text; None where counting is not cheap."""
    local = [external for external in externals if isinstance(external, LocalExternal)]
    if not local or len(local) < len(externals):
        return None
    files = [file for external in local for file in files_of(external)]
    counts = [count for file in files if file.name not in _NO_ROWS and (count := rows_of(file)) is not None]
    rows, lengths = sum(n for n, _ in counts), [size for _, size in counts]
    if not counts or not rows or len(counts) < sum(file.suffix in _ROWS for file in files):
        return None
    return rows, None if None in lengths else _QUOTED * sum(filter(None, lengths)) / rows


_ROWS = frozenset({".jsonl", ".gz", ".csv", ".parquet", ".json"})
_NO_ROWS = frozenset({"README.md", "schema.json", "dataset_infos.json"})


def files_of(external: LocalExternal) -> Iterator[Path]:
    """The files that an external stands for."""
    if external.path.is_file():
        yield external.path
    else:
        yield from sorted({f for pattern in external.patterns for f in external.path.glob(pattern) if f.is_file()})


def rows_of(file: Path) -> tuple[int, float | None] | None:
    """Rows of one file and the bytes of their text; None where it is too large to be counted, or of another kind."""
    names, size = set(file.suffixes), file.stat().st_size
    if ".parquet" in names:
        return None if (rows := parquet_rows(file)) is None else (rows, None)
    if size > (_LARGEST_PACKED if ".gz" in names else _LARGEST_PLAIN) or not names & {".jsonl", ".csv", ".json"}:
        return None
    try:
        with opened(file) as packed, gzip.GzipFile(fileobj=packed) if ".gz" in names else packed as content:
            data = content.read(_LARGEST_PLAIN + 1)
        if len(data) > _LARGEST_PLAIN:
            return None
        if ".json" in names and data.lstrip()[:1] == b"[":
            return (len(json.loads(data)), len(data)) if size <= _LARGEST_PACKED else None
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        return None  # what is wrong with it is told when it is read
    lines = data.count(b"\n") + (not data.endswith(b"\n")) - (".csv" in names)
    return (lines, len(data)) if lines > 0 else None
