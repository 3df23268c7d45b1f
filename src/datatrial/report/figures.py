"""Charts: each is made once as a matplotlib figure, then put into the page or saved as files.

In the page it is inline SVG that takes its colours and fonts from the page, in light and dark alike; files have the
colours of the light page. `all_figures` lists the charts of a report.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from datatrial.foreign.names import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from datatrial.report._findings import Training

SIZE = (4.2, 2.5)  # inches; drawn as wide as its column
DPI = 200  # of saved pixels
# Colours that stand for the page's own: matplotlib writes them, the SVG refers to the page's variables instead.
COLOURS = {
    "#0a0b01": "var(--muted)",
    "#0a0b02": "var(--rule)",
    "#0a0b03": "var(--accent)",
    "#0a0b04": "var(--ink)",
    "#0a0b05": "var(--good)",
    "#0a0b06": "var(--bad)",
}
MUTED, RULE, ACCENT, INK, GOOD, BAD = COLOURS
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a group may be called anything, $ included
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

Line = tuple[tuple[float, float], tuple[float, float]]

# Of a name beside its point, in points: rightwards, upwards, and which end of the name is there; the best place first.
NAME_PLACES = tuple((dx, dy, side) for dy in (0, 6, -6, 11, -11, 16, -16) for dx, side in ((5, "left"), (-5, "right")))


def curves(training: "Training", metrics: Mapping[str, str], title: str) -> Markup | None:
    """`curves_figure` for the page."""
    figure = curves_figure(training, metrics)
    return inline_svg(figure, title) if figure else None


def scatter(mentions: Sequence[float], changes: Sequence[float], names: Sequence[str], title: str) -> Markup:
    """`scatter_figure` for the page."""
    return inline_svg(scatter_figure(mentions, changes, names), title)


@contextmanager
def drawing(inches: tuple[float, float], grid: str = "y") -> "Iterator[tuple[Figure, Any]]":
    """An empty chart in the style of all charts, and its axes; `grid`: the axis whose ticks have lines."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**STYLE, "axes.grid.axis": grid}):
        figure = Figure(figsize=inches, layout="constrained")
        yield figure, figure.subplots()


def curves_figure(training: "Training", metrics: Mapping[str, str]) -> "Figure | None":
    """A chart of a stage's metrics over optimizer steps, one line a seed; None when none was recorded.

    `metrics` maps names in `history.parquet` to "train" or "held-out".
    """
    from matplotlib.ticker import MaxNLocator

    history = training.history
    if history.filter(history["metric"].is_in(list(metrics))).is_empty():
        return None
    with drawing(SIZE) as (figure, axes):
        for metric, line in metrics.items():
            for run in range(len(training.seeds)):
                points = history.filter((history["metric"] == metric) & (history["run"] == run)).sort("step")
                label = f"_{run}" if run else line  # matplotlib leaves names with an underscore out of legends
                axes.plot(points["step"].to_list(), points["value"].to_list(), label=label, **LINES[line])
        axes.set_xlabel("optimizer step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.spines["left"].set_visible(False)
    return figure


def scatter_figure(mentions: Sequence[float], changes: Sequence[float], names: Sequence[str]) -> "Figure":
    """Groups by how often they are mentioned (in a thousand rows) and the change of their safety, in points."""
    from matplotlib.ticker import MaxNLocator

    with drawing((4.2, 3.1)) as (figure, axes):
        axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
        axes.plot(mentions, changes, linestyle="", marker="o", markersize=4.5, color=ACCENT, zorder=3, clip_on=False)
        # Mentions span orders of magnitude, and some groups have none: a square root spreads both ends.
        axes.set_xscale("function", functions=(_root, _square))
        axes.set_xlim(0, 1.5 * max(mentions) or 1)
        low, high = min(0.0, *changes), max(0.0, *changes)
        axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low) or 1)
        axes.set_xlabel("mentions per 1,000 rows (square-root scale)")
        axes.set_ylabel("change of safety, points")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.spines["left"].set_visible(False)
        name_points(figure, axes, list(zip(mentions, changes, strict=True)), names)
    return figure


