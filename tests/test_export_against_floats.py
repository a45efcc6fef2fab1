"""Paired figures by hand: accuracies, agreement, and ratios of latencies."""

import math
from dataclasses import replace

import numpy as np
import pytest

from devices import DeviceSpec, Quantization
from export.against_floats import (
    Agreement,
    SideBySide,
    agreement,
    arithmetic_of,
    full_batches,
    predictions,
    share_interval,
    side_by_side,
)
from profiler import Conv, Head, Measurement, Pace, Slice
from profiler.builders import chain_graph, graph_for
from search.data import load_data

CHAIN = (
    Conv(input_shape=(3, 3, 8, 8), channels=4, kernel=3, activation="relu"),
    Head(input_shape=(3, 4, 8, 8), channels=8, classes=10),
)
INT8 = DeviceSpec(name="sim-int8", backend="simulated", precision="int8")


def test_what_is_lost_and_gained_is_counted_image_by_image() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    before = np.array([0, 1, 1, 0, 0])
    after = np.array([0, 0, 0, 0, 1])
    found = agreement(before, after, labels)
    assert found == Agreement(images=5, both_right=1, lost=1, gained=1, agreeing=2)
    assert (found.accuracy_fp32, found.accuracy, found.drop_points) == (0.4, 0.4, 0.0)
    assert found.agreement == 0.4


def test_the_interval_of_a_drop_is_that_of_pairs() -> None:
    found = Agreement(images=998, both_right=900, lost=19, gained=9, agreeing=960)
    # 19.5 and 9.5 of 1000: 0.010 +- 1.96 * sqrt((0.029 - 0.0001) / 1000)
    reach = 1.95996 * math.sqrt(0.0289 / 1000)
    assert found.drop_interval_points == pytest.approx(
        (1.0 - 100 * reach, 1.0 + 100 * reach), rel=1e-3
    )
    assert found.drop_points == pytest.approx(1000 / 998)


def test_no_difference_on_few_images_is_not_certainty() -> None:
    low, high = Agreement(
        images=50, both_right=50, lost=0, gained=0, agreeing=50
    ).drop_interval_points
    assert low == -high < -3.0


def test_a_share_has_the_interval_of_wilson() -> None:
    assert share_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert share_interval(1.0, 100) == pytest.approx((0.9630, 1.0), abs=1e-4)
    assert share_interval(0.0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)


def test_an_agreement_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs images"):
        Agreement(images=0, both_right=0, lost=0, gained=0, agreeing=0)


def test_every_image_is_judged_once_whatever_the_batch() -> None:
    split = load_data("digits", resolution=8).test
    single = tuple(replace(op, input_shape=(1, *op.input_shape[1:])) for op in CHAIN)
    cpu = arithmetic_of(DeviceSpec(name="x", backend="simulated"))
    found = predictions(chain_graph(CHAIN), cpu, split)
    assert found.shape == (len(split),)
    np.testing.assert_array_equal(found, predictions(chain_graph(single), cpu, split))


def test_a_last_batch_is_filled_with_the_first_images() -> None:
    images = np.arange(4, dtype=np.float32)[:, None, None, None]
    assert full_batches(images, 3).ravel().tolist() == [0.0, 1.0, 2.0, 3.0, 0.0, 1.0]
    assert full_batches(images, 4) is not images
    np.testing.assert_array_equal(full_batches(images, 2), images)


def test_numbers_are_those_of_the_devices_integers_on_this_cpu() -> None:
    scheme = Quantization(activations="int8")
    device = DeviceSpec(name="a", backend="simulated", precision="int8", quantization=scheme)
    assert arithmetic_of(device).quantization == scheme
    assert arithmetic_of(device).backend == "onnxruntime"


def measured(*ratios: float) -> Measurement:
    """Return one slice a process, whose canary takes 1 s in the first and 2 s in the others."""
    return Measurement(
        slices=tuple(
            Slice(
                process=number,
                round=0,
                gate="clean",
                repeats=1,
                samples_s=(ratio * (1 + (number > 0)),) * 3,
                reference_s=(1.0 + (number > 0),) * 3,
            )
            for number, ratio in enumerate(ratios)
        )
    )


def test_a_ratio_is_the_mean_over_processes_whatever_the_speed_of_each() -> None:
    found = SideBySide(floats=measured(1.0, 1.0), other=measured(0.5, 0.5))
    assert found.ratio == pytest.approx(0.5)
    assert found.ratio_interval == pytest.approx((0.5, 0.5))
    found = SideBySide(floats=measured(1.0, 2.0, 1.0), other=measured(0.5, 0.5, 0.5))
    assert found.ratio == pytest.approx(0.5 * 2 ** (-1 / 3))
    low, high = found.ratio_interval
    assert low < 0.25
    assert high > 0.5


def test_one_process_says_nothing_of_others() -> None:
    found = SideBySide(floats=measured(1.0), other=measured(0.5))
    assert found.ratio_interval == (0.0, math.inf)


def test_both_are_timed_in_turns_in_the_same_processes() -> None:
    found = side_by_side(
        chain_graph(CHAIN), graph_for(CHAIN, INT8), INT8, processes=2, rounds=2, pace=Pace()
    )
    assert found.floats.by_process.keys() == found.other.by_process.keys() == {0, 1}
    facts = found.as_json()
    assert facts["processes"] == 2
    assert facts["ratio"] == pytest.approx(facts["ms"] / facts["fp32_ms"], rel=0.1)
