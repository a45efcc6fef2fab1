"""What only a GPU says: whether it is launch-bound, how it is, what a run costs."""

import pytest

from devices import BACKENDS, DeviceSpec, Gpu, device_named
from export.bundle.gpu_facts import Launches, energy_facts, time_launches
from export.figures.device_views import device_facts
from profiler import Conv
from profiler.operators.builders import graph_for

DEVICE = DeviceSpec(name="gpu", backend="fake-gpu", precision="fp32", gpu=Gpu(cuda_graph=False))


@pytest.fixture(autouse=True)
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "fake-gpu", "tests.fake_gpu:FakeGpu")


def test_kernels_that_wait_for_the_cpu_are_launch_bound() -> None:
    assert Launches(whole_s=10e-6, one_by_one_s=12e-6).bound
    assert not Launches(whole_s=10e-6, one_by_one_s=10.5e-6).bound


def test_both_ways_are_timed_whatever_the_device_does() -> None:
    found = time_launches(DEVICE)
    assert found.one_by_one_s == pytest.approx(40e-6, rel=1e-2)  # four, each launched in 10 us
    assert 0.0 < found.whole_s < found.one_by_one_s


def test_what_is_said_names_both_times_and_the_setting() -> None:
    bound = Launches(whole_s=100e-6, one_by_one_s=300e-6)
    assert bound.said(cuda_graph=False) == (
        "launch-bound: a small network takes 300 us kernel by kernel, 100 us as one CUDA graph; "
        "cuda_graph: true is faster"
    )
    assert bound.said(cuda_graph=True).endswith("deployed without one, it is slower")
    assert Launches(whole_s=1.0, one_by_one_s=1.0).said(cuda_graph=True).startswith("not launch-")


def test_looking_at_a_gpu_closely_says_it() -> None:
    facts = device_facts(DEVICE, closely=True)
    assert "launch-bound: a small network takes" in facts["launches"]
    assert facts["state"]["power_w"] == pytest.approx(150.0)
    assert "launches" not in device_facts(DEVICE, closely=False)


def test_a_run_costs_power_times_time() -> None:
    conv = Conv(input_shape=(1, 64, 16, 16), channels=64, kernel=3)  # 9.4e6 MACs at 4e12 a second
    graph = graph_for((conv,), DEVICE)
    facts = energy_facts(DEVICE, graph, latency_s=2e-3)
    assert facts["energy_mj"] == pytest.approx(150.0 * 9.4e6 / 4e12 * 1e3, rel=0.05)


def test_other_devices_count_no_energy() -> None:
    conv = Conv(input_shape=(1, 4, 8, 8), channels=4)
    assert energy_facts(device_named("cpu"), graph_for((conv,), DEVICE), latency_s=1e-3) == {}
