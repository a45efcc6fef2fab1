"""What NVML counts, as counters and sentences; and that the real bindings have what is asked."""

import inspect
from dataclasses import replace

import pynvml  # type: ignore[import-untyped]
import pytest

from devices.nvidia.nvml_host import LIMITS, NvmlHost, nvml_host
from profiler.campaigns.gate import judge
from tests.fake_gpu import PID, FakeCuda, FakeNvml


def host_of(nvml: FakeNvml) -> NvmlHost:
    return NvmlHost(nvml, None, lambda: nvml.cuda.cpu_s, nvml.cuda.sleep, PID)


def worked(nvml: FakeNvml, *, seconds: float) -> None:
    """Let the GPU work for us and the CPU wait for it."""
    nvml.cuda.queue(lambda: seconds)
    nvml.cuda.wait(0)


def reading(nvml: FakeNvml) -> str:
    """Return what the gate says of half a second of our own work."""
    host = host_of(nvml)
    worked(nvml, seconds=0.1)
    host.load()  # NVML's samples from before do not count
    before = host.load()
    worked(nvml, seconds=0.5)
    return judge(before, host.load())


def test_our_own_work_is_no_load() -> None:
    assert reading(FakeNvml(FakeCuda())) == "clean"


def test_the_work_of_other_processes_is_load() -> None:
    assert reading(FakeNvml(FakeCuda(), others={99: 20})) == "load"
    assert reading(FakeNvml(FakeCuda(), others={99: 5})) == "clean"


def test_a_clock_that_a_limit_of_power_holds_down_is_told_from_load() -> None:
    nvml = FakeNvml(FakeCuda())
    host = host_of(nvml)
    worked(nvml, seconds=0.1)
    before = host.load()
    worked(nvml, seconds=0.5)
    nvml.held_s += 0.1
    after = host.load()
    assert before is not None
    assert after is not None
    assert after.throttled_s - before.throttled_s == pytest.approx(0.1)
    assert judge(before, after) == "throttle"


def test_where_nvml_counts_no_processes_no_gate_is_held() -> None:
    assert reading(FakeNvml(FakeCuda(), missing=frozenset({"ProcessUtilization"}))) == "open"


def test_in_a_container_that_hides_this_process_no_gate_is_held() -> None:
    assert reading(FakeNvml(FakeCuda(), visible=False)) == "open"


def test_limits_that_nvml_does_not_count_are_no_reason_to_hold_no_gate() -> None:
    assert reading(FakeNvml(FakeCuda(), missing=frozenset({"ViolationStatus"}))) == "clean"


def test_without_nvml_the_preflight_says_what_is_not_known() -> None:
    host = NvmlHost(None, None)
    assert host.load() is None
    (doubt,) = host.preflight()
    assert "no gate is held" in doubt
    assert host.environment() == {"driver": "unknown"}
    assert not host.lock_clock(1000)


def test_a_quiet_gpu_with_a_free_clock_has_one_doubt() -> None:
    (doubt,) = host_of(FakeNvml(FakeCuda())).preflight()
    assert doubt.startswith("its clock is free, up to 2100 MHz: lock it, sudo nvidia-smi -lgc")


def test_the_preflight_names_processes_heat_and_what_holds_the_clock_down() -> None:
    nvml = FakeNvml(FakeCuda(), others={99: 40}, temperature=90, reasons=4)
    doubts = " | ".join(host_of(nvml).preflight())
    assert "other programs use the GPU: process 99" in doubts
    assert "the GPU is 40% busy" in doubts
    assert "90 C hot" in doubts
    assert "held down right now (SwPowerCap)" in doubts


def test_a_clock_is_locked_where_that_is_permitted() -> None:
    nvml = FakeNvml(FakeCuda(), root=True)
    host = host_of(nvml)
    assert host.lock_clock(1500)
    assert host.state().clock_mhz == 1500
    assert not host_of(replace(nvml, root=False, locked=None)).lock_clock(1500)


def test_a_locked_clock_is_no_doubt() -> None:
    host = host_of(FakeNvml(FakeCuda(), root=True))
    assert host.lock_clock(1500)
    assert host.preflight() == ()


def test_the_state_is_in_volts_ampere_and_degrees_that_people_know() -> None:
    nvml = FakeNvml(FakeCuda())
    worked(nvml, seconds=2.0)
    state = host_of(nvml).state()
    assert state.power_w == pytest.approx(150.0)
    assert state.energy_j == pytest.approx(300.0)
    assert (state.temperature_c, state.top_clock_mhz) == (50, 2100)
    assert state.reasons == ("GpuIdle",)
    missing = frozenset({"TotalEnergyConsumption"})
    assert host_of(FakeNvml(FakeCuda(), missing=missing)).state().energy_j is None


FUNCTIONS = {
    "nvmlDeviceGetClockInfo": 2,
    "nvmlDeviceGetComputeRunningProcesses": 1,
    "nvmlDeviceGetCurrentClocksEventReasons": 1,
    "nvmlDeviceGetEnforcedPowerLimit": 1,
    "nvmlDeviceGetHandleByPciBusId": 1,
    "nvmlDeviceGetMaxClockInfo": 2,
    "nvmlDeviceGetPowerUsage": 1,
    "nvmlDeviceGetProcessUtilization": 2,
    "nvmlDeviceGetTemperature": 2,
    "nvmlDeviceGetTotalEnergyConsumption": 1,
    "nvmlDeviceGetUtilizationRates": 1,
    "nvmlDeviceGetViolationStatus": 2,
    "nvmlDeviceResetGpuLockedClocks": 1,
    "nvmlDeviceSetGpuLockedClocks": 3,
    "nvmlSystemGetDriverVersion": 0,
}


@pytest.mark.parametrize(("name", "count"), FUNCTIONS.items())
def test_the_real_bindings_have_what_is_asked(name: str, count: int) -> None:
    assert len(inspect.signature(getattr(pynvml, name)).parameters) == count


def test_the_real_bindings_have_the_names_that_are_used() -> None:
    names = ("NVML_CLOCK_SM", "NVML_TEMPERATURE_GPU", "nvmlClocksEventReasonGpuIdle", *LIMITS)
    assert all(isinstance(getattr(pynvml, name), int) for name in names)
    assert issubclass(pynvml.NVMLError_NotFound, pynvml.NVMLError)
    sample = dict(pynvml.c_nvmlProcessUtilizationSample_t._fields_)
    assert {"pid", "timeStamp", "smUtil"} <= sample.keys()
    assert "violationTime" in dict(pynvml.c_nvmlViolationTime_t._fields_)


def test_a_machine_without_a_driver_has_a_host_without_nvml() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert nvml_host("0000:01:00.0").nvml is None
    else:
        pytest.skip("there is an NVIDIA driver on this machine")
