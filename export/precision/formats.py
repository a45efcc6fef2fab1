"""Which number format a device is fastest in: each is measured there beside fp32.

Which integers a processor and its runtime are fast with is on no data sheet, and the wrong ones can
be slower than floats. Outputs are compared, too: where sums overflow, a fast format is no use.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from devices import (
    Backend,
    DeviceSpec,
    DeviceUnavailable,
    Graph,
    Precision,
    Quantization,
    Shape,
    UnsupportedGraph,
    backend_for,
)
from devices.backend import is_emulated
from devices.catalog import in_precision
from devices.spec import TENSORRT_SCHEME
from export.bundle.onnx_file import Array
from export.logits import logits_in
from profiler import Pace, Unmeasurable
from profiler.campaigns.together import measure_together
from profiler.operators.builders import chain_graph
from profiler.operators.ops import Chain
from profiler.whole_models.side_by_side import PROCESSES, SideBySide

SCHEMES: Mapping[str, Quantization] = {
    "int8 u8s8": Quantization(),
    "int8 s8s8": Quantization(activations="int8"),
    "int8 u8s8 7 bits": Quantization(reduce_range=True),
    "int8 u8s8 per tensor": Quantization(per_channel=False),
    "int8 s8s8 per tensor": Quantization(activations="int8", per_channel=False),
    "int8 symmetric": TENSORRT_SCHEME,
}
"""Schemes by a name for people: unsigned or signed activations, signed weights, each channel of
which has a scale of its own if nothing else is said; see `Quantization`. The most exact first."""

WORTH = 1.1
"""Times the latency of the fastest scheme that a more exact one may take: one scale for a whole
weight costs trained networks accuracy that random weights do not show."""

ROUNDS = 3
"""Slices of every format in each process."""

IMAGES = 8
"""At least, that ranges come from and that outputs are compared on."""

TOO_COARSE = 3.0
"""Times the error of the most exact scheme, from which on one is out: rounding alone, to 7 bits or
with one scale a weight, stays below twice; sums that overflow do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFormat:
    """A number format on a device.

    Attributes:
        name: For people.
        device: The device in that format.
        beside: Its latency and that of fp32, in the same processes; None where it cannot be timed.
        error: Root mean square of what its outputs are off, as a share of their deviation; None
            where the device shows no outputs.
        why_not: Why there is no latency; empty where there is one.
    """

    name: str
    device: DeviceSpec
    beside: SideBySide | None = None
    error: float | None = None
    why_not: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        figures = {} if self.beside is None else self.beside.as_json()
        return {"format": self.name, **figures, "error": self.error, "why_not": self.why_not}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All number formats of a device, timed in turns on one network.

    Attributes:
        formats: Beside fp32, as they were tried.
        device: Where.
        environment: Its conditions, as `devices.Backend.environment` gives them.
        network: Which network, for people.
    """

    formats: Sequence[MeasuredFormat]
    device: str
    environment: Mapping[str, str]
    network: str

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "device": self.device,
            "environment": dict(self.environment),
            "network": self.network,
            "formats": [each.as_json() for each in self.formats],
            "integers": None if self.integers is None else self.integers.name,
        }

    @property
    def integers(self) -> MeasuredFormat | None:
        """The scheme to take; None if there is none whose numbers are right.

        It is the most exact one that is not surely slower than the fastest by more than `WORTH`.
        """
        right = [each for each in self._timed_integers() if not self.too_coarse(each)]
        if not right:
            return None
        fastest = min(right, key=_ratio)
        return next(each for each in right if _low(each) <= WORTH * _ratio(fastest))

    def too_coarse(self, scheme: MeasuredFormat) -> bool:
        """Whether the outputs of integers are further off than rounding explains."""
        known = [each.error for each in self._timed_integers() if each.error is not None]
        if scheme.error is None or scheme.device.precision != "int8" or not known:
            return False
        return scheme.error > TOO_COARSE * min(known)

    def _timed_integers(self) -> list[MeasuredFormat]:
        return [each for each in self.formats if each.beside and each.device.precision == "int8"]


def _ratio(each: MeasuredFormat) -> float:
    assert each.beside is not None
    return each.beside.ratio


def _low(each: MeasuredFormat) -> float:
    assert each.beside is not None
    return each.beside.ratio_interval[0]


def in_every_format(device: DeviceSpec) -> dict[str, DeviceSpec]:
    """Return a device in every number format beside fp32, by a name for people."""
    int8 = in_precision(device, "int8")
    if device.gpu is not None:  # TensorRT's parser takes one scheme
        return {"fp16": in_precision(device, "fp16"), "int8 symmetric": int8}
    schemes = {name: replace(int8, quantization=scheme) for name, scheme in SCHEMES.items()}
    return {"fp16": in_precision(device, "fp16"), **schemes}


@dataclass(slots=True)
class _Trial:
    """A network in all formats, and why some are not there."""

    floats: Graph
    graphs: dict[str, Graph] = field(default_factory=dict)
    why_not: dict[str, str] = field(default_factory=dict)


def compare_formats(
    chain: Chain,
    device: DeviceSpec,
    *,
    network: str,
    seed: int = 0,
    processes: int = PROCESSES,
    rounds: int = ROUNDS,
    pace: Pace | None = None,
    on_process: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Time a network in every number format of a device, in the same fresh processes.

    Args:
        chain: The network; its weights are random.
        device: Where, in whatever format.
        network: What it is called.
        seed: Of images and of the order of slices.
        processes: Fresh ones.
        rounds: Slices of each format in each of them.
        pace: Time for each slice; None for the usual.
        on_process: Called with the number of processes done.

    Raises:
        DeviceUnavailable: The device is not here.
        Unmeasurable: It cannot run the network in fp32.
    """
    base = replace(in_precision(device, "fp32"), name=device.name)
    backend = backend_for(base)
    environment = backend.environment()
    images = _images(chain[0].input_shape, seed)
    trial = _in_all_formats(chain, base, images)
    found = measure_together(
        [trial.floats, *trial.graphs.values()],
        base,
        processes=processes,
        rounds=rounds,
        pace=pace,
        seed=seed,
        on_process=on_process,
    )
    if trial.floats in found.refused:
        raise Unmeasurable(f"device {base.name!r} {found.refused[trial.floats]}")
    wanted = _outputs(backend, trial.floats, images)
    formats = []
    for name, each in in_every_format(base).items():
        graph = trial.graphs.get(name)
        if graph is None or graph in found.refused:
            why = trial.why_not[name] if graph is None else found.refused[graph]
            formats.append(MeasuredFormat(name=name, device=each, why_not=why))
            continue
        beside = SideBySide(
            floats=found.measured[trial.floats],
            other=found.measured[graph],
            emulated=is_emulated(environment),
        )
        error = _error(_outputs(backend, graph, images), wanted)
        formats.append(MeasuredFormat(name=name, device=each, beside=beside, error=error))
    return Comparison(formats=formats, device=device.name, environment=environment, network=network)


