"""The machine around a device: its clock, its other load, what is wrong with it."""

import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from devices.cores import PowerState, clock_limit_khz, cooled_down, governors, power_state


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReading:
    """Counters of the CPUs, or of the GPU, that a measurement runs on, at one moment.

    Attributes:
        at_s: When, by the host's clock.
        busy_s: CPU seconds that those CPUs have spent on anything.
        own_s: CPU seconds that this process has spent.
        waited_s: Seconds that this process was ready to run and did not.
        stolen_s: Seconds that the hypervisor took from those CPUs.
        cpus: How many CPUs these are.
        throttled_s: Seconds that a limit of power or temperature held the clock down.
    """

    at_s: float
    busy_s: float
    own_s: float
    waited_s: float
    stolen_s: float
    cpus: int
    throttled_s: float = 0.0


class Host(Protocol):
    """The machine that a device is in."""

    def clock(self) -> float:
        """Return seconds by a clock that never goes back."""
        ...

    def rest(self, seconds: float) -> None:
        """Leave the device alone for a while."""
        ...

    def load(self) -> LoadReading | None:
        """Return the counters of its load; None where the system offers none."""
        ...

    def preflight(self) -> tuple[str, ...]:
        """Return what speaks against measuring here now, each with its cure."""
        ...


LOOK_S = 0.5
"""Seconds for which the preflight looks at other load."""

BUSY_LOAD = 0.15
"""Cores of other load above which the preflight warns."""


TASKS = Path("/proc/self/task")
"""One folder for each thread of this process that lives."""

CPUINFO, BOARD = Path("/proc/cpuinfo"), Path("/proc/device-tree/model")
"""Where the kernel names the processor, and on boards the board."""

LOW_BATTERY = 30
"""Per cent of charge below which the preflight advises to charge first."""

HOT_C = 70.0
"""Degrees Celsius above which the preflight advises to wait: phones and boards throttle soon."""


