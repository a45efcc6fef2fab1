"""Pictures of a search: PNG files, drawn without a screen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lut.explanations.explain import Explanation, Part
from profiler import COVERAGE
from search.proxies.study import Reliability
from search.searcher import Candidate, non_dominated

SIZE_IN = (6.4, 4.8)
DPI = 120
BLUE, ORANGE, GREY, INK = "#1f5fa8", "#d9730d", "#8a8a8a", "#222222"


def plot_agreement(
    path: Path,
    *,
    calibration: tuple[NDArray[np.float64], NDArray[np.float64]],
    verified: tuple[NDArray[np.float64], NDArray[np.float64]],
    band: tuple[float, float],
    device: str,
) -> None:
    """Draw predicted against measured latency.

    Args:
        path: Where to write the PNG.
        calibration: Predicted, each without itself, and measured seconds of whole networks.
        verified: Predicted and measured seconds of the exported networks.
        band: Factors about the prediction that 90 % of new networks should lie between.
        device: Name of the device.
    """
    figure, axes = _figure()
    everything = np.concatenate([*calibration, *verified]) * 1e3
    ends = np.array([everything.min() * 0.9, everything.max() * 1.1])
    axes.fill_between(
        ends, ends * band[0], ends * band[1], color=BLUE, alpha=0.12, lw=0, label="90 % interval"
    )
    axes.plot(ends, ends, color=GREY, lw=1, label="predicted = measured")
    axes.plot(*(v * 1e3 for v in calibration), "o", ms=4, color=BLUE, label="calibration networks")
    axes.plot(*(v * 1e3 for v in verified), "D", ms=7, color=ORANGE, label="exported networks")
    axes.set(xlabel="predicted, ms", ylabel="measured, ms", xlim=ends, ylim=ends)
    axes.set_title(f"Latency on {device}, batch 1")
    axes.legend(frameon=False)
    _write(figure, path)


def plot_pareto(
    path: Path,
    *,
    candidates: Sequence[Candidate],
    chosen: Sequence[Candidate],
    limits_s: Sequence[float],
    device: str,
) -> None:
    """Draw accuracy against predicted latency for everything that was evaluated.

    Args:
        path: Where to write the PNG.
        candidates: All that were evaluated, priced on that device alone.
        chosen: The answers, in the order of the limits.
        limits_s: The limits, in seconds.
        device: Name of the device.
    """
    figure, axes = _figure()
    for limit_s in limits_s:
        axes.axvline(limit_s * 1e3, color=GREY, lw=1, ls="--")
    front = non_dominated(sorted(candidates, key=lambda each: each.rank))[::-1]
    axes.plot(*_points(candidates), "o", ms=3, color=BLUE, alpha=0.35, label="evaluated")
    by = "" if front[0].loss is None else ", by loss"
    axes.step(*_points(front), where="post", color=BLUE, lw=1.2, label=f"best so far{by}")
    axes.plot(*_points(chosen), "D", ms=7, color=ORANGE, label="chosen for a limit (dashed)")
    axes.set(xlabel=f"predicted latency on {device}, ms", ylabel="validation accuracy, %")
    axes.set_title("What each millisecond buys")
    axes.legend(frameon=False, loc="lower right")
    _write(figure, path)


def plot_gap(path: Path, explanation: Explanation, *, title: str) -> None:
    """Draw how a prediction is made, and the way from there to what was measured: a waterfall.

    Args:
        path: Where to write the PNG.
        explanation: The gap and its parts.
        title: What was explained, and where.
    """
    rows = [4, len(explanation.parts) + 2]
    figure = Figure(figsize=(SIZE_IN[0], 0.33 * sum(rows) + 2.0), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    whole, gap = figure.subplots(2, 1, height_ratios=rows)
    _draw_whole(whole, explanation)
    _draw_parts(gap, explanation)
    figure.suptitle(title)
    _write(figure, path)


def _draw_whole(axes: Axes, explanation: Explanation) -> None:
    """Draw sum, calibration, prediction and measurement from zero."""
    sum_s, predicted_s = explanation.sum_s, explanation.predicted_s
    _draw_bar(axes, 0, (0.0, sum_s), GREY)
    _draw_bar(axes, 1, (sum_s, predicted_s), GREY, sign="+")
    _draw_bar(axes, 2, (0.0, predicted_s), BLUE, interval_s=explanation.predicted_interval_s)
    _draw_bar(
        axes, 3, (0.0, explanation.measured_s), ORANGE, interval_s=explanation.measured_interval_s
    )
    names = ["sum of its operators", "what calibration adds", "predicted", "measured now"]
    _name_rows(axes, names)
    axes.set_title("What was predicted, and what is measured", loc="left", fontsize="medium")
    axes.set(xlabel=f"ms, with {COVERAGE:.0%} intervals", xlim=(0.0, axes.get_xlim()[1]))


def _draw_parts(axes: Axes, explanation: Explanation) -> None:
    """Draw the parts of the gap one after the other, from the prediction on."""
    reached_s = 0.0
    for row, part in enumerate(explanation.parts, start=1):
        before_s, reached_s = reached_s, reached_s + part.seconds
        axes.plot([before_s * 1e3] * 2, [row - 1, row], color=GREY, lw=0.8, ls=":")
        if not part.seconds:
            _write_beside(axes, row, before_s, _why_nothing(part), color=GREY)
            continue
        shown = part.interval_s if part.cause != "noise" else None
        moved = None if shown is None else (before_s + shown[0], before_s + shown[1])
        color = ORANGE if part.seconds > 0.0 else BLUE
        _draw_bar(axes, row, (before_s, reached_s), color, interval_s=moved, sign="+", alpha=0.55)
    last = len(explanation.parts) + 1
    axes.plot([reached_s * 1e3] * 2, [last - 1, last], color=GREY, lw=0.8, ls=":")
    _write_beside(axes, 0, 0.0, f"{explanation.predicted_s * 1e3:.4g} ms", color=BLUE)
    _draw_bar(axes, last, (0.0, explanation.gap_s), ORANGE, sign="+")
    axes.axvline(0.0, color=BLUE, lw=1.2)
    _name_rows(axes, ["predicted", *(part.cause for part in explanation.parts), "measured now"])
    axes.set_title(
        "The gap, cause by cause; 0: cannot be told from nothing", loc="left", fontsize="medium"
    )
    axes.set(xlabel="ms more (right) or less (left) than predicted")


def _why_nothing(part: Part) -> str:
    if part.cause in ("noise", "rest"):
        return "none"
    return "unknown" if part.interval_s is None else "counts as 0"


def _draw_bar(
    axes: Axes,
    row: int,
    ends_s: tuple[float, float],
    color: str,
    *,
    interval_s: tuple[float, float] | None = None,
    sign: str = "",
    alpha: float = 1.0,
) -> None:
    """Draw one bar with its length in milliseconds, and an interval of where it ends."""
    start_s, end_s = ends_s
    length_ms = (end_s - start_s) * 1e3
    axes.barh(row, length_ms, left=start_s * 1e3, color=color, height=0.62, alpha=alpha)
    right_s = max(ends_s)
    if interval_s is not None:
        axes.plot([end * 1e3 for end in interval_s], [row, row], color=INK, lw=1.2)
        right_s = max(right_s, *interval_s)
    _write_beside(axes, row, right_s, format(length_ms, f"{sign}.3g"), color=INK)


def _write_beside(axes: Axes, row: int, seconds: float, text: str, *, color: str) -> None:
    axes.annotate(
        text,
        (seconds * 1e3, row),
        (4, 0),
        textcoords="offset points",
        va="center",
        color=color,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows, the first on top, and leave room for what is written beside them."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    low, high = axes.dataLim.intervalx
    span = max(high - low, 1e-9)
    axes.set_xlim(low - 0.04 * span, high + 0.24 * span)


def plot_reliability(path: Path, *, rows: Sequence[Reliability], reference: str) -> None:
    """Draw how well proxies keep the ranking against what they cost.

    Args:
        path: Where to write the PNG.
        rows: The proxies, the cheapest first.
        reference: What they were compared with.
    """
    figure, axes = _figure()
    best = [row for row in rows if row.best]
    costs = [row.cost_share for row in best]
    axes.step(costs, [row.spearman for row in best], where="post", color=BLUE, lw=1.2)
    for row in rows:
        color = ORANGE if row.best else GREY
        axes.plot([row.cost_share] * 2, row.spearman_interval, color=color, lw=1.0)
        axes.plot(row.cost_share, row.spearman, "o", ms=5, color=color)
        axes.annotate(
            str(row.proxy),
            (row.cost_share, row.spearman),
            (4, 4),
            textcoords="offset points",
            fontsize="small",
            color=INK,
        )
    axes.margins(x=0.15)  # room for the last name
    axes.set(xscale="log", xlabel="cost of training, over that of the full setting")
    axes.set(ylabel=f"Spearman, {rows[0].networks} networks against {reference}")
    axes.set_title("How well a cheap setting keeps the ranking, with 95 % intervals")
    _write(figure, path)


def _points(candidates: Sequence[Candidate]) -> tuple[list[float], list[float]]:
    """Return milliseconds and per cent."""
    latency_ms = [candidate.latency_s[0] * 1e3 for candidate in candidates]
    return latency_ms, [100 * (candidate.accuracy or 0.0) for candidate in candidates]


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_IN, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _write(figure: Figure, path: Path) -> None:
    figure.savefig(path)
