"""What snapping widths to a device's steps gains: more operations in the same time, measured.

First the steps are found, as `latkit profile --steps` finds them. Then networks are drawn whose
widths are uniform integers, and each is measured whole beside its copies with other widths, all of
them interleaved in the same fresh processes. The narrower the networks, the more there is to gain:
what is added to a width is up to a step, however wide it is.

- ``separable``: depthwise separable blocks, where every width is a choice of its own. They are
  snapped to the step of single layers.
- ``bottleneck``: inverted bottlenecks, whose insides are 3 or 6 times their width. They are snapped
  to the step that all kinds share, which is what `--snap STEPS.json` does, and to that of single
  layers, which is then not free.

Runtimes punish odd widths, so what is drawn is slow to begin with, and rounding of any kind helps.
So more copies of the first are measured: rounded to the nearest multiple of 8, as everybody
does, and rounded up to it: no odd width is left then, and where steps are of 8 or more no width has
left its own. What snapping gains over that is the steps' alone. And rounded up to multiples of 16,
whatever was proven: what a larger step would have given.

    python bench/hardware_steps.py [--quick] [--json] [--device D] [--csv F] [--png F]
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.rows import write_csv
from devices import DeviceSpec, device_named
from profiler import (
    Chain,
    Conv,
    HardwareSteps,
    Head,
    MBConv,
    Measurement,
    Sweep,
    Together,
    measure_steps,
    measure_together,
    top_of_step,
    total_macs,
)
from profiler.intervals import mean_ratio
from profiler.whole_models.steps import LAYERS

NETWORKS, QUICK_NETWORKS = 14, 4
PROCESSES, QUICK_PROCESSES = 6, 4
ROUNDS = 2
"""Slices of a network in each process."""

CONFIDENCE = 0.95
STRIDES = (1, 2, 1, 2, 1, 1, 2, 1)
RESOLUTION, CLASSES = 112, 10
WIDTHS, HEAD_WIDTHS = (16, 64), (128, 512)
"""Least and most channels that are drawn, of the stem and the blocks, and of the head."""

Round = Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A network's widths, before anything is rounded.

    Attributes:
        widths: Channels of the stem, of every block and of the head.
        expands: Of every block; 1 for a separable one.
    """

    widths: tuple[int, ...]
    expands: tuple[int, ...]

    def chain(self, rounding: Round, *, batch: int) -> Chain:
        """Return the network with its widths rounded."""
        stem_width, *block_widths, head_width = map(rounding, self.widths)
        stem = Conv(
            input_shape=(batch, 3, RESOLUTION, RESOLUTION),
            channels=stem_width,
            kernel=3,
            stride=2,
            activation="relu",
        )
        chain: list[Conv | MBConv | Head] = [stem]
        for width, stride, expand in zip(block_widths, STRIDES, self.expands, strict=True):
            shape = chain[-1].output_shape
            chain.append(MBConv(input_shape=shape, channels=width, stride=stride, expand=expand))
        head = Head(input_shape=chain[-1].output_shape, channels=head_width, classes=CLASSES)
        return (*chain, head)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A way to round the widths of a family of networks.

    Attributes:
        family: ``separable`` or ``bottleneck``.
        rounding: What is done to every width, in words.
        apply: What is done to it.
    """

    family: str
    rounding: str
    apply: Round


def main() -> None:
    """Find the steps, draw, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    device = device_named(args.device)
    count = QUICK_NETWORKS if args.quick else NETWORKS
    processes = QUICK_PROCESSES if args.quick else PROCESSES
    steps = measure_steps(device, processes=PROCESSES)  # all else depends on them
    if not args.json:
        print("\n".join(map(sweep_line, steps.sweeps)), flush=True)
    rows, device_s = compare(device, steps, networks=count, processes=processes)
    figures = summary(steps, rows, networks=count) | {"device_s": steps.device_s + device_s}
    if args.json:
        print(json.dumps(figures | {"rows": rows}, indent=2))
    else:
        print("\n".join(map(row_line, rows)))
        print(json.dumps(figures, indent=2))
    if args.csv:
        write_csv(args.csv, rows)
    if args.png:
        plot(args.png, steps)


