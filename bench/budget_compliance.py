"""Whether searches under random budgets keep them, and what the margin costs.

A pool of networks of one space is timed whole in many fresh processes, so that the best one within
any budget is known: the oracle. A table that has seen none of them picks. Every search draws a
budget and splits the processes anew: some are the truth, by the clock, others are what the device
says when it is asked, never both. A search picks the network with the most operations (MACs, in
place of accuracy) whose limit is predicted to hold with 95 % confidence. Then the device is asked,
and where it does not say `met`, about the best that is predicted to be faster by as much as it was
too slow, three times at most, as `latkit export --measure 3` does.

    python bench/budget_compliance.py [--quick] [--json] [--tables DIR] [--csv F]
                                      [--device D] [--space S] [--resolution R]

Beside it: a search with 50 % confidence, which leaves the promise to the device; one that never
asks the device; and both by FLOPs instead of the table.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.kept import kept_in
from bench.rows import write_csv
from devices import device_named
from export.verdicts.verdict import COVERAGE, decision
from lut import (
    Effort,
    LatencyModel,
    LatencyTarget,
    Role,
    fill_table,
    latency_model,
    load_table,
    macs_model,
    table_for,
)
from lut.calibration import choices_of
from profiler import Chain, Measurement, total_macs
from search.pricing.coverage import unseen_networks
from search.pricing.tables import profile_space
from search.space import SearchSpace
from search.spaces import space_named

POOL, QUICK_POOL = 80, 16
SEARCHES, QUICK_SEARCHES = 200, 40
TRUTH, ASKED = 5, 5
"""Fresh processes behind the truth of a network, and behind one answer of the device."""

RUNS = 3
"""Times that a search may ask the device."""

CONFIDENCE = 0.95
BOLD = 0.5
"""Confidence of a search that leaves the promise to the device."""

POOL_PROCESS = 100
"""Number of the pool's first process: none of them is the table's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Networks that were timed whole.

    Attributes:
        choices: ``(networks, layers)``.
        macs: ``(networks,)`` multiply-accumulates.
        measured: What each took, in many processes.
    """

    choices: NDArray[np.intp]
    macs: NDArray[np.float64]
    measured: tuple[Measurement, ...]

    @property
    def processes(self) -> list[int]:
        """Processes that timed all of them."""
        return sorted(set.intersection(*({s.process for s in m.slices} for m in self.measured)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one search came to.

    Attributes:
        met: Whether the shipped network keeps the limit in truth.
        runs: How often the device was asked.
        loss: Operations lost to the oracle, relative.
        beyond: Lost to an oracle that keeps the margin which processes force, relative.
        claimed: Whether the device said ``met`` in the end; true where it was not asked.
    """

    met: bool
    runs: int
    loss: float
    beyond: float
    claimed: bool


