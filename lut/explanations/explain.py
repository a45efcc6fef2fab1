"""Why a network takes another time than its table predicts: the gap, split into causes.

With ``f`` the calibration of the table, ``S`` the sum of the network's operators as the table has
them, ``S'`` their sum and ``M`` the network measured now, both at the speed of the table::

    predicted      f(S)
    speed          clock - M               by the canary: the device as a whole
    calibration    how far the table's networks next to this one are off ``f``, each left out of it
    state          how much longer some of those take now than then, at the same speed
    operators      f(S' / s) - f(S)        ``s``: what the operators of those networks changed by
    measured       clock

A calibration allows for what usual networks have beside their operators: stem and head, weights out
of the caches, fusion between blocks. Having those explains no gap; having more of them than other
networks does. So let ``g`` be a line through other networks, fitted to sums that are measured now
as ``f`` was to those of the table; ``M - g(S')`` is what this network has more than they, and a
cause is what makes that disappear for the network, the others and all operators alike::

    cold weights   g(C) - g(S')            ``C``: operators side by side in one graph, which finds
                                           weights where a network does
                                           (`profiler.operators.medley`)
    layout         what M - g(C) has more than without it: at a lower level of optimisation
    fusion         what that has more than without fusion either: at a still lower level
    threads        what M - g(C) has more than on one thread

Where all runs at another speed, that is compared by its share of ``M``.

A cause that cannot be told from nothing, or is not worth telling, counts as nothing and stays in
what is left. What is left is noise if it cannot be told from nothing either, as uncertain as this
measurement and the predictions of neighbours together; else it is a rest. So the parts always add
up to the gap.

A size is evidence, not a proof. A misfit that takes the same seconds however slow everything is has
a smaller share without optimisation, and counts for layout. Operators side by side read their
inputs from memory, too, which a network's do not; most of that the others have as well. Causes that
act together are counted twice or not at all, and the rest takes that back. And whether a row of the
table was noise, or was right and the device has changed, nothing measured now can tell.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from devices import LatkitError
from lut.calibration import latency_model
from lut.explanations.counterfactuals import Case, Scene, counterfactuals, measure_scene
from lut.explanations.terms import (
    CURVE,
    THEN,
    USUAL,
    Series,
    Terms,
    change,
    speed_of,
    terms_away,
    terms_in,
    terms_of_table,
    uncertain,
)
from lut.fill import current_conditions
from lut.spread import Uncertain, total
from profiler import COVERAGE, Measurement, Skip

PROCESSES, FEWER_PROCESSES = 5, 4
"""Fresh processes for what is explained, and for every counterfactual."""

WORTH_TELLING = 0.01
"""Share of the latency below which a cause does not count: even on a quiet machine fresh processes
differ by more, and of many causes one or the other seems to be certain by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One cause of a gap.

    Attributes:
        cause: In a word or two.
        seconds: What it counts for; 0 where it cannot be told from nothing.
        interval_s: Where what was found would lie if it were found again; None if unknown.
        evidence: What was run, and what it said.
    """

    cause: str
    seconds: float
    interval_s: tuple[float, float] | None
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A gap between predicted and measured latency, split.

    Attributes:
        sum_s: Seconds of the network's operators as the table has them, without calibration.
        predicted_s: Seconds that the table predicts.
        predicted_interval_s: Where it says that the measured seconds should lie.
        measurement: The network, now.
        parts: They add up to the gap.
        differences: Conditions that are not those of the table, one phrase each.
    """

    sum_s: float
    predicted_s: float
    predicted_interval_s: tuple[float, float]
    measurement: Measurement
    parts: tuple[Part, ...]
    differences: tuple[str, ...] = ()

    @property
    def measured_s(self) -> float:
        """Seconds of the middle run now, by the clock."""
        return self.measurement.median_s

    @property
    def measured_interval_s(self) -> tuple[float, float]:
        """Where that would lie if it were measured again."""
        return self.measurement.median_interval_s(COVERAGE)

    @property
    def gap_s(self) -> float:
        """Measured minus predicted."""
        return self.measured_s - self.predicted_s

    @property
    def within_noise(self) -> bool:
        """Whether the measurement, made again, might say just what was predicted."""
        low, high = self.measured_interval_s
        return low <= self.predicted_s <= high

    @property
    def as_promised(self) -> bool:
        """Whether the interval of the prediction holds what was measured."""
        low, high = self.predicted_interval_s
        return low <= self.measured_s <= high

    @property
    def noise_s(self) -> float:
        """What counts for noise."""
        return next((part.seconds for part in self.parts if part.cause == "noise"), 0.0)

    @property
    def largest(self) -> Part | None:
        """The part that counts most beside noise; None where none counts."""
        told = [part for part in self.parts if part.seconds and part.cause != "noise"]
        return max(told, key=lambda part: abs(part.seconds), default=None)

    def doubts(self) -> list[str]:
        """Return the reasons not to trust the explanation; none is good."""
        changed = [f"other conditions than the table's: {each}" for each in self.differences]
        return changed + self.measurement.doubts()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """What a cause may count for, before it is known whether it can be told from nothing.

    Attributes:
        name: In a word or two.
        here: Seconds in the scene of the device as it is.
        also: Independent terms, by name, and how often they are added to that.
        evidence: What was run, and what it said.
    """

    name: str
    here: Series
    evidence: str
    also: Mapping[str, int] = field(default_factory=dict)

    def size(self, terms: Mapping[str, Uncertain]) -> Uncertain:
        """Return its seconds; processes of one scene are paired, other terms are independent."""
        parts = [uncertain(self.here), *(terms[name].times(n) for name, n in self.also.items())]
        return total(sum(part.value for part in parts), parts)


