"""One process fills a table at a time; whoever dies over it stands in nobody's way."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from devices import DeviceSpec, Gpu, InvalidFile
from devices.in_use import InUse
from lut import load_table, table_for
from lut.files.holder import SUFFIX, held_table
from lut.plans import plan_table
from lut.table import Conditions
from lut.timing_cache import learn_cache

HOLDER = """
import sys
from pathlib import Path
from lut.files.holder import held_table

with held_table(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_fills(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that holds a table until its input ends, or it does."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    pipe, root = subprocess.PIPE, Path(__file__).parents[3]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_process_is_refused_by_the_number_of_the_first(
    tmp_path: Path, exact: DeviceSpec
) -> None:
    path = tmp_path / "mine.lut"
    with another_process_fills(path) as other:
        refused = pytest.raises(InUse, match=rf"mine\.lut is being filled by process {other.pid}:")
        with refused, table_for(path, exact):
            pass
        assert other.poll() is None  # it was left alone
        assert not path.exists()
    with table_for(path, exact):
        pass


def test_whoever_reads_a_table_that_is_filled_is_not_refused(
    tmp_path: Path, exact: DeviceSpec
) -> None:
    path = tmp_path / "mine.lut"
    with table_for(path, exact):
        assert len(load_table(path)) == 0


def test_nothing_is_left_beside_a_table(tmp_path: Path, exact: DeviceSpec) -> None:
    for _ in range(2):
        with table_for(tmp_path / "mine.lut", exact):
            assert (tmp_path / f"mine.lut{SUFFIX}").read_text() == str(os.getpid())
        assert names(tmp_path) == ["mine.lut"]


def test_a_killed_process_blocks_no_other(tmp_path: Path, exact: DeviceSpec) -> None:
    path = tmp_path / "mine.lut"
    with another_process_fills(path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert names(tmp_path) == [f"mine.lut{SUFFIX}"]
    with table_for(path, exact):
        pass
    assert names(tmp_path) == ["mine.lut"]


def test_a_link_to_a_table_is_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "mine.lut").touch()
    (tmp_path / "link.lut").symlink_to(tmp_path / "mine.lut")
    with (
        held_table(tmp_path / "mine.lut"),
        pytest.raises(InUse, match=r"link\.lut"),
        held_table(tmp_path / "link.lut"),
    ):
        pass


def test_a_lock_that_its_holder_has_removed_meanwhile_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = tmp_path / "mine.lut", ExitStack()
    first.enter_context(held_table(path))
    flock = __import__("fcntl").flock

    def after_the_first_has_ended(file: object, how: int) -> None:
        first.close()  # between opening the file and locking it
        flock(file, how)

    monkeypatch.setattr("fcntl.flock", after_the_first_has_ended)
    with held_table(path):
        assert (tmp_path / f"mine.lut{SUFFIX}").read_text() == str(os.getpid())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(
            InvalidFile, match=r"cannot make or fill the table .*none/mine\.lut: No such"
        ),
        held_table(tmp_path / "none" / "mine.lut"),
    ):
        pass


def test_tables_of_plans_and_timing_caches_are_held_too(
    tmp_path: Path, exact: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Conditions(device=exact, environment={})
    monkeypatch.setattr(plan_table, "current_plan_conditions", lambda _: here)
    path = tmp_path / "mine.plan"
    tensorrt = DeviceSpec(name="gpu", backend="tensorrt", gpu=Gpu())
    with held_table(path):
        with pytest.raises(InUse), plan_table.plan_file_for(path, exact):
            pass
        with pytest.raises(InUse):
            learn_cache(path, tensorrt, [])
