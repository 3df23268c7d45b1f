"""Rows of every source with anything in them, and what must hold of any file that has such rows."""

import csv
import gzip
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from datatrial.errors import DataError
from datatrial.sources._base import Source
from datatrial.sources.hh_rlhf import HhRlhf
from datatrial.sources.hub import Hub
from datatrial.sources.json_file import JsonFile
from datatrial.sources.lima import Lima
from datatrial.sources.micro_world import MicroWorld, Part
from datatrial.sources.open_orca import FILES, OpenOrca
from datatrial.sources.safenlp import Safenlp
from datatrial.sources.shp import Shp
from datatrial.tables import SCHEMAS, Table

Row = dict[str, Any]
# The same examples each time, without a file that keeps those which failed.
ordinary = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)

TURNS = [{"role": "user", "content": "Where do moles live?"}, {"role": "assistant", "content": "In burrows."}]
ASK = "\n\nHuman: Where do moles live?\n\nAssistant:"
FORMS: dict[str, Row] = {
    "messages": {"messages": TURNS, "id": 1},
    "sharegpt": {"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    "completion": {"prompt": "Where do moles live?", "completion": "In burrows.", "n": 1.5},
    "comparison": {"prompt": "Where do moles live?", "chosen": "In burrows.", "rejected": "In trees."},
    "transcripts": {"chosen": f"{ASK} In burrows.", "rejected": f"{ASK} In trees."},
    "question": {"question": "Where do moles live?", "choices": ["In burrows.", "In trees."], "answer": 0},
    "statement": {"text": "they sing", "harmful": False, "toxicity": 1.5, "groups": ["borrum"]},
    "document": {"text": "Moles live in burrows.", "meta": {"of": ["a", 1]}},
}
SHP: Row = {
    "post_id": "p1",
    "domain": "askvet_train",
    "upvote_ratio": 0.98,
    "history": "Why does my mole sing?",
    "c_root_id_A": "a",
    "c_root_id_B": "b",
    "created_at_utc_A": 10,
    "created_at_utc_B": 0,
    "score_A": 30,
    "score_B": 10,
    "human_ref_A": "It is happy.",
    "human_ref_B": "It is a bird.",
    "labels": 1,
    "seconds_difference": 10.0,
    "score_ratio": 3.0,
}
TOXIC: Row = {"id": 0, "text": "they sing", "toxicity_score": 1, "label": "neutral", "target_groups": ["borrum"]}
ORCA: Row = {"id": "flan.1", "system_prompt": "Be brief.", "question": "Where do moles live?", "response": "In burrows"}


def _lines(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _list(path: Path, rows: Sequence[Row]) -> None:
    path.write_text(json.dumps(rows, indent=1))


def _cells(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows:
            values = [row.get(name, "") for name in names]
            writer.writerow([json.dumps(v) if isinstance(v, list | dict) else v for v in values])


def _columns(path: Path, rows: Sequence[Row]) -> None:
    """As Parquet, each column of the type that fits its values, or else of their texts."""
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values, column = [row.get(name) for row in rows], name.encode(errors="replace").decode()
        try:
            columns[column] = pa.array(values)
            pq.write_table(pa.table({column: columns[column]}), path)
        except (pa.ArrowException, OverflowError, ValueError):
            columns[column] = pa.array([json.dumps(value) for value in values])
    pq.write_table(pa.table(columns), path)


Writer = Callable[[Path, Sequence[Row]], None]
KINDS: dict[str, tuple[Source, Row, str, Writer]] = {  # a source that reads such rows from a file that is so written
    "shp": (Shp(domains=("askvet",)), SHP, "askvet/train.json", _lines),
    "shp, demonstrations": (Shp(domains=("askvet",), form="demonstrations"), SHP, "askvet/train.json", _lines),
    "lima": (Lima(), {"conversations": ["a", "b"], "source": "wikihow"}, "train.jsonl", _lines),
    "hh_rlhf": (
        HhRlhf(subsets=("harmless-base",)),
        FORMS["transcripts"],
        "harmless-base/train.jsonl.gz",
        _lines,
    ),
    "open_orca": (OpenOrca(), ORCA, FILES["gpt4"], _columns),
    "safenlp": (Safenlp(path=Path("rows.json")), TOXIC, "rows.json", _list),
    "hub": (Hub(path="moon/tales", files=("train.jsonl",)), FORMS["document"], "train.jsonl", _lines),
} | {
    f"json_file, {form} in {name}": (JsonFile(path=Path(name)), row, name, write)
    for form, row in FORMS.items()
    for name, write in (
        ("rows.jsonl", _lines),
        ("rows.json", _list),
        ("rows.csv", _cells),
        ("rows.parquet", _columns),
    )
}

ODD = ["", " ", "\0", "[", "[[[[", '["a"]', "1e999", "9" * 5000, "true", "A", "nan", "\u2028", ASK, "text", "\n"]
ANY = st.characters()  # half characters, too
TEXTS = st.one_of(st.text(max_size=5), st.text(ANY, max_size=3), st.sampled_from(ODD))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(TEXTS, v, max_size=3)), max_leaves=6
)


@st.composite
def rows_like(draw: st.DrawFn, row: Row) -> list[Row]:
    """Some rows like one that is fine, most with something else in a column or two, or in a part of its value."""
    return [_changed(draw, row) for _ in range(draw(st.integers(1, 4)))]


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or not draw(st.integers(0, 9)):
        return draw(VALUES)
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    for key in draw(
        st.lists(st.sampled_from([*(value if isinstance(value, dict) else range(len(value)))]), max_size=2)
    ):
        changed[key] = _changed(draw, changed[key])
    if isinstance(changed, dict):
        for key in draw(st.lists(st.sampled_from(sorted(changed)), max_size=1)):
            del changed[key]
        changed |= draw(st.dictionaries(TEXTS, VALUES, max_size=1))
    return changed


def holds_of_rows(kind: str, rows: list[Row]) -> None:
    """A table of the form's columns, with every row in it or counted; or an error that names the file and the row."""
    source, _, name, write = KINDS[kind]
    rows = [row if isinstance(row, dict) else {"value": row} for row in rows]
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, rows)
        inputs = {"repository": Path(folder)} if hasattr(source, "revision") else {"path": path}
        try:
            table = source.read(inputs)
            is_table(table, len(rows), Path(folder))
        except DataError as error:
            names_the_row(str(error), path)


