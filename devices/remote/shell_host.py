"""A machine that is asked by nothing but a shell: its CPUs, its load, what holds its clock down.

The same questions as in `devices.host`, for a device on which no program of ours runs.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from devices import cores
from devices.cores import AWAKE, Cluster, PowerState, charge_in_use, clusters_of, held_down
from devices.host import LoadReading, cpu_ticks, doubts_about_power
from devices.transport import Connection

FACTS = r"""
printf 'system %s\n' "$(uname -sm)"
printf 'model %s\n' "$(getprop ro.product.model 2>/dev/null)"
printf 'processor %s\n' "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)"
printf 'half %s\n' "$(grep -c asimdhp /proc/cpuinfo)"
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
    [ "$(cat $cpu/online 2>/dev/null)" = 0 ] && continue
    printf 'cpu %s %s %s %s\n' "${cpu##*cpu}" "$(cat $cpu/cpu_capacity 2>/dev/null || echo 0)" \
        "$(cat $cpu/cpufreq/cpuinfo_max_freq 2>/dev/null || echo 0)" \
        "$(cat $cpu/cpufreq/scaling_governor 2>/dev/null || echo -)"
done
"""
"""What does not change while a device is measured."""

LOAD = r"""
grep ^cpu /proc/stat
cd /sys/devices/system/cpu
for cpu in "$@"; do printf 'limit %s\n' "$(cat cpu$cpu/cpufreq/scaling_max_freq 2>/dev/null)"; done
"""
"""Counters, and the highest clock that each of some CPUs may have now."""

POWER = r"""
exec 2>/dev/null
for supply in "$1"/*; do
    printf 'supply|%s|%s|%s\n' "$(cat "$supply/type")" "$(cat "$supply/status")" \
        "$(cat "$supply/capacity")"
done
for zone in "$2"/thermal_zone*; do printf 'zone|%s\n' "$(cat "$zone/temp")"; done
for cooler in "$2"/cooling_device*; do
    printf 'cooler|%s|%s\n' "$(cat "$cooler/type")" "$(cat "$cooler/cur_state")"
done
printf 'firmware|%s\n' "$(cat "$3")"
printf 'screen|%s\n' "$("$4" power | grep mWakefulness= | head -n 1)"
printf 'battery|%s\n' "$("$4" battery | grep -E '^ *(status|level):' | head -n 2 | tr -d '\n')"
"""
"""What it runs on and how hot it is: of the kernel, and on Android of a service that may say what
the kernel does not show to a shell."""

ANDROID_BATTERY = re.compile(r"status: 3 *level: (\d+)")
"""What that service says of a battery that is being used up."""

TICKS_PER_S = 100
"""What Linux shows to programs, on Android as elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellFacts:
    """What a machine is.

    Attributes:
        system: Kernel and architecture.
        processor: What it is called: a phone by its model, others by their processor.
        half: Whether its Arm CPUs compute in fp16.
        kinds: Its CPUs that are on.
        governors: What sets the clock of each CPU, where that is said.
    """

    system: str
    processor: str
    half: bool
    kinds: tuple[Cluster, ...]
    governors: Mapping[int, str]


def shell_facts(connection: Connection) -> ShellFacts:
    """Ask a machine what it is.

    Raises:
        DeviceUnavailable: It does not answer.
    """
    said = connection.run(["sh", "-c", FACTS], repeatable=True).stdout.decode(errors="replace")
    rows = [line.split() for line in said.splitlines() if line.strip()]
    cpus = [(int(row[1]), int(row[2]), int(row[3]), row[4]) for row in rows if row[0] == "cpu"]
    named = {row[0]: " ".join(row[1:]) for row in rows}
    system = named.get("system", "")
    return ShellFacts(
        system=system,
        processor=named.get("model") or named.get("processor") or system,
        half=named.get("half", "0") not in ("", "0"),
        kinds=clusters_of((cpu, capacity, khz) for cpu, capacity, khz, _ in cpus),
        governors={cpu: governor for cpu, *_, governor in cpus if governor != "-"},
    )


def shell_power(connection: Connection) -> PowerState:
    """Ask a machine what it runs on.

    Raises:
        DeviceUnavailable: It does not answer.
    """
    places = map(str, (cores.POWER, cores.THERMAL, cores.FIRMWARE, cores.DUMPSYS))
    said = connection.run(["sh", "-c", POWER, "sh", *places], repeatable=True)
    rows = [line.split("|") for line in said.stdout.decode(errors="replace").splitlines()]

    def of(what: str) -> list[list[str]]:
        return [values for key, *values in rows if key == what]

    supplies = [(kind, status, _whole(charge)) for kind, status, charge in of("supply")]
    told = (ANDROID_BATTERY.search(text) for (text,) in of("battery"))
    supplies += [("Battery", "Discharging", int(found[1])) for found in told if found]
    coolers = [(kind, _whole(state)) for kind, state in of("cooler")]
    firmware = sum(_whole(bits, base=16) for (bits,) in of("firmware"))
    return PowerState(
        hottest_c=max((_whole(text) / 1e3 for (text,) in of("zone")), default=0.0),
        cooled_down=held_down(coolers, firmware=firmware),
        screen_on=any(AWAKE in text for (text,) in of("screen")),
        battery_percent=charge_in_use(supplies),
    )


def _whole(text: str, *, base: int = 10) -> int:
    """Return a number as text; 0 where there is none."""
    try:
        return int(text, base)
    except ValueError:
        return 0


@dataclass(slots=True)
class ShellHost:
    """The machine at the other end of a connection, see `devices.host.Host`.

    Attributes:
        connection: The way there.
        cpus: The CPUs that count.
        own_s: CPU seconds that our commands have spent there; whoever runs them adds to it.
    """

    connection: Connection
    cpus: Sequence[int]
    own_s: float = 0.0
    _limit_khz: int = field(default=0, init=False)
    _read_s: float = field(default=0.0, init=False)
    _throttled_s: float = field(default=0.0, init=False)

    def clock(self) -> float:
        """Return `time.monotonic` of this side."""
        return time.monotonic()

    def rest(self, seconds: float) -> None:
        """Leave it alone for a while."""
        time.sleep(seconds)

    def load(self) -> LoadReading | None:
        """Return the counters of its load; None where it shows none to a shell.

        How long its CPUs let us wait is not known: that needs the threads of our program.
        """
        command = ["sh", "-c", LOAD, "sh", *map(str, self.cpus)]
        said = self.connection.run(command, repeatable=True).stdout.decode(errors="replace")
        now_s = time.monotonic()
        try:
            ticks = cpu_ticks(said, self.cpus)
        except (KeyError, ValueError):
            return None
        limits = [int(khz) for khz in re.findall(r"^limit (\d+)$", said, re.MULTILINE)]
        limit_khz = min(limits, default=0)
        if limit_khz < self._limit_khz:
            self._throttled_s += now_s - self._read_s
        self._limit_khz, self._read_s = max(self._limit_khz, limit_khz), now_s
        return LoadReading(
            at_s=now_s,
            busy_s=sum(busy for busy, _ in ticks) / TICKS_PER_S,
            own_s=self.own_s,
            waited_s=0.0,
            stolen_s=sum(stolen for _, stolen in ticks) / TICKS_PER_S,
            cpus=len(self.cpus),
            throttled_s=self._throttled_s,
        )

    def preflight(self) -> tuple[str, ...]:
        """Return whether there is a gate to hold, and what heat and battery say against it."""
        doubts = doubts_about_power(shell_power(self.connection))
        if self.load() is None:
            doubts.append("it shows no load counters to a shell: no gate is held, close other apps")
        return tuple(doubts)
