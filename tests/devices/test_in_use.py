import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devices import InvalidFile
from devices.in_use import LOCK, InUse, held

HOLDER = """
import sys
from pathlib import Path
from devices.in_use import held

with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_place_where_nothing_can_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(InvalidFile, match="cannot work in the directory"), held(place):
            pass


@contextmanager
def another_process_in(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that holds a folder until its input ends, or it does."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLDER, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_folder_that_another_process_holds_is_refused_by_its_number(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with another_process_in(folder) as other:
        refused = pytest.raises(InUse, match=rf"work is in use by process {other.pid}: wait")
        with refused, held(folder):
            pass
        assert other.poll() is None  # it was left alone


def test_a_folder_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    with another_process_in(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with held(tmp_path):
            assert (tmp_path / LOCK).read_text() == str(os.getpid())


def test_a_folder_is_free_when_its_holder_is_done(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path), pytest.raises(InUse, match=str(os.getpid())), held(tmp_path):
            pass
    assert not (tmp_path / LOCK).read_text()


def test_a_file_is_no_folder_to_work_in(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(InvalidFile, match="file is a file; a run needs a directory")
    with refused, held(tmp_path / "file"):
        pass