def draw(rng: np.random.Generator, count: int, family: str) -> list[Drawn]:
    """Draw networks whose widths are uniform integers.

    Args:
        rng: Source of the draws.
        count: How many.
        family: ``separable`` or ``bottleneck``.
    """
    (low, high), (head_low, head_high) = WIDTHS, HEAD_WIDTHS
    expands = (1,) * len(STRIDES) if family == "separable" else (1, *(3, 6) * len(STRIDES))
    return [
        Drawn(
            widths=(
                *map(int, rng.integers(low, high + 1, size=len(STRIDES) + 1)),
                int(rng.integers(head_low, head_high + 1)),
            ),
            expands=expands[: len(STRIDES)],
        )
        for _ in range(count)
    ]


def nearest_8(width: int) -> int:
    """Return the nearest multiple of 8, never 10 % below: the rounding of MobileNet's authors."""
    rounded = max(8, (width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def copies(steps: HardwareSteps) -> Iterator[Copy]:
    """Yield what each family is compared with; the first of a family is as it was drawn."""
    alone, shared = steps.common(LAYERS), steps.common()
    for family in ("separable", "bottleneck"):
        yield Copy(family=family, rounding="drawn", apply=lambda width: width)
        if family == "separable":
            yield Copy(family=family, rounding="nearest 8", apply=nearest_8)
            yield Copy(family=family, rounding="up to 8", apply=_snapping(8))
            yield Copy(family=family, rounding="up to 16", apply=_snapping(16))
        for step in dict.fromkeys((alone,) if family == "separable" else (shared, alone)):
            rounding = f"snapped to {step}"
            yield Copy(family=family, rounding=rounding, apply=_snapping(step))


def _snapping(step: int) -> Round:
    return lambda width: top_of_step(width, step)


def compare(
    device: DeviceSpec, steps: HardwareSteps, *, networks: int, processes: int
) -> tuple[list[dict[str, Any]], float]:
    """Measure every network beside its copies.

    Args:
        device: Where.
        steps: Of the device.
        networks: How many of each family.
        processes: Fresh processes.

    Returns:
        A row for every copy of every network, and the seconds of device time.
    """
    rng = np.random.default_rng(0)
    ways = list(copies(steps))
    drawn = {
        family: draw(rng, networks, family) for family in dict.fromkeys(w.family for w in ways)
    }
    chains = {
        (way.family, way.rounding, i): network.chain(way.apply, batch=device.batch)
        for way in ways
        for i, network in enumerate(drawn[way.family])
    }
    found = measure_together(list(chains.values()), device, processes=processes, rounds=ROUNDS)
    rows = []
    for way in ways:
        for i in range(networks):
            chain = chains[way.family, way.rounding, i]
            originals = {
                name: chains[way.family, name, i]
                for name in ("drawn", "nearest 8", "up to 8")
                if (way.family, name, i) in chains
            }
            rows.append(row_of(way, i, chain, originals, found))
    return rows, found.device_s


def row_of(
    way: Copy, number: int, chain: Chain, originals: dict[str, Chain], found: Together[Chain]
) -> dict[str, Any]:
    """Compare one copy of a network with others, in operations and in time."""
    row: dict[str, Any] = {
        "family": way.family,
        "network": number,
        "rounding": way.rounding,
        "macs": total_macs(chain),
        "latency_ms": found.measured[chain].latency_s * 1e3,
        "status": found.measured[chain].status,
    }
    for name, original in originals.items():
        ratio, low, high = ratio_of(found.measured[chain], found.measured[original])
        row |= {
            f"macs over {name}": total_macs(chain) / total_macs(original),
            f"latency over {name}": ratio,
            f"low over {name}": low,
            f"high over {name}": high,
        }
    return row


def ratio_of(one: Measurement, other: Measurement) -> tuple[float, float, float]:
    """Return how many times as long one takes, with an interval over processes."""
    mine, theirs = one.by_process, other.by_process
    logs = [math.log(mine[p] / theirs[p]) for p in sorted(mine.keys() & theirs.keys())]
    return mean_ratio(logs or [math.log(one.latency_s / other.latency_s)], CONFIDENCE)


def summary(
    steps: HardwareSteps, rows: Sequence[dict[str, Any]], *, networks: int
) -> dict[str, Any]:
    """Return the steps, what snapping gains, and what its baselines do."""
    alone = steps.common(LAYERS)
    snapped = f"snapped to {alone}"
    ways = dict.fromkeys((row["family"], row["rounding"]) for row in rows)
    against = {
        f"{family}, {rounding}": gain(rows, family, rounding, "drawn")
        for family, rounding in ways
        if rounding != "drawn"
    }
    rounded = [rounding for family, rounding in ways if family == "separable"]
    over_nearest = {
        rounding: gain(rows, "separable", rounding, "nearest 8")
        for rounding in rounded
        if rounding not in ("drawn", "nearest 8")
    }
    return {
        "step": alone,
        "networks": networks,
        "widths": list(WIDTHS),
        **against[f"separable, {snapped}"],
        "over_rounding_up_to_8": gain(rows, "separable", snapped, "up to 8"),
        "separable_over_nearest_8": over_nearest,
        "all_over_drawn": against,
        "steps": {sweep.kind: sweep.step.period for sweep in steps.sweeps},
        "open": {sweep.kind: list(sweep.step.open) for sweep in steps.sweeps},
        "shared_step": steps.common(),
        "rows_flagged": float(np.mean([row["status"] != "ok" for row in rows])),
    }


def gain(
    rows: Sequence[dict[str, Any]], family: str, rounding: str, original: str
) -> dict[str, Any]:
    """Return the geometric mean over networks of operations and of latency, with an interval."""
    chosen = [row for row in rows if (row["family"], row["rounding"]) == (family, rounding)]
    macs, *_ = mean_ratio([math.log(row[f"macs over {original}"]) for row in chosen], CONFIDENCE)
    ratio, low, high = mean_ratio(
        [math.log(row[f"latency over {original}"]) for row in chosen], CONFIDENCE
    )
    return {"macs_gain": macs, "latency_ratio": ratio, "latency_interval": [low, high]}


def sweep_line(sweep: Sweep) -> str:
    """Return a kind's step and latencies for people."""
    found = sweep.step
    doubt = f" (open: {', '.join(map(str, found.open))})" if found.open else ""
    taken = " ".join(f"{c}:{m.latency_s * 1e6:.1f}" for c, m in sweep.measured.items())
    return f"{sweep.kind:10} step {found.period:2}{doubt}; us by channels {taken}"


def row_line(row: dict[str, Any]) -> str:
    """Return a network's row for people."""
    beside = [
        f"over {name} {row[f'macs over {name}']:.2f} x MACs, {row[f'latency over {name}']:.3f} x "
        f"latency ({row[f'low over {name}']:.3f} to {row[f'high over {name}']:.3f})"
        for name in ("drawn", "nearest 8", "up to 8")
        if f"macs over {name}" in row and name != row["rounding"]
    ]
    return (
        f"{row['family']:10} {row['network']:2} {row['rounding']:13} "
        f"{row['macs'] / 1e6:6.1f} MMACs "
        f"{row['latency_ms']:7.3f} ms  {'; '.join(beside)} {row['status']}"
    )


def plot(path: Path, steps: HardwareSteps) -> None:
    """Draw latency against channels, one panel a kind, with the tops of its steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((9.0, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    for i, sweep in enumerate(steps.sweeps):
        axes = figure.add_subplot(2, 2, i + 1)
        period = sweep.step.period
        channels = np.array(list(sweep.measured))
        latency_us = np.array([m.latency_s for m in sweep.measured.values()]) * 1e6
        ends_us = np.array([m.interval_s() for m in sweep.measured.values()]) * 1e6
        if period > 1:
            for top in range(int(channels.min()), int(channels.max()) + 1, period):
                axes.axvline(top, color="#8a8a8a", lw=0.5)
        low_us, high_us = latency_us - ends_us[:, 0], ends_us[:, 1] - latency_us
        axes.errorbar(
            channels, latency_us, yerr=[low_us, high_us], fmt="o", ms=4, color="#1f5fa8", lw=1
        )
        title = f"{sweep.kind}: " + (f"every {period} channels" if period > 1 else "no step proven")
        axes.set(title=title, xlabel="channels", ylabel="us", ylim=(0, None))
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
