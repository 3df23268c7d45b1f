"""Charts of what was found: every difference, capability against safety, and scores along a sweep."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datatrial.report.figures import ACCENT, BAD, GOOD, INK, MUTED, SIZE, Line, drawing, name_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from datatrial.effects import ArmScore, Contrast

CROWDED = 20  # arms from which on their intervals and names cover each other
BY_VERDICT = {"better": GOOD, "worse": BAD}
Swept = tuple[float, "ArmScore"]  # a value of the setting, and the score there
Both = tuple[str, "ArmScore", "ArmScore"]  # an arm, its capability and its safety


def tradeoff_figure(arms: Sequence[Both]) -> "Figure":
    """Each arm's capability (rightwards) and safety (upwards), points; with 95% intervals and names of those `told`."""
    from matplotlib.ticker import MaxNLocator

    with drawing((5.2, 3.8)) as (figure, axes):
        arms, others = told(arms), [one for one in arms if one not in told(arms)]
        for _, capability, safety in others:
            axes.plot([100 * capability.estimate], [100 * safety.estimate], color=MUTED, marker="o", markersize=3)
        for _, capability, safety in arms:
            colour = MUTED if capability.baseline else ACCENT
            _cross(axes, capability, safety, colour)
        axes.set_xlabel("capability: mean of the benchmarks, points")
        axes.set_ylabel("safety, points")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(True, axis="x")
        points = [(100 * capability.estimate, 100 * safety.estimate) for _, capability, safety in arms]
        lines = [line for _, capability, safety in arms for line in _intervals(capability, safety)]
        name_points(figure, axes, points, [name for name, _, _ in arms], lines)
    return figure


def told(arms: Sequence[Both]) -> list[Both]:
    """Those that a chart tells apart: all of them, or of many the baseline and those that no other exceeds on both."""
    if len(arms) <= CROWDED:
        return list(arms)

    def exceeded(one: Both) -> bool:
        return any(c.estimate > one[1].estimate and s.estimate > one[2].estimate for _, c, s in arms)

    return [one for one in arms if one[1].baseline or not exceeded(one)]


def _cross(axes: Any, capability: "ArmScore", safety: "ArmScore", colour: str) -> None:
    for start, end in _intervals(capability, safety):
        axes.plot([start[0], end[0]], [start[1], end[1]], color=colour, linewidth=1.2, zorder=2)
    axes.plot([100 * capability.estimate], [100 * safety.estimate], color=colour, marker="o", markersize=5, zorder=3)


def _intervals(capability: "ArmScore", safety: "ArmScore") -> list[Line]:
    x, y = 100 * capability.estimate, 100 * safety.estimate
    return [
        ((100 * capability.low, y), (100 * capability.high, y)),
        ((x, 100 * safety.low), (x, 100 * safety.high)),
    ]


def sweep_figure(scores: Sequence[Swept], setting: str, baseline: "ArmScore | None", scale: int) -> "Figure":
    """Scores with 95% intervals along a setting's values; the baseline as a line."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    values = [value for value, _ in scores]
    with drawing(SIZE) as (figure, axes):
        if baseline:
            axes.axhline(scale * baseline.estimate, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        for value, score in scores:
            axes.plot([value] * 2, [scale * score.low, scale * score.high], color=ACCENT, linewidth=1.2, zorder=2)
        axes.plot(
            values,
            [scale * score.estimate for _, score in scores],
            color=ACCENT,
            linewidth=1.4,
            marker="o",
            markersize=4,
        )
        if min(values) > 0 and max(values) >= 4 * min(values):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(FixedLocator(values))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.minorticks_off()
        axes.set_xlabel(setting)
        axes.spines["left"].set_visible(False)
    return figure


def forest_figure(contrasts: Sequence["Contrast"], names: Sequence[str]) -> "Figure":
    """Differences in points with 95% intervals, one below the other; coloured where they are detectable."""
    with drawing((6.4, 0.6 + 0.22 * len(contrasts)), grid="x") as (figure, axes):
        axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
        for row, contrast in enumerate(contrasts):
            found = contrast.verdict in BY_VERDICT
            colour = BY_VERDICT.get(contrast.verdict, INK)
            axes.plot([100 * contrast.low, 100 * contrast.high], [row, row], color=colour, linewidth=1.2, zorder=2)
            face = colour if found else "white"
            axes.plot([100 * contrast.estimate], [row], color=colour, marker="o", markersize=4, markerfacecolor=face)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("difference, points")
        axes.spines["left"].set_visible(False)
    return figure
