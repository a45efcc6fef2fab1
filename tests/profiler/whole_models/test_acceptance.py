"""Accepting a percentile: how many runs it takes, and how often it errs however often one looks."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from profiler.whole_models.acceptance import Acceptance, Block

P99 = Acceptance(percent=99)
RUNS = P99.runs_in_block
CLEAN, ALL_SLOW = Block(slow=0, runs=RUNS), Block(slow=RUNS, runs=RUNS)
TRIALS = 300

Slow = NDArray[np.int64]
Draw = Callable[[np.random.Generator, float], Slow]


def independent(rng: np.random.Generator, share: float) -> Slow:
    """Return slow runs of each process where every run is slow by its own chance."""
    return rng.binomial(RUNS, share, P99.most_blocks)


def correlated(rng: np.random.Generator, share: float) -> Slow:
    """Return them where processes differ: a correlation of 0.05 between runs of one of them."""
    spread = 1 / 0.05 - 1
    shares = rng.beta(share * spread, (1 - share) * spread, P99.most_blocks)
    return rng.binomial(RUNS, shares)


def all_in_few(rng: np.random.Generator, share: float) -> Slow:
    """Return them where a tenth of the processes has all the slow runs."""
    shares = np.where(rng.random(P99.most_blocks) < 0.1, 10 * share, 0.0)
    return rng.binomial(RUNS, shares)


def bursts(rng: np.random.Generator, share: float) -> Slow:
    """Return them where they come five in a row."""
    return 5 * rng.binomial(RUNS // 5, share, P99.most_blocks)


def decided(draw: Draw, share: float, what: str) -> float:
    """Return how often a test ends in one way, each asked again after every process."""
    rng = np.random.default_rng(0)
    ends = [
        P99.decide(Block(slow=int(slow), runs=RUNS) for slow in draw(rng, share)).decision
        for _ in range(TRIALS)
    ]
    return ends.count(what) / TRIALS  # type: ignore[arg-type]


@pytest.mark.parametrize("draw", [independent, correlated, all_in_few, bursts])
def test_a_promise_at_the_limit_is_rarely_decided_wrongly_however_often_one_looks(
    draw: Draw,
) -> None:
    assert decided(draw, 0.01, "met") <= 0.05
    assert decided(draw, 0.01, "missed") <= 0.05


@pytest.mark.parametrize("draw", [independent, correlated, all_in_few, bursts])
def test_what_is_broken_is_hardly_ever_accepted(draw: Draw) -> None:
    assert decided(draw, 0.03, "met") <= 0.01
    assert decided(draw, 0.03, "missed") >= 0.7


@pytest.mark.parametrize("draw", [independent, correlated, all_in_few, bursts])
def test_what_is_kept_is_accepted(draw: Draw) -> None:
    assert decided(draw, 0.002, "met") >= 0.9
    assert decided(draw, 0.002, "missed") <= 0.01


def test_fewer_clean_processes_than_the_least_never_decide() -> None:
    assert P99.least_blocks == 52
    assert P99.decide([CLEAN] * 51).decision == "undecided"
    accepted = P99.decide([CLEAN] * 100)
    assert (accepted.decision, accepted.blocks, accepted.runs) == ("met", 52, 5_200)


def test_without_an_assumption_it_takes_as_many_processes_as_the_classical_bound_takes_runs() -> (
    None
):
    free = replace(P99, rare=0.01, most_blocks=400)
    assert free.ceiling == 1.0
    assert 0.99**299 < 0.05 < 0.99**298
    assert 299 <= free.least_blocks < 400
    assert free.decide([CLEAN] * (free.least_blocks - 1)).decision == "undecided"
    assert free.decide([CLEAN] * free.least_blocks).decision == "met"


def test_a_stake_on_a_clean_process_grows_as_far_as_the_ceiling_allows() -> None:
    # all of it by 0.01 / (0.15 - 0.01), half of it by half of that; a stake is the mean of both
    assert P99.ceiling == pytest.approx(0.15)
    gain = 0.01 / 0.14
    for blocks in (1, 7):
        expected = ((1 + gain) ** blocks + (1 + gain / 2) ** blocks) / 2
        assert P99.decide([CLEAN] * blocks).for_it == pytest.approx(expected)


def test_a_stake_on_slow_runs_loses_on_a_process_without_any() -> None:
    assert P99.decide([CLEAN]).against_it == 1.0  # at most, which was before the first
    ten = P99.decide([Block(slow=10, runs=100)])
    # 1 + f * (0.10 - 0.01) / 0.01 for f of 0.05, 0.2 and 0.6
    assert ten.against_it == pytest.approx((1.45 + 2.8 + 6.4) / 3)


def test_a_process_that_is_slow_throughout_decides_at_once() -> None:
    accepted = P99.decide([ALL_SLOW] * 5)
    assert (accepted.decision, accepted.blocks, accepted.slow) == ("missed", 1, RUNS)


def test_what_others_disturbed_never_speaks_against_a_promise() -> None:
    disturbed = replace(ALL_SLOW, trusted=False)
    assert P99.decide([disturbed] * 20).decision == "undecided"
    assert P99.decide([replace(CLEAN, trusted=False)] * 60).decision == "met"


def test_the_cap_leaves_it_undecided() -> None:
    at_the_limit = Block(slow=1, runs=100)
    accepted = P99.decide([at_the_limit] * 1_000)
    assert (accepted.decision, accepted.blocks) == ("undecided", P99.most_blocks)


def test_more_confidence_takes_more_processes() -> None:
    least = [Acceptance(percent=99, confidence=c).least_blocks for c in (0.9, 0.95, 0.99)]
    assert least == sorted(set(least))


def test_a_rarer_exception_takes_more_runs_in_each_process() -> None:
    assert Acceptance(percent=99.9).runs_in_block == 1_000
    assert Acceptance(percent=90).runs_in_block == 100
    assert Acceptance(percent=99.9).least_blocks == P99.least_blocks


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"percent": 100.0}, "no percentile 100"),
        ({"percent": 40.0}, "no percentile 40"),
        ({"confidence": 1.0}, "with confidence 1"),
        ({"rare": 0.0}, "but for 0 of the processes"),
        ({"most_blocks": 0}, "at most 0"),
    ],
)
def test_a_test_that_cannot_be_is_refused(values: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(P99, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("slow", "runs"), [(0, 0), (3, 2), (-1, 2)])
def test_a_block_has_runs_and_no_more_slow_ones_than_that(slow: int, runs: int) -> None:
    with pytest.raises(ValueError, match="cannot be slow"):
        Block(slow=slow, runs=runs)
