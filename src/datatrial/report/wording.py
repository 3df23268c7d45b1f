"""How numbers and findings are written, the same in the page, the tables and the console."""

import math
from collections.abc import Sequence

from datatrial.statistics.verdict import NOT_TESTED, UNDETECTED

MARKS = {"better": "▲", "worse": "▼", UNDETECTED: "", NOT_TESTED: ""}
NO_INTERVAL = "no interval"


def number(value: float, scale: int) -> str:
    """A score: points with one decimal (scale 100), else three significant digits."""
    return _minus(f"{value * scale:.1f}" if scale == 100 else f"{value:.3g}")


def signed(value: float, scale: int) -> str:
    """A difference, with its sign; zero has none."""
    text = number(value, scale)
    return text if text.strip("−0.") == "" or text.startswith("−") else f"+{text}"


def interval(low: float, high: float, scale: int) -> str:
    """The interval in brackets, or that there is none."""
    return NO_INTERVAL if math.isnan(low) else f"[{number(low, scale)}, {number(high, scale)}]"


def count(value: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _minus(text: str) -> str:
    plain = text.removeprefix("-") if float(text) == 0 else text  # no "−0.0"
    return plain.replace("-", "−")