def _images(shape: Shape, seed: int) -> Array:
    """Return full batches of noise that a network of this input takes."""
    count = -(-IMAGES // shape[0]) * shape[0]
    drawn = np.random.default_rng(seed).standard_normal((count, *shape[1:]))
    return drawn.astype(np.float32)


def _in_all_formats(chain: Chain, base: DeviceSpec, images: Array) -> _Trial:
    """Make a network in each format that the device may be able to run."""
    from devices.graphs.half_precision import in_half
    from devices.onnx_runtime.quantization import observe, quantized

    trial = _Trial(floats=chain_graph(chain))
    observed = observe(trial.floats, images)
    refusals = {precision: _refusal(base, precision) for precision in ("fp16", "int8")}
    for name, device in in_every_format(base).items():
        if refusals[device.precision]:
            trial.why_not[name] = refusals[device.precision]
            continue
        try:
            trial.graphs[name] = (
                in_half(trial.floats)
                if device.quantization is None
                else quantized(trial.floats, device.quantization, observed=observed)
            )
        except UnsupportedGraph as error:
            trial.why_not[name] = str(error)
    return trial


def _refusal(base: DeviceSpec, precision: Precision) -> str:
    """Return why a device computes nothing in a format; empty where it does."""
    try:
        backend_for(replace(in_precision(base, precision), name=base.name))
    except DeviceUnavailable as error:
        return str(error)
    return ""


def _outputs(backend: Backend, graph: Graph, images: Array) -> Array | None:
    """Return what a graph says of images on a device; None where that is not shown."""
    try:
        with backend.open(graph) as session:
            return logits_in(session, graph, images)
    except UnsupportedGraph:
        return None


def _error(found: Array | None, wanted: Array | None) -> float | None:
    """Return how far outputs are off, as a share of the deviation of what they should be."""
    if found is None or wanted is None:
        return None
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / np.std(wanted))
