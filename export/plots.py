"""Pictures of a search: PNG files, drawn without a screen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from search.searcher import Candidate

SIZE_IN = (6.4, 4.8)
DPI = 120
BLUE, ORANGE, GREY = "#1f5fa8", "#d9730d", "#8a8a8a"


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
        candidates: All that were evaluated.
        chosen: The answers, in the order of the limits.
        limits_s: The limits, in seconds.
        device: Name of the device.
    """
    figure, axes = _figure()
    for limit_s in limits_s:
        axes.axvline(limit_s * 1e3, color=GREY, lw=1, ls="--")
    front = pareto_front(candidates)
    axes.plot(*_points(candidates), "o", ms=3, color=BLUE, alpha=0.35, label="evaluated")
    axes.step(*_points(front), where="post", color=BLUE, lw=1.2, label="best so far")
    axes.plot(*_points(chosen), "D", ms=7, color=ORANGE, label="chosen for a limit (dashed)")
    axes.set(xlabel=f"predicted latency on {device}, ms", ylabel="validation accuracy, %")
    axes.set_title("What each millisecond buys")
    axes.legend(frameon=False, loc="lower right")
    _write(figure, path)


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those that no other beats in both, by rising latency on the first device."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency_s[0], -(c.accuracy or 0.0))):
        if not front or (candidate.accuracy or 0.0) > (front[-1].accuracy or 0.0):
            front.append(candidate)
    return front


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
