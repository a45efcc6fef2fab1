"""Whether exported networks compute what torch computes, and are as fast as torch's own export.

Random architectures of every space, with random weights and batch norm calibrated on random images,
are exported in fp32; the file's logits on ONNX Runtime are compared with torch's, on an image that
neither has seen. Some networks are timed, interleaved in the same fresh processes, beside what
`torch.onnx.export` makes of them by its defaults: a ratio below 1 means that latkit's is faster.

    python bench/parity.py [--quick] [--json] [--csv F] [--seeds N] [--nets N] [--spaces S ...]
                           [--untimed] [--resolution R] [--device D]

Exporting takes torch seconds a network, which is nearly all of the time; the file of rows grows
network by network, and a run that was cut off goes on from it when called again.
"""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from bench.arguments import bench_parser
from bench.rows import write_csv
from devices import DeviceSpec, Graph, Shape, device_named
from export.bundle.onnx_file import PARITY_TOLERANCE, Array, network_graph, reference_outputs
from export.logits import logits_on
from profiler import measure_together
from profiler.operators.modules import build
from profiler.whole_models.side_by_side import SideBySide
from search.space import Architecture, SearchSpace
from search.spaces import SIZED, SPACES, space_named
from search.supernets.evaluation import recalibrate

NETS, QUICK_NETS = 200, 2
QUICK_RESOLUTION, QUICK_SIZE = 32, "-5x8"
"""Of quick runs: pixels a side, and cells and channels of the spaces that come in any size."""

TIMED = {"macro": 3, "nasbench201": 3, "greedynas": 3, "greedynas-se": 3}
QUICK_TIMED = {"macro": 1, "greedynas": 1}
"""Networks to time, by space."""

PROCESSES, QUICK_PROCESSES = 10, 5
ROUNDS = 6
"""Slices of a network in each process."""

CALIBRATION_IMAGES = 16
SUBJECT = ("space", "arch", "network_seed", "input", "device")
"""What a row is about: the same again has the same outputs."""

MOST_RATIO = 1.02
"""That an exported network may take beside torch's own export."""


def main() -> None:
    """Export, compare, time and print."""
    parser = bench_parser(__doc__, plots=False)
    parser.add_argument("--nets", type=int, help="architectures of each space")
    parser.add_argument("--spaces", nargs="*", default=list(SPACES), help="which; none: time only")
    parser.add_argument("--untimed", action="store_true", help="outputs alone: any machine will do")
    parser.add_argument("--resolution", type=int, help="pixels a side; as published if left out")
    parser.add_argument("--device", default="cpu", help="where to compare and to time")
    args = parser.parse_args()
    device = device_named(args.device)
    nets = args.nets or (QUICK_NETS if args.quick else NETS)
    resolution = args.resolution or (QUICK_RESOLUTION if args.quick else None)
    timed = beside_defaults(
        {} if args.untimed else QUICK_TIMED if args.quick else TIMED,
        device,
        resolution=resolution,
        processes=QUICK_PROCESSES if args.quick else PROCESSES,
    )
    if timed and not args.json:
        print("\n".join(map(timed_line, timed)), flush=True)
    kept = kept_rows(args.csv) if args.csv else {}
    rows: list[dict[str, Any]] = []
    for name in args.spaces:
        space = space_named(sized(name) if args.quick else name, resolution=resolution)
        for arch, images, network_seed in subjects(space, nets=nets, seeds=args.seeds or 1):
            subject = {
                "space": space.name,
                "arch": str(arch),
                "network_seed": network_seed,
                "input": "x".join(map(str, space.input_shape)),
                "device": device.name,
            }
            row = kept.pop(key_of(subject), None)
            rows.append(row or subject | compared(space, arch, images, device, network_seed))
            if args.csv:
                write_csv(args.csv, [*rows, *kept.values()])
        if not args.json:
            print(space_line(summary(rows)[space.name]), flush=True)
    if args.json:
        print(json.dumps({"latency": timed, "parity": list(summary(rows).values())}, indent=2))


def sized(name: str) -> str:
    """Return the small form of a space that comes in any size."""
    return name + QUICK_SIZE if name in SIZED else name


def network_of(space: SearchSpace, arch: Architecture, *, seed: int) -> nn.Module:
    """Return a network with random weights, its batch norm calibrated on random images."""
    torch.manual_seed(seed)
    network = nn.Sequential(*map(build, space.chain(arch)))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training: nothing is exactly 0 or 1
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
    rng = np.random.default_rng(seed)
    recalibrate(network, [torch.from_numpy(drawn(space.input_shape, rng, CALIBRATION_IMAGES))])
    return network


def drawn(shape: Shape, rng: np.random.Generator, count: int) -> Array:
    """Return random images, ``(count, 3, H, W)``."""
    return rng.standard_normal((count, *shape[1:])).astype(np.float32)


