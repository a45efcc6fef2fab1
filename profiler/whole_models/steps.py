"""Hardware steps: channel counts at which latency jumps, and between which channels are free.

Vector units take 8, 16 or more channels at a time, and runtimes pad what is left over. So latency
over channels is a staircase, and a width below the top of its step pays for channels that it does
not have. How high the steps are is measured, for each kind of operator, in context: what a runtime
does at the edges of an operator that stands alone is none of its steps.

**The rule.** With ``T(c)`` the latency at ``c`` channels, ``p`` is a step if for the multiples
``t`` of ``p`` and the widths ``c`` that were measured in the lower half of the step below each,
``t - p < c <= t - p / 2``, on the average::

    T(t) - T(c)  <  LEFT * (T(t) - T(t - p))

that is, if less than a quarter of the climb from one top to the next is left to do, and more is
certain at none of them. On a true staircase nothing is left. Where latency rises evenly, and where
the true step is a half of ``p`` or less, half of the climb or more is left at all of these widths,
whatever the height of the climb: no tolerance in seconds has to be chosen. A width that is
certainly slower than the top (runtimes treat odd widths badly) counts as one where nothing is left:
to go to the top costs nothing there either. The steps have to climb: where latency does not depend
on channels, no step is proven.

**How sure.** The difference of both sides, relative to ``T(t)``, is averaged over the widths in
each fresh process, and its upper confidence bound over processes, by Student's t, must lie below
`-MARGIN`. So a ``p`` that is no step passes with a probability of at most ``1 - confidence``. Of
latencies that are nothing but noise 3 % show any step at most, as this module's test counts. Steps
that are neither proven nor refuted (that more than `TOO_MUCH` is left is as certain) are listed as
open. Refused widths are left out; a ``p`` without a width within its steps is no candidate.

An average is enough because vector units do not change from width to width. Demanded of every width
alone, as it was before, steps of 16 channels went unfound in three of four sweeps of a noisy
machine, on which networks showed them plainly.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from devices import DeviceSpec
from profiler.campaigns.measure import Pace
from profiler.campaigns.together import Together, measure_together
from profiler.measurement import Measurement
from profiler.operators.ops import Chain, Conv, MBConv, Pool
from profiler.student_t import student_t_quantile

PERIODS = (2, 4, 8, 16, 32, 64)
"""Steps that are looked for; powers of two, as vector units are."""

LEFT = 1 / 4
"""Share of a climb that may be left within a step: a staircase leaves nothing, an even climb half
or more. A whole inverted bottleneck leaves a third below every 16 channels where its layers leave
nothing, since its insides have steps of their own: that is not free."""

TOO_MUCH = LEFT / 2
"""Share from which on, if it is certain that more is left, a staircase is out of the question."""

MARGIN = 0.001
"""Share of the latency by which a proof must not be missed: smaller steps are not worth knowing."""

CONFIDENCE = 0.99
"""Of each period that is called a step."""

SLOWER = 0.95
"""How sure it must be that a width is slower than its top."""

FEWEST_PROCESSES = 3
"""Processes that must have timed a width and both tops; fewer say nothing of their spread."""

WIDTHS = (32, 33, 34, 36, 40, 44, 48, 52, 56, 60, 62, 63, 64, 80, 96, 128)
"""Channels that are measured: tops of every period, and what lies within the steps of each.

Few channels, where a step is a large share of the latency and can be seen through noise.
"""

ROUNDS = 2
"""Slices of every width in each process."""

PATIENCE = 4
"""How many times as many processes as asked for there are at most, while a step is open. A step of
16 channels is 15 to 25 % of a latency, and one process in a neighbourhood is off by 8 %."""

SIDE, FIXED, NARROW = 28, 64, 16
"""Pixels, channels of the other end of an operator, and channels of its neighbours.

