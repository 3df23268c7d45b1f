"""Tables as a terminal of some width shows them."""

from collections.abc import Callable

import pytest

from datatrial.cli import _tables
from datatrial.report.tables import TextTable

CELL = "75.0 (+10.5) ▲"
ROWS = (("base", "63.6", "45.7"), ("careful+checked", CELL, CELL), ("careful+upvoted", CELL, "49.9 (+11.9) ▼"))
TABLE = TextTable("Benchmarks", ("arm", "misconceptions (acc)", "safety (safety, primary)"), ROWS, "In points.")


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    def at(width: int) -> str:
        monkeypatch.setattr(_tables.out, "_width", width)
        _tables.print_table(TABLE)
        return capsys.readouterr().out

    return at


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_word_is_broken_and_no_line_is_too_long(printed: Callable[[int], str], width: int) -> None:
    lines = printed(width).splitlines()
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    assert {"misconceptions", "careful+checked", "careful+upvoted"} <= words


def test_a_mark_stays_with_its_number(printed: Callable[[int], str]) -> None:
    assert not any(line.strip() in ("▲", "▼") for line in printed(60).splitlines())
    assert "(+11.9)▼" in printed(60)


def test_no_line_is_too_long_where_words_are_broken(printed: Callable[[int], str]) -> None:
    assert max(map(len, printed(30).splitlines())) <= 30
