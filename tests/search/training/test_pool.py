import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from devices import InvalidFile
from search.training.pool import TRIES, WorkerDied, pool_of

# What workers do must be functions of a module that they can import.


def squared(number: int) -> int:
    return number * number


def process_of(_: int) -> int:
    return os.getpid()


def dying_once(folder: Path, number: int) -> int:
    """Die at the first attempt of job 1; every finished attempt leaves a line."""
    mark = folder / "died"
    if number == 1 and not mark.exists():
        mark.touch()
        os._exit(9)
    with (folder / "done").open("a") as file:
        file.write(f"{number}\n")
    return number * number


def dying(_: int) -> int:
    os._exit(9)


def refusing(number: int) -> int:
    raise InvalidFile(f"job {number} is damaged")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_carry_the_number_of_their_job(workers: int) -> None:
    with pool_of(squared, workers=workers) as pool:
        assert dict(pool([3, 4, 5])) == {0: 9, 1: 16, 2: 25}
        assert dict(pool([])) == {}
        assert dict(pool([6])) == {0: 36}


def test_one_worker_is_this_process_and_two_are_others() -> None:
    with pool_of(process_of, workers=1) as pool:
        assert dict(pool([0])) == {0: os.getpid()}
    with pool_of(process_of, workers=2) as pool:
        assert os.getpid() not in dict(pool([0, 1, 2])).values()


def test_the_job_of_a_worker_that_dies_runs_again_and_all_are_returned_once(tmp_path: Path) -> None:
    with pool_of(partial(dying_once, tmp_path), workers=2) as pool:
        results = list(pool([0, 1, 2, 3]))
        assert dict(pool([4])) == {0: 16}  # and the pool lives on
    assert sorted(results) == [(0, 0), (1, 1), (2, 4), (3, 9)]
    assert (tmp_path / "done").read_text().split().count("1") == 1


def test_workers_that_die_again_and_again_are_an_error() -> None:
    with (
        pool_of(dying, workers=2) as pool,
        pytest.raises(WorkerDied, match=f"died, {TRIES} times over, and 2 jobs .* them 7, 8;"),
    ):
        list(pool([7, 8]))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_work_refuses_is_raised_here(workers: int) -> None:
    with (
        pool_of(refusing, workers=workers) as pool,
        pytest.raises(InvalidFile, match="job 5 is damaged"),
    ):
        list(pool([5]))


def test_a_pool_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="a worker or more, got 0"), pool_of(squared, workers=0):
        pass


ENDLESS = """
import os
from threading import Event
from search.training.pool import pool_of

def endless(_):
    print(os.getpid(), flush=True)
    Event().wait()

if __name__ == "__main__":
    with pool_of(endless, workers=2) as pool:
        list(pool([0, 1]))
"""


def test_workers_end_with_their_parent_even_when_it_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        parent.kill()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
