import os
import time
from pathlib import Path

import psutil
import pytest

from devices.host import LocalHost, allowed_cpus, processor_name

linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
NO_SUCH_CPU = 4095


@linux
def test_own_work_counts_as_own_and_as_busy() -> None:
    host = LocalHost(allowed_cpus())
    before = host.load()
    start = time.process_time()
    while time.process_time() - start < 0.2:
        pass
    after = host.load()
    assert before is not None
    assert after is not None
    assert after.own_s - before.own_s >= 0.2
    assert after.busy_s - before.busy_s >= 0.1  # the kernel counts it in ticks of 10 ms
    assert after.at_s > before.at_s
    assert after.cpus == len(allowed_cpus())


@linux
def test_what_a_thread_has_waited_counts_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(thread: int, seconds: float) -> None:
        (tmp_path / str(thread)).mkdir(exist_ok=True)
        (tmp_path / str(thread) / "schedstat").write_text(f"5 {round(seconds * 1e9)} 3\n")

    def waited_s() -> float:
        reading = host.load()
        assert reading is not None
        return reading.waited_s

    monkeypatch.setattr("devices.host.TASKS", tmp_path)
    host = LocalHost(allowed_cpus())
    waits(1, 0.25)
    waits(2, 1.5)
    assert waited_s() == pytest.approx(1.75)
    (tmp_path / "2" / "schedstat").unlink()
    assert waited_s() == pytest.approx(1.75)  # it has just ended
    (tmp_path / "2").rmdir()
    waits(1, 0.5)
    assert waited_s() == pytest.approx(2.0)
    waits(2, 0.125)  # another one, of the same number
    assert waited_s() == pytest.approx(2.125)
    waits(2, 0.625)
    assert waited_s() == pytest.approx(2.625)


@linux
def test_only_the_named_cpus_count() -> None:
    cpus = allowed_cpus()
    first, everywhere = LocalHost(cpus[:1]).load(), LocalHost(cpus).load()
    assert first is not None
    assert everywhere is not None
    assert first.cpus == 1
    assert first.busy_s <= everywhere.busy_s


def test_cpus_that_the_system_does_not_count_have_no_load() -> None:
    assert LocalHost((NO_SUCH_CPU,)).load() is None


def test_a_system_without_counters_has_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", nothing)
    assert LocalHost(allowed_cpus()).load() is None


def test_the_preflight_says_when_no_gate_can_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda **_: [0.0, 0.0])
    (doubt,) = LocalHost((NO_SUCH_CPU,)).preflight()
    assert "no gate is held" in doubt


@linux
def test_the_preflight_names_other_load_and_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda **_: [100.0, 25.0])
    doubts = LocalHost(allowed_cpus()).preflight()
    assert "other programs use 1.25 cores right now: stop them" in doubts


@linux
def test_a_quiet_machine_is_not_accused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda **_: [5.0, 5.0])
    doubts = LocalHost(allowed_cpus()).preflight()
    assert not any("other programs" in doubt or "gate" in doubt for doubt in doubts)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no threads")
def test_allowed_are_the_cpus_that_this_process_is_confined_to() -> None:
    before = os.sched_getaffinity(0)
    assert allowed_cpus() == tuple(sorted(before))
    os.sched_setaffinity(0, {min(before)})
    try:
        assert allowed_cpus() == (min(before),)
    finally:
        os.sched_setaffinity(0, before)


def test_the_processor_has_a_name() -> None:
    assert processor_name().strip()
