"""The machine around a GPU: what else runs on it, its clock, its temperature, its power.

NVML, the library behind ``nvidia-smi``, is asked; only this file imports it. Where it is missing or
does not answer, as on Jetsons, nothing is measured less, and rows say that no gate was held.
"""

import atexit
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from devices.backend import Session
from devices.host import BUSY_LOAD, LoadReading

HOT_C = 83
"""Degrees at which most of these GPUs begin to slow down."""

ENERGY_S = 2.0
"""Seconds of runs behind a figure of energy: the counter steps every few hundredths of a second."""

IDLE_REASONS = ("GpuIdle", "None", "ApplicationsClocksSetting", "UserDefinedClocks")
"""Reasons for a clock that speak against nothing: nothing runs, or somebody chose it."""

REASON = "nvmlClocksEventReason"
"""How the names of the reasons begin in NVML."""

LIMITS = ("NVML_PERF_POLICY_POWER", "NVML_PERF_POLICY_THERMAL")
"""What holds a clock down; NVML counts the time that it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """How a GPU is, at one moment; None where NVML does not say.

    Attributes:
        clock_mhz: Of its multiprocessors.
        top_clock_mhz: The highest that it knows.
        temperature_c: In degrees Celsius.
        power_w: In watts.
        power_limit_w: That it may take.
        energy_j: Joules since the driver was loaded.
        reasons: Why the clock is no higher, as NVML names it.
        others: Number and name of the processes of others.
    """

    clock_mhz: int | None
    top_clock_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    power_limit_w: float | None
    energy_j: float | None
    reasons: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(slots=True)
class NvmlHost:
    """The machine around one GPU.

    Attributes:
        nvml: The module ``pynvml``, initialised; None where there is none.
        gpu: NVML's handle of the GPU.
        now: Seconds by a clock that never goes back.
        sleep: Lets so many seconds pass.
        pid: Of this process.
    """

    nvml: Any
    gpu: Any
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pid: int = field(default_factory=os.getpid)
    _seen_us: int = field(default=0, init=False)
    _busy_s: float = field(default=0.0, init=False)
    _own_s: float = field(default=0.0, init=False)
    _locked: bool = field(default=False, init=False)

    def clock(self) -> float:
        """Return the host's time."""
        return self.now()

    def rest(self, seconds: float) -> None:
        """Leave the GPU alone for a while."""
        self.sleep(seconds)

    def load(self) -> LoadReading | None:
        """Return what NVML counted of the work of all processes, and of this one.

        None where it does not count it, or counts this process under another number: then its own
        work could not be told from that of others.
        """
        if self.nvml is None or not self._sees_us() or not self._count():
            return None
        held_ns = [self._ask("DeviceGetViolationStatus", getattr(self.nvml, p)) for p in LIMITS]
        return LoadReading(
            at_s=self.now(),
            busy_s=self._busy_s,
            own_s=self._own_s,
            waited_s=0.0,
            stolen_s=0.0,
            cpus=1,
            throttled_s=sum(each.violationTime for each in held_ns if each is not None) * 1e-9,
        )

    def preflight(self) -> tuple[str, ...]:
        """Look at clocks, temperature, power and other processes."""
        if self.nvml is None:
            return (
                "no NVML here (pip install 'latkit[cuda]'): no gate is held, and clocks, "
                "temperature and power are not recorded; close other programs",
            )
        state, doubts = self.state(), []
        if state.others:
            doubts.append(f"other programs use the GPU: {', '.join(state.others)}: stop them")
        use = self._ask("DeviceGetUtilizationRates")
        if use is not None and use.gpu > 100 * BUSY_LOAD:
            doubts.append(f"the GPU is {use.gpu}% busy before anything was measured: stop that")
        if state.temperature_c is not None and state.temperature_c >= HOT_C:
            doubts.append(f"the GPU is {state.temperature_c} C hot: let it cool, look at its fans")
        held = [reason for reason in state.reasons if reason not in IDLE_REASONS]
        if held:
            doubts.append(f"its clock is held down right now ({', '.join(held)}): let it cool")
        if not self._locked and state.top_clock_mhz is not None:
            doubts.append(
                f"its clock is free, up to {state.top_clock_mhz} MHz: lock it, sudo nvidia-smi "
                "-lgc MHZ, or set clock_mhz in a device file"
            )
        return tuple(doubts)

    def state(self) -> GpuState:
        """Return how the GPU is now."""
        watts = self._ask("DeviceGetPowerUsage"), self._ask("DeviceGetEnforcedPowerLimit")
        used_w, limit_w = (None if mw is None else mw * 1e-3 for mw in watts)
        energy_mj = self._ask("DeviceGetTotalEnergyConsumption")
        sm = self.nvml.NVML_CLOCK_SM
        return GpuState(
            clock_mhz=self._ask("DeviceGetClockInfo", sm),
            top_clock_mhz=self._ask("DeviceGetMaxClockInfo", sm),
            temperature_c=self._ask("DeviceGetTemperature", self.nvml.NVML_TEMPERATURE_GPU),
            power_w=used_w,
            power_limit_w=limit_w,
            energy_j=None if energy_mj is None else energy_mj * 1e-3,
            reasons=self._reasons(),
            others=self._others(),
        )

    def lock_clock(self, mhz: int) -> bool:
        """Hold the clock until this process ends, where that is permitted; return whether it is."""
        if self.nvml is None:
            return False
        try:
            self.nvml.nvmlDeviceSetGpuLockedClocks(self.gpu, mhz, mhz)
        except self.nvml.NVMLError:  # not root, or a GPU that cannot
            return False
        atexit.register(self._ask, "DeviceResetGpuLockedClocks")
        self._locked = True
        return True

    def environment(self) -> Mapping[str, str]:
        """Return what does not change between two timings: the driver, and the power limit."""
        if self.nvml is None:
            return {"driver": "unknown"}
        limit_mw = self._ask("DeviceGetEnforcedPowerLimit")
        watts = "unknown" if limit_mw is None else f"{limit_mw * 1e-3:.0f} W"
        return {"driver": str(self.nvml.nvmlSystemGetDriverVersion()), "power limit": watts}

    def _count(self) -> bool:
        """Add up the shares of the GPU that processes had since the last look, if NVML says.

        It keeps samples of a few tenths of a second, with the time of each in microseconds.
        """
        samples = self._ask("DeviceGetProcessUtilization", self._seen_us, missing=())
        if samples is None:
            return False
        last_us = max((each.timeStamp for each in samples), default=self._seen_us)
        span_s = (last_us - self._seen_us) * 1e-6 if self._seen_us else 0.0
        shares: dict[int, list[int]] = {}
        for each in samples:
            shares.setdefault(each.pid, []).append(each.smUtil)
        for pid, percents in shares.items():
            used_s = span_s * sum(percents) / len(percents) / 100
            self._busy_s += used_s
            self._own_s += used_s if pid == self.pid else 0.0
        self._seen_us = last_us
        return True

    def _sees_us(self) -> bool:
        """Whether this process is among those that NVML lists: in containers it may not be."""
        return any(each.pid == self.pid for each in self._processes())

    def _processes(self) -> tuple[Any, ...]:
        found = self._ask("DeviceGetComputeRunningProcesses", missing=())
        return tuple(found or ())

    def _others(self) -> tuple[str, ...]:
        return tuple(f"process {each.pid}" for each in self._processes() if each.pid != self.pid)

    def _reasons(self) -> tuple[str, ...]:
        mask = self._ask("DeviceGetCurrentClocksEventReasons")
        names = [name for name in dir(self.nvml) if name.startswith(REASON)]
        known = {name.removeprefix(REASON): getattr(self.nvml, name) for name in names}
        bits = {name: bit for name, bit in known.items() if name != "All" and bit}
        return tuple(sorted(name for name, bit in bits.items() if mask is not None and mask & bit))

    def _ask(self, question: str, *values: Any, missing: Any = None) -> Any:
        """Return NVML's answer; None where this GPU or this driver has none.

        Args:
            question: Function of NVML without its beginning, about the GPU.
            *values: More that it takes.
            missing: The answer where there is nothing to report yet.
        """
        try:
            return getattr(self.nvml, f"nvml{question}")(self.gpu, *values)
        except self.nvml.NVMLError_NotFound:
            return missing
        except self.nvml.NVMLError:
            return None


def energy_per_run_j(host: NvmlHost, session: Session, *, latency_s: float) -> float | None:
    """Return the joules that one run takes, from the counter of the whole GPU.

    Args:
        host: The machine around the GPU.
        session: What to run again and again, for `ENERGY_S`.
        latency_s: About how long one run takes.

    Returns:
        Joules a run, those included that the GPU takes in any case; None where nobody counts them.
    """
    runs = max(1, math.ceil(ENERGY_S / latency_s))
    session.time(max(1, runs // 4))  # until the clock has settled
    before = None if host.nvml is None else host.state().energy_j
    if before is None:
        return None
    session.time(runs)
    after = host.state().energy_j
    return None if after is None else (after - before) / runs


def nvml_host(bus_id: str) -> NvmlHost:
    """Return the machine around a GPU, with NVML where there is one.

    Args:
        bus_id: Of the GPU, as CUDA gives it: their numbers may differ.
    """
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return NvmlHost(None, None)
    try:
        nvml.nvmlInit()
        return NvmlHost(nvml, nvml.nvmlDeviceGetHandleByPciBusId(bus_id.encode()))
    except nvml.NVMLError:
        return NvmlHost(None, None)
