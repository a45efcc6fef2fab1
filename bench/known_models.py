"""Known mobile networks beside those that a table finds, timed in the same run.

timm's architectures (their weights are of no use here, nobody's are), the published GreedyNAS-A, B
and C, and with --table, of space ``greedynas-se`` on this device, one network for each known one:
that with the most operations (MACs) whose predicted latency keeps, with 95 % confidence, what the
known one takes. All are timed interleaved in the same fresh processes, batch norm folded.

    python bench/known_models.py [--quick] [--json] [--table T.lut] [--device D]
                                 [--resolution R] [--seeds N] [--csv F] [--png F]

Top-1 is what each paper says of its own training on ImageNet: a difference between two of them is
of recipes as well as of architectures. Nobody has trained the networks found here, so what is said
of them is only how many operations the same time buys, which is not accuracy.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from bench.arguments import bench_parser
from bench.rows import write_csv
from devices import DeviceSpec, Graph, Shape, device_named
from export.bundle.onnx_file import network_graph
from export.figures.plots import BLUE, ORANGE
from export.verdicts.verdict import COVERAGE, decision
from lut import LatencyBudget, LatencyModel, LatencyTarget, latency_model, load_table
from lut.calibration import operator_matrix
from profiler import Measurement, macs, measure_together, total_macs, total_parameters
from profiler.operators.builders import chain_graph
from search.exact import NoFeasibleArchitecture, best_additive
from search.pricing.tables import space_of
from search.space import Architecture, SearchSpace
from search.spaces import space_named
from search.spaces.published import published_in

SPACE = "greedynas-se"
"""Where networks are searched, and where GreedyNAS-A, B and C are from."""

PROCESSES, QUICK_PROCESSES = 6, 3
ROUNDS = 4
"""Slices of every network in each process."""

QUICK_RESOLUTION = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A network as timm builds it.

    Attributes:
        model: timm's name.
        top1: Percent of ImageNet's validation images, as published.
        source: Where.
    """

    model: str
    top1: float
    source: str


KNOWN = {
    "MobileNetV2 1.0": Known(
        model="mobilenetv2_100", top1=72.0, source="Sandler et al., CVPR 2018, table 4"
    ),
    "MobileNetV3-Small": Known(
        model="mobilenetv3_small_100", top1=67.4, source="Howard et al., ICCV 2019, table 3"
    ),
    "MobileNetV3-Large": Known(
        model="mobilenetv3_large_100", top1=75.2, source="Howard et al., ICCV 2019, table 3"
    ),
    "MnasNet-B1": Known(model="mnasnet_100", top1=74.5, source="Tan et al., CVPR 2019"),
    "MnasNet-A1": Known(model="semnasnet_100", top1=75.2, source="Tan et al., CVPR 2019, table 1"),
    "EfficientNet-B0": Known(
        model="efficientnet_b0", top1=77.1, source="Tan and Le, ICML 2019, table 2"
    ),
}

GREEDY_TOP1 = {"greedynas-a": 77.1, "greedynas-b": 76.8, "greedynas-c": 76.2}
"""You, Huang et al., CVPR 2020, table 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network that is timed.

    Attributes:
        name: For people.
        graph: As it would ship.
        macs: Multiply-accumulates of an image.
        parameters: Trained numbers.
        top1: Percent, as published; None where nobody has trained it.
        limit_s: What it was searched to keep; None where it was not searched.
    """

    name: str
    graph: Graph
    macs: int
    parameters: int
    top1: float | None = None
    limit_s: float | None = None