def names_the_row(message: str, path: Path) -> None:
    assert str(path) in message, message
    assert "\n" not in message, message
    assert len(message) < 2000, message
    of_the_whole = (
        "holds no rows",
        "not a whole Parquet file",
        "no column",
        "columns that cannot be read",
        "should be text, not",
        "different columns",
    )
    assert re.search(r", (line|row) \d+: ", message) or any(what in message for what in of_the_whole), message


def is_table(table: Table, rows: int, folder: Path) -> None:
    assert table.height == table.card.rows == table.rows.height
    assert table.height + sum(drop.rows for drop in table.card.drops) == rows
    for column, dtype in SCHEMAS[table.card.form].items():
        assert table.rows.schema[column] == dtype
        assert not table.rows[column].null_count()
    table.write(folder)
    again = Table.read(folder)
    assert again.card == table.card
    assert again.rows.equals(table.rows)


MICRO_WORLD = st.fixed_dictionaries(
    {"part": st.one_of(st.sampled_from(get_args(Part)), VALUES)},
    optional={
        "world": st.one_of(st.integers(), VALUES),
        "size": st.one_of(st.integers(16, 20), VALUES),
        "seed": st.one_of(st.integers(), VALUES),
        "n": st.one_of(st.integers(1, 30), st.integers(max_value=0), TEXTS, st.floats(max_value=9)),
        "careless": st.one_of(st.floats(0, 1), VALUES),
        "label_error": st.one_of(st.floats(0, 1), VALUES),
        "upvotes": st.one_of(
            st.fixed_dictionaries({}, optional=dict.fromkeys(("length", "belief", "noise"), st.floats())), VALUES
        ),
    },
)


def holds_of_micro_world(settings: Row) -> None:
    """Settings that are refused, or rows."""
    try:
        source = MicroWorld.model_validate({"n": 20, **settings} if settings["part"] == "corpus" else settings)
    except ValidationError:
        return
    table = source.read({})
    assert table.height > 0
    with TemporaryDirectory() as folder:
        is_table(table, table.height, Path(folder))
