import math

import numpy as np
import pytest

from devices import DeviceSpec
from lut import LatencyTable, MissingLatency
from lut.rows import MEDIAN, rows_of
from lut.table import Conditions
from profiler import Chain, MBConv, Measurement, OpSpec, Slice, contexts, in_context

SHAPE = (1, 16, 14, 14)
OPS: tuple[OpSpec, ...] = tuple(
    MBConv(input_shape=SHAPE, channels=16, kernel=kernel, expand=expand)
    for kernel in (3, 5, 7)
    for expand in (2, 3, 4, 6)
)
PROCESSES = 5
HERE = Conditions(device=DeviceSpec(name="sim", backend="simulated"), environment={})


def measured(rng: np.random.Generator, seconds: float, *, noise: float) -> Measurement:
    """Return what a few processes found, each off by so much."""
    return Measurement(
        slices=tuple(
            Slice(
                process=process,
                round=0,
                repeats=1,
                samples_s=(seconds * float(np.exp(noise * rng.standard_normal())),) * 4,
                reference_s=(1e-3,) * 4,
                gate="clean",
            )
            for process in range(PROCESSES)
        )
    )


def true_s(chain: Chain) -> float:
    """Return made-up seconds that rise with what a chain computes."""
    return 1e-4 * sum(getattr(op, "expand", 1) + getattr(op, "kernel", 1) for op in chain)


def table(rng: np.random.Generator, *, noise: float) -> LatencyTable:
    chains = dict.fromkeys(in_context(op) for op in OPS)
    chains |= dict.fromkeys(chain for op in OPS for chain in contexts(op))
    return LatencyTable(
        name="mine.lut",
        conditions=HERE,
        chains={chain: measured(rng, true_s(chain), noise=noise) for chain in chains},
    )


def truth_of(op: OpSpec) -> float:
    exact = table(np.random.default_rng(0), noise=0.0)
    return exact[op]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_intervals_of_operators_hold_the_truth_as_often_as_they_say(
    coverage: float, rng: np.random.Generator
) -> None:
    truths = {op: truth_of(op) for op in OPS}
    held = []
    for _ in range(60):
        rows = rows_of(table(rng, noise=0.02))
        for op in OPS:
            low_s, high_s = rows.interval_s(op, coverage)
            held.append(low_s <= truths[op] <= high_s)
    assert np.mean(held) == pytest.approx(coverage, abs=0.06)


def test_what_is_subtracted_is_uncertain_too(rng: np.random.Generator) -> None:
    op, mine = OPS[0], table(rng, noise=0.02)
    rows = rows_of(mine)
    chain = in_context(op)
    own_s = mine.seconds(mine.chains[chain]) * rows.spread.log_s[chain].half_width(0.1)
    low_s, high_s = rows.interval_s(op)
    assert high_s - low_s > 2.1 * math.sqrt(MEDIAN) * own_s


def test_a_steady_device_has_no_noisy_rows_and_an_unsteady_one_no_others(
    rng: np.random.Generator,
) -> None:
    assert set(rows_of(table(rng, noise=0.01)).chain_statuses()) == {"ok"}
    assert set(rows_of(table(rng, noise=0.15)).chain_statuses()) <= {"noisy", "bimodal"}


def test_an_operator_that_was_not_measured_has_no_status(rng: np.random.Generator) -> None:
    rows = rows_of(table(rng, noise=0.01))
    with pytest.raises(MissingLatency):
        rows.status(MBConv(input_shape=SHAPE, channels=16, kernel=3, expand=5))