def subjects(
    space: SearchSpace, *, nets: int, seeds: int
) -> Iterator[tuple[Architecture, Array, int]]:
    """Yield architectures, each with images and the seed of its weights."""
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for number in range(nets):
            arch = space.sample(rng)
            yield arch, drawn(space.input_shape, rng, space.input_shape[0]), seed * nets + number


def compared(
    space: SearchSpace, arch: Architecture, images: Array, device: DeviceSpec, seed: int
) -> dict[str, Any]:
    """Return how far the outputs of an architecture's file are from torch's."""
    network = network_of(space, arch, seed=seed)
    expected = reference_outputs(network, images)
    graph = network_graph(network, space.input_shape)
    apart = float(np.abs(logits_on(device, graph, images) - expected).max())
    largest = float(np.abs(expected).max())
    allowed = PARITY_TOLERANCE["fp32"] * max(1.0, largest)
    return {
        "max_abs": apart,
        "largest": largest,
        "of_tolerance": apart / allowed,
        "within": apart <= allowed,
    }


def key_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Return what a row is about."""
    return tuple(str(row[name]) for name in SUBJECT)


def kept_rows(path: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the rows of an earlier run by what they are about; empty without a file.

    They are as good as new for the same versions of latkit, torch and ONNX Runtime alone.
    """
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    if rows and not rows[0].keys() >= {*SUBJECT, "max_abs", "largest", "of_tolerance", "within"}:
        sys.exit(f"{path} is not a file of rows of this bench: name another one")
    print(f"{len(rows)} rows kept from {path}: remove it to begin anew", file=sys.stderr)
    for row in rows:
        row.update({name: float(row[name]) for name in ("max_abs", "largest", "of_tolerance")})
        row["within"] = row["within"] == "True"
    return {key_of(row): row for row in rows}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the figures of each space."""
    figures = {}
    for name in dict.fromkeys(row["space"] for row in rows):
        mine = [row for row in rows if row["space"] == name]
        figures[name] = {
            "space": name,
            "nets": len(mine),
            "within": sum(row["within"] for row in mine) / len(mine),
            "worst_max_abs": max(row["max_abs"] for row in mine),
            "worst_relative": max(row["max_abs"] / row["largest"] for row in mine),
            "worst_of_tolerance": max(row["of_tolerance"] for row in mine),
        }
    return figures


def beside_defaults(
    networks: dict[str, int], device: DeviceSpec, *, resolution: int | None, processes: int
) -> list[dict[str, Any]]:
    """Time networks as latkit exports them beside what torch's exporter makes by its defaults."""
    rows = []
    for name, count in networks.items():
        space = space_named(name, resolution=resolution)
        rng = np.random.default_rng(0)
        for number in range(count):
            arch = space.sample(rng)
            network = network_of(space, arch, seed=number)
            mine, torchs = network_graph(network, space.input_shape), by_default(network, space)
            found = measure_together(
                [torchs, mine], device, processes=processes, rounds=ROUNDS, seed=number
            )
            pair = SideBySide(floats=found.measured[torchs], other=found.measured[mine])
            low, high = pair.ratio_interval
            rows.append(
                {
                    "space": name,
                    "arch": str(arch),
                    "ms": pair.other.median_s * 1e3,
                    "default_ms": pair.floats.median_s * 1e3,
                    "ratio": pair.ratio,
                    "low": low,
                    "high": high,
                    "kept": high <= MOST_RATIO,
                    "status": pair.status,
                }
            )
    return rows


def by_default(network: nn.Module, space: SearchSpace) -> Graph:
    """Return what torch makes of a network where it is told nothing."""
    program = torch.onnx.export(network.eval(), (torch.zeros(space.input_shape),), verbose=False)
    assert program is not None  # torch returns None only when it writes a file
    model: onnx.ModelProto = program.model_proto
    content = model.SerializeToString()
    return Graph(onnx=content, inputs=((model.graph.input[0].name, space.input_shape),))


def timed_line(row: dict[str, Any]) -> str:
    """Return a timed network for people."""
    return (
        f"{row['space']:13} {row['arch'][:24]:24} {row['ms']:.3f} ms, torch's own export "
        f"{row['default_ms']:.3f} ms: {row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f}) "
        f"{row['status']}{'' if row['kept'] else f', not surely within {MOST_RATIO}'}"
    )


def space_line(row: dict[str, Any]) -> str:
    """Return a space for people."""
    return (
        f"{row['space']:13} {row['nets']} networks: {row['within']:.1%} within the tolerance, the "
        f"worst at {row['worst_of_tolerance']:.1%} of it, {row['worst_max_abs']:.1e} off, "
        f"{row['worst_relative']:.1e} of its largest logit"
    )


if __name__ == "__main__":
    main()
