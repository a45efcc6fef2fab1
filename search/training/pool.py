"""Independent jobs, several at a time: the seam to wherever they run.

A job is plain data and the work a picklable callable, so that an engine for a cluster can stand
where the pool of one machine stands. Work must be repeatable: a worker that dies takes its job
along, and the job runs again. What is expensive keeps its own progress, as a training run does.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Protocol, TypeVar

from devices import LatkitError

Job = TypeVar("Job", contravariant=True)
Result = TypeVar("Result", covariant=True)
J = TypeVar("J")
R = TypeVar("R")

TRIES = 3
"""Times that jobs are begun again after a worker died, before something is believed to be wrong."""


class WorkerDied(LatkitError):
    """Workers died again and again, with the same jobs left."""


class Pool(Protocol[Job, Result]):
    """Where jobs run."""

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Do jobs; yield each result with the number of its job, as they come.

        Raises:
            LatkitError: Whatever the work raised of it.
            WorkerDied: Workers died `TRIES` times over these jobs.
        """
        ...


@contextmanager
def pool_of(work: Callable[[J], R], *, workers: int) -> Iterator[Pool[J, R]]:
    """Yield a pool for one kind of work.

    Args:
        work: What to do with a job. Several workers get a copy each, once.
        workers: Processes; 1 works in this one. They end with this one, even when it is killed.
    """
    if workers < 1:
        raise ValueError(f"a pool has a worker or more, got {workers}")
    if workers == 1:
        yield lambda jobs: ((number, work(job)) for number, job in enumerate(jobs))
        return
    pool = _LocalPool(work, workers)
    try:
        yield pool
    finally:
        pool.close()


class _LocalPool:
    """Fresh processes on this machine, which stay for later jobs."""

    def __init__(self, work: Callable[[Any], Any], workers: int) -> None:
        self._work, self._workers = work, workers
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        # Workers only read from it: at its end, this process has closed the pool or is dead.
        self._theirs, self._ours = self._context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self._workers,
            mp_context=self._context,
            initializer=_start_worker,
            initargs=(self._work, self._theirs),
        )

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        self._ours.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._theirs.close()

    def __call__(self, jobs: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        left = dict(enumerate(jobs))
        for _ in range(TRIES):
            try:
                futures = {self._executor.submit(_do, job): n for n, job in left.items()}
                for future in as_completed(futures):
                    number, result = futures[future], future.result()
                    del left[number]
                    yield number, result
                return
            except BrokenProcessPool:  # it ended the other workers, too
                self.close()
                self._start()
        some = ", ".join(str(job) for job in list(left.values())[:3])
        raise WorkerDied(
            f"a worker process died, {TRIES} times over, and {len(left)} jobs are not done, among "
            f"them {some}; what they have done is kept. Memory may be short: try fewer --workers"
        )


_work: Callable[[Any], Any] | None = None
"""What a worker process is for, set when it starts."""


def _start_worker(work: Callable[[Any], Any], pipe: Connection) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and decides
    Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()


def _end_with_parent(pipe: Connection) -> None:
    pipe.poll(None)  # nothing is ever sent: this waits for the other end to close
    os._exit(1)  # at once, in the middle of its work: nobody is there to take the result


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)
