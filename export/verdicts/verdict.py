"""What verifying said of a deployment, and everything that it stands on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from devices.backend import EMULATED
from export.figures.model_views import percentile_facts
from export.figures.sustained_file import sustained_facts
from lut import Conditions
from lut.table import is_emulated
from profiler import Measurement, Status, Sustained
from profiler.whole_models.acceptance import Acceptance, Accepted, Block, Decision
from profiler.whole_models.percentiles import Percentile, percentile
from profiler.whole_models.single_runs import SingleRuns

COVERAGE = 0.95
"""Of every interval, and of what has to lie on one side of the limit. Where more is measured while
that is open, it is that of all looks together."""

PERCENTS = (50, 90, 99)
"""Percentiles of single runs that are said, where there are enough."""

_WORST_FIRST: tuple[Decision, ...] = ("missed", "undecided")

EMULATION = "the device is emulated: its numbers are right and its latency is no real one's"
"""What is to be said of every verdict on such a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What verifying said.

    Attributes:
        limit_s: Largest acceptable latency, in seconds.
        predicted_s: What the table had predicted, if any.
        measurement: Every sample.
        conditions: What the measurement depends on.
        parity_max_abs: Largest difference to the stored logits, absolute.
        single_runs: Of each fresh process that took some.
        acceptance: Which percentile has to be within the limit, by those; None for the median.
        differences: What is other than where the model was verified or promised before, one phrase
            each; None where nobody knows of a before.
        looks: How often the measurement may have been looked at while it grew.
        not_kept: Why the bundle does not hold this verdict; empty where it does.
        test_accuracy: Top-1 in [0, 1] on the test split, measured anew; None without its images.
        sustained: Minutes without a pause, at whose end the limit has to hold, too; None for none.
    """

    limit_s: float
    predicted_s: float | None
    measurement: Measurement
    conditions: Conditions
    parity_max_abs: float
    single_runs: tuple[SingleRuns, ...] = ()
    acceptance: Acceptance | None = None
    differences: tuple[str, ...] | None = None
    looks: int = 1
    not_kept: str = ""
    test_accuracy: float | None = None
    sustained: Sustained | None = None

    @property
    def measured_s(self) -> float:
        """Seconds of the middle run in fresh processes, by the clock."""
        return self.measurement.median_s

    @property
    def interval_s(self) -> tuple[float, float]:
        """Where that would lie if all were measured again, however early it was enough."""
        return repeated_interval_s(self.measurement, self.looks)

    @property
    def percentiles(self) -> Mapping[int, Percentile | None]:
        """Percentiles of the single runs, in percent; None for those that need more of them."""
        runs_s = [run_s for part in self.single_runs for run_s in part.runs_s]
        return {p: percentile(runs_s, p, coverage=COVERAGE) for p in PERCENTS}

    @property
    def accepted(self) -> Accepted | None:
        """What the test of the percentile found; None where none was asked for."""
        if self.acceptance is None:
            return None
        return accept(self.acceptance, self.single_runs, limit_s=self.limit_s)

    @property
    def verdict(self) -> Decision:
        """``met`` and ``missed`` only beyond doubt.

        See `decision` and `profiler.whole_models.acceptance`.

        Under sustained load both have to be within the limit, the usual state and the last one.
        """
        accepted = self.accepted
        usual = self._by_median if accepted is None else accepted.decision
        found = {usual, self._in_the_end}
        return next((word for word in _WORST_FIRST if word in found), "met")

    @property
    def _by_median(self) -> Decision:
        return decision(self.limit_s, self.measurement, looks=self.looks)

    @property
    def _in_the_end(self) -> Decision:
        """Whether the limit holds at the end of a sustained load; met where there was none."""
        if self.sustained is None:
            return "met"
        low, high = self._end_interval_s(self.sustained)
        if high <= self.limit_s:
            return "met"
        return "missed" if low > self.limit_s and self.sustained.status == "ok" else "undecided"

    def _end_interval_s(self, sustained: Sustained) -> tuple[float, float]:
        """Return where the median lies in the end, or the percentile that is asked for."""
        if self.acceptance is None:
            return sustained.plateau.low, sustained.plateau.high
        runs_s = sustained.plateau_runs_s
        found = percentile(runs_s, self.acceptance.percent, coverage=COVERAGE)
        return (0.0, math.inf) if found is None else (found.low_s, found.high_s)

    @property
    def line(self) -> str:
        """What is to be said of it in one line; latencies in milliseconds."""
        low, high = (end * 1e3 for end in self.interval_s)
        predicted = self.predicted_s
        said = (
            f"{self.measured_s * 1e3:.4g} ms measured ({low:.4g} to {high:.4g}), "
            f"limit {self.limit_s * 1e3:.4g} ms"
        )
        said += "" if predicted is None else f", predicted {predicted * 1e3:.4g} ms"
        if self.sustained is not None:
            said += f"; {self.sustained.plateau.value * 1e3:.4g} ms under sustained load"
        if self.acceptance is None or self.accepted is None:
            return f"{self.verdict}: {said}"
        return (
            f"{self.verdict}: {self.accepted.slow} of {self.accepted.runs:,} runs in "
            f"{self.accepted.blocks} processes were slower than the limit, "
            f"p{self.acceptance.percent:g} allows {self.acceptance.allowed:.2g} of them; {said}"
        )

    @property
    def met(self) -> bool:
        """Whether the limit is kept beyond doubt."""
        return self.verdict == "met"

    @property
    def same_device(self) -> bool | None:
        """Whether nothing differs from where it was verified before; None where it never was."""
        return None if self.differences is None else not self.differences

    @property
    def status(self) -> Status | Literal["emulated"]:
        """Whether the measurement is to be trusted."""
        return EMULATED if is_emulated(self.conditions) else self.measurement.status

    def doubts(self) -> list[str]:
        """Return the reasons not to trust the latency, each with its cure; none is good."""
        unreal = [EMULATION] if is_emulated(self.conditions) else []
        disturbed = sum(not part.trusted for part in self.single_runs)
        others = f"{disturbed} of {len(self.single_runs)} processes of single runs were disturbed: "
        crowded = [others + "stop other programs, verify again"] if disturbed else []
        loaded = [] if self.sustained is None else self.sustained.doubts()
        unkept = (
            [f"the bundle does not hold this verdict: {self.not_kept}"] if self.not_kept else []
        )
        return unreal + self.measurement.doubts() + crowded + loaded + unkept

    def as_json(self) -> dict[str, Any]:
        """Return plain data; latencies in milliseconds."""
        return {
            "verdict": self.verdict,
            "met": self.met,
            "limit_ms": self.limit_s * 1e3,
            "predicted_ms": None if self.predicted_s is None else self.predicted_s * 1e3,
            "measured_ms": self.measured_s * 1e3,
            "interval_ms": [end * 1e3 for end in self.interval_s],
            "processes": len(self.measurement.by_process),
            "looks": self.looks,
            "percentiles_ms": percentile_facts(self.percentiles),
            "single_runs": sum(len(part.runs_s) for part in self.single_runs),
            "acceptance": self._acceptance_json(),
            "sustained": None if self.sustained is None else sustained_facts(self.sustained),
            "parity_max_abs": self.parity_max_abs,
            "test_accuracy": self.test_accuracy,
            "status": self.status,
            "doubts": self.doubts(),
            "device": self.conditions.device.name,
            "same_device": self.same_device,
            "differences": None if self.differences is None else list(self.differences),
        }

    def _acceptance_json(self) -> dict[str, Any] | None:
        test, accepted = self.acceptance, self.accepted
        if test is None or accepted is None:
            return None
        return {
            "percentile": test.percent,
            "confidence": test.confidence,
            "decision": accepted.decision,
            "runs": accepted.runs,
            "slow_runs": accepted.slow,
            "processes": accepted.blocks,
            "least_processes": test.least_blocks,
            "most_processes": test.most_blocks,
            "for_it": accepted.for_it,
            "against_it": accepted.against_it,
            "decides_at": test.enough,
        }


def accept(
    acceptance: Acceptance, single_runs: tuple[SingleRuns, ...], *, limit_s: float
) -> Accepted:
    """Ask a sequential test whether a percentile of single runs is within a limit.

    Args:
        acceptance: The test.
        single_runs: Of each fresh process, in the order in which they were taken.
        limit_s: Seconds; a slower run is a slow one.
    """
    return acceptance.decide(
        Block(
            slow=sum(run_s > limit_s for run_s in part.runs_s),
            runs=len(part.runs_s),
            trusted=part.trusted,
        )
        for part in single_runs
    )


def decision(limit_s: float, measurement: Measurement, *, looks: int = 1) -> Decision:
    """Compare a measurement with a limit.

    Met: the whole interval is within it.
    Missed: the whole interval is beyond it, in slices that nothing disturbed. Else undecided.

    Args:
        limit_s: Seconds.
        measurement: As it is now.
        looks: How often it is compared while it grows, at most; see `repeated_interval_s`.
    """
    low, high = repeated_interval_s(measurement, looks)
    if high <= limit_s:
        return "met"
    return "missed" if low > limit_s and not measurement.disturbed else "undecided"


def repeated_interval_s(measurement: Measurement, looks: int) -> tuple[float, float]:
    """Return where the median lies, in seconds, so that the intervals of all looks hold together.

    Whoever measures on until an interval excludes the limit is wrong oftener than one interval is:
    so the looks share what one may be wrong (Bonferroni).

    Source:
        Jennison and Turnbull, Interim analyses: the repeated confidence interval approach, Journal
        of the Royal Statistical Society B 51, 1989.
    """
    return measurement.median_interval_s(1.0 - (1.0 - COVERAGE) / looks)