Neighbours are narrow, so that most of what is timed is the operator; they have whole vectors.
"""


def conv_out(channels: int, *, batch: int) -> Chain:
    """Return a 1x1 convolution to so many channels, between its neighbours."""
    first = Conv(input_shape=(batch, NARROW, SIDE, SIDE), channels=FIXED, activation="relu")
    op = Conv(input_shape=first.output_shape, channels=channels, activation="relu")
    return (first, op, Pool(input_shape=op.output_shape))


def conv_in(channels: int, *, batch: int) -> Chain:
    """Return a 1x1 convolution from so many channels, between its neighbours."""
    first = Conv(input_shape=(batch, NARROW, SIDE, SIDE), channels=channels, activation="relu")
    op = Conv(input_shape=first.output_shape, channels=FIXED, activation="relu")
    return (first, op, Pool(input_shape=op.output_shape))


def depthwise(channels: int, *, batch: int) -> Chain:
    """Return a depthwise convolution of so many channels, between its neighbours."""
    first = Conv(input_shape=(batch, NARROW, SIDE, SIDE), channels=channels, activation="relu")
    op = MBConv(input_shape=first.output_shape, channels=NARROW, kernel=5, expand=1)
    return (first, op, Pool(input_shape=op.output_shape))


def mbconv(channels: int, *, batch: int) -> Chain:
    """Return a whole inverted bottleneck of so many channels, six times as many inside."""
    first = Conv(input_shape=(batch, NARROW, SIDE, SIDE), channels=channels)
    op = MBConv(input_shape=first.output_shape, channels=channels, expand=6)
    return (first, op, Pool(input_shape=op.output_shape))


Kind = Literal["conv_out", "conv_in", "depthwise", "mbconv"]

KINDS: dict[Kind, Callable[..., Chain]] = {
    "conv_out": conv_out,
    "conv_in": conv_in,
    "depthwise": depthwise,
    "mbconv": mbconv,
}
"""What is swept: the widths that a designer of networks chooses."""

LAYERS: tuple[Kind, ...] = ("conv_out", "conv_in", "depthwise")
"""Kinds of one width each. Where every width is rounded by itself, these say how far."""


Found: TypeAlias = Mapping[int, float]
"""Process to the seconds that it found at one width."""

Place: TypeAlias = tuple[Found, Found, Found]
"""What was found at the top of a step below, at a width within the next step, and at its top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far apart latency jumps.

    Attributes:
        period: Channels from one top to the next; 1: there are no steps, or none was proven.
        open: Larger periods that were neither proven nor refuted.
    """

    period: int
    open: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)  # no slots: the step is cached on the instance
class Sweep:
    """One kind of operator over its channels.

    Attributes:
        kind: Which.
        measured: Channels to what they took.
    """

    kind: Kind
    measured: Mapping[int, Measurement]

    @cached_property
    def step(self) -> Step:
        """The step of this kind, see `find_step`."""
        return find_step({width: each.by_process for width, each in self.measured.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareSteps:
    """The steps of a device.

    Attributes:
        sweeps: One for each kind.
        device_s: Seconds of device time that they took.
    """

    sweeps: tuple[Sweep, ...]
    device_s: float

    def common(self, kinds: tuple[Kind, ...] = tuple(KINDS)) -> int:
        """Return the largest step that all of these kinds have: every other one divides it."""
        return min(sweep.step.period for sweep in self.sweeps if sweep.kind in kinds)


def top_of_step(channels: int, step: int) -> int:
    """Return the most channels that cost no more than these."""
    return -(-channels // step) * step


def find_step(latency_s: Mapping[int, Found], *, confidence: float = CONFIDENCE) -> Step:
    """Find the largest period that is proven, by the rule of this module.

    Args:
        latency_s: Channels to the seconds that each process found.
        confidence: In (0.5, 1), of each period that is called a step.
    """
    proven, undecided = 1, []
    for period in PERIODS:
        places = list(_within(latency_s, period))
        if not places:
            continue
        any_place = 1 - (1 - confidence) / len(places)  # one of many suffices to refute
        objections = [_bounds([p], allowed=LEFT, confidence=any_place)[0] for p in places]
        _, most = _bounds(places, allowed=LEFT, confidence=confidence)
        least, _ = _bounds(places, allowed=TOO_MUCH, confidence=confidence)
        if max(objections) > MARGIN:
            continue
        if most < -MARGIN:
            proven = period
        elif least <= MARGIN:
            undecided.append(period)
    return Step(period=proven, open=tuple(p for p in undecided if p > proven))


def _within(latency_s: Mapping[int, Found], period: int) -> Iterator[Place]:
    """Yield what was found at the top of the step below, in a lower half, and at its own top."""
    for width, within in latency_s.items():
        top = top_of_step(width, period)
        lower = top - period < width <= top - period // 2
        if lower and top in latency_s and top - period in latency_s:
            slower = _bounded(_relative(within, latency_s[top]), SLOWER)[0] > MARGIN
            yield latency_s[top - period], latency_s[top] if slower else within, latency_s[top]


def _relative(one: Found, other: Found) -> Found:
    """Return by which share one is slower than another, in each process that timed both."""
    return {process: one[process] / other[process] - 1 for process in one.keys() & other.keys()}


def _bounds(places: list[Place], *, allowed: float, confidence: float) -> tuple[float, float]:
    """Return bounds of what is left of climbs beyond a share of them, relative to the tops."""
    excess: dict[int, list[float]] = {}
    for below, within, top in places:
        for p in below.keys() & within.keys() & top.keys():
            left, climb = 1 - within[p] / top[p], 1 - below[p] / top[p]
            excess.setdefault(p, []).append(left - allowed * climb)
    whole = {p: sum(found) / len(found) for p, found in excess.items() if len(found) == len(places)}
    return _bounded(whole, confidence)


def _bounded(found: Found, confidence: float) -> tuple[float, float]:
    """Return where the mean over processes lies, each bound with this confidence."""
    values = np.array([found[process] for process in sorted(found)])
    if len(values) < FEWEST_PROCESSES:
        return -math.inf, math.inf
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    spread = student_t_quantile(confidence, len(values) - 1) * error
    return float(values.mean()) - spread, float(values.mean()) + spread


def measure_steps(
    device: DeviceSpec,
    *,
    processes: int,
    pace: Pace | None = None,
    on_process: Callable[[int], None] = lambda _: None,
) -> HardwareSteps:
    """Sweep all kinds of operators over their channels, interleaved in one campaign.

    Args:
        device: Where.
        processes: Fresh processes at least; fewer than `FEWEST_PROCESSES` prove nothing. While a
            step is open there are more, up to `PATIENCE` times as many.
        pace: Time for each slice; None for the usual.
        on_process: Called with the number of processes done.

    Raises:
        Unmeasurable: The device can run none of the operators.
        ProcessDied: A process crashed.
    """
    chains = {
        (kind, width): build(width, batch=device.batch)
        for kind, build in KINDS.items()
        for width in WIDTHS
    }

    def steps_in(found: Together[Chain]) -> HardwareSteps:
        rows: dict[Kind, dict[int, Measurement]] = {kind: {} for kind in KINDS}
        for (kind, width), chain in chains.items():
            if chain in found.measured:
                rows[kind][width] = found.measured[chain]
        sweeps = tuple(Sweep(kind=kind, measured=measured) for kind, measured in rows.items())
        return HardwareSteps(sweeps=sweeps, device_s=found.device_s)

    found = measure_together(
        list(chains.values()),
        device,
        processes=processes,
        most=PATIENCE * processes,
        rounds=ROUNDS,
        pace=pace,
        enough=lambda found: not any(sweep.step.open for sweep in steps_in(found).sweeps),
        on_process=on_process,
    )
    return steps_in(found)
