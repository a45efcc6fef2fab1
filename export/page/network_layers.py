"""Where the time of one network goes: predicted by a table, measured kernel by kernel."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import InvalidFile
from devices.errors import reason_of
from export.figures.prediction_views import prediction_facts
from export.page.bars import Bar, Row, bar_chart
from export.page.elements import Node, paragraph, rows_of_cells, unfolding
from export.page.frame import figure
from export.page.ink import ms, percent
from lut.on_paper.estimates import any_model, any_table
from profiler import Chain
from search.space import Architecture, SearchSpace

CONVOLUTIONS = ("Conv", "QLinearConv", "FusedConv")
"""What runtimes call the kernels that every layer consists of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Files that say more of a network than an answer or a deployment does.

    Attributes:
        table: Predicts its layers; None: nobody does.
        kernels: What ``latkit profile --onnx MODEL --json`` printed of it; None: nothing.
    """

    table: Path | None = None
    kernels: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of one network.

    Attributes:
        name: Number and operator.
        predicted_s: Seconds by the table; None where nothing predicts it.
        measured_s: Seconds of its kernels; None where none were measured.
    """

    name: str
    predicted_s: float | None = None
    measured_s: float | None = None


def layer_parts(
    arch: Architecture, space: SearchSpace, sources: Sources, *, priced_by: Sequence[str]
) -> list[Node]:
    """Show what each layer takes, as far as files were given that know.

    Args:
        arch: The network.
        space: Its space.
        sources: What knows of its layers.
        priced_by: Hashes of the tables that made its promises; none: not known.

    Raises:
        InvalidFile: A file cannot be read, or its kernels are not this network's.
        MissingLatency: The table lacks operators of the space.
        NotCalibrated: It lacks whole networks of the space.
    """
    layers, notes = _predicted(arch, space, sources.table, priced_by)
    if sources.kernels is not None:
        layers, said = _with_kernels(layers, space.chain(arch), space, sources.kernels)
        notes.append(said)
    return [*_drawn(layers), *map(paragraph, notes)] if layers else []


def _predicted(
    arch: Architecture, space: SearchSpace, table: Path | None, priced_by: Sequence[str]
) -> tuple[list[Layer], list[str]]:
    if table is None:
        return [], []
    model = any_model(any_table(table), space)
    layers = [
        Layer(name=_name(row["layer"], row["operator"]), predicted_s=row["ms"] * 1e-3)
        for row in prediction_facts(model, space, arch)["layers"]
    ]
    if not priced_by or model.table_hash in priced_by:
        return layers, []
    made = ", ".join(priced_by)
    return layers, [
        f"This table ({model.table_hash}) is not the one that made the promise ({made})."
    ]


def _name(layer: int | None, operator: str) -> str:
    return operator if layer is None else f"{layer}: {operator}"


def _with_kernels(
    layers: Sequence[Layer], chain: Chain, space: SearchSpace, path: Path
) -> tuple[list[Layer], str]:
    """Add what kernels took to the layers they belong to; return the layers, and what that is."""
    kernels, whole_s = _read_kernels(path)
    owned = _by_operator(kernels, chain)
    if owned is None:
        raise InvalidFile(
            f"the kernels in {path} are not those of this network, by their convolutions. Make it "
            f"again: latkit profile --onnx DIR/model.onnx --json > {path}"
        )
    first, last = len(space.before), len(chain) - len(space.after)
    beside = sum(owned[:first]) + sum(owned[last:])
    names = [_name(i, str(op)) for i, op in enumerate(chain[first:last])]
    predicted = {layer.name: layer.predicted_s for layer in layers}
    fixed = layers[0].name if layers else "stem and head"  # what is predicted for all comes first
    measured = {fixed: beside, **dict(zip(names, owned[first:last], strict=True))}
    note = (
        "Measured: kernels as the runtime's trace has them, scaled to the latency of the whole "
        f"network meanwhile, {ms(whole_s)}; what a runtime fused counts for the convolution that "
        "it became part of."
    )
    return [
        Layer(name=name, predicted_s=predicted.get(name), measured_s=measured.get(name))
        for name in dict.fromkeys((*measured, *predicted))
    ], note


