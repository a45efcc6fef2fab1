from importlib import import_module
from statistics import NormalDist

import pytest

from profiler import student_t_quantile
from profiler.student_t import MANY

# Degrees to the quantiles of 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999 and 0.9995: as printed in
# the NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, and in most textbooks.
SHARES = (0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995)
PRINTED = {
    1: (1.000, 3.078, 6.314, 12.706, 31.821, 63.657, 318.309, 636.619),
    2: (0.816, 1.886, 2.920, 4.303, 6.965, 9.925, 22.327, 31.599),
    3: (0.765, 1.638, 2.353, 3.182, 4.541, 5.841, 10.215, 12.924),
    4: (0.741, 1.533, 2.132, 2.776, 3.747, 4.604, 7.173, 8.610),
    5: (0.727, 1.476, 2.015, 2.571, 3.365, 4.032, 5.893, 6.869),
    10: (0.700, 1.372, 1.812, 2.228, 2.764, 3.169, 4.144, 4.587),
    30: (0.683, 1.310, 1.697, 2.042, 2.457, 2.750, 3.385, 3.646),
    120: (0.677, 1.289, 1.658, 1.980, 2.358, 2.617, 3.160, 3.373),
}


@pytest.mark.parametrize("degrees", PRINTED)
def test_quantiles_are_those_that_are_printed_in_tables(degrees: int) -> None:
    found = [student_t_quantile(share, degrees) for share in SHARES]
    assert found == pytest.approx(PRINTED[degrees], abs=5.1e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 8, 15, 30, 100, MANY - 1, MANY, 1000])
def test_quantiles_are_those_of_scipy_far_out_too(degrees: int) -> None:
    t = import_module("scipy.stats").t  # comes with scikit-learn, without type annotations
    for share in (0.5, 0.6, 0.75, 0.95, 0.995, 0.9999, 1 - 0.05 / 4 / 300, 1 - 1e-7):
        expected = float(t.ppf(share, degrees))
        assert student_t_quantile(share, degrees) == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_three_degrees_by_hand() -> None:
    # P(|t| < sqrt(3)) = 2 / pi * (pi / 4 + sin(pi / 4) * cos(pi / 4)) = 1 / 2 + 1 / pi
    assert student_t_quantile(0.8183098861837907 / 2 + 0.5, 3) == pytest.approx(3**0.5)


def test_the_distribution_is_symmetric() -> None:
    assert student_t_quantile(0.1, 5) == -student_t_quantile(0.9, 5)


def test_of_many_observations_it_is_the_normal_quantile() -> None:
    assert student_t_quantile(0.975, 10**9) == pytest.approx(NormalDist().inv_cdf(0.975))


@pytest.mark.parametrize(("share", "degrees"), [(0.0, 5), (1.0, 5), (0.9, 0)])
def test_what_has_no_quantile_is_refused(share: float, degrees: int) -> None:
    with pytest.raises(ValueError, match=f"no quantile {share} for {degrees} degrees"):
        student_t_quantile(share, degrees)
