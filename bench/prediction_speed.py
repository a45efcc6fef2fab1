"""How many architectures a second a model prices, beside a table keyed by strings.

The baseline is what lookup tables of this field usually are: a dictionary from a string that
describes the operator to its latency, and a loop over the layers.

    python bench/prediction_speed.py [--quick] [--json]
"""

import argparse
import json
from time import perf_counter

import numpy as np

from lut import ErrorBand, LatencyModel
from search.space import Choices, SearchSpace
from search.spaces import space_named

BATCH, QUICK_BATCH = 5_000_000, 500_000
STRINGS = 2_000
"""Architectures that the baseline prices; it is slow."""
REPEATS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(QUICK_BATCH if args.quick else BATCH)
    if args.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:,.6g}")


def measure(batch: int) -> dict[str, float]:
    """Price random architectures of the 21-layer space both ways, side by side.

    Args:
        batch: Architectures that the model prices at once.
    """
    space, rng = space_named("greedynas"), np.random.default_rng(0)
    cost_s = rng.uniform(1e-4, 1e-3, (len(space.layers), len(space.layers[0])))
    band = ErrorBand(ratios=tuple(rng.normal(1, 0.01, 20)))
    model = LatencyModel(device="bench", base_s=1e-3, cost_s=cost_s, band=band, table_hash="")
    choices = space.sample_batch(batch, rng)
    model.latency_s(choices[:1])  # prepares the sums
    rates, baselines = [], []
    for _ in range(REPEATS):
        start = perf_counter()
        latency_s = model.latency_s(choices)
        rates.append(batch / (perf_counter() - start))
        start = perf_counter()
        by_strings = string_table_latency(space, cost_s, choices[:STRINGS])
        baselines.append(STRINGS / (perf_counter() - start))
    np.testing.assert_allclose(latency_s[:STRINGS], by_strings + model.base_s, rtol=1e-12)
    return {
        "architectures_per_s": float(np.median(rates)),
        "string_table_per_s": float(np.median(baselines)),
        "ratio": float(np.median(np.array(rates) / np.array(baselines))),
    }


def string_table_latency(space: SearchSpace, cost_s: np.ndarray, choices: Choices) -> np.ndarray:
    """Price by a dictionary of strings: ``(batch,)`` seconds."""
    table = {
        f"{i} {op}": cost_s[i, j]
        for i, layer in enumerate(space.layers)
        for j, op in enumerate(layer)
    }
    return np.array(
        [
            sum(table[f"{i} {space.layers[i][choice]}"] for i, choice in enumerate(row))
            for row in choices.tolist()
        ]
    )


if __name__ == "__main__":
    main()
