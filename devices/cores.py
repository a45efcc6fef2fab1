"""What the kernel says of a machine's CPUs: fast and slow ones, their clock, what holds it down.

All of it is read from files, which are missing on many machines; then nothing is known.
"""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ClusterName = Literal["little", "middle", "big"]

CPUS = Path("/sys/devices/system/cpu")
THERMAL = Path("/sys/class/thermal")
POWER = Path("/sys/class/power_supply")
FIRMWARE = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
"""Raspberry Pi: its firmware holds the clock down without telling the kernel's governor."""

DUMPSYS, DUMPSYS_S = "/system/bin/dumpsys", 5.0
"""Android: what tells a shell whether the screen is on, and the seconds that it gets."""

AWAKE = "mWakefulness=Awake"
"""What that says where the screen is on."""

FIRMWARE_NOW = 0b1110
"""Bits of it that speak of now: clock capped, throttled, soft limit of temperature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """CPUs of one kind.

    Attributes:
        cpus: Their numbers.
        capacity: How fast they are beside the fastest, which has 1024; 0 where it is not said.
        highest_khz: Their highest clock.
    """

    cpus: tuple[int, ...]
    capacity: int
    highest_khz: int

    def __str__(self) -> str:
        return f"{len(self.cpus)} at {self.highest_khz / 1e3:.0f} MHz"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerState:
    """What a machine runs on, and how hot it is.

    Attributes:
        hottest_c: Of the temperatures that it shows, in degrees Celsius; 0 where it shows none.
        cooled_down: Whether heat holds its clock down.
        screen_on: Whether it is an Android device whose screen is on.
        battery_percent: How full the battery is that is being used up; None of none.
    """

    hottest_c: float
    cooled_down: bool
    screen_on: bool
    battery_percent: int | None


def clusters(cpus: Iterable[int]) -> tuple[Cluster, ...]:
    """Return the kinds among some CPUs, the slowest first; one kind where nothing is known."""
    folders = ((cpu, CPUS / f"cpu{cpu}") for cpu in sorted(cpus))
    return clusters_of(
        (cpu, _number(folder / "cpu_capacity"), _number(folder / "cpufreq/cpuinfo_max_freq"))
        for cpu, folder in folders
    )


def clusters_of(cpus: Iterable[tuple[int, int, int]]) -> tuple[Cluster, ...]:
    """Return the kinds among CPUs of which number, capacity and highest clock (kHz) are known."""
    kinds: dict[tuple[int, int], list[int]] = {}
    for cpu, capacity, highest_khz in sorted(cpus):
        kinds.setdefault((capacity, highest_khz), []).append(cpu)
    return tuple(
        Cluster(cpus=tuple(found), capacity=capacity, highest_khz=highest_khz)
        for (capacity, highest_khz), found in sorted(kinds.items())
    )


def cluster_named(name: ClusterName, found: tuple[Cluster, ...]) -> Cluster | None:
    """Return the slowest, the fastest or the one below it; None where there is no such one."""
    match name:
        case "little":
            return found[0] if len(found) > 1 else None
        case "middle":
            return found[-2] if len(found) > 2 else None
        case "big":
            return found[-1]


def governors(cpus: Iterable[int]) -> tuple[str, ...]:
    """Return what sets the clocks of some CPUs, each name once; empty where nothing is said."""
    files = (CPUS / f"cpu{cpu}/cpufreq/scaling_governor" for cpu in cpus)
    return tuple(sorted({name for name in map(_text, files) if name}))


def clock_limit_khz(cpus: Iterable[int]) -> int:
    """Return the highest clock that the slowest-held of some CPUs may have now; 0 for not said."""
    limits = (_number(CPUS / f"cpu{cpu}/cpufreq/scaling_max_freq") for cpu in cpus)
    return min(limits, default=0)


def cooled_down() -> bool:
    """Return whether the kernel or the firmware slows the CPUs down now because they are hot."""
    coolers = THERMAL.glob("cooling_device*")
    return held_down(
        ((_text(each / "type"), _number(each / "cur_state")) for each in coolers),
        firmware=_number(FIRMWARE, base=16),
    )


def held_down(coolers: Iterable[tuple[str, int]], *, firmware: int) -> bool:
    """Return the same of what was read: kind and state of each cooler, and the firmware's bits."""
    if firmware & FIRMWARE_NOW:
        return True
    return any("cpu" in kind and state > 0 for kind, state in coolers)


def temperatures_c() -> dict[str, float]:
    """Return the temperature of each zone that has one, in degrees Celsius."""
    found = {}
    for zone in sorted(THERMAL.glob("thermal_zone*")):
        try:
            celsius = int((zone / "temp").read_text()) / 1e3
            found[(zone / "type").read_text().strip()] = celsius
        except (OSError, ValueError):  # a zone whose sensor sleeps
            continue
    return found


def battery_percent() -> int | None:
    """Return how full the battery is that is being used up; None of one that is not, or of none."""
    return charge_in_use(
        (_text(each / "type"), _text(each / "status"), _number(each / "capacity"))
        for each in POWER.glob("*")
    )


def charge_in_use(supplies: Iterable[tuple[str, str, int]]) -> int | None:
    """Return the same of what was read: kind, status and charge of each supply of power."""
    for kind, status, charge in supplies:
        if (kind, status) == ("Battery", "Discharging"):
            return charge
    return None


def screen_on() -> bool:
    """Return whether this is an Android device whose screen is on, as far as it says."""
    try:
        said = subprocess.run(
            [DUMPSYS, "power"], capture_output=True, text=True, timeout=DUMPSYS_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return AWAKE in said.stdout


def power_state() -> PowerState:
    """Return what this machine runs on now."""
    return PowerState(
        hottest_c=max(temperatures_c().values(), default=0.0),
        cooled_down=cooled_down(),
        screen_on=screen_on(),
        battery_percent=battery_percent(),
    )


def _text(path: Path) -> str:
    """Return what is in a file; nothing where there is none."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path, *, base: int = 10) -> int:
    """Return the number in a file; 0 where there is none."""
    try:
        return int(_text(path), base)
    except ValueError:
        return 0
