from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from devices import DeviceSpec, backend_for
from lut import (
    LatencyTable,
    MissingLatency,
    NotCalibrated,
    calibration_networks,
    latency_model,
    macs_model,
)
from lut.calibration import (
    Curve,
    curve_fit,
    fit_bend_if_it_pays,
    fit_line,
    left_out_ratios,
    operator_costs,
)
from profiler import Conv, Head, MBConv, OpSpec, Skip
from profiler.operators.builders import chain_graph
from search import Architecture, SearchSpace, as_choices

MakeTable = Callable[..., LatencyTable]


def small_space(*, channels: int = 24) -> SearchSpace:
    """Return 4 * 3 * 4 networks, with identities and a layer that changes the shape."""
    stem = Conv(input_shape=(1, 3, 28, 28), channels=16, kernel=3, stride=2, activation="relu")
    kept = (1, 16, 14, 14)
    halved = (1, channels, 7, 7)

    def blocks(shape: tuple[int, ...], out: int, stride: int = 1) -> tuple[OpSpec, ...]:
        return tuple(
            MBConv(input_shape=shape, channels=out, kernel=kernel, stride=stride, expand=expand)
            for kernel, expand in ((3, 3), (5, 6), (7, 6))
        )

    return SearchSpace(
        name="small",
        before=(stem,),
        layers=(
            (*blocks(kept, 16), Skip(input_shape=kept)),
            blocks(kept, channels, stride=2),
            (*blocks(halved, channels), Skip(input_shape=halved)),
        ),
        after=(Head(input_shape=halved, channels=64, classes=10),),
    )


SPACE = small_space()


def everything() -> list[Architecture]:
    sizes = [range(len(layer)) for layer in SPACE.layers]
    return [Architecture((i, j, k)) for i in sizes[0] for j in sizes[1] for k in sizes[2]]


def true_s(device: DeviceSpec, archs: list[Architecture]) -> NDArray[np.float64]:
    backend = backend_for(device)
    seconds = []
    for arch in archs:
        with backend.open(chain_graph(SPACE.chain(arch))) as session:
            seconds.append(session.time(1))
    return np.array(seconds)


def test_base_and_slope_of_a_line_are_found_exactly() -> None:
    feature = np.arange(1.0, 9.0)
    line = fit_line(feature, 3.0 + 2.0 * feature, free_base=True)
    assert line.base_s == pytest.approx(3.0)
    assert line.slope == pytest.approx(2.0)
    assert line(np.array([10.0])) == pytest.approx([23.0])


def test_without_a_base_a_line_goes_through_the_origin() -> None:
    feature = np.arange(1.0, 8.0)
    line = fit_line(feature, 2.0 * feature * [1, 1, 1, 1, 1, 1, 5], free_base=False)
    assert line == Curve(base_s=0.0, slope=2.0)  # the median: one bad network does no harm


def test_a_line_never_falls() -> None:
    feature = np.arange(1.0, 11.0)
    line = fit_line(feature, 20.0 - feature, free_base=True)
    assert line.base_s == 0.0
    assert line.slope > 0.0


BENT = np.arange(1.0, 21.0) + 0.5 * np.maximum(0.0, np.arange(1.0, 21.0) - 10.5)
"""A slope of 1, from the middle on of 1.5."""


def test_a_bend_is_found_where_there_is_one() -> None:
    curve = fit_bend_if_it_pays(np.arange(1.0, 21.0), BENT)
    assert curve.bend is not None
    assert curve.bend.knot_s == pytest.approx(10.5)
    assert curve.bend.steepening == pytest.approx(0.5)
    assert curve(np.array([5.0, 30.0])) == pytest.approx([5.0, 30.0 + 0.5 * 19.5])


def test_noise_is_not_taken_for_a_bend(rng: np.random.Generator) -> None:
    feature = np.arange(5.0, 25.0)
    bent = [
        fit_bend_if_it_pays(feature, feature * (1 + 0.02 * rng.standard_normal(20))).bend
        for _ in range(40)
    ]
    assert sum(bend is not None for bend in bent) <= 8  # a standard error: one in six by chance


def test_a_bend_never_makes_a_larger_sum_faster() -> None:
    falling = np.concatenate([np.arange(1.0, 11.0), 10.0 - 0.1 * np.arange(10.0)])
    curve = fit_bend_if_it_pays(np.arange(1.0, 21.0), falling)
    assert np.diff(curve(np.linspace(1.0, 40.0, 100))).min() >= 0.0


def test_few_networks_are_not_asked_for_a_bend() -> None:
    assert curve_fit(15)(np.arange(1.0, 16.0), BENT[:15]).bend is None
    assert curve_fit(7)(np.arange(1.0, 8.0), 3.0 + np.arange(1.0, 8.0)).base_s == 0.0


def test_the_error_that_counts_is_relative() -> None:
    # Four networks at each end, 10 % above and below: best is the p of the least
    # (p / 1.1 - 1)^2 + (p / 0.9 - 1)^2, not their mean.
    feature = np.repeat([1.0, 100.0], 4)
    line = fit_line(feature, feature * np.tile([1.1, 0.9], 4), free_base=True)
    best = (1 / 1.1 + 1 / 0.9) / (1 / 1.1**2 + 1 / 0.9**2)
    assert line(np.array([1.0, 100.0])) == pytest.approx([best, 100 * best])


def test_a_left_out_network_is_predicted_by_the_others() -> None:
    feature, measured_s = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 2.0, 4.0, 16.0])
    # Without the last the slope is 1, which predicts 8 for it; with it the median is still 1.
    assert left_out_ratios(feature, measured_s) == (1.0, 1.0, 1.0, 2.0)


