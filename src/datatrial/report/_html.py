"""The page put together: sections rendered into one self-contained file, everything escaped that is not ours."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from datatrial import __version__
from datatrial.effects import Contrast
from datatrial.report import wording
from datatrial.report._findings import Findings
from datatrial.report.tables import PRIMARY, doubts, expected, said
from datatrial.statistics.verdict import NOT_TESTED

TEMPLATES = Path(__file__).parent / "templates"
ROOM = 0.04  # of an axis, beyond its widest interval on either side
SECTIONS = Path(__file__).parent / "sections"  # a section's template lies beside it


@dataclass(frozen=True)
class Axis:
    """A horizontal scale from `low` to `high`, in the units that are shown; places on it are percentages."""

    low: float
    high: float
    scale: int  # what values on a 0–1 scale are multiplied by: only contrasts of that scale are drawn on it

    @classmethod
    def over(cls, contrasts: Sequence[Contrast], scale: int) -> "Axis":
        """An axis that holds zero and every interval and margin, with a little room at both ends."""
        ends = [v for c in contrasts if c.items for v in (c.low, c.high, *margins(c))]
        shown = [0.0, *(scale * v for v in ends)]
        low, high = min(shown), max(shown)
        room = ROOM * (high - low) or 0.5
        return cls(low - room, high + room, scale)

    def at(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        return f"{6 + 88 * share:.2f}%"

    @property
    def ticks(self) -> list[tuple[str, str]]:
        """Places of round values, and what is written there: always at zero and at the outermost."""
        from matplotlib.ticker import MaxNLocator

        values = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        near_zero = 1e-9 * (self.high - self.low)  # the locator multiplies: zero may come out as 1e-17
        inside = [0.0 if abs(v) < near_zero else float(v) for v in values if self.low <= v <= self.high]
        return [(self.at(v), _tick(v) if v in (inside[0], 0.0, inside[-1]) else "") for v in inside]


def _tick(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def margins(contrast: Contrast) -> tuple[float, ...]:
    """Where a declared margin ends: on the side from which the difference must stay away, or on both."""
    if not contrast.margin:
        return ()
    return (-contrast.margin, contrast.margin) if contrast.expect == "equivalent" else (contrast.null,)


def tone(contrast: Contrast) -> str:
    """The style of a difference: only a detectable one is coloured."""
    return {"better": "good", "worse": "bad"}.get(contrast.verdict, "")


@cache
def _environment() -> Environment:
    loader = FileSystemLoader([TEMPLATES, SECTIONS])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(
        {
            name: getattr(wording, name)
            for name in ("number", "signed", "count", "duration", "plural", "quantity", "cell")
        }
    )
    made.globals.update(
        interval=wording.interval,
        listed=wording.listed,
        marks=wording.MARKS,
        no_interval=wording.NO_INTERVAL,
        not_tested=NOT_TESTED,
        primary=PRIMARY,
        tone=tone,
        margins=margins,
        expected=expected,
        said=said,
        doubts=doubts,
    )
    return made


def render(template: str, **values: Any) -> Markup:
    """One of the templates with values put in, each escaped unless it is markup of ours."""
    return Markup(_environment().get_template(template).render(**values))


def page(findings: Findings) -> str:
    """The whole report as one HTML file."""
    from datatrial.report.sections import rendered

    sections = rendered(findings)
    script = _template("explorer.js") if any(section.id == "explorer" for section in sections) else ""
    css = _template("page.css") + _template("explorer.css")
    return (
        _environment()
        .get_template("page.html")
        .render(
            f=findings,
            css=Markup(css),
            script=Markup(script),
            policy=Markup(_policy(css, script)),
            facts=_facts(findings),
            sections=sections,
            version=__version__,
        )
    )


def _policy(css: str, script: str) -> str:
    """The page's content-security policy: its own script and style sheet, by their digests, and nothing else.

    A figure's parts have their colours as attributes, which only a policy for each of them could tell from others'.
    """
    rules = ["default-src 'none'", "base-uri 'none'", "form-action 'none'"]
    # The first is for browsers that do not know the other two.
    rules += ["style-src 'unsafe-inline'", f"style-src-elem '{_digest(css)}'", "style-src-attr 'unsafe-inline'"]
    if script:
        rules += [f"script-src '{_digest(script)}'", "require-trusted-types-for 'script'"]
    return "; ".join(rules)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _facts(findings: Findings) -> list[tuple[str, str]]:
    analysis = findings.analysis
    groups = {group for benchmark in analysis.safety_benchmarks for group in analysis.groups(benchmark)}
    counted = [
        (len(analysis.arms), "arm"),
        (len(findings.seeds), "seed"),
        (len(analysis.benchmarks), "benchmark"),
        (len(groups), "demographic group"),
        (len(findings.data), "data set"),
    ]
    facts = [(str(n), wording.plural(n, noun).partition(" ")[2]) for n, noun in counted if n]
    seconds = sum(step.seconds for step in findings.steps)
    return [*facts, (wording.duration(seconds), "of computing")] if seconds else facts