def main() -> None:
    """Measure and print."""
    parser = bench_parser(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", type=Path, metavar="T.lut", help=f"of space {SPACE}")
    parser.add_argument("--resolution", type=int, default=0, help="pixels; 0: the table's, or 224")
    args = parser.parse_args()
    table = load_table(args.table) if args.table else None
    space = space_of(table, SPACE) if table else _untabled(args)
    model = latency_model(table, space) if table else None
    device = device_named(model.device if model else args.device)
    published = known_networks(space)
    processes = QUICK_PROCESSES if args.quick else PROCESSES
    rows: list[dict[str, Any]] = []
    for seed in range(args.seeds or 1):
        found = compare(published, space, model, device, processes=processes, seed=seed)
        rows += [{"seed": seed, **row} for row in found]
    print(json.dumps(rows, indent=2) if args.json else "\n".join(map(row_line, rows)))
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(rows, args.png)


def _untabled(args: argparse.Namespace) -> SearchSpace:
    resolution = args.resolution or (QUICK_RESOLUTION if args.quick else None)
    return space_named(SPACE, resolution=resolution)


def known_networks(space: SearchSpace) -> list[Network]:
    """Return the published networks, exported at the resolution of a space."""
    found = [_timm_network(name, known, space) for name, known in KNOWN.items()]
    for name, published in published_in(SPACE).items():
        found.append(replace(_searched(name, published.arch, space), top1=GREEDY_TOP1[name]))
    return found


def _timm_network(name: str, known: Known, space: SearchSpace) -> Network:
    module = timm.create_model(known.model, pretrained=False, num_classes=space.classes).eval()
    return Network(
        name=name,
        graph=network_graph(module, space.input_shape),
        macs=module_macs(module, space.input_shape),
        parameters=sum(weight.numel() for weight in module.parameters()),
        top1=known.top1,
    )


def _searched(name: str, arch: Architecture, space: SearchSpace) -> Network:
    chain = space.chain(arch)
    return Network(
        name=name,
        graph=chain_graph(chain),
        macs=total_macs(chain),
        parameters=total_parameters(chain),
    )


def module_macs(module: nn.Module, input_shape: Shape) -> int:
    """Return the multiply-accumulates of a network, counted as `profiler.operators.costs` does.

    Args:
        module: In evaluation mode.
        input_shape: ``(N, 3, H, W)``.
    """
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * layer.weight[0].numel()

    layers = [each for each in module.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        module(torch.zeros(input_shape))
    for hook in hooks:
        hook.remove()
    return total


def compare(
    published: Sequence[Network],
    space: SearchSpace,
    model: LatencyModel | None,
    device: DeviceSpec,
    *,
    processes: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Time everything in one run; return a row for each network.

    Args:
        published: The known networks.
        space: Where others are searched.
        model: Of its latency, None to search none. What the known networks take is then measured
            beforehand, in processes of its own: these are the limits.
        device: Where all are timed.
        processes: Fresh processes.
        seed: Of the order of the slices.
    """
    networks = list(published)
    if model is not None:
        limits_s = _measured(published, device, processes=processes, seed=seed + 1)
        networks += found_within(limits_s, space, model)
    timed = _timed(networks, device, processes=processes, seed=seed)
    return [row_of(network, timed) for network in networks]


def _timed(
    networks: Sequence[Network], device: DeviceSpec, *, processes: int, seed: int
) -> Mapping[Graph, Measurement]:
    graphs = [network.graph for network in networks]
    return measure_together(graphs, device, processes=processes, rounds=ROUNDS, seed=seed).measured


def _measured(
    networks: Sequence[Network], device: DeviceSpec, *, processes: int, seed: int
) -> dict[str, float]:
    timed = _timed(networks, device, processes=processes, seed=seed)
    return {network.name: timed[network.graph].median_s for network in networks}


def found_within(
    limits_s: Mapping[str, float], space: SearchSpace, model: LatencyModel
) -> list[Network]:
    """Return the network of the most operations within each limit; none where none keeps it."""
    scores = operator_matrix(space, macs)
    found = []
    for name, limit_s in limits_s.items():
        target = LatencyTarget(device=model.device, limit_s=limit_s, confidence=COVERAGE)
        budget = LatencyBudget(model=model, target=target)
        with suppress(NoFeasibleArchitecture):  # the smallest of the space is slower
            arch = best_additive(scores, budget, space=space).arch
            network = _searched(f"found for {name}", arch, space)
            found.append(replace(network, limit_s=limit_s))
    return found


def row_of(network: Network, timed: Mapping[Graph, Measurement]) -> dict[str, Any]:
    """Return the figures of one network; against its limit where it has one."""
    measurement = timed[network.graph]
    low_s, high_s = measurement.median_interval_s(COVERAGE)
    row: dict[str, Any] = {
        "network": network.name,
        "latency_ms": measurement.median_s * 1e3,
        "low_ms": low_s * 1e3,
        "high_ms": high_s * 1e3,
        "status": measurement.status,
        "macs_m": network.macs / 1e6,
        "parameters_m": network.parameters / 1e6,
        "gmacs_per_s": network.macs / measurement.median_s / 1e9,
        "top1": network.top1,
    }
    if network.limit_s is not None:
        row["limit_ms"] = network.limit_s * 1e3
        row["verdict"] = decision(network.limit_s, measurement)
    return row


def row_line(row: Mapping[str, Any]) -> str:
    """Return a row for people."""
    top1 = f"top-1 {row['top1']:.1f} %" if row["top1"] else "nobody trained it"
    limit = f", limit {row['limit_ms']:.2f} ms: {row['verdict']}" if "limit_ms" in row else ""
    return (
        f"{row['network']:28} {row['latency_ms']:7.2f} ms "
        f"({row['low_ms']:.2f} to {row['high_ms']:.2f}, {row['status']})  "
        f"{row['macs_m']:5.0f} M MACs, {row['parameters_m']:.1f} M parameters, "
        f"{row['gmacs_per_s']:.1f} GMAC/s, {top1}{limit}"
    )


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw published accuracy, and operations, against the latency measured here."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    accuracy, operations = figure.subplots(1, 2)
    first = [row for row in rows if row["seed"] == 0]
    published = sorted(
        (r for r in first if r["top1"]),
        key=lambda row: (float(row["top1"]), float(row["latency_ms"])),
    )
    found = [row for row in first if "limit_ms" in row]
    _dots(accuracy, published, "top1", label="published", color=ORANGE)
    _dots(operations, published, "macs_m", label="published", color=ORANGE)
    if found:
        _dots(operations, found, "macs_m", label="found with the table", color=BLUE)
        operations.legend(frameon=False)
    for i, row in enumerate(published):  # neighbours' names on either side
        accuracy.annotate(
            row["network"],
            (row["latency_ms"], row["top1"]),
            xytext=(-6 if i % 2 else 6, -3),
            textcoords="offset points",
            ha="right" if i % 2 else "left",
            fontsize=7,
        )
    accuracy.set(ylabel="top-1 of its paper, %")
    accuracy.set_xlim(0, max(row["latency_ms"] for row in published) * 1.35)
    operations.set(ylabel="operations, M MACs", ylim=(0, None))
    figure.suptitle("What the same time buys")
    figure.savefig(path, dpi=120)


def _dots(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, **look: Any) -> None:
    axes.plot([row["latency_ms"] for row in rows], [row[key] for row in rows], "o", **look)
    axes.set(xlabel="measured latency, ms", xlim=(0, None))


if __name__ == "__main__":
    main()
