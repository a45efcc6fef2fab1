"""Work of others, made on purpose: a process that keeps a CPU busy."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from time import monotonic, sleep

from devices.host import allowed_cpus

PERIOD_S = 0.5
"""Seconds from one stretch of work to the next, where it is less than a whole core's."""


@contextmanager
def foreign_load(cores: float) -> Iterator[None]:
    """Keep part of the last CPU busy, the one that is measured, in a process of its own.

    Args:
        cores: Share of its time, in [0, 1].

    Raises:
        ValueError: ``cores`` is no such share.
        RuntimeError: The process ended before its time: there was less load than was asked for.
    """
    if not 0.0 <= cores <= 1.0:
        raise ValueError(f"others take 0 to 1 of the measured core, not {cores:g}")
    if cores == 0.0:
        yield
        return
    context = multiprocessing.get_context("spawn")
    done = context.Event()
    process = context.Process(target=_burn, args=(cores, done), daemon=True)
    process.start()
    try:
        yield
        if not process.is_alive():
            raise RuntimeError(
                f"what kept the CPU busy ended with exit code {process.exitcode} before its time: "
                "what was measured beside it does not count, run it again"
            )
    finally:
        done.set()
        process.join()


def _burn(cores: float, done: Event) -> None:
    os.sched_setaffinity(0, allowed_cpus()[-1:])
    parent = os.getppid()
    while not done.is_set() and os.getppid() == parent:  # a parent that was killed sets nothing
        end = monotonic() + PERIOD_S * cores
        while monotonic() < end:
            pass
        sleep(PERIOD_S * (1 - cores))
