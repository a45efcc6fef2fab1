"""What was measured, as it was measured; everything else is derived."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiler.student_t import student_t_quantile

Gate = Literal["open", "clean", "load", "steal", "drift"]
"""What became of a slice's group: not judged, passed, or why it did not pass."""

Status = Literal["ok", "noisy", "bimodal", "throttled"]

WIDE_INTERVAL = 0.05
"""Width of an interval, relative to the latency, above which a measurement is noisy."""

MODES_APART = 0.08
"""Gap in the sorted slices, relative to the median, that makes two modes of them."""

CROWDED = 0.05
"""How much slower than undisturbed half of the runs may be before that is said, relative."""

TRUSTED_SHARE = 0.25
"""Share of slices that must pass the gate; else a graph would stand on one lucky moment, and the
table would mix graphs that had one with graphs that had none."""

BOOTSTRAPS = 200


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
    def disturbed(self) -> bool:
        """Whether too few slices passed the gate to stand for the graph."""
        trusted = sum(piece.trusted for piece in self.slices)
        return trusted < max(1, TRUSTED_SHARE * len(self.slices))

    @property
    def used(self) -> tuple[Slice, ...]:
        """The slices that passed the gate; all of them where too few did."""
        return self.slices if self.disturbed else tuple(s for s in self.slices if s.trusted)

    @property
    def latency_s(self) -> float:
        """Seconds per run on the device left alone: the first decile of the samples that count.

        Whatever else runs on a device only ever slows a network down, so the fast end of the
        samples is the network and the rest is company. On a quiet device decile and median agree.
        """
        return _decile([np.array(piece.samples_s) for piece in self.used])

    @property
    def median_s(self) -> float:
        """Seconds of the middle run: the median of the samples behind `latency_s`."""
        return float(np.median(np.concatenate([piece.samples_s for piece in self.used])))

    @property
    def by_process(self) -> Mapping[int, float]:
        """Process to the latency that it alone would have given, in seconds."""
        return {process: _decile(pieces) for process, pieces in self._samples().items()}

    def interval_s(self, coverage: float = 0.9) -> tuple[float, float]:
        """Return where `latency_s` would lie if the measurement were repeated.

        Processes are drawn again with replacement, then the slices within each, since fresh
        processes differ more than slices of one process do. Few processes drawn again vary less
        than new ones would, so both sides are stretched as Student's t is beside the normal
        distribution. One process alone says nothing of others: that interval is too narrow, and
        `doubts` says so.

        Args:
            coverage: Two-sided, in (0, 1).
        """
        rng = np.random.default_rng(0)  # a statistic of fixed samples must not vary
        groups = list(self._samples().values())
        draws = []
        for _ in range(BOOTSTRAPS):
            picked = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
            again = [
                group[i] for group in picked for i in rng.integers(len(group), size=len(group))
            ]
            draws.append(_decile(again))
        low, high = np.quantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2])
        center, stretch = self.latency_s, _stretch(len(groups), (1 + coverage) / 2)
        # The bootstrap may lie to one side of what was seen; the interval must hold that, too.
        low, high = min(low, center), max(high, center)
        return center - stretch * (center - float(low)), center + stretch * (float(high) - center)

    def _samples(self) -> dict[int, list[NDArray[np.float64]]]:
        """Return the samples of each slice that counts, by process."""
        samples: dict[int, list[NDArray[np.float64]]] = {}
        for piece in self.used:
            samples.setdefault(piece.process, []).append(np.array(piece.samples_s))
        return samples

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
        if self.disturbed:
            slow = all(s.gate == "drift" for s in self.slices if not s.trusted)
            return "throttled" if slow else "noisy"
        low, high = self.interval_s()
        if self.bimodal:
            return "bimodal"
        return "noisy" if high - low > WIDE_INTERVAL * self.latency_s else "ok"

    def doubts(self) -> list[str]:
        """Return the reasons not to trust this measurement, each with its cure; none is good."""
        doubts = []
        low, high = self.interval_s()
        if self.disturbed:
            bad = [piece.gate for piece in self.slices if not piece.trusted]
            causes = ", ".join(sorted(set(bad)))
            doubts.append(
                f"{len(bad)} of {len(self.slices)} slices were disturbed ({causes}): "
                "stop other programs, profile again"
            )
        if high - low > WIDE_INTERVAL * self.latency_s:
            width = (high - low) / self.latency_s
            doubts.append(f"the interval is {width:.0%} wide: measure on a quieter machine")
        if self.median_s > (1 + CROWDED) * self.latency_s:
            slower = self.median_s / self.latency_s - 1
            doubts.append(
                f"half of the runs took {slower:.0%} longer or more: the device is shared"
            )
        if self.bimodal:
            doubts.append("two modes: the clock or the memory placement changes between runs")
        ungated = sum(piece.gate == "open" for piece in self.slices)
        if ungated:
            doubts.append(f"no gate was held for {ungated} of {len(self.slices)} slices")
        if len(self.by_process) < 2:
            doubts.append("from one process only: the interval is too narrow by 2 to 5 times")
        return doubts


def _decile(slices: Sequence[NDArray[np.float64]]) -> float:
    return float(np.quantile(np.concatenate(slices), 0.1))


def _stretch(processes: int, share: float) -> float:
    """Return how much wider an interval from few processes must be than its bootstrap."""
    if processes < 2:
        return 1.0
    ratio = student_t_quantile(share, processes - 1) / NormalDist().inv_cdf(share)
    return ratio * math.sqrt(processes / (processes - 1))
