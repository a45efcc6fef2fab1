"""The machine around a device: its clock, its other load, what is wrong with it."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReading:
    """Counters of the CPUs that a measurement runs on, at one moment.

    Attributes:
        at_s: When, by the host's clock.
        busy_s: CPU seconds that those CPUs have spent on anything.
        own_s: CPU seconds that this process has spent.
        waited_s: Seconds that this process was ready to run and did not.
        stolen_s: Seconds that the hypervisor took from those CPUs.
        cpus: How many CPUs these are.
    """

    at_s: float
    busy_s: float
    own_s: float
    waited_s: float
    stolen_s: float
    cpus: int


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


BUSY_LOAD = 0.15
"""Cores of other load above which the preflight warns."""


@dataclass(frozen=True, slots=True)
class LocalHost:
    """This machine, seen through the CPUs that a device may use.

    On Linux the load comes from ``/proc``; elsewhere there is none, and no gate can be held.

    Attributes:
        cpus: The CPUs that count.
    """

    cpus: tuple[int, ...]

    def clock(self) -> float:
        """Return `time.monotonic`."""
        return time.monotonic()

    def rest(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def load(self) -> LoadReading | None:
        """Read ``/proc/stat`` for the CPUs, and this process's own share."""
        try:
            ticks = _cpu_ticks(Path("/proc/stat").read_text(), self.cpus)
            waited_s = sum(map(_run_delay_s, Path("/proc/self/task").iterdir()))
        except (OSError, KeyError):  # no /proc, or one that counts no single CPUs
            return None
        per_s = os.sysconf("SC_CLK_TCK")
        return LoadReading(
            at_s=time.monotonic(),
            busy_s=sum(busy for busy, _ in ticks) / per_s,
            own_s=time.process_time(),
            waited_s=waited_s,
            stolen_s=sum(stolen for _, stolen in ticks) / per_s,
            cpus=len(self.cpus),
        )

    def preflight(self) -> tuple[str, ...]:
        """Look at the governor, the load and whether there is anything to hold a gate with."""
        import psutil  # not needed by those who only read tables

        doubts = []
        if self.load() is None:
            doubts.append("no load counters on this system: no gate is held, close other programs")
        for cpu in self.cpus:
            governor = Path(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")
            if governor.is_file() and governor.read_text().strip() != "performance":
                doubts.append(
                    f"CPU {cpu} scales its clock ({governor.read_text().strip()}): "
                    "cpupower frequency-set -g performance"
                )
        busy = sum(psutil.cpu_percent(interval=0.5, percpu=True)) / 100
        if busy > BUSY_LOAD:
            doubts.append(f"other programs use {busy:.2f} cores right now: stop them")
        return tuple(doubts)


def _cpu_ticks(stat: str, cpus: Sequence[int]) -> list[tuple[int, int]]:
    """Return busy and stolen clock ticks of each CPU, from the text of ``/proc/stat``."""
    rows = {line.split()[0]: line.split()[1:] for line in stat.splitlines() if line[:3] == "cpu"}
    ticks = []
    for cpu in cpus:
        user, nice, system, _, _, irq, softirq, stolen = map(int, rows[f"cpu{cpu}"][:8])
        ticks.append((user + nice + system + irq + softirq, stolen))
    return ticks


def _run_delay_s(task: Path) -> float:
    """Return how long one thread has waited for a CPU; 0 for one that has just ended."""
    try:
        return int((task / "schedstat").read_text().split()[1]) * 1e-9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def allowed_cpus() -> tuple[int, ...]:
    """Return the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def processor_name() -> str:
    """Return the processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else os.uname().machine
