"""CPUs of several kinds and what heat does to them, on a made-up system of files."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from devices import DeviceSpec, DeviceUnavailable, backend_for
from devices.cores import (
    ClusterName,
    cluster_named,
    clusters,
    cooled_down,
    governors,
    temperatures_c,
)
from devices.host import LocalHost, allowed_cpus, computes_half, emulated, processor_name

Put = Callable[[str, object], None]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put a value in a file of the kernel's."""
    monkeypatch.setattr("devices.cores.CPUS", tmp_path / "cpu")
    monkeypatch.setattr("devices.cores.THERMAL", tmp_path / "thermal")
    monkeypatch.setattr("devices.cores.POWER", tmp_path / "power")
    monkeypatch.setattr("devices.cores.FIRMWARE", tmp_path / "get_throttled")

    def write(name: str, value: object) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")

    return write


@pytest.fixture
def phone(put: Put) -> None:
    """Four small CPUs, four middling ones and a big one, as a Tensor G3 has."""
    for cpu in range(9):
        capacity, khz = [(160, 1_704_000), (600, 2_367_000), (1024, 2_914_000)][cpu // 4]
        put(f"cpu/cpu{cpu}/cpu_capacity", capacity)
        put(f"cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", khz)
        put(f"cpu/cpu{cpu}/cpufreq/scaling_max_freq", khz)
        put(f"cpu/cpu{cpu}/cpufreq/scaling_governor", "sched_pixel")


@pytest.mark.usefixtures("phone")
@pytest.mark.parametrize(
    ("name", "cpus"), [("little", (0, 1, 2, 3)), ("middle", (4, 5, 6, 7)), ("big", (8,))]
)
def test_clusters_are_told_apart_and_named(name: ClusterName, cpus: tuple[int, ...]) -> None:
    found = clusters(range(9))
    assert ", ".join(map(str, found)) == "4 at 1704 MHz, 4 at 2367 MHz, 1 at 2914 MHz"
    chosen = cluster_named(name, found)
    assert chosen is not None
    assert chosen.cpus == cpus
    assert governors(cpus) == ("sched_pixel",)


def test_cpus_of_one_kind_are_all_big(put: Put) -> None:
    del put  # nothing is known of them
    (only,) = clusters((0, 1))
    assert cluster_named("big", (only,)) == only
    assert cluster_named("middle", (only,)) is None
    assert cluster_named("little", (only,)) is None


def test_a_device_takes_the_cpus_of_its_cluster(put: Put) -> None:
    first, *_, last = allowed_cpus()
    put(f"cpu/cpu{first}/cpu_capacity", 1024)
    if first == last:
        pytest.skip("one CPU alone cannot be of two kinds")
    environment = backend_for(
        DeviceSpec(name="mine", backend="onnxruntime", cluster="big")
    ).environment()
    assert environment["cpus"] == str(first)
    assert environment["clusters"].endswith(", 1 at 0 MHz")


def test_a_cluster_that_is_not_there_is_refused(put: Put) -> None:
    del put
    with pytest.raises(DeviceUnavailable, match=r"wants its little CPUs; there are \d+ at 0 MHz"):
        backend_for(DeviceSpec(name="mine", backend="onnxruntime", cluster="little"))


def test_time_counts_as_throttled_while_the_kernel_cools(put: Put) -> None:
    put("thermal/cooling_device0/type", "cpufreq-cpu0")
    put("thermal/cooling_device0/cur_state", 0)
    put("thermal/cooling_device1/type", "pwm-fan")
    put("thermal/cooling_device1/cur_state", 4)
    host = LocalHost(allowed_cpus())
    assert throttled_s(host) == 0.0
    assert not cooled_down()
    put("thermal/cooling_device0/cur_state", 2)
    assert cooled_down()
    first = throttled_s(host)
    assert throttled_s(host) > first > 0.0
    put("thermal/cooling_device0/cur_state", 0)
    assert throttled_s(host) == throttled_s(host)


@pytest.mark.usefixtures("phone")
def test_a_clock_that_is_capped_below_where_it_began_is_throttled(put: Put) -> None:
    host = LocalHost(allowed_cpus()[:1])
    assert throttled_s(host) == 0.0
    put(f"cpu/cpu{host.cpus[0]}/cpufreq/scaling_max_freq", 1_000_000)
    assert throttled_s(host) > 0.0


@pytest.mark.parametrize(("bits", "held"), [("0", False), ("50000", False), ("50005", True)])
def test_a_raspberry_pi_says_itself_that_it_is_held_down(put: Put, bits: str, held: bool) -> None:
    put("get_throttled", bits)
    assert cooled_down() is held  # the upper bits speak of the past


def throttled_s(host: LocalHost) -> float:
    reading = host.load()
    assert reading is not None
    return reading.throttled_s


def test_the_preflight_says_how_hot_it_is(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda **_: [0.0])
    put("thermal/thermal_zone0/type", "cpu-thermal")
    put("thermal/thermal_zone0/temp", 41_500)
    put("thermal/thermal_zone1/type", "BIG")
    put("thermal/thermal_zone1/temp", 83_000)
    assert temperatures_c() == {"cpu-thermal": 41.5, "BIG": 83.0}
    doubts = LocalHost(allowed_cpus()).preflight()
    assert "83 degrees Celsius inside: let it cool down, or cool it" in doubts


def test_a_cpu_that_scales_its_clock_is_said_with_the_cure(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda **_: [0.0])
    for cpu, governor in enumerate(("performance", "schedutil")):
        put(f"cpu/cpu{cpu}/cpufreq/scaling_governor", governor)
    said = [doubt for doubt in LocalHost((0, 1, 2)).preflight() if "clock" in doubt]
    assert said == ["CPU 1 scales its clock (schedutil): cpupower frequency-set -g performance"]


@pytest.mark.parametrize(
    ("status", "charge", "said"),
    [("Discharging", 12, True), ("Discharging", 80, False), ("Charging", 12, False)],
)
def test_a_battery_that_runs_low_is_said(
    put: Put, monkeypatch: pytest.MonkeyPatch, status: str, charge: int, said: bool
) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda **_: [0.0])
    for name, value in {"type": "Battery", "status": status, "capacity": charge}.items():
        put(f"power/battery/{name}", value)
    doubts = LocalHost(allowed_cpus()).preflight()
    assert any(f"the battery is at {charge} %" in doubt for doubt in doubts) is said


