"""A simulated device that pads channels, as vector units make runtimes do."""

import pytest

from devices import DeviceSpec, Simulation
from devices.simulated import Simulated
from profiler import Chain, Conv, Head, MBConv
from profiler.operators.builders import chain_graph

SHAPE = (1, 20, 10, 10)


def run_s(chain: Chain, step: int) -> float:
    simulation = Simulation(
        dense_macs_per_s=1e9,
        depthwise_macs_per_s=1e8,
        bytes_per_s=1e9,
        node_s=0.0,
        channel_step=step,
        noise=0.0,
        process_noise=0.0,
    )
    device = DeviceSpec(name="sim", backend="simulated", simulation=simulation)
    with Simulated(device).open(chain_graph(chain)) as session:
        return session.time(1)


def test_a_convolution_pays_for_whole_steps_of_both_its_channels() -> None:
    chain: Chain = (Conv(input_shape=SHAPE, channels=33),)
    ends_s = 4 * (2_000 + 3_300) / 1e9  # the ends are converted as they are
    assert run_s(chain, 16) == pytest.approx(32 * 48 * 100 / 1e9 + ends_s)
    assert run_s(chain, 1) == pytest.approx(20 * 33 * 100 / 1e9 + ends_s)


def test_a_depthwise_convolution_pays_for_whole_steps_once() -> None:
    block: Chain = (MBConv(input_shape=SHAPE, channels=16, expand=1),)
    depthwise_s, project_s = 9 * 32 * 100 / 1e8, 32 * 16 * 100 / 1e9
    ends_s = 4 * (2_000 + 1_600) / 1e9
    assert run_s(block, 16) == pytest.approx(depthwise_s + project_s + ends_s)


def test_an_addition_moves_whole_steps() -> None:
    shape = (1, 20, 10, 10)
    block: Chain = (MBConv(input_shape=shape, channels=20, expand=1),)
    convolutions_s = 9 * 32 * 100 / 1e8 + 32 * 32 * 100 / 1e9
    add_s, ends_s = 4 * 3 * 3_200 / 1e9, 4 * 2 * 2_000 / 1e9
    assert run_s(block, 16) == pytest.approx(convolutions_s + add_s + ends_s)


def test_a_classifier_has_no_steps() -> None:
    head: Chain = (Head(input_shape=SHAPE, channels=32, classes=10),)
    convolution_s = 32 * 32 * 100 / 1e9
    pool_s, classifier_s = 4 * (3_200 + 32) / 1e9, 320 / 1e9
    ends_s = 4 * (2_000 + 10) / 1e9
    assert run_s(head, 16) == pytest.approx(convolution_s + pool_s + classifier_s + ends_s)


def test_within_a_step_only_the_ends_differ() -> None:
    def without_ends_s(channels: int) -> float:
        chain: Chain = (Conv(input_shape=SHAPE, channels=channels),)
        return run_s(chain, 16) - 4 * 100 * (20 + channels) / 1e9

    assert without_ends_s(33) == pytest.approx(without_ends_s(48))
    assert without_ends_s(49) == pytest.approx(64 / 48 * without_ends_s(48))


def test_a_step_below_one_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="a channel step is 1 or more, got 0"):
        Simulation(channel_step=0)
