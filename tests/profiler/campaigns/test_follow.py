"""Who works on a device, as those see it who look."""

import fcntl
import json
import os
from pathlib import Path

from profiler.campaigns.follow import LOCK, holding, worker

STALE = json.dumps({"job": "an earlier one", "process": 1})


def test_who_looks_is_not_taken_for_work_by_another_who_does(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(STALE)  # its worker was killed
    with holding(tmp_path, "a job") as held:
        assert held
        at_work = {"job": "a job", "process": os.getpid()}
        assert worker(tmp_path) == at_work
    (tmp_path / LOCK).write_text(STALE)
    with (tmp_path / LOCK).open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert worker(tmp_path) is None
    assert worker(tmp_path) is None


def test_two_cannot_work_at_once_and_the_second_can_afterwards(tmp_path: Path) -> None:
    with holding(tmp_path, "first") as first, holding(tmp_path, "second") as second:
        assert (first, second) == (True, False)
        assert worker(tmp_path) == {"job": "first", "process": os.getpid()}
    with holding(tmp_path, "second") as second:
        assert second


def test_a_worker_that_has_not_written_yet_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    with holding(tmp_path, "first"):
        pass
    with (tmp_path / LOCK).open("a+") as next_one:
        fcntl.flock(next_one, fcntl.LOCK_EX)
        assert worker(tmp_path) == {"job": "", "process": 0}
