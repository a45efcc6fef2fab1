"""How much a latency scatters on this machine, read from the same samples in different ways.

Graphs are timed in turns for a while, a canary beside every sample. The time is cut into stretches,
and each statistic is computed in each stretch alone: its spread over the stretches is what a
measurement of that length is worth.

    python bench/canary.py [--quick] [--json] [--device D]
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from devices import Graph, backend_for, device_named
from profiler import Measurement, Pace, Slice, in_context
from profiler.campaigns.canary import Canary, loaded_canary
from profiler.operators.builders import graph_for
from profiler.operators.probes import CANARY
from search.pricing.coverage import spread_sample
from search.spaces import space_named

SECONDS, QUICK_SECONDS = 120.0, 30.0
STRETCHES = 8
NETWORKS, EVERY = 4, 14
"""Whole networks, and every so many operators."""

PACE = Pace()


@dataclass(slots=True, kw_only=True)
class Taken:
    """Slices of one graph, in the stretches that they fell in."""

    stretches: list[list[Slice]]

    def spread(self, statistic: Callable[[Measurement], float]) -> float:
        """Return the standard deviation over the stretches, relative."""
        values = [statistic(Measurement(slices=tuple(each))) for each in self.stretches if each]
        return float(np.std(values, ddof=1) / np.mean(values))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    figures = measure(args.device, seconds=QUICK_SECONDS if args.quick else SECONDS)
    if args.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:.2%}")


def measure(device_name: str, *, seconds: float) -> dict[str, float]:
    """Time operators and networks in turns; return the usual spread of each statistic."""
    device = device_named(device_name)
    backend, space = backend_for(device), space_named("greedynas")
    rng = np.random.default_rng(5)
    chains = [space.chain(arch) for arch in spread_sample(space, NETWORKS, rng)]
    chains += [in_context(op) for op in space.operators[::EVERY]]
    graphs = [graph_for(chain, device) for chain in chains]
    graph = graph_for(CANARY, device)
    taken = [Taken(stretches=[[] for _ in range(STRETCHES)]) for _ in graphs]
    start = monotonic()
    while (elapsed := monotonic() - start) < seconds:
        stretch = int(elapsed / seconds * STRETCHES)
        with loaded_canary(backend, graph, PACE) as canary:
            for i in rng.permutation(len(graphs)):
                piece = one_slice(canary, graphs[i], cold=i >= NETWORKS)
                taken[i].stretches[stretch].append(piece)
    statistics: dict[str, Callable[[Measurement], float]] = {
        "median_of_seconds": lambda m: m.median_s,
        "first_decile_of_seconds": lambda m: float(np.quantile(pooled(m), 0.1)),
        "minimum_of_seconds": lambda m: float(pooled(m).min()),
        "median_ratio_to_canary": lambda m: m.ratio,
        "ratio_of_medians": lambda m: m.median_s / m.reference_s,
        "the_canary_itself": lambda m: m.reference_s,
    }
    return {
        name: float(np.median([each.spread(statistic) for each in taken]))
        for name, statistic in statistics.items()
    }


def one_slice(canary: Canary, graph: Graph, *, cold: bool) -> Slice:
    """Take one slice as a campaign does."""
    samples = canary.slice(graph, cold=cold)
    return Slice(
        process=0,
        round=0,
        repeats=samples.repeats,
        samples_s=samples.samples_s,
        reference_s=samples.reference_s,
    )


def pooled(measurement: Measurement) -> NDArray[np.float64]:
    """Return all samples, in seconds."""
    return np.concatenate([piece.samples_s for piece in measurement.slices])


if __name__ == "__main__":
    main()
