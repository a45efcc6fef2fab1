"""What minutes of load without a pause have shown: how fast at first, how fast in the end."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist, median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiler.campaigns.events import Event, judged_slices
from profiler.measurement import Slice
from profiler.whole_models.percentiles import Percentile, percentile
from profiler.whole_models.whole_model import PERCENTS

COVERAGE = 0.95
"""Of all intervals here."""

BURST_S, BURST_SHARE = 10.0, 0.1
"""Seconds at the beginning that count as a burst, and the share of the load that they may be."""

PLATEAU_SHARE = 1 / 3
"""Share of the load, at its end, that counts as the plateau."""

SETTLED = 0.02
"""Relative change over the plateau up to which it is one."""

DISTURBED_SHARE = 0.25
"""Share of windows beside which others may have worked before that is a doubt."""

BLOCKS = 60
"""Points that the slope is fitted to: medians of neighbouring windows."""

BOOTSTRAPS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A figure and where it would lie if the load were repeated in this process.

    Attributes:
        value: Seconds, or a share a minute.
        low: Lower end of the interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A short stretch of the load.

    Attributes:
        ends_s: Seconds of load until its end.
        slice: Single runs, evenly spread over it.
    """

    ends_s: float
    slice: Slice

    @property
    def undisturbed(self) -> bool:
        """Whether nobody else was at work; heat is no disturbance here."""
        return self.slice.gate not in ("load", "steal", "rested")


@dataclass(frozen=True, kw_only=True)  # no slots: they leave no place for what is cached
class Sustained:
    """A graph that was run without a pause.

    All seconds are by the clock, of single runs. Windows beside which others were at work do not
    count where enough others are left.

    Attributes:
        windows: In the order of time.
    """

    windows: tuple[Window, ...]

    def __post_init__(self) -> None:
        if len(self.windows) < 3:
            raise ValueError(f"a load has 3 windows or more, got {len(self.windows)}")

    @property
    def load_s(self) -> float:
        """Seconds of load in all."""
        return self.windows[-1].ends_s

    @cached_property
    def burst(self) -> Level:
        """Seconds of a run at first: the median, while the device was cool."""
        first_s = min(BURST_S, BURST_SHARE * self.load_s)
        return _level(self._between(0.0, max(first_s, self.windows[2].ends_s)))

    @cached_property
    def plateau(self) -> Level:
        """Seconds of a run in the end: the median."""
        return _level(self._plateau)

    @property
    def plateau_runs_s(self) -> tuple[float, ...]:
        """Single runs in the end, for `profiler.percentile`."""
        return tuple(run_s for window in self._plateau for run_s in window.slice.samples_s)

    @property
    def percentiles(self) -> dict[int, Percentile | None]:
        """Percentiles of the single runs in the end; None for those that need more of them."""
        return {p: percentile(self.plateau_runs_s, p, coverage=COVERAGE) for p in PERCENTS}

    @property
    def status(self) -> Literal["ok", "noisy"]:
        """Whether others left the device alone; `doubts` has the sentences."""
        others = sum(window.slice.gate in ("load", "steal") for window in self.windows)
        return "noisy" if others > DISTURBED_SHARE * len(self.windows) else "ok"

    @cached_property
    def slope_per_min(self) -> Level:
        """How much slower it became in a minute, on average, as a share of the burst."""
        return _slope(self._between(0.0, self.load_s), self.burst.value)

    @property
    def slowdown(self) -> float:
        """How much slower than at first it is in the end, relative."""
        return self.plateau.value / self.burst.value - 1

    @cached_property
    def settled(self) -> bool:
        """Whether the end is flat: the plateau changes by less than `SETTLED`, or by chance."""
        slope = _slope(self._plateau, self.plateau.value)
        minutes = PLATEAU_SHARE * self.load_s / 60
        return abs(slope.value) * minutes < SETTLED or slope.low <= 0.0 <= slope.high

    def doubts(self) -> list[str]:
        """Return the reasons not to trust these figures, each with its cure; none is good."""
        doubts = []
        if not self.settled:
            doubts.append("the end is not flat yet: load it for longer")
        rests = sum(window.slice.gate == "rested" for window in self.windows)
        if rests:
            doubts.append(f"the device could cool in {rests} interruptions: load it anew")
        if self.status == "noisy":
            doubts.append("others were at work in many windows: stop other programs, load it again")
        if any(window.slice.gate == "open" for window in self.windows):
            doubts.append("no gate was held: nobody knows whether others were at work")
        return [*doubts, "from one process only: the intervals are too narrow by 2 to 5 times"]

    @property
    def _plateau(self) -> list[Window]:
        return self._between((1 - PLATEAU_SHARE) * self.load_s, self.load_s)

    def _between(self, start_s: float, end_s: float) -> list[Window]:
        """Return the windows that end in a stretch of time: the calm ones, if they are enough."""
        found = [window for window in self.windows if start_s < window.ends_s <= end_s]
        calm = [window for window in found if window.undisturbed]
        return calm if len(calm) >= DISTURBED_SHARE * len(found) else found


