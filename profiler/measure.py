"""The measuring loop: the same for every device."""

from dataclasses import dataclass

from devices import LatkitError, Session

MAX_REPEATS = 2**20


class Unmeasurable(LatkitError):
    """A run is too short for the device's clock, however often it is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How time is given to one graph.

    Attributes:
        slice_s: Seconds of samples.
        sample_s: Shortest sample; shorter ones mostly measure the clock.
        warm_window_s: Two such windows must agree before a sample counts.
        warm_limit_s: Seconds after which sampling starts all the same.
        flat: How far the two windows may differ, relative.
    """

    slice_s: float = 0.05
    sample_s: float = 0.002
    warm_window_s: float = 0.005
    warm_limit_s: float = 0.1
    flat: float = 0.02

    def __post_init__(self) -> None:
        if not 0.0 < self.sample_s <= self.slice_s:
            raise ValueError(f"a slice of {self.slice_s} s holds no sample of {self.sample_s} s")


def take_samples(session: Session, pace: Pace) -> tuple[int, tuple[float, ...]]:
    """Warm a session up and time it for one slice.

    In pseudo-code::

        repeats = the first power of two that outlasts sample_s
        until two windows of warm_window_s agree: run            # clocks and caches settle
        until slice_s of samples: samples += time(repeats) / repeats

    Returns:
        Runs behind each sample, and the samples in seconds per run: two or more.

    Raises:
        Unmeasurable: `MAX_REPEATS` runs together take less than ``pace.sample_s``.
    """
    repeats, run_s = _calibrate(session, pace.sample_s)
    _warm_up(session, max(1, round(pace.warm_window_s / run_s)), pace)
    samples: list[float] = []
    elapsed = 0.0
    while elapsed < pace.slice_s or len(samples) < 2:
        seconds = session.time(repeats)
        samples.append(seconds / repeats)
        elapsed += seconds
    return repeats, tuple(samples)


def _calibrate(session: Session, sample_s: float) -> tuple[int, float]:
    """Return how many runs outlast ``sample_s``, and about how long one run takes."""
    session.time(1)  # the first run allocates
    repeats = 1
    # The shorter of two: an interruption must not make one run look long enough.
    while (seconds := min(session.time(repeats), session.time(repeats))) < sample_s:
        repeats *= 2
        if repeats > MAX_REPEATS:
            raise Unmeasurable(
                f"{MAX_REPEATS} runs take less than {sample_s} s: nothing is computed"
            )
    return repeats, seconds / repeats


def _warm_up(session: Session, runs: int, pace: Pace) -> None:
    """Run until two windows in a row take the same time, or the time is up."""
    spent = before = session.time(runs)
    while spent < pace.warm_limit_s:
        now = session.time(runs)
        spent += now
        if abs(now - before) <= pace.flat * before:
            return
        before = now
