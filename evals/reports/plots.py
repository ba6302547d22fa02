"""Plots as inline SVG: intervals are drawn, text stays text, and ink is the page's own.

Ink is `currentColor`, on no background, so that a plot reads in light and in dark. Series have the
colours of Okabe and Ito, which the page can change (`--series-0` and so on), and markers besides.

Source: Okabe and Ito 2008, Color Universal Design; jfly.uni-koeln.de/color.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from evals.metrics.stats import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Stands for `currentColor`, which matplotlib does not know."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
"""So that a line shows through one that covers it."""
MAX_SERIES = len(COLOURS)
CROWDED = 9
"""Axes of a radar beyond which their labels are short."""
MIN_AXES = 3
"""Of a radar: two would be a line."""
WIDTH_IN, ROW_IN, HEAD_IN = 5.4, 0.27, 0.62
LOOKS: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "mtgen", "font.size": 10,
    "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK,
    "ytick.color": INK, "grid.color": INK, "grid.alpha": 0.2, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Point:
    """A score on a scale from 0, the worst, to 1, the best."""

    axis: str
    value: float
    ci95: tuple[float, float] | None


def on_scale(score: Score, axis: str) -> Point | None:
    """A score as a radar takes it; None where its unit has no end, or none that is best.

    Shares and scores of 100 have both; where lower is better, they are counted from the other end.
    """
    top = 1.0 if score.unit.startswith("share") else 100.0 if score.unit == "of 100" else None
    if score.value is None or top is None or "ideal" in score.unit:
        return None

    def scaled(value: float) -> float:
        share = min(max(value / top, 0.0), 1.0)
        return share if score.higher_is_better else 1 - share

    ends = None
    if score.ci95 is not None:
        low, high = sorted(map(scaled, score.ci95))
        ends = (low, high)
    return Point(axis=axis, value=scaled(score.value), ci95=ends)


def plot_scores(scores: Sequence[Score]) -> str | None:
    """Each score as a point on its interval, a panel for each unit; None where there are none."""
    known = [score for score in scores if score.value is not None]
    groups = [list(group) for _, group in groupby(known, key=lambda score: score.unit)]
    if not groups:
        return None
    from matplotlib.figure import Figure

    with looks():
        height = sum(HEAD_IN + ROW_IN * len(group) for group in groups)
        figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
        ratios = [HEAD_IN / 2 + ROW_IN * len(group) for group in groups]
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=ratios)[:, 0]
        for axes, group in zip(panels, groups, strict=True):
            draw_panel(axes, group)
        told = "; ".join(f"{s.name} {s.value:.3g}" for s in known)
        return svg(figure, f"Scores with 95% intervals: {told}")


def draw_panel(axes: Any, scores: Sequence[Score]) -> None:
    """Scores of one unit, the first on top."""
    unit = scores[0].unit
    for row, score in enumerate(reversed(scores)):
        if score.ci95 is not None:
            axes.plot(score.ci95, [row, row], color=COLOURS[0], linewidth=5, alpha=0.4)
        axes.plot([score.value], [row], MARKERS[0], color=COLOURS[0], markersize=5)
    axes.set_yticks(range(len(scores)), [score.name for score in reversed(scores)])
    axes.set_ylim(-0.6, len(scores) - 0.4)
    better = "higher" if scores[0].higher_is_better else "lower"
    mixed = len({score.higher_is_better for score in scores}) > 1 or "ideal" in unit
    axes.set_xlabel(unit if mixed else f"{unit} · {better} is better")
    if unit.startswith("share"):
        axes.set_xlim(-0.02, 1.02)
    elif unit == "of 100":
        axes.set_xlim(-2, 102)
    elif axes.get_xlim()[0] > 0:
        axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def plot_radar(series: Sequence[tuple[str, Sequence[Point]]]) -> str | None:
    """Series over axes, their intervals as bands.

    Args:
        series: Name and points of each, at most MAX_SERIES; one without a point on an axis has a
            gap there.

    Returns:
        None where there are fewer than MIN_AXES axes.
    """
    names = list(dict.fromkeys(point.axis for _, points in series for point in points))
    if len(names) < MIN_AXES:
        return None
    import numpy as np
    from matplotlib.figure import Figure

    with looks():
        room = 0.24 * len(series)
        figure = Figure(figsize=(WIDTH_IN, 4.4 + room), layout="constrained")
        axes: Any = figure.add_subplot(projection="polar")
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
        around = np.append(angles, angles[0])
        styles = zip(series, COLOURS, MARKERS, DASHES, strict=False)
        for (name, points), colour, marker, dashes in styles:
            by_axis = {point.axis: point for point in points}
            rows = [
                (p.value, *(p.ci95 or (p.value, p.value)))
                if (p := by_axis.get(axis)) else (np.nan,) * 3
                for axis in names
            ]  # fmt: skip
            value, low, high = np.array([*rows, rows[0]]).T
            axes.fill_between(around, low, high, color=colour, alpha=0.22, linewidth=0)
            look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": dashes}
            axes.plot(around, value, label=name, markersize=5, **look)
        if len(names) > CROWDED:  # the suite alone, of "aspect (suite)"
            labels = [name.rpartition("(")[2].removesuffix(")") for name in names]
            axes.tick_params(axis="x", labelsize=8)
        else:
            labels = [textwrap.fill(name, 22, break_long_words=False) for name in names]
        axes.set_xticks(angles, labels)
        for angle, label in zip(angles, axes.get_xticklabels(), strict=True):
            across = round(float(np.sin(angle)), 3)
            label.set_horizontalalignment("left" if across > 0 else "right" if across else "center")
        axes.set_ylim(0, 1)
        axes.set_yticks([0.25, 0.5, 0.75, 1], ["25%", "50%", "75%", "100%"])
        axes.tick_params(axis="y", labelsize=8)
        axes.tick_params(axis="x", pad=8)
        axes.spines["polar"].set_alpha(0.3)
        figure.legend(loc="outside lower center", ncols=1)
        told = "; ".join(
            f"{name}: " + ", ".join(f"{p.axis} {p.value:.0%}" for p in points)
            for name, points in series
        )
        return svg(figure, f"Radar, outside is best: {told}")


def plot_speeds(records: Sequence[Any]) -> str | None:
    """Tokens per second of each answer; None where none was timed."""
    speeds = [r["tokens_per_s"] for r in records if r.get("tokens_per_s")]
    if not speeds:
        return None
    from matplotlib.figure import Figure

    with looks():
        figure = Figure(figsize=(WIDTH_IN, 1.9), layout="constrained")
        axes = figure.subplots()
        axes.hist(speeds, bins=20, color=COLOURS[0], alpha=0.8)
        axes.set_xlabel("tokens per second, after the first")
        axes.set_ylabel("answers")
        axes.locator_params(axis="y", integer=True)
        return svg(figure, f"Speed of {len(speeds)} answers")


def looks() -> Any:
    """The style of all plots, while it lasts."""
    import matplotlib

    return matplotlib.rc_context(LOOKS)  # type: ignore[arg-type]


def svg(figure: Figure, label: str) -> str:
    """A figure as inline SVG with a label for screen readers; the same each time."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    markup = buffer.getvalue()
    markup = markup[markup.index("<svg") :].replace(INK, "currentColor")
    own = hashlib.sha256(label.encode()).hexdigest()[:8]  # matplotlib names clips by addresses
    for place, name in enumerate(re.findall(r'<clipPath id="(\w+)"', markup)):
        markup = markup.replace(name, f"clip-{own}-{place}")
    for number, colour in enumerate(COLOURS):
        markup = markup.replace(colour, f"var(--series-{number}, {colour})")
    return markup.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)