def explain_network(case: Case, *, on_step: Callable[[int], None] = lambda _: None) -> Explanation:
    """Measure what there is to know about a gap, on the table's device, and split it.

    Args:
        case: The network, and the table that predicted it.
        on_step: Called with the number of fresh processes done, of `explain_steps`.

    Raises:
        MissingLatency: The table lacks operators of the space.
        NotCalibrated: It lacks whole networks of the space.
        DeviceUnavailable: The device is not usable here.
        Unmeasurable: The device cannot run the network.
        ProcessDied: A process crashed.
    """
    latency_model(case.table, case.space)  # complain of a poor table before a minute is spent
    device = case.table.conditions.device
    differences = case.table.conditions.differences(current_conditions(device))
    base = measure_scene(case, device, processes=PROCESSES, on_process=on_step)
    scenes: dict[str, Scene | str] = {}
    for number, each in enumerate(counterfactuals(device)):
        done = PROCESSES + FEWER_PROCESSES * number

        def on_process(process: int, done: int = done) -> None:
            on_step(done + process)

        try:
            scenes[each.cause] = measure_scene(
                case, each.device, processes=FEWER_PROCESSES, on_process=on_process
            )
        except LatkitError as error:  # one cause less, and the others still stand
            scenes[each.cause] = str(error)
    return explain(case, base, scenes, differences=differences)


def explain_steps(case: Case) -> int:
    """Return how many fresh processes `explain_network` starts."""
    return PROCESSES + FEWER_PROCESSES * len(counterfactuals(case.table.conditions.device))


def explain(
    case: Case,
    base: Scene,
    scenes: Mapping[str, Scene | str],
    *,
    differences: Sequence[str] = (),
) -> Explanation:
    """Split the gap between predicted and measured latency; nothing is measured here.

    Args:
        case: The network, and the table that predicted it.
        base: What was timed on the device as it is.
        scenes: Cause of a counterfactual (see `counterfactuals`) to what was timed then, or why it
            could not be.
        differences: Conditions that are not those of the table.

    Raises:
        MissingLatency: The table lacks operators of the space.
        NotCalibrated: It lacks whole networks of the space.
    """
    model = latency_model(case.table, case.space)
    prices = model.price(np.array([case.choices]), coverage=COVERAGE)
    predicted_s = float(prices.latency_s[0])
    measurement = base.networks[case.network]
    speed_s = speed_of(case, base)
    here = terms_in(case, base, speed_s=speed_s)
    terms = terms_of_table(case, predicted_s=predicted_s)
    terms |= terms_away(case, scenes, network_s=float(here.network[0]))
    causes = [
        *_causes_here(case, here, predicted_s, measurement.reference_s / speed_s),
        *_causes_between(case, here),
        *_causes_away(case, here, terms),
    ]
    found = [cause for cause in causes if _counted(cause.size(terms), measurement)]
    left = _Cause(
        name="rest",
        here=here.clock - predicted_s - sum(cause.here for cause in found),
        also=_opposite(found) | {USUAL: 1},
        evidence="what these causes leave, beyond noise",
    )
    parts = (
        *(_part(cause, cause.size(terms), measurement) for cause in causes),
        *_not_run(case, scenes),
        *_what_is_left(case, left, left.size(terms), measurement=measurement, clock=here.clock),
    )
    return Explanation(
        sum_s=case.table_sum_s,
        predicted_s=predicted_s,
        predicted_interval_s=(float(prices.low_s[0]), float(prices.high_s[0])),
        measurement=measurement,
        parts=parts,
        differences=tuple(differences),
    )