def _read_kernels(path: Path) -> tuple[list[tuple[str, float]], float]:
    """Return operator and seconds of every kernel, as they ran, and the seconds of the network.

    Raises:
        InvalidFile: The file is not what ``latkit profile --onnx MODEL --json`` prints.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        kernels = [(str(each["op"]), float(each["ms"]) * 1e-3) for each in values["kernels"]]
        return kernels, float(values["latency_ms"]) * 1e-3
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} holds no kernels ({reason_of(error)}). Make it: "
            f"latkit profile --onnx DIR/model.onnx --json > {path}"
        ) from error


def _by_operator(kernels: Sequence[tuple[str, float]], chain: Chain) -> list[float] | None:
    """Return seconds of every operator: convolutions keep their order, the rest follows them.

    None where there are more or fewer convolutions than the operators have.
    """
    owners = [i for i, op in enumerate(chain) for _ in range(_convolutions((op,)))]
    seconds, reached = [0.0] * len(chain), 0
    for kind, kernel_s in kernels:
        convolution = kind in CONVOLUTIONS
        reached += convolution
        if reached > len(owners):
            return None
        # Behind the last convolution nothing but the last operator's pooling and product is left.
        at_end = reached == len(owners) and not convolution
        owner = len(chain) - 1 if at_end else owners[max(0, reached - 1)]
        seconds[owner] += kernel_s
    return seconds if reached == len(owners) else None


def _convolutions(chain: Chain) -> int:
    import onnx

    from profiler.operators.builders import chain_graph

    nodes = onnx.load_from_string(chain_graph(chain).onnx).graph.node
    return sum(node.op_type in CONVOLUTIONS for node in nodes)


def _drawn(layers: Sequence[Layer]) -> list[Node]:
    kinds = [
        (f"bar {kind}", kind)
        for kind in ("predicted", "measured")
        if any(getattr(layer, f"{kind}_s") is not None for layer in layers)
    ]
    total_s = _total(layers)
    cells = [(layer.name, *map(_us, _both(layer)), _share(layer, total_s)) for layer in layers]
    headers = ("layer", "predicted, us", "measured, us", "share")
    return [
        figure(
            "Where the time goes, layer by layer; shares are of the whole network.",
            bar_chart(
                [_row(layer, total_s) for layer in layers],
                unit="us",
                says="Latency of every layer, in microseconds",
            ),
            legend=kinds,
        ),
        unfolding("The layers as a table", rows_of_cells(headers, cells, caption="Layers")),
    ]


def _both(layer: Layer) -> tuple[float | None, float | None]:
    return layer.predicted_s, layer.measured_s


def _us(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:.1f}"


def _known(layer: Layer) -> float:
    """Return its predicted seconds, or the measured ones where nothing predicts them."""
    predicted_s, measured_s = _both(layer)
    return (measured_s or 0.0) if predicted_s is None else predicted_s


def _total(layers: Sequence[Layer]) -> float:
    return sum(map(_known, layers))


def _share(layer: Layer, total_s: float) -> str:
    return percent(_known(layer) / total_s)


def _row(layer: Layer, total_s: float) -> Row:
    found = (("predicted", layer.predicted_s), ("measured", layer.measured_s))
    share = _share(layer, total_s)
    lines = [layer.name, *(f"{kind} {s * 1e6:.1f} us" for kind, s in found if s is not None)]
    bars = tuple(
        Bar(value=seconds * 1e6, kind="predicted" if kind == "predicted" else "measured")
        for kind, seconds in found
        if seconds is not None
    )
    return Row(
        name=layer.name,
        figure=share,
        bars=bars,
        says="\n".join([*lines, f"{share} of the network"]),
    )
