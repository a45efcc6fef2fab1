import math

import numpy as np
import pytest

from search.metrics import bootstrap_interval, kendall_tau, regrets, spearman, top_tau


def test_tau_b_takes_ties_out_of_both_sides() -> None:
    # Of six pairs four agree, one is a tie of the scores and one a tie of the truth.
    tau = kendall_tau(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 3.0]))
    assert tau == pytest.approx(4 / math.sqrt(5 * 5))


def test_opposite_rankings_have_a_tau_of_minus_one() -> None:
    scores = np.array([0.1, 0.5, 0.2, 0.9])
    assert kendall_tau(scores, -scores) == -1.0
    assert spearman(scores, -scores) == pytest.approx(-1.0)


def test_spearman_compares_ranks() -> None:
    # Two neighbours are swapped: 1 - 6 * 2 / (4 * 15).
    rho = spearman(np.array([1.0, 2.0, 3.0, 1000.0]), np.array([1.0, 2.0, 4.0, 3.0]))
    assert rho == pytest.approx(0.8)


def test_scores_that_are_all_equal_rank_nothing() -> None:
    same, truth = np.zeros(4), np.arange(4.0)
    assert math.isnan(kendall_tau(same, truth))
    assert math.isnan(spearman(truth, same))


def test_the_best_are_chosen_by_the_first_run_and_judged_by_the_others() -> None:
    accuracy = np.zeros((10, 3))
    accuracy[:, 0] = np.arange(10) / 10  # chooses networks 9 and 8
    accuracy[9] = 0.9, 0.5, 0.7  # 0.6 in the other runs
    accuracy[8] = 0.8, 0.8, 0.6  # 0.7
    scores = np.arange(10.0)
    assert top_tau(scores, accuracy) == -1.0
    assert top_tau(-scores, accuracy) == 1.0


def test_one_run_cannot_both_choose_and_judge() -> None:
    with pytest.raises(ValueError, match=r"others judge; got accuracies \(5, 1\)"):
        top_tau(np.arange(5.0), np.zeros((5, 1)))


def test_regret_is_what_the_pick_loses_within_each_limit() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.1])
    truth = np.array([0.5, 0.6, 0.3, 0.9])
    costs = np.array([4.0, 3.0, 2.0, 1.0])
    # Within 1 the last alone; within 3 the cheaper of two equal scores; within 4 the first.
    assert regrets(scores, truth, costs, limits=[1.0, 3.0, 4.0]).tolist() == pytest.approx(
        [0.0, 0.6, 0.4]
    )


def test_knowing_the_truth_leaves_no_regret() -> None:
    rng = np.random.default_rng(0)
    truth, costs = rng.random(100), rng.random(100)
    assert regrets(truth, truth, costs, limits=[0.3, 0.6, 1.0]).tolist() == [0.0, 0.0, 0.0]


def test_a_limit_below_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no network costs 0\.5 or less; the cheapest 2"):
        regrets(np.ones(2), np.ones(2), np.array([2.0, 3.0]), limits=[0.5])


def test_the_bootstrap_interval_of_a_mean_is_two_standard_errors_wide_on_either_side() -> None:
    values = np.random.default_rng(1).normal(10.0, 2.0, 400)
    low, high = bootstrap_interval(
        lambda rows: float(values[rows].mean()), count=400, rng=np.random.default_rng(0)
    )
    error = values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_the_same_generator_gives_the_same_interval() -> None:
    values = np.arange(20.0)

    def interval(seed: int) -> tuple[float, float]:
        rng = np.random.default_rng(seed)
        return bootstrap_interval(
            lambda rows: kendall_tau(values[rows], values[rows] % 7), count=20, rng=rng, draws=50
        )

    assert interval(0) == interval(0)
    assert interval(0) != interval(1)
