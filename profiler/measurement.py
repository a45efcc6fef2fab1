"""What was measured, as it was measured; everything else is derived."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiler.intervals import median_interval, pooled_median

Gate = Literal[
    "open", "clean", "load", "steal", "throttle", "drift", "shared", "together", "rested"
]
"""What became of a slice's group: not judged, passed, or why it did not pass. ``shared``: the
device's threads shared a core for a while; ``together``: they had gained nothing from the first
slice on. ``rested`` only under sustained load: the load was interrupted before it, and the device
cooled."""

Status = Literal["ok", "noisy", "bimodal", "throttled"]

WIDE_INTERVAL = 0.05
"""Width of an interval, relative to the latency, above which a measurement is noisy."""

MODES_APART = 0.08
"""Gap in the sorted slices, relative to the median, that makes two modes of them."""

CHANCE_ALONE, CHANCE_KNOWN = 12.0, 7.0
"""How many times as wide as the middle gap the widest must be, by its own gaps and where those of
many others are known. Of values that are normally distributed 1 % have such a gap, by simulation
of 4 to 30."""

UNSTEADY = 0.1
"""How far the device's own speed may wander before that is said: 80 % of the canaries, relative."""

TRUSTED_SHARE = 0.25
"""Share of slices that must pass the gate; else a graph would stand on one lucky moment, and the
table would mix graphs that had one with graphs that had none."""


