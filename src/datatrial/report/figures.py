"""Line charts as inline SVG that takes its colours and fonts from the page, in light and dark alike."""

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from datatrial.report._findings import Training

SIZE = (4.2, 2.5)  # inches; drawn as wide as its column
# Colours that stand for the page's own: matplotlib writes them, the SVG refers to the page's variables instead.
COLOURS = {"#0a0b01": "var(--muted)", "#0a0b02": "var(--rule)", "#0a0b03": "var(--accent)", "#0a0b04": "var(--ink)"}
MUTED, RULE, ACCENT, INK = COLOURS
STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
LINES: Mapping[str, Mapping[str, Any]] = {
    "train": {"color": MUTED, "linewidth": 0.9, "alpha": 0.75, "zorder": 2},
    "held-out": {"color": ACCENT, "linewidth": 1.6, "marker": "o", "markersize": 3.2, "zorder": 3},
}


def curves(training: "Training", metrics: Mapping[str, str], title: str) -> Markup | None:
    """A chart of a stage's metrics over optimizer steps, one line a seed; None when none was recorded.

    `metrics` maps names in `history.parquet` to "train" or "held-out".
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    history = training.history
    if history.filter(history["metric"].is_in(list(metrics))).is_empty():
        return None
    # Ids are salted with the title: several charts share one page.
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for metric, line in metrics.items():
            for run in range(len(training.seeds)):
                points = history.filter((history["metric"] == metric) & (history["run"] == run)).sort("step")
                axes.plot(points["step"].to_list(), points["value"].to_list(), **LINES[line])
        axes.set_xlabel("optimizer step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.spines["left"].set_visible(False)
        return inline_svg(figure, title)


def inline_svg(figure: Any, title: str) -> Markup:
    """A matplotlib figure as an `<svg>` element: without header and dates, with the page's colours and fonts."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Its <style> would rule the whole page; page.css says the same for charts alone.
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    referred = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referred else "", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, variable)
    [viewbox] = re.findall(r'viewBox="([^"]*)"', svg)
    opening = f'<svg class="chart" viewBox="{viewbox}" role="img" aria-label="{escape(title)}"'
    opening += ' xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1).rstrip())