def main() -> None:
    """Measure, search and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--space", default="greedynas")
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    space = space_named(args.space, resolution=args.resolution)
    with kept_in(args.tables) as tables:
        path = tables / f"compliance-{args.device}-{args.space}-{args.resolution}.lut"
        models, pool = measure(
            path, space, args.device, networks=QUICK_POOL if args.quick else POOL
        )
    searches = QUICK_SEARCHES if args.quick else SEARCHES
    rows = [
        figures(by, models[by], pool, searches=searches, confidence=confidence, asks=asks)
        for by in ("table", "flops")
        for confidence, asks in ((CONFIDENCE, True), (BOLD, True), (CONFIDENCE, False))
    ]
    if args.json:
        print(json.dumps(rows[0] | {"others": rows[1:]}, indent=2))
    else:
        for row in rows:
            print(line(row))
    if args.csv:
        write_csv(args.csv, rows)


def measure(
    path: Path, space: SearchSpace, device_name: str, *, networks: int
) -> tuple[dict[str, LatencyModel], Pool]:
    """Fill a table, and time a pool of networks that it has not seen."""
    device = device_named(device_name)
    table, _ = profile_space(path, space, device, effort=Effort())
    archs = unseen_networks(space, networks, known=table.networks, seed=2)
    chains = [space.chain(arch) for arch in archs]
    effort = Effort(processes=TRUTH + RUNS * ASKED, first_process=POOL_PROCESS)
    with table_for(path, device) as file:
        wanted: dict[Chain, Role] = dict.fromkeys(chains, "check")
        fill_table(file, wanted, effort)
    table = load_table(path)
    pool = Pool(
        choices=np.array([choices_of(chain, space) for chain in chains]),
        macs=np.array([total_macs(chain) for chain in chains], float),
        measured=tuple(table.checks[chain] for chain in chains),
    )
    return {"table": latency_model(table, space), "flops": macs_model(table, space)}, pool


def figures(
    by: str,
    model: LatencyModel,
    pool: Pool,
    *,
    searches: int,
    confidence: float,
    asks: bool,
) -> dict[str, Any]:
    """Search under random budgets; return what became of the promises."""
    rng = np.random.default_rng(0)
    all_s = np.array([measurement.median_s for measurement in pool.measured])
    lowest, highest = np.quantile(all_s, [0.1, 1.0])
    margin = spread(pool)
    outcomes = [
        search(
            model,
            pool,
            limit_s=float(rng.uniform(lowest, highest)),
            margin=margin,
            confidence=confidence,
            rng=rng,
            asks=asks,
        )
        for _ in range(searches)
    ]
    found = [outcome for outcome in outcomes if outcome is not None]
    promised = [outcome for outcome in found if outcome.claimed]
    return {
        "picked_by": by,
        "confidence": confidence,
        "asks_the_device": asks,
        "searches": searches,
        "refused": searches - len(found),
        "met_share": float(np.mean([outcome.met for outcome in promised])),
        "promised": len(promised),
        "runs_mean": float(np.mean([outcome.runs for outcome in found])),
        "oracle_loss": float(np.mean([outcome.loss for outcome in promised])),
        "loss_beyond_margin": float(np.mean([outcome.beyond for outcome in promised])),
        "margin_needed": margin,
        "margin_taken": max(0.0, model.band.upper(confidence) - 1),
        "pool": len(pool.measured),
    }


def spread(pool: Pool) -> float:
    """Return how much slower than its truth a network is in 1 of 20 other sets of processes."""
    rng = np.random.default_rng(1)
    excess = []
    for _ in range(20):
        truth, others = split(pool, rng)
        excess += [clock(m, others[0]) / clock(m, truth) - 1 for m in pool.measured]
    return float(np.quantile(excess, CONFIDENCE))


def split(pool: Pool, rng: np.random.Generator) -> tuple[list[int], list[list[int]]]:
    """Return the processes of the truth, and those of each answer of the device."""
    drawn = rng.permutation(pool.processes).tolist()
    asked = [drawn[TRUTH + i * ASKED : TRUTH + (i + 1) * ASKED] for i in range(RUNS)]
    return drawn[:TRUTH], asked


def among(measurement: Measurement, processes: Sequence[int]) -> Measurement:
    """Return what some of the processes measured."""
    return Measurement(slices=tuple(s for s in measurement.slices if s.process in processes))


def clock(measurement: Measurement, processes: Sequence[int]) -> float:
    """Return the seconds of the middle process, by the clock."""
    return float(np.median([among(measurement, [p]).median_s for p in processes]))


def search(
    model: LatencyModel,
    pool: Pool,
    *,
    limit_s: float,
    margin: float,
    confidence: float,
    rng: np.random.Generator,
    asks: bool,
) -> Outcome | None:
    """Pick, ask, ship; None where nothing is predicted to keep the limit, which is said at once.

    Where no network keeps it in truth, nothing is lost to the oracle, and the promise is broken.
    """
    truth, asked = split(pool, rng)
    truth_s = np.array([clock(measurement, truth) for measurement in pool.measured])
    predicted_s = model.latency_s(pool.choices)
    allowed_s = model.allowed_s(
        LatencyTarget(device=model.device, limit_s=limit_s, confidence=confidence)
    )
    inside = np.flatnonzero(predicted_s <= allowed_s)
    if not inside.size:
        return None
    oracles = [
        pool.macs[truth_s <= end].max(initial=1.0) for end in (limit_s, limit_s / (1 + margin))
    ]
    picked = best(inside, pool.macs)
    runs, claimed = 0, not asks
    while asks and not claimed and runs < RUNS:
        answer = among(pool.measured[picked], asked[runs])
        runs += 1
        claimed = decision(limit_s, answer) == "met"
        _, high_s = answer.median_interval_s(COVERAGE)
        within_s = predicted_s[picked] * min(limit_s / high_s, 1.0)
        faster = inside[predicted_s[inside] < predicted_s[picked]]
        if not claimed and faster.size:
            enough = faster[predicted_s[faster] <= within_s]
            picked = best(enough if enough.size else faster, pool.macs)
    return Outcome(
        met=bool(truth_s[picked] <= limit_s),
        runs=runs,
        loss=max(0.0, 1 - pool.macs[picked] / oracles[0]),
        beyond=max(0.0, 1 - pool.macs[picked] / oracles[1]),
        claimed=claimed,
    )


def best(rows: NDArray[np.intp], macs: NDArray[np.float64]) -> int:
    """Return the row of the most operations."""
    return int(rows[macs[rows].argmax()])


def line(row: dict[str, Any]) -> str:
    """Return a row for people."""
    return (
        f"by {row['picked_by']:5} at {row['confidence']:.0%} "
        f"{'asking' if row['asks_the_device'] else 'blind':6} "
        f"{row['promised']} of {row['searches']} searches promised ({row['refused']} refused), "
        f"{row['met_share']:.1%} of them kept, {row['runs_mean']:.2f} runs, "
        f"{row['oracle_loss']:.1%} of MACs lost to the oracle, {row['loss_beyond_margin']:.1%} to "
        f"one that keeps the {row['margin_needed']:.1%} that processes alone force; the margin "
        f"taken is {row['margin_taken']:.1%}"
    )


if __name__ == "__main__":
    main()