@dataclass(slots=True)
class LocalHost:
    """This machine, seen through the CPUs that a device may use.

    On Linux the load comes from ``/proc``; elsewhere there is none, and no gate can be held. The
    kernel does not count how long heat held the clock down, so the time since the last reading
    counts where it does now.

    Attributes:
        cpus: The CPUs that count.
        real: Whether their load matters: seconds that are no real device's need no gate.
    """

    cpus: tuple[int, ...]
    real: bool = True
    _limit_khz: int = field(init=False)
    _read_s: float = field(init=False)
    _throttled_s: float = field(default=0.0, init=False)
    _waited_ns: dict[str, int] = field(default_factory=dict, init=False)
    _ended_waited_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._limit_khz = clock_limit_khz(self.cpus)
        self._read_s = time.monotonic()

    def clock(self) -> float:
        """Return `time.monotonic`."""
        return time.monotonic()

    def rest(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def load(self) -> LoadReading | None:
        """Read ``/proc/stat`` for the CPUs, and this process's own share."""
        if not self.real:
            return None
        try:
            ticks = cpu_ticks(Path("/proc/stat").read_text(), self.cpus)
            waited_s = self._all_waited_s()
        except (OSError, KeyError):  # no /proc, or one that counts no single CPUs
            return None
        per_s = os.sysconf("SC_CLK_TCK")
        now_s = time.monotonic()
        if cooled_down() or clock_limit_khz(self.cpus) < self._limit_khz:
            self._throttled_s += now_s - self._read_s
        self._read_s = now_s
        return LoadReading(
            at_s=now_s,
            busy_s=sum(busy for busy, _ in ticks) / per_s,
            own_s=time.process_time(),
            waited_s=waited_s,
            stolen_s=sum(stolen for _, stolen in ticks) / per_s,
            cpus=len(self.cpus),
            throttled_s=self._throttled_s,
        )

    def _all_waited_s(self) -> float:
        """Return how long threads have waited for a CPU; what ended ones were last seen to stays.

        Numbers of threads are given again: one that has waited less than before is another one.
        """
        now_ns = _run_delays_ns()
        for thread, known_ns in self._waited_ns.items():
            if now_ns.get(thread, -1) < known_ns:
                self._ended_waited_ns += known_ns
        self._waited_ns = now_ns
        return (self._ended_waited_ns + sum(now_ns.values())) * 1e-9

    def preflight(self) -> tuple[str, ...]:
        """Look at the governor, the load and whether there is anything to hold a gate with."""
        doubts = []
        if not self.real:
            doubts.append("the device is emulated: its seconds are no real one's, no gate is held")
        elif self.load() is None:
            doubts.append("no load counters on this system: no gate is held, close other programs")
        for cpu in self.cpus:
            doubts += [
                f"CPU {cpu} scales its clock ({governor}): cpupower frequency-set -g performance"
                for governor in governors((cpu,))
                if governor != "performance"
            ]
        doubts += doubts_about_power(power_state())
        busy = self._busy_cores()
        if busy > BUSY_LOAD:
            doubts.append(f"other programs use {busy:.2f} cores right now: stop them")
        return tuple(doubts)

    def _busy_cores(self) -> float:
        """Return how many cores others use, where anybody can tell."""
        try:
            import psutil  # not needed by those who only read tables, and not on a board
        except ModuleNotFoundError:
            before = self.load()
            time.sleep(LOOK_S)
            after = self.load()
            if before is None or after is None:
                return 0.0
            others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
            return others_s / (after.at_s - before.at_s)
        return float(sum(psutil.cpu_percent(interval=LOOK_S, percpu=True))) / 100


def doubts_about_power(power: PowerState) -> list[str]:
    """Return what heat and the battery say against measuring now."""
    doubts, charge = [], power.battery_percent
    if power.hottest_c > HOT_C:
        doubts.append(f"{power.hottest_c:.0f} degrees Celsius inside: let it cool down, or cool it")
    if power.cooled_down:
        doubts.append("heat holds the clock down right now: wait until it has cooled down")
    if power.screen_on:
        doubts.append("the screen is on, which heats: adb shell input keyevent KEYCODE_SLEEP")
    if charge is not None and charge < LOW_BATTERY:
        doubts.append(f"the battery is at {charge} %, which slows phones down: charge it first")
    return doubts


def cpu_ticks(stat: str, cpus: Sequence[int]) -> list[tuple[int, int]]:
    """Return busy and stolen clock ticks of each CPU, from the text of ``/proc/stat``."""
    rows = {line.split()[0]: line.split()[1:] for line in stat.splitlines() if line[:3] == "cpu"}
    ticks = []
    for cpu in cpus:
        user, nice, system, _, _, irq, softirq, stolen = map(int, rows[f"cpu{cpu}"][:8])
        ticks.append((user + nice + system + irq + softirq, stolen))
    return ticks


def _run_delays_ns() -> dict[str, int]:
    """Return how long each living thread of this process has waited for a CPU, by its number."""
    delays_ns = {}
    for task in TASKS.iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            delays_ns[task.name] = int((task / "schedstat").read_text().split()[1])
    return delays_ns


def allowed_cpus() -> tuple[int, ...]:
    """Return the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def processor_name() -> str:
    """Return the processor's model, as the system names it.

    Arm's kernels give numbers instead: there it is the board, or else who made which part.
    """
    rows = _cpuinfo()
    named = [value for key, value in rows if key == "model name"]
    if named:
        return named[0]
    if BOARD.is_file():
        return BOARD.read_text().rstrip("\0")
    parts = sorted({value for key, value in rows if key == "CPU part"})
    makers = sorted({value for key, value in rows if key == "CPU implementer"})
    return " ".join([os.uname().machine, *makers, *parts])


def computes_half() -> bool:
    """Return whether ONNX Runtime computes fp16 here: on Arm from version 8.2 on, never on x86.

    Elsewhere it converts to fp32 and back, even where the processor has instructions for fp16.
    """
    return any(key == "Features" and "asimdhp" in value.split() for key, value in _cpuinfo())


def _cpuinfo() -> list[tuple[str, str]]:
    """Return what the kernel says of the CPUs, key by key; nothing where it says nothing."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return []
    split = (line.partition(":") for line in lines)
    return [(key.strip(), value.strip()) for key, _, value in split]


def emulated() -> bool:
    """Return whether a program pretends to be this processor, as far as one can tell.

    QEMU shows a program its own memory instead of QEMU's, but only by the usual name of the file.
    """
    maps = Path(f"/proc/self/task/{threading.get_native_id()}/maps")
    try:
        return re.search(r"/qemu-\w+(-static)?$", maps.read_text(), re.MULTILINE) is not None
    except OSError:
        return False