@pytest.mark.parametrize(("state", "on"), [("Awake", True), ("Dozing", False), ("Asleep", False)])
def test_a_screen_that_is_on_is_said(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, on: bool
) -> None:
    dumpsys = tmp_path / "dumpsys"
    dumpsys.write_text(f"#!/bin/sh\n[ $1 = power ] && echo '  mWakefulness={state}'\n")
    dumpsys.chmod(0o755)
    monkeypatch.setattr("devices.cores.DUMPSYS", str(dumpsys))
    monkeypatch.setattr("devices.host.LOOK_S", 0.01)
    said = [doubt for doubt in LocalHost((0,)).preflight() if "the screen is on" in doubt]
    assert bool(said) is on


def test_on_battery_is_a_condition_of_a_table(put: Put) -> None:
    put("power/0/type", "Battery")
    device = DeviceSpec(name="phone", backend="onnxruntime")
    for status, said in (("Discharging", "battery"), ("Charging", None)):
        put("power/0/status", status)
        assert backend_for(device).environment().get("power") == said


def test_this_machine_is_not_emulated() -> None:
    assert not emulated()


def test_an_arm_processor_is_named_by_its_board_or_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo, board = tmp_path / "cpuinfo", tmp_path / "model"
    cpuinfo.write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n")
    monkeypatch.setattr("devices.host.CPUINFO", cpuinfo)
    monkeypatch.setattr("devices.host.BOARD", board)
    assert processor_name().endswith(" 0x41 0xd0b")
    board.write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    assert processor_name() == "Raspberry Pi 5 Model B Rev 1.0"


@pytest.mark.parametrize(
    ("said", "native"),
    [
        ("Features\t: fp asimd fphp asimdhp cpuid\n", True),  # Cortex-A76
        ("Features\t: fp asimd evtstrm aes crc32 cpuid\n", False),  # Cortex-A72
        ("flags\t\t: fpu sse2 avx512f avx512_fp16\n", False),  # the runtime has no kernels
    ],
)
def test_half_precision_is_native_to_newer_arm_processors_alone(
    said: str, native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(said)
    monkeypatch.setattr("devices.host.CPUINFO", cpuinfo)
    assert computes_half() is native