def trusted(gate: Gate) -> bool:
    """Return whether a verdict leaves nothing to say against what it is on."""
    return gate in ("clean", "open")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A short stretch of time that one graph had to itself.

    Attributes:
        process: Which fresh process took it, from 0.
        round: Which of that process's rounds over all graphs, from 0.
        repeats: Runs behind each sample.
        samples_s: Seconds per run, one for every sample.
        reference_s: Seconds per run of the canary beside each sample; empty where none was timed.
        gate: Whether the group that it belongs to was left alone by others.
    """

    process: int
    round: int
    repeats: int
    samples_s: tuple[float, ...]
    reference_s: tuple[float, ...] = ()
    gate: Gate = "open"

    def __post_init__(self) -> None:
        if not self.samples_s or min(self.samples_s) <= 0.0:
            raise ValueError("a slice needs samples, all longer than the clock's resolution")
        if self.reference_s and len(self.reference_s) != len(self.samples_s):
            raise ValueError(
                f"{len(self.samples_s)} samples have {len(self.reference_s)} canaries beside them"
            )

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against it."""
        return trusted(self.gate)

    def judged(self, gate: Gate) -> "Slice":
        """Return the same samples with the verdict on their group."""
        return replace(self, gate=gate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Two groups of slices, each of a quarter of them or more, and the gap between.

    Attributes:
        gap: The widest that cuts them so, relative to the median of all.
        middle_gap: The median gap between neighbours, relative too.
        slices: How many there are.
    """

    gap: float
    middle_gap: float
    slices: int

    def apart(self, usual: float | None = None) -> bool:
        """Return whether the groups are two modes, and not the chance gap of one.

        Args:
            usual: Middle gap that so many slices of other graphs have; None: of none is known.
        """
        chance = (
            CHANCE_ALONE * self.middle_gap
            if usual is None
            else CHANCE_KNOWN * max(usual, self.middle_gap)
        )
        return self.gap > max(MODES_APART, chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All slices of one graph under one set of conditions.

    Two latencies come of it. `latency_s` is for comparing graphs: the median ratio of a sample to
    the canary beside it, times the canary's median. Where the device's speed wanders, that cancels.
    `median_s` is what the clock said, for whoever must keep a limit. On a steady device they agree.

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
        passed = sum(piece.trusted for piece in self.slices)
        return passed < max(1, TRUSTED_SHARE * len(self.slices))

    @property
    def used(self) -> tuple[Slice, ...]:
        """The slices that passed the gate; all of them where too few did."""
        return self.slices if self.disturbed else tuple(s for s in self.slices if s.trusted)

    @property
    def ratio(self) -> float:
        """Runs of the canary that one run takes: the median over all samples that count."""
        return pooled_median([self._ratios(piece) for piece in self.used])

    @property
    def reference_s(self) -> float:
        """Seconds of the canary's middle run beside those samples; 1 where none was timed."""
        return pooled_median([self._canaries(piece) for piece in self.used])

    def at(self, reference_s: float) -> float:
        """Return seconds per run on a device at the speed where its canary takes ``reference_s``.

        A measurement without a canary is returned as it is.
        """
        return self.ratio * (reference_s if self.paired else 1.0)

    @property
    def paired(self) -> bool:
        """Whether a canary was timed beside every sample."""
        return all(piece.reference_s for piece in self.slices)

    @property
    def latency_s(self) -> float:
        """Seconds per run at the speed that the device had meanwhile."""
        return self.at(self.reference_s)

    @property
    def median_s(self) -> float:
        """Seconds of the middle run, by the clock."""
        return pooled_median([np.array(piece.samples_s) for piece in self.used])

    @property
    def by_process(self) -> Mapping[int, float]:
        """Process to the seconds that it alone would have given, all at the same speed."""
        groups, reference_s = self._by_process(self._ratios), self.reference_s
        return {process: pooled_median(ratios) * reference_s for process, ratios in groups.items()}

    def interval_s(self, coverage: float = 0.9) -> tuple[float, float]:
        """Return where `latency_s` would lie if it were measured again, at the same speed.

        Processes are drawn again with replacement, then the slices within each, since fresh
        processes differ more than slices of one process do. Few processes drawn again vary less
        than new ones would, so both sides are stretched as Student's t is beside the normal
        distribution. One process alone says nothing of others: that interval is too narrow, and
        `doubts` says so.

        Args:
            coverage: Two-sided, in (0, 1).
        """
        low, high = median_interval(list(self._by_process(self._ratios).values()), coverage)
        reference_s = self.reference_s
        return low * reference_s, high * reference_s

    def median_interval_s(self, coverage: float = 0.9) -> tuple[float, float]:
        """Return where `median_s` would lie if it were measured again: `interval_s`, by the clock.

        Args:
            coverage: Two-sided, in (0, 1).
        """
        groups = self._by_process(lambda piece: np.array(piece.samples_s))
        return median_interval(list(groups.values()), coverage)

    def _by_process(
        self, values: Callable[[Slice], NDArray[np.float64]]
    ) -> dict[int, list[NDArray[np.float64]]]:
        """Return values of each slice that counts, by process."""
        groups: dict[int, list[NDArray[np.float64]]] = {}
        for piece in self.used:
            groups.setdefault(piece.process, []).append(values(piece))
        return groups

    def _ratios(self, piece: Slice) -> NDArray[np.float64]:
        """Return ``(samples,)`` runs of the canary that one run takes."""
        return np.array(piece.samples_s) / self._canaries(piece)

    def _canaries(self, piece: Slice) -> NDArray[np.float64]:
        """Return ``(samples,)`` seconds of the canary; 1 unless it was beside all slices."""
        return np.array(piece.reference_s) if self.paired else np.ones(len(piece.samples_s))

    @property
    def modes(self) -> Modes | None:
        """The two groups that the slices fall into best; None of fewer than four."""
        medians = np.sort([pooled_median([self._ratios(piece)]) for piece in self.used])
        count = len(medians)
        if count < 4:
            return None
        quarter, gaps = -(-count // 4), np.diff(medians) / np.median(medians)
        return Modes(
            gap=float(gaps[quarter - 1 : count - quarter].max()),
            middle_gap=float(np.median(gaps)),
            slices=count,
        )

    @property
    def bimodal(self) -> bool:
        """Whether the slices fall into two groups, wider apart than chance would have them."""
        modes = self.modes
        return modes is not None and modes.apart()

    @property
    def wander(self) -> float:
        """How far the device's own speed wandered: from the first to the last decile, relative."""
        canaries = np.concatenate([self._canaries(piece) for piece in self.used])
        low, high = np.quantile(canaries, [0.1, 0.9])
        return float(high / low - 1)

    @property
    def status(self) -> Status:
        """One word on whether to trust it; `doubts` has the sentences."""
        if self.disturbance is not None:
            return self.disturbance
        if self.bimodal:
            return "bimodal"
        low, high = self.interval_s()
        return "noisy" if high - low > WIDE_INTERVAL * self.latency_s else "ok"

    @property
    def disturbance(self) -> Status | None:
        """What disturbed too many of its slices, in one word; None where enough passed the gate."""
        if not self.disturbed:
            return None
        slow = all(s.gate in ("drift", "throttle") for s in self.slices if not s.trusted)
        return "throttled" if slow else "noisy"

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
        if self.wander > UNSTEADY:
            doubts.append(f"the device's speed wandered by {self.wander:.0%}: it is shared")
        if self.bimodal:
            doubts.append("two modes: the clock or the memory placement changes between runs")
        doubts += self._thread_doubts()
        ungated = sum(piece.gate == "open" for piece in self.slices)
        if ungated:
            doubts.append(f"no gate was held for {ungated} of {len(self.slices)} slices")
        if len(self.by_process) < 2:
            doubts.append("from one process only: the interval is too narrow by 2 to 5 times")
        return doubts

    def _thread_doubts(self) -> list[str]:
        """Return what speaks against slices beside which threads gained nothing."""
        doubts = []
        shared = sum(piece.gate == "shared" for piece in self.slices)
        if shared:
            doubts.append(
                f"in {shared} of {len(self.slices)} slices the device's threads shared a core, as "
                "a hypervisor makes them: they do not count, and some runs will be as slow"
            )
        together = sum(piece.gate == "together" for piece in self.slices)
        if together:
            doubts.append(
                f"in {together} of {len(self.slices)} slices the device's threads gained nothing "
                "over one: name CPUs of different cores (affinity), or take a device of one thread"
            )
        return doubts
