"""Property-based tests of every source: any rows give a table that obeys its schema, or an error that names the row."""

import pytest
from hypothesis import given, settings

from tests.sources.drawn import KINDS, MICRO_WORLD, Row, holds_of_micro_world, holds_of_rows, ordinary, rows_like

ORCA = {"system_prompt": "Be brief.", "question": "Where do moles live?", "response": "In burrows"}
FOUND: list[tuple[str, Row]] = [
    ("open_orca", {"id": None, **ORCA}),
    ("json_file, document in rows.parquet", {"text": "Moles live in burrows.", "": {"": None, "\x00": None}}),
]


@pytest.mark.parametrize(("kind", "row"), FOUND)
def test_rows_that_drawing_found_make_a_table_or_an_error(kind: str, row: Row) -> None:
    holds_of_rows(kind, [row])


@pytest.mark.parametrize("kind", KINDS)
def test_any_rows_make_a_table_or_an_error_that_names_the_row(kind: str) -> None:
    @settings(ordinary, max_examples=5)
    @given(rows_like(KINDS[kind][1]))
    def holds(rows: list[Row]) -> None:
        holds_of_rows(kind, rows)

    holds()


@settings(ordinary, max_examples=15)
@given(MICRO_WORLD)
def test_any_settings_of_a_micro_world_are_refused_or_make_rows(drawn: Row) -> None:
    holds_of_micro_world(drawn)
