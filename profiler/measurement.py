"""What was measured, as it was measured; everything else is derived."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import numpy as np

Gate = Literal["open", "clean", "load", "steal", "drift"]
"""What became of a slice's group: not judged, passed, or why it did not pass."""

Status = Literal["ok", "noisy", "bimodal", "throttled"]

WIDE_INTERVAL = 0.05
"""Width of an interval, relative to the median, above which a measurement is noisy."""

MODES_APART = 0.08
"""Gap in the sorted slices, relative to the median, that makes two modes of them."""

BOOTSTRAPS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A short stretch of time that one graph had to itself.

    Attributes:
        process: Which fresh process took it, from 0.
        round: Which of that process's rounds over all graphs, from 0.
        repeats: Runs behind each sample.
        samples_s: Seconds per run, one for every sample.
        gate: Whether the group that it belongs to was left alone by others.
    """

    process: int
    round: int
    repeats: int
    samples_s: tuple[float, ...]
    gate: Gate = "open"

    def __post_init__(self) -> None:
        if not self.samples_s or min(self.samples_s) <= 0.0:
            raise ValueError("a slice needs samples, all longer than the clock's resolution")

    @property
    def median_s(self) -> float:
        """Median of its samples."""
        return median(self.samples_s)

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against it."""
        return self.gate in ("clean", "open")

    def judged(self, gate: Gate) -> "Slice":
        """Return the same samples with the verdict on their group."""
        return replace(self, gate=gate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All slices of one graph under one set of conditions.

    Attributes:
        slices: In the order in which they were taken.
    """

    slices: tuple[Slice, ...]

    def __post_init__(self) -> None:
        if not self.slices:
            raise ValueError("a measurement needs a slice")

    @property
    def used(self) -> tuple[Slice, ...]:
        """The trusted slices; all of them where none is."""
        return tuple(s for s in self.slices if s.trusted) or self.slices

    @property
    def by_process(self) -> Mapping[int, tuple[float, ...]]:
        """Process to the medians of its slices, in seconds."""
        medians: dict[int, list[float]] = {}
        for piece in self.used:
            medians.setdefault(piece.process, []).append(piece.median_s)
        return {process: tuple(values) for process, values in medians.items()}

    @property
    def median_s(self) -> float:
        """Seconds per run: the median over processes of the median over their slices."""
        return median(map(median, self.by_process.values()))

    def interval_s(self, coverage: float = 0.9) -> tuple[float, float]:
        """Return where the median would lie if the measurement were repeated.

        Processes are drawn again with replacement, then the slices within each, since fresh
        processes differ more than slices of one process do.

        Args:
            coverage: Two-sided, in (0, 1).
        """
        rng = np.random.default_rng(0)  # a statistic of fixed samples must not vary
        groups = [np.array(values) for values in self.by_process.values()]
        size = (BOOTSTRAPS, len(groups))
        again = [np.median(rng.choice(values, (*size, len(values))), axis=2) for values in groups]
        picked = rng.integers(len(groups), size=size)
        draws = np.median(np.take_along_axis(np.array(again), picked[None], axis=0)[0], axis=1)
        low, high = np.quantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2])
        return float(low), float(high)

    @property
    def bimodal(self) -> bool:
        """Whether the slices fall into two groups, each of a quarter of them or more."""
        medians = sorted(piece.median_s for piece in self.used)
        if len(medians) < 4:
            return False
        quarter = -(-len(medians) // 4)
        gaps = np.diff(medians)[quarter - 1 : len(medians) - quarter]
        return bool(gaps.size and gaps.max() > MODES_APART * median(medians))

    @property
    def status(self) -> Status:
        """One word on whether to trust it; `doubts` has the sentences."""
        if any(piece.trusted for piece in self.slices):
            low, high = self.interval_s()
            if self.bimodal:
                return "bimodal"
            return "noisy" if high - low > WIDE_INTERVAL * self.median_s else "ok"
        return "throttled" if all(s.gate == "drift" for s in self.slices) else "noisy"

    def doubts(self) -> list[str]:
        """Return the reasons not to trust this measurement, each with its cure; none is good."""
        doubts = []
        low, high = self.interval_s()
        if not any(piece.trusted for piece in self.slices):
            causes = ", ".join(sorted({piece.gate for piece in self.slices}))
            doubts.append(
                f"every slice was disturbed ({causes}): stop other programs, profile again"
            )
        if high - low > WIDE_INTERVAL * self.median_s:
            width = (high - low) / self.median_s
            doubts.append(f"the interval is {width:.0%} wide: measure on a quieter machine")
        if self.bimodal:
            doubts.append("two modes: the clock or the memory placement changes between runs")
        if len(self.by_process) < 2:
            doubts.append("from one process only: the interval is too narrow by 2 to 5 times")
        return doubts
