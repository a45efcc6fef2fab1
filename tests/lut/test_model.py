import numpy as np
import pytest

from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, within
from lut.model import Bend

EXACT = ErrorBand(ratios=(1.0,) * 20)
# Twenty networks were measured 1 to 20 % slower than predicted: 95 % stay below 1.20.
SLOWER = ErrorBand(ratios=tuple(1.0 + i / 100 for i in range(1, 21)))
FASTER = ErrorBand(ratios=(0.9,) * 20)

COST_S = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, np.inf]])
CHOICES = np.array([[0, 0], [2, 0], [1, 1]])


def model(band: ErrorBand = EXACT, device: str = "sim") -> LatencyModel:
    return LatencyModel(
        device=device, base_s=100.0, cost_s=COST_S, band=band, table_hash="of no table"
    )


def budget(limit_s: float, band: ErrorBand = EXACT, device: str = "sim") -> LatencyBudget:
    target = LatencyTarget(device=device, limit_s=limit_s)
    return LatencyBudget(model=model(band, device), target=target)


def test_a_latency_is_the_base_and_the_cost_of_every_choice() -> None:
    assert model().latency_s(CHOICES).tolist() == [111.0, 113.0, 122.0]


def test_layers_may_have_different_numbers_of_choices() -> None:
    assert model().counts.tolist() == [3, 2]
    with pytest.raises(ValueError, match=r"out of range; layers have \[3, 2\]"):
        model().latency_s(np.array([[0, 2]]))


def test_a_price_has_an_interval_from_the_errors_of_calibration() -> None:
    prices = model(SLOWER).price(CHOICES, coverage=0.9)
    assert prices.coverage == 0.9
    np.testing.assert_allclose(prices.latency_s, [111.0, 113.0, 122.0])
    np.testing.assert_allclose(prices.high_s, prices.latency_s * 1.19)  # rank ceil(21 * 0.9)
    np.testing.assert_allclose(prices.low_s, prices.latency_s / 1.19)


def test_an_empty_batch_has_no_prices() -> None:
    prices = model().price(np.zeros((0, 2), np.uint8))
    assert prices.latency_s.shape == prices.low_s.shape == prices.high_s.shape == (0,)


def test_a_prediction_must_leave_room_for_its_error() -> None:
    # 120 s at 95 % confidence, and 95 % of networks stay below 1.20 of their prediction.
    assert budget(120.0, SLOWER).allowed_s == pytest.approx(100.0)


def test_a_model_that_predicts_too_much_gains_nothing() -> None:
    assert budget(120.0, FASTER).allowed_s == 120.0


def test_less_confidence_allows_more() -> None:
    target = LatencyTarget(device="sim", limit_s=111.0, confidence=0.5)
    assert model(SLOWER).allowed_s(target) == pytest.approx(100.0)  # rank ceil(21 * 0.5) = 11


def test_a_target_for_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="a target for 'phone', a model of 'sim'"):
        model().allowed_s(LatencyTarget(device="phone", limit_s=1.0))


def test_an_excess_is_counted_from_what_is_allowed() -> None:
    assert budget(113.0).excess_s(CHOICES).tolist() == [-2.0, 0.0, 9.0]


def test_every_budget_must_be_kept_and_a_limit_may_be_reached() -> None:
    assert within([budget(113.0)], CHOICES).tolist() == [True, True, False]
    both = [budget(113.0), budget(112.0, device="phone")]
    assert within(both, CHOICES).tolist() == [True, False, False]


def test_without_a_budget_everything_is_allowed() -> None:
    assert within([], CHOICES).tolist() == [True, True, True]


def joint(bend: Bend | None = None) -> LatencyModel:
    """Two layers of three and two choices that are priced together; one pair cannot be had."""
    return LatencyModel(
        device="sim",
        base_s=100.0,
        cost_s=np.array([[5.0, 1.0, 2.0, 7.0, np.inf, 3.0]]),
        together=(3, 2),
        band=EXACT,
        table_hash="of no table",
        bend=bend,
    )


def test_layers_that_are_priced_together_have_a_price_for_every_combination() -> None:
    choices = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]])
    seconds = joint().latency_s(choices)
    assert seconds.tolist() == [105.0, 101.0, 102.0, 107.0, np.inf, 103.0]
    assert joint().counts.tolist() == [3, 2]
    bent = joint(Bend(knot_s=104.0, steepening=-0.5)).latency_s(choices)
    assert bent.tolist() == [104.5, 101.0, 102.0, 105.5, np.inf, 103.0]


@pytest.mark.parametrize("choices", [[[0]], [[3, 0]], [[0, 2]]])
def test_a_combination_that_layers_lack_is_refused(choices: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"choices are|invalid entry"):
        joint().latency_s(np.array(choices))


def test_the_ends_of_layers_that_are_priced_together_are_those_of_the_list() -> None:
    assert joint().ends.tolist() == [[0, 1], [1, 1]]  # what cannot be had is not the slowest


def test_what_makes_a_network_faster_is_told_choice_by_choice() -> None:
    alone = model().faster(np.array([[1, 1], [0, 0]]))
    assert np.argwhere(alone[0]).tolist() == [[0, 0], [1, 0]]
    assert not alone[1].any()
    together = joint().faster(np.array([[0, 0], [2, 0]]))
    assert np.argwhere(together[0]).tolist() == [[0, 1], [1, 1]]  # to (1, 0) and to (0, 1)
    assert np.argwhere(together[1]).tolist() == [[0, 0], [0, 1], [1, 1]]


@pytest.mark.parametrize("limit_s", [0.0, -1.0, float("nan")])
def test_a_limit_is_positive(limit_s: float) -> None:
    with pytest.raises(ValueError, match="a limit must be positive"):
        LatencyTarget(device="sim", limit_s=limit_s)


@pytest.mark.parametrize("confidence", [0.49, 1.0, float("nan")])
def test_a_confidence_is_at_least_one_half_and_below_one(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"a confidence is in \[0.5, 1\)"):
        LatencyTarget(device="sim", limit_s=1.0, confidence=confidence)
