"""What a machine says to a shell of its battery, its heat and its screen, on made-up files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from devices import Transport
from devices.cores import PowerState
from devices.host import allowed_cpus
from devices.remote.shell_host import ShellHost, shell_power
from devices.transport import connect

Put = Callable[[str, object], None]

NEAR = connect(Transport(kind="local"))
CALM = PowerState(hottest_c=0.0, cooled_down=False, screen_on=False, battery_percent=None)


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put a value in a file of the kernel's."""
    for name in ("POWER", "THERMAL", "FIRMWARE", "DUMPSYS"):
        monkeypatch.setattr(f"devices.cores.{name}", tmp_path / name)

    def write(name: str, value: object) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
        (tmp_path / name).chmod(0o755)

    return write


def android(put: Put, *, wakefulness: str = "Asleep", status: int = 2, level: int = 80) -> None:
    """Put the service of an Android device there; 2 is charging, 3 discharging."""
    battery = (
        f"  AC powered: false\n  status: {status}\n  health: 2\n  level: {level}\n  scale: 100"
    )
    put(
        "DUMPSYS",
        f"#!/bin/sh\ncase $1 in\npower) echo '  mWakefulness={wakefulness}' ;;\n"
        f"battery) echo '{battery}' ;;\nesac",
    )


def test_a_machine_that_shows_nothing_is_calm(put: Put) -> None:
    del put  # there is nothing
    assert shell_power(NEAR) == CALM


@pytest.mark.parametrize(
    ("status", "percent"), [("Discharging", 12), ("Not charging", None), ("Full", None)]
)
def test_a_battery_that_the_kernel_shows_is_said(
    put: Put, status: str, percent: int | None
) -> None:
    put("POWER/usb/type", "USB")
    for name, value in {"type": "Battery", "status": status, "capacity": 12}.items():
        put(f"POWER/battery/{name}", value)
    assert shell_power(NEAR).battery_percent == percent


@pytest.mark.parametrize(("status", "percent"), [(2, None), (3, 64), (5, None)])
def test_a_battery_that_android_alone_shows_is_said(
    put: Put, status: int, percent: int | None
) -> None:
    android(put, status=status, level=64)
    assert shell_power(NEAR).battery_percent == percent


@pytest.mark.parametrize(("state", "on"), [("Awake", True), ("Dozing", False)])
def test_a_screen_that_is_on_is_said(put: Put, state: str, on: bool) -> None:
    android(put, wakefulness=state)
    assert shell_power(NEAR).screen_on is on


def test_heat_is_said_and_what_it_holds_down(put: Put) -> None:
    put("THERMAL/thermal_zone0/temp", 41_500)
    put("THERMAL/thermal_zone1/temp", 83_000)
    put("THERMAL/thermal_zone2/temp", "")  # its sensor sleeps
    put("THERMAL/cooling_device0/type", "cpufreq-cpu0")
    put("THERMAL/cooling_device0/cur_state", 0)
    put("THERMAL/cooling_device1/type", "pwm-fan")
    put("THERMAL/cooling_device1/cur_state", 4)
    power = shell_power(NEAR)
    assert power.hottest_c == 83.0
    assert not power.cooled_down
    put("THERMAL/cooling_device0/cur_state", 2)
    assert shell_power(NEAR).cooled_down


@pytest.mark.parametrize(("bits", "held"), [("50000", False), ("50005", True)])
def test_a_raspberry_pi_says_that_it_is_held_down(put: Put, bits: str, held: bool) -> None:
    put("FIRMWARE", bits)
    assert shell_power(NEAR).cooled_down is held


def test_the_preflight_says_what_heat_and_battery_say_against_it(put: Put) -> None:
    android(put, wakefulness="Awake", status=3, level=12)
    put("THERMAL/thermal_zone0/temp", 83_000)
    assert ShellHost(NEAR, allowed_cpus()).preflight()[:3] == (
        "83 degrees Celsius inside: let it cool down, or cool it",
        "the screen is on, which heats: adb shell input keyevent KEYCODE_SLEEP",
        "the battery is at 12 %, which slows phones down: charge it first",
    )