def sustained_from(events: Iterable[Event]) -> Sustained:
    """Return what the events of a load amount to.

    Args:
        events: Of `profiler.whole_models.sustained_load`, from its beginning. Where it was
            interrupted, time goes on as if it had not been.

    Raises:
        ValueError: They hold too few windows.
    """
    return Sustained(windows=tuple(windows_in(events)))


def windows_in(events: Iterable[Event]) -> Iterator[Window]:
    """Yield the windows of a load, see `sustained_from`."""
    before_s = ends_s = 0.0
    for taken, verdict in judged_slices(events):
        if verdict.gate == "rested":  # the first window of a process that went on
            before_s = 0.0
        ends_s += verdict.elapsed_s - before_s
        before_s = verdict.elapsed_s
        yield Window(ends_s=ends_s, slice=taken.slice.judged(verdict.gate))


def _level(windows: Sequence[Window]) -> Level:
    """Return the median of the runs of some windows, and its interval.

    Source:
        Politis and Romano, A circular block-resampling procedure for stationary data, 1992:
        neighbours in time are alike, so stretches of them are drawn again, not single windows.
    """
    runs = [np.array(window.slice.samples_s) for window in windows]
    count, length = len(runs), math.isqrt(len(runs))
    rng = np.random.default_rng(0)  # a statistic of fixed samples must not vary
    draws = []
    for _ in range(BOOTSTRAPS):
        starts = rng.integers(count, size=-(-count // length))
        picked = ((starts[:, None] + np.arange(length)) % count).ravel()[:count]
        draws.append(np.median(np.concatenate([runs[i] for i in picked])))
    center = float(np.median(np.concatenate(runs)))
    low, high = np.quantile(draws, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Level(value=center, low=min(float(low), center), high=max(float(high), center))


def _slope(windows: Sequence[Window], unit_s: float) -> Level:
    """Return the relative change of the latency in a minute.

    Source:
        Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 1968: the median
        of the slopes between all pairs, which a few disturbed windows do not move. Neighbours are
        joined to at most `BLOCKS` points first, since they are alike.
    """
    parts = [part for part in np.array_split(np.arange(len(windows)), BLOCKS) if len(part)]
    if len(parts) < 3:
        return Level(value=0.0, low=-math.inf, high=math.inf)
    minutes = np.array([np.mean([windows[i].ends_s for i in part]) / 60 for part in parts])
    ratios = np.array(
        [median(run for i in part for run in windows[i].slice.samples_s) for part in parts]
    )
    slopes = _pairwise(minutes, ratios / unit_s)
    count = len(parts)
    spread = NormalDist().inv_cdf((1 + COVERAGE) / 2)
    spread *= math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    first = max(0, math.floor((len(slopes) - spread) / 2))
    last = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return Level(value=float(np.median(slopes)), low=float(slopes[first]), high=float(slopes[last]))


def _pairwise(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slopes between all pairs of points, ascending."""
    i, j = np.triu_indices(len(x), k=1)
    return np.sort((y[j] - y[i]) / (x[j] - x[i]))
