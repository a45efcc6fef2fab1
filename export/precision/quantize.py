"""A network in integers that is as accurate as asked: which ranges, and which layers stay floats.

Every choice is made by accuracy on the validation split, images that were held out of training and
of calibration; nothing here sees the test split. As the best of several tries there, what is chosen
looks a little better than it is: what it is worth is measured on the test split, by the export.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import DeviceSpec, Graph, device_named
from devices.onnx_runtime.quantization_ranges import RULES, RangeRule
from export.logits import arithmetic_of, full_batches, logits_on, loss_of, said_of
from export.precision.against_floats import Agreement, agreement
from search.images.data import Split

Array = NDArray[np.float32]

MAX_DROP_POINTS = 0.5
"""Points of top-1 that integers may cost, if nobody says."""

JUDGED_IMAGES = 5_000
"""Images of the validation split that choices are made by, at most."""

SENSITIVITY_IMAGES = 64
"""Calibration images by which layers are put in order."""

MOST_FLOAT = 0.5
"""Share of the layers that may stay in floats: beyond it, little is left of the integers' speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One way to quantise a network, and what it costs.

    Attributes:
        rule: How ranges follow from calibration.
        floats: Layers that stay in floats.
        held_out: Against the network in fp32, on the validation split.
        loss_rise: Nats that the mean cross-entropy is higher there.
    """

    rule: RangeRule
    floats: tuple[str, ...]
    held_out: Agreement
    loss_rise: float

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "ranges": self.rule,
            "kept_float": len(self.floats),
            "drop_points": self.held_out.drop_points,
            "loss_rise": self.loss_rise,
            "agreement": self.held_out.agreement,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """A network in integers, and how it was chosen.

    Attributes:
        graph: The network.
        chosen: What it is.
        tried: All that was, in order.
        max_drop_points: What it was to cost at most.
    """

    graph: Graph
    chosen: Try
    tried: tuple[Try, ...]
    max_drop_points: float

    @property
    def met(self) -> bool:
        """Whether it costs no more than allowed, on the validation split."""
        return self.chosen.held_out.drop_points <= self.max_drop_points

    def shortfall(self) -> str:
        """Return one line on the best that was found; empty where that is enough."""
        if self.met:
            return ""
        kept, found = ", ".join(self.chosen.floats) or "none", self.chosen.held_out
        return (
            f"int8 costs {found.drop_points:.2f} points on {found.images} validation images, more "
            f"than --max-drop {self.max_drop_points:g}; the best of {len(self.tried)} tries is "
            f"written: ranges by {self.chosen.rule}, layers in floats: {kept}. Allow more, or give "
            "it weights of its own: latkit train final"
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data on the validation split."""
        low, high = self.chosen.held_out.drop_interval_points
        return {
            "images": self.chosen.held_out.images,
            "drop_points": self.chosen.held_out.drop_points,
            "interval_points": [low, high],
            "max_drop_points": self.max_drop_points,
            "met": self.met,
            "tried": [each.as_json() for each in self.tried],
        }


def quantize(
    floats: Graph,
    device: DeviceSpec,
    *,
    calibration: Array,
    validation: Split,
    max_drop_points: float = MAX_DROP_POINTS,
    rules: Sequence[RangeRule] = RULES,
    on_try: Callable[[Try], None] = lambda _: None,
) -> Quantized:
    """Quantise a network so that it costs no more accuracy than allowed, if that can be done.

    Every rule for ranges is tried, and the one that costs least is kept. Where that is too much,
    layers go back to floats, those first whose integers disturb the logits most, until it is not;
    of the numbers of layers that are tried (doubled, then halved between) the smallest that holds.

    Args:
        floats: The network in fp32.
        device: Whose integers.
        calibration: Images that ranges come from, ``(n, 3, H, W)``.
        validation: Images to judge by.
        max_drop_points: Points of top-1 that integers may cost.
        rules: For ranges.
        on_try: Called with each try.
    """
    search = _Search(floats, device, calibration, validation, on_try)
    best = min((search.attempt(rule, ()) for rule in rules), key=_cost)
    if best.held_out.drop_points > max_drop_points:
        best = _with_floats(search, best, max_drop_points)
    return Quantized(
        graph=search.graph(best.rule, best.floats),
        chosen=best,
        tried=tuple(search.tried),
        max_drop_points=max_drop_points,
    )


def _cost(each: Try) -> tuple[float, float]:
    return each.held_out.drop_points, -each.held_out.agreement


class _Search:
    """A network, its calibration, and what every version of it is compared with."""

    def __init__(
        self,
        floats: Graph,
        device: DeviceSpec,
        calibration: Array,
        validation: Split,
        on_try: Callable[[Try], None],
    ) -> None:
        from devices.onnx_runtime.quantization import observe  # which only int8 exports need

        assert device.quantization is not None
        ((_, (batch, *_)),) = floats.inputs
        self._floats, self._scheme, self._on_try = floats, device.quantization, on_try
        self._cpu = arithmetic_of(device)
        self._observed = observe(floats, full_batches(calibration, batch))
        self._sample = full_batches(calibration[:SENSITIVITY_IMAGES], batch)
        self._split = replace(
            validation,
            rows=validation.rows[:JUDGED_IMAGES],
            labels=validation.labels[:JUDGED_IMAGES],
        )
        self._before = said_of(self._split, floats, device_named("cpu"))
        self.tried: list[Try] = []

    def graph(self, rule: RangeRule, floats: Sequence[str]) -> Graph:
        """Return the network, some of its layers in floats."""
        from devices.onnx_runtime.quantization import quantized

        return quantized(
            self._floats, self._scheme, observed=self._observed, rule=rule, floats=floats
        )

    def attempt(self, rule: RangeRule, floats: tuple[str, ...]) -> Try:
        """Quantise, and judge on the validation split."""
        labels, before = self._split.labels, self._before
        after = said_of(self._split, self.graph(rule, floats), self._cpu)
        found = Try(
            rule=rule,
            floats=floats,
            held_out=agreement(before.argmax(axis=1), after.argmax(axis=1), labels),
            loss_rise=loss_of(after, labels) - loss_of(before, labels),
        )
        self.tried.append(found)
        self._on_try(found)
        return found

    def by_disturbance(self, rule: RangeRule) -> list[str]:
        """Return the layers, that first without whose integers the logits are nearest."""
        from devices.onnx_runtime.quantization import layers_of

        expected = logits_on(self._cpu, self._floats, self._sample)

        def without(layer: str) -> float:
            found = logits_on(self._cpu, self.graph(rule, [layer]), self._sample)
            return float(np.mean((found - expected) ** 2))

        return sorted(layers_of(self._floats), key=without)


def _with_floats(search: _Search, best: Try, max_drop_points: float) -> Try:
    """Return the try with the fewest layers in floats that is good enough, or the best of all."""
    layers = search.by_disturbance(best.rule)
    too_few = 0
    for count in _doubled(max(1, int(MOST_FLOAT * len(layers)))):
        found = search.attempt(best.rule, tuple(layers[:count]))
        if found.held_out.drop_points <= max_drop_points:
            break
        too_few = count
    else:
        return min(search.tried, key=_cost)
    while count - too_few > 1:
        middle = (too_few + count) // 2
        between = search.attempt(best.rule, tuple(layers[:middle]))
        if between.held_out.drop_points <= max_drop_points:
            found, count = between, middle
        else:
            too_few = middle
    return found


def _doubled(most: int) -> list[int]:
    """Return 1, 2, 4 and so on, and last ``most``."""
    return [*(2**power for power in range((most - 1).bit_length())), most]