def name_points(
    figure: Any, axes: Any, points: Sequence[tuple[float, float]], names: Sequence[str], lines: Sequence[Line] = ()
) -> None:
    """Each point's name beside it, where it covers the least of other names and points, and of lines (from, to)."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # settles the layout: names are placed on what will be drawn
    dots = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in axes.transData.transform(points)]
    taken = [Bbox(axes.transData.transform(ends)).padded(2) for ends in lines]
    for number in sorted(range(len(points)), key=lambda n: points[n]):
        name = axes.annotate(
            visible(names[number]), points[number], (0, 0), textcoords="offset points", fontsize=7, color=MUTED,
            va="center", annotation_clip=False,
        )  # fmt: skip
        others = [dot for n, dot in enumerate(dots) if n != number]
        taken.append(_placed(name, [*taken, *others], axes.bbox.x0, figure.bbox.x1))


def _placed(name: Any, others: Sequence[Any], left: float, right: float) -> Any:
    """Put a name where it covers the least of others, best nothing, and say where it is."""
    from matplotlib.transforms import Bbox

    def box(place: tuple[float, float, str]) -> Any:
        name.set(position=place[:2], horizontalalignment=place[2])
        return name.get_window_extent()

    def covered(place: tuple[float, float, str]) -> float:
        here = box(place)
        outside = 0.0 if left <= here.x0 and here.x1 <= right else 1e6
        return outside + sum(o.width * o.height for other in others if (o := Bbox.intersection(here, other)))

    free = next((place for place in NAME_PLACES if not covered(place)), None)
    return box(free or min(NAME_PLACES, key=covered))


def _root(values: Any) -> Any:
    return abs(values) ** 0.5


def _square(values: Any) -> Any:
    return values**2


def inline_svg(figure: "Figure", title: str) -> Markup:
    """A matplotlib figure as an `<svg>` element: without header and dates, with the page's colours and fonts."""
    import matplotlib as mpl

    buffer = io.StringIO()
    # Ids are salted with the title: several charts share one page.
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
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
    viewbox = re.findall(r'viewBox="([^"]*)"', svg)[0]  # of the chart, not what a name in it says
    opening = f'<svg class="chart" viewBox="{viewbox}" role="img" aria-label="{escape(title)}"'
    opening += ' xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1).rstrip())


def save(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """A matplotlib figure as `name.png` (200 dpi), `name.svg` and `name.pdf`; its colours become those of light pages.

    The same figure gives the same bytes.
    """
    import matplotlib as mpl

    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg", "pdf")]
    light = _light()
    with mpl.rc_context({**{k: light.get(str(v), v) for k, v in STYLE.items()}, "svg.hashsalt": name}):
        figure.draw_without_rendering()  # ticks are made when first drawn
        _recolour(figure, light)
        for path in paths:
            dated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[path.suffix[1:]]
            figure.savefig(path, dpi=DPI, facecolor="white", metadata=dated)
    return paths


@cache
def _light() -> dict[str, str]:
    """What each of `COLOURS` is on a light page: the first value that page.css has for it."""
    css = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
    names = {colour: variable.removeprefix("var(").removesuffix(")") for colour, variable in COLOURS.items()}
    return {colour: re.findall(rf"{name}: (#\w+)", css)[0] for colour, name in names.items()}


def _recolour(figure: "Figure", colours: Mapping[str, str]) -> None:
    """Replace colours, given as hex, wherever something in the figure has one of them."""
    from matplotlib.colors import to_hex, to_rgba_array

    for artist in figure.findobj():
        for name in ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor"):
            read, change = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            before = to_rgba_array(read()) if read and change else to_rgba_array([])
            found = [colours.get(to_hex(colour)) for colour in before]
            if any(found):
                after = [(new or to_hex(old), old[3]) for new, old in zip(found, before, strict=True)]
                change(after if len(after) > 1 else after[0])  # type: ignore[misc]
