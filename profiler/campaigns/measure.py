"""The measuring loop: the same for every device.

Who shares a machine is slowed down and let go within tenths of a second. So every sample has a
canary beside it: a fixed graph, timed right before and right after. What slows down both cancels in
their ratio, which spreads a third as much as the seconds do (docs/results.md).

The canary also throws what is timed out of the caches. A network is run again before each sample,
since that is how it will be used. An operator is not: in a network, all the others run between two
of its runs, and their weights displace its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from devices import LatkitError, Session

MAX_REPEATS = 2**20

FEWEST_SAMPLES = 4
"""Samples of a slice at least, however long a run takes."""

COLD_SAMPLES = 6
"""Samples of a slice that are single runs with cold weights."""


class Unmeasurable(LatkitError):
    """A run is too short for the device's clock, however often it is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How time is given to one graph.

    Attributes:
        slice_s: Seconds of samples; the canary beside them takes as long again at most.
        sample_s: Shortest sample, the canary's too; shorter ones mostly measure the clock.
        warm_window_s: Two such windows must agree before a sample counts.
        warm_limit_s: Seconds after which sampling starts all the same.
        flat: How far the two windows may differ, relative.
    """

    slice_s: float = 0.012
    sample_s: float = 0.002
    warm_window_s: float = 0.003
    warm_limit_s: float = 0.05
    flat: float = 0.05

    def __post_init__(self) -> None:
        if not 0.0 < self.sample_s <= self.slice_s:
            raise ValueError(f"a slice of {self.slice_s} s holds no sample of {self.sample_s} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What one slice gave.

    Attributes:
        repeats: Runs behind each sample.
        samples_s: Seconds per run.
        reference_s: Seconds per run of the canary beside each sample; empty without a canary.
    """

    repeats: int
    samples_s: tuple[float, ...]
    reference_s: tuple[float, ...]


class Reference:
    """The canary: a session that is timed again and again, always in the same way.

    Args:
        session: A fixed graph, warm.
        pace: Its samples outlast ``pace.sample_s / 2``.
    """

    def __init__(self, session: Session, pace: Pace) -> None:
        self._session = session
        self._repeats, _, _ = _calibrate(session, pace.sample_s / 2)

    def time(self) -> float:
        """Return seconds per run, now."""
        self._session.time(1)  # its weights are out of the caches
        return self._session.time(self._repeats) / self._repeats


def take_samples(session: Session, pace: Pace, canary: Reference | None = None) -> Samples:
    """Warm a session up and time it for one slice.

    In pseudo-code::

        repeats = the first power of two that outlasts sample_s, twice
        until two windows in a row agree: run                    # clocks and caches settle
        until slice_s of samples: canary; samples += time(repeats) / repeats; canary

    Args:
        session: What to time.
        pace: How long.
        canary: What to time beside it.

    Raises:
        Unmeasurable: `MAX_REPEATS` runs together take less than ``pace.sample_s``.
    """
    repeats, first_s, then_s = _calibrate(session, pace.sample_s)
    if abs(then_s - first_s) > pace.flat * first_s:  # else it was warm before we knew how long
        _warm_up(session, max(1, round(pace.warm_window_s / then_s)), pace)
    samples: list[float] = []
    canaries = [canary.time()] if canary else []
    elapsed = 0.0
    while elapsed < pace.slice_s or len(samples) < FEWEST_SAMPLES:
        if canary and repeats > 1:  # short runs feel what the canary left in the caches
            session.time(1)
        seconds = session.time(repeats)
        samples.append(seconds / repeats)
        elapsed += seconds
        if canary:
            canaries.append(canary.time())
    return Samples(repeats=repeats, samples_s=tuple(samples), reference_s=_beside(canaries))


def take_cold_samples(session: Session, canary: Reference) -> Samples:
    """Time single runs, each after one of the canary has displaced the weights.

    Args:
        session: What to time.
        canary: What to time beside it.

    Raises:
        Unmeasurable: A run takes no time by the device's clock.
    """
    session.time(1)  # the first run allocates
    session.time(1)
    samples: list[float] = []
    canaries = [canary.time()]
    for _ in range(COLD_SAMPLES):
        samples.append(session.time(1))
        canaries.append(canary.time())
    if min(samples) <= 0.0:
        raise Unmeasurable("a run takes no time: nothing is computed")
    return Samples(repeats=1, samples_s=tuple(samples), reference_s=_beside(canaries))


def _beside(canaries_s: Sequence[float]) -> tuple[float, ...]:
    """Return the canary beside each sample: the mean of the one before and the one after."""
    return tuple((before + after) / 2 for before, after in pairwise(canaries_s))


def _calibrate(session: Session, sample_s: float) -> tuple[int, float, float]:
    """Return how many runs outlast ``sample_s``, and how long one took in two such windows."""
    session.time(1)  # the first run allocates
    repeats = 1
    # The shorter of two: an interruption must not make one run look long enough.
    while min(windows := (session.time(repeats), session.time(repeats))) < sample_s:
        repeats *= 2
        if repeats > MAX_REPEATS:
            raise Unmeasurable(
                f"{MAX_REPEATS} runs take less than {sample_s} s: nothing is computed"
            )
    first_s, then_s = windows
    return repeats, first_s / repeats, then_s / repeats


def _warm_up(session: Session, runs: int, pace: Pace) -> None:
    """Run until two windows in a row take the same time, or the time is up."""
    spent = before = session.time(runs)
    while spent < pace.warm_limit_s:
        now = session.time(runs)
        spent += now
        if abs(now - before) <= pace.flat * before:
            return
        before = now
