"""How much of a data set is taken, and what is said of a row that is more."""

from typing import Any

Row = dict[str, Any]

MOST_COLUMNS = 1000  # of one data set
TOO_MANY = f"has {{}} columns; at most {MOST_COLUMNS} are read: leave some out"


class BadRowError(Exception):
    """What is wrong with the row that begins on a line."""

    def __init__(self, number: int, what: str):
        super().__init__(what)
        self.number = number