def _causes_here(case: Case, here: Terms, predicted_s: float, slower: float) -> list[_Cause]:
    """Return the causes that other networks have, too: speed, calibration, state."""
    nothing = np.zeros_like(here.clock)
    off = case.neighbours_off
    return [
        _Cause(
            name="speed",
            here=here.clock - here.network,
            evidence=f"the canary beside it takes {slower - 1:+.1%} against the table's",
        ),
        _Cause(
            name="calibration",
            here=nothing,
            also={CURVE: 1},
            evidence=f"the {len(off)} networks of the table next to it were {np.mean(off):+.1%} "
            "off its curve",
        ),
        _Cause(
            name="state",
            here=predicted_s * (here.networks - 1),
            also={THEN: 1},
            evidence=f"{len(case.near)} of those again: {here.networks[0] - 1:+.1%} against then, "
            "at the same speed",
        ),
    ]


def _causes_between(case: Case, here: Terms) -> list[_Cause]:
    """Return the causes that show between the network and its operators."""
    mine, theirs = change(here.rows[0], case.table_sum_s), here.rows_elsewhere[0]
    ops = {op for op in case.operators(case.network) if not isinstance(op, Skip)}
    return [
        _Cause(
            name="operators",
            here=case.curve(here.rows / here.rows_elsewhere)
            - case.curve(np.array([case.table_sum_s])),
            evidence=f"its {len(ops)} in context again: {mine - 1:+.1%}; those of the others: "
            f"{theirs - 1:+.1%}",
        ),
        _Cause(
            name="cold weights",
            here=here.cold_line - here.line,
            evidence=f"its operators side by side in one graph: {here.cold[0] - 1:+.1%}; those of "
            f"the others: {here.cold_elsewhere[0] - 1:+.1%}",
        ),
    ]


def _causes_away(case: Case, here: Terms, terms: Mapping[str, Uncertain]) -> list[_Cause]:
    """Return the causes that were taken away, one after the other or each for itself."""
    causes = []
    for each in counterfactuals(case.table.conditions.device):
        if each.cause not in terms or (each.after and each.after not in terms):
            continue
        own = np.zeros_like(here.own) if each.after else here.own
        also = {each.after: 1, each.cause: -1} if each.after else {each.cause: -1}
        evidence = f"network, others and operators again {each.what}"
        causes.append(_Cause(name=each.cause, here=own, also=also, evidence=evidence))
    return causes


def _not_run(case: Case, scenes: Mapping[str, Scene | str]) -> list[Part]:
    """Return the causes that nothing is known of, and why."""
    whys = {name: f"not run: {why}" for name, why in scenes.items() if isinstance(why, str)}
    for each in counterfactuals(case.table.conditions.device):
        if each.after in whys and each.cause not in whys:
            whys[each.cause] = f"not known, since {each.after} is not"
    return [
        Part(cause=name, seconds=0.0, interval_s=None, evidence=why) for name, why in whys.items()
    ]


def _opposite(causes: Sequence[_Cause]) -> dict[str, int]:
    """Return the independent terms of what is left when causes are subtracted."""
    also: Counter[str] = Counter()
    for cause in causes:
        also.subtract(cause.also)
    return dict(also)


def _counted(size: Uncertain, measurement: Measurement) -> float:
    """Return the seconds of what can be told from nothing, else 0."""
    least_s = max(size.half_width(1 - COVERAGE), WORTH_TELLING * measurement.median_s)
    return size.value if abs(size.value) > least_s else 0.0


def _interval_s(center_s: float, size: Uncertain) -> tuple[float, float] | None:
    if math.isinf(size.variance):
        return None
    half_s = size.half_width(1 - COVERAGE)
    return center_s - half_s, center_s + half_s


def _part(cause: _Cause, size: Uncertain, measurement: Measurement) -> Part:
    return Part(
        cause=cause.name,
        seconds=_counted(size, measurement),
        interval_s=_interval_s(size.value, size),
        evidence=cause.evidence,
    )


def _what_is_left(
    case: Case, left: _Cause, size: Uncertain, *, measurement: Measurement, clock: Series
) -> tuple[Part, Part]:
    """Return noise and rest: what is left is one of the two."""
    rest = _part(left, size, measurement)
    low_ms, high_ms = clock[1:].min() * 1e3, clock[1:].max() * 1e3
    usual = float(np.std(case.neighbours_off, ddof=1))
    noise = Part(
        cause="noise",
        seconds=size.value - rest.seconds,
        interval_s=_interval_s(0.0, size),
        evidence=f"{len(clock) - 1} fresh processes: {low_ms:.4g} to {high_ms:.4g} ms by the "
        f"clock; predictions of its neighbours: {usual:.1%} off",
    )
    return noise, rest
