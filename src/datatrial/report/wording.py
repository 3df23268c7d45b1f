"""How numbers and findings are written, the same in the page, the tables and the console."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from datatrial.effects import Contrast
from datatrial.statistics.verdict import NOT_TESTED, UNDETECTED

MARKS = {"better": "▲", "worse": "▼", UNDETECTED: "", NOT_TESTED: ""}
NO_INTERVAL = "no interval"
MOST_LISTED = 60  # words that a sentence lists


def number(value: float, scale: int) -> str:
    """A score: points with one decimal (three where that would be 0.0), scale 100; else three significant digits."""
    small = 0.0005 <= abs(value * scale) < 0.05
    return _minus(f"{value * scale:.{3 if small else 1}f}" if scale == 100 else f"{value:.3g}")


def signed(value: float, scale: int) -> str:
    """A difference, with its sign; zero has none."""
    text = number(value, scale)
    return text if text.strip("−0.") == "" or text.startswith("−") else f"+{text}"


def interval(low: float, high: float, scale: int) -> str:
    """The interval in brackets, or that there is none."""
    return NO_INTERVAL if math.isnan(low) else f"[{number(low, scale)}, {number(high, scale)}]"


def difference(contrast: Contrast, scale: int) -> str:
    """A difference with its interval."""
    return f"{signed(contrast.estimate, scale)} {interval(contrast.low, contrast.high, scale)}"


def probability(p: float) -> str:
    """A p-value with its sign: = 0.03, < 0.001; a dash where there is none."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def count(value: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def share(value: float) -> str:
    """A share of 0–1 as a percentage, with as many digits as small ones need."""
    digits = 2 if 0 < value < 0.001 else 1
    return f"{100 * value:.{digits}f}%"


def quantity(value: float | str | None, unit: str = "") -> str:
    """What an audit found, with its unit; "%" stands for a share of 0–1."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return f"{value} {unit}".strip()
    if unit == "%":
        return share(value)
    if isinstance(value, int):
        return f"{count(value).replace('-', '−')} {unit}".strip()
    one_decimal = abs(value) >= 10 or value == round(value, 1)
    return f"{_minus(f'{value:.1f}' if one_decimal else f'{value:.3g}')} {unit}".strip()


def cell(value: float | str | None, column: str) -> str:
    """A cell of a table that an audit found; a column whose name ends in "%" holds shares of 0–1."""
    return quantity(value, "%" if column.endswith("%") else "")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def listed(words: Sequence[str]) -> str:
    """a, b and c; of very many the first, and how many more there are."""
    if len(words) > MOST_LISTED:
        words = [*words[:MOST_LISTED], f"{len(words) - MOST_LISTED:,} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def plural(n: int, noun: str, nouns: str = "") -> str:
    """A number of things; `nouns` where the plural is more than an s."""
    return f"{n} {noun if n == 1 else nouns or f'{noun}s'}"


def _minus(text: str) -> str:
    plain = text.removeprefix("-") if float(text) == 0 else text  # no "−0.0"
    return plain.replace("-", "−")


def in_words(value: Any) -> str:
    """A setting's value, as a study has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {in_words(inner)}" for key, inner in value.items()) + "}"
    return "the default" if value is None else str(value)


def settings_said(settings: Mapping[str, float]) -> str:
    """Settings and their values in words: `learning_rate 0.001, epochs 2`."""
    return ", ".join(f"{name} {value:g}" for name, value in settings.items())
