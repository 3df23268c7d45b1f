"""Parts of the report: each a module with its template beside it.

A module has a `TITLE` and `body`, which is empty where there is nothing to show; `ORDER` is the order of reading.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

    from datatrial.report._findings import Findings

ORDER = (
    "summary",
    "claims",
    "benchmarks",
    "safety",
    "tradeoff",
    "representation",
    "contrasts",
    "explorer",
    "sweeps",
    "controls",
    "confounds",
    "published",
    "training",
    "data",
    "cost",
    "provenance",
)


WHOLE = ("summary", "cost", "provenance")  # what is said of all arms, however many there are


@dataclass(frozen=True)
class Section:
    """A rendered part of the report."""

    id: str
    title: str
    body: "Markup"


def rendered(findings: "Findings") -> list[Section]:
    """Every section that has something to show, in reading order."""
    from importlib import import_module

    from markupsafe import Markup

    from datatrial.redaction import redacted
    from datatrial.report.shown import shown

    modules, part = {name: import_module(f"{__name__}.{name}") for name in ORDER}, shown(findings)
    bodies = {name: module.body(findings if name in WHOLE else part) for name, module in modules.items()}
    # What the explorer shows is packed without secrets.
    hidden = {name: body if name == "explorer" else Markup(redacted(body)) for name, body in bodies.items() if body}
    return [Section(name, modules[name].TITLE, body) for name, body in hidden.items()]
