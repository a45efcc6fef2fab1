"""Whether a stretch of measuring was disturbed by other work on the same CPUs.

The kernel counts busy time in ticks of 10 ms, so one slice is too short to judge: groups of
slices that span `GROUP_S` or more are judged together.
"""

from devices import LoadReading
from profiler.measurement import Gate

GROUP_S = 0.4
"""Shortest stretch that can be judged: an idle machine gives false alarms below."""

LOAD_LIMIT = 0.08
"""Cores of other work, or share of time spent waiting for a CPU, above which a group is redone."""

STEAL_LIMIT = 0.03
"""Share of CPU time taken by the hypervisor above which a group is redone."""

THROTTLE_LIMIT = 0.03
"""Share of the time that a limit of power or temperature held the clock down above which a group is
redone."""

DRIFT_LIMIT = 0.25
"""How much slower than usual the canary may be, relative. Below, its ratio to what is timed
corrects for the speed; beyond, the device is in another state: what waits for memory and what waits
for arithmetic slow down differently."""

LEAST_GAIN = 1.25
"""How much faster two blocks are on all threads of a device than on one, at least, while each of
them has a core of its own. A hypervisor puts two CPUs on one core for tenths of a second, or for
many seconds, and no counter shows it; 1.6 is usual for two threads, 1.0 while they share."""


def judge(before: LoadReading | None, after: LoadReading | None) -> Gate:
    """Judge a group by the counters read before and after it.

    Returns:
        ``clean``, ``load``, ``steal`` or ``throttle``; ``open`` where the host has no counters.
    """
    if before is None or after is None:
        return "open"
    elapsed = max(after.at_s - before.at_s, 1e-9)
    stolen = (after.stolen_s - before.stolen_s) / (elapsed * after.cpus)
    if stolen > STEAL_LIMIT:
        return "steal"
    if (after.throttled_s - before.throttled_s) / elapsed > THROTTLE_LIMIT:
        return "throttle"
    others = ((after.busy_s - before.busy_s) - (after.own_s - before.own_s)) / elapsed
    waited = (after.waited_s - before.waited_s) / elapsed
    return "load" if max(others, waited) > LOAD_LIMIT else "clean"