def test_leaving_one_out_does_not_take_the_base_away() -> None:
    feature = np.arange(1.0, 9.0)  # eight, as many as a base takes; seven are left for each fit
    assert left_out_ratios(feature, 5.0 + 3.0 * feature) == pytest.approx([1.0] * 8)
    few = feature[:7]
    assert max(left_out_ratios(few, 5.0 + 3.0 * few)) > 1.5  # without one: the first is 8, not 4.25


def test_left_out_networks_on_a_line_are_predicted_exactly() -> None:
    feature = np.arange(1.0, 21.0)
    assert left_out_ratios(feature, 5.0 + 3.0 * feature) == pytest.approx([1.0] * 20)


def test_without_noise_every_network_of_the_space_is_predicted_exactly(
    exact: DeviceSpec, make_table: MakeTable
) -> None:
    model = latency_model(make_table(exact, SPACE), SPACE)
    predicted_s = model.latency_s(as_choices(everything()))
    np.testing.assert_allclose(predicted_s, true_s(exact, everything()), rtol=1e-6)
    assert model.band.around(0.9) == pytest.approx((1.0, 1.0), abs=1e-6)
    assert model.device == "exact"


def test_without_noise_the_slope_is_one_and_the_base_is_what_all_share(
    exact: DeviceSpec, make_table: MakeTable
) -> None:
    table = make_table(exact, SPACE)
    model = latency_model(table, SPACE)
    raw = operator_costs(table, SPACE)
    finite = np.isfinite(raw) & (raw != 0.0)
    np.testing.assert_allclose(model.cost_s[finite] / raw[finite], 1.0, rtol=1e-6)
    smallest = Architecture((3, 0, 3))
    (seconds,) = true_s(exact, [smallest])
    assert model.base_s == pytest.approx(seconds - raw[1, 0], rel=1e-6)


def test_costs_are_infinite_where_a_layer_has_no_such_choice(
    exact: DeviceSpec, make_table: MakeTable
) -> None:
    cost = operator_costs(make_table(exact, SPACE), SPACE)
    assert cost.shape == (3, 4)
    assert np.isinf(cost).tolist() == [[False] * 4, [False, False, False, True], [False] * 4]
    assert cost[0, 3] == 0.0  # the identity


def test_operations_predict_worse_than_a_table(exact: DeviceSpec, make_table: MakeTable) -> None:
    table = make_table(exact, SPACE)
    choices, truth_s = as_choices(everything()), true_s(exact, everything())

    def mape(predicted_s: NDArray[np.float64]) -> float:
        return float(np.abs(predicted_s / truth_s - 1).mean())

    baseline = mape(macs_model(table, SPACE).latency_s(choices))
    assert baseline > 0.02
    assert mape(latency_model(table, SPACE).latency_s(choices)) < baseline / 100


def test_a_noisy_device_is_predicted_within_its_own_band(
    noisy: DeviceSpec, make_table: MakeTable
) -> None:
    model = latency_model(make_table(noisy, SPACE), SPACE)
    assert model.band.kind == "conformal"
    truth_s = true_s(replace(noisy, simulation=None), everything())
    prices = model.price(as_choices(everything()))
    assert np.abs(prices.latency_s / truth_s - 1).max() < 0.05


@pytest.mark.parametrize(("networks", "kind"), [(4, "t"), (7, "t"), (8, "t")])
def test_a_few_networks_give_a_wider_band_of_another_kind(
    exact: DeviceSpec, make_table: MakeTable, networks: int, kind: str
) -> None:
    model = latency_model(make_table(exact, SPACE, networks=networks), SPACE)
    assert model.band.kind == kind
    assert len(model.band.ratios) == networks
    assert (model.base_s == 0.0) == (networks < 8)


@pytest.mark.parametrize("networks", [0, 3])
def test_too_few_networks_are_said_with_the_cure(
    exact: DeviceSpec, make_table: MakeTable, networks: int
) -> None:
    table = make_table(exact, SPACE, networks=networks)
    for make in (latency_model, macs_model):
        with pytest.raises(NotCalibrated) as raised:
            make(table, SPACE)
        message = str(raised.value)
        assert f"holds {networks} whole networks of this space" in message
        assert "takes 4, intervals 20. Measure them, with the same --resolution" in message
        assert "latkit profile --device exact" in message
        assert "\n" not in message


def test_networks_of_another_space_do_not_count(exact: DeviceSpec, make_table: MakeTable) -> None:
    table = make_table(exact, SPACE)
    with pytest.raises(NotCalibrated, match="holds 0 whole networks"):
        macs_model(table, small_space(channels=32))


def test_calibration_networks_come_with_their_choices(
    exact: DeviceSpec, make_table: MakeTable
) -> None:
    table = make_table(exact, SPACE)
    choices, measured_s = calibration_networks(table, SPACE)
    assert choices.shape == (20, 3)
    for row, seconds in zip(choices.tolist(), measured_s, strict=True):
        assert table.networks[SPACE.chain(Architecture(tuple(row)))].latency_s == seconds


def test_missing_operators_are_named_and_counted(exact: DeviceSpec, make_table: MakeTable) -> None:
    table = make_table(exact, SPACE)
    # Every operator that ends in 32 channels at 7 pixels lacks, 3 + 3 of them.
    with pytest.raises(MissingLatency, match=r"16x14x14 -> 32 k3 s2 e3\] and 5 more"):
        latency_model(table, small_space(channels=32))


def test_a_model_of_an_emulated_device_says_so(exact: DeviceSpec, make_table: MakeTable) -> None:
    table = make_table(exact, SPACE)
    assert latency_model(table, SPACE).origin == "measured"
    environment = {**table.conditions.environment, "origin": "emulated"}
    emulated = replace(table, conditions=replace(table.conditions, environment=environment))
    assert latency_model(emulated, SPACE).origin == "emulated"
