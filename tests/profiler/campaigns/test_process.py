import os
import signal
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import psutil
import pytest

from devices import DeviceUnavailable, LatkitError, UnknownName
from lut import MissingLatency
from profiler import ProcessDied, in_fresh_process

# What runs in the fresh process must be a function of a module that it can import.


def counting(path: Path, count: int) -> Iterator[int]:
    """Yield numbers; the file says how many were begun."""
    for number in range(count):
        with path.open("a") as file:
            file.write("x")
        yield number


def own_pid(count: int) -> Iterator[int]:
    for _ in range(count):
        yield os.getpid()


def failing(kind: str) -> Iterator[str]:
    yield "before"
    match kind:
        case "missing":
            raise MissingLatency("no latency for [conv]: measure it")
        case "unknown":
            raise UnknownName("device", "cpuu", ["cpu"], cure="See them all.")
        case "unavailable":
            raise DeviceUnavailable("no such device here")


def dying(how: str) -> Iterator[str]:
    yield "before"
    match how:
        case "exit":
            os._exit(3)
        case "bug":
            raise ValueError("a bug of ours: the traceback goes to stderr")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)


def interrupting() -> Iterator[str]:
    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does to every process of a terminal
    yield "still here"


class Deadly:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (4,)


def unread(*_: object) -> Iterator[str]:
    yield "never"


def begun(path: Path) -> int:
    return len(path.read_text()) if path.exists() else 0


@pytest.fixture
def measuring_processes() -> Callable[[], list[psutil.Process]]:
    """Return what lists the children that work, without those that other tests share."""
    before = psutil.Process().children()

    def look() -> list[psutil.Process]:
        new = [child for child in psutil.Process().children() if child not in before]
        return [p for p in new if not any("resource_tracker" in word for word in p.cmdline())]

    return look


def test_items_come_in_order_and_in_step(tmp_path: Path) -> None:
    path = tmp_path / "begun"
    stream = in_fresh_process(counting, path, 4)
    assert begun(path) == 0  # nothing starts before it is asked for
    for number in range(4):
        assert next(stream) == number
        assert begun(path) == number + 1  # it does not run ahead
    assert list(stream) == []


def test_the_work_is_done_elsewhere_in_one_process() -> None:
    first, second = in_fresh_process(own_pid, 2)
    assert first == second != os.getpid()


def test_leaving_early_ends_the_process(
    tmp_path: Path, measuring_processes: Callable[[], list[psutil.Process]]
) -> None:
    path = tmp_path / "begun"
    stream = in_fresh_process(counting, path, 1_000)
    assert list(islice(stream, 2)) == [0, 1]
    assert len(measuring_processes()) == 1
    stream.close()
    assert measuring_processes() == []
    assert begun(path) == 2


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("missing", MissingLatency, "no latency for [conv]: measure it"),
        (
            "unknown",
            UnknownName,
            "no device is called 'cpuu'; the nearest is 'cpu'. See them all.",
        ),
        ("unavailable", DeviceUnavailable, "no such device here"),
    ],
)
def test_an_error_comes_through_as_it_was(
    kind: str, error: type[LatkitError], message: str
) -> None:
    stream = in_fresh_process(failing, kind)
    assert next(stream) == "before"
    with pytest.raises(LatkitError) as raised:
        next(stream)
    assert type(raised.value) is error
    assert str(raised.value) == message


@pytest.mark.parametrize(("how", "code"), [("exit", 3), ("bug", 1), ("kill", -signal.SIGKILL)])
def test_a_process_that_dies_says_how_and_what_to_do(
    how: str, code: int, measuring_processes: Callable[[], list[psutil.Process]]
) -> None:
    stream = in_fresh_process(dying, how)
    assert next(stream) == "before"
    with pytest.raises(ProcessDied, match=rf"exit code {code}; .*Run the same command again"):
        next(stream)
    assert measuring_processes() == []


def test_a_process_that_dies_over_its_arguments_is_not_waited_for(
    measuring_processes: Callable[[], list[psutil.Process]],
) -> None:
    more_than_a_pipe_holds = bytes(2**23)
    stream = in_fresh_process(unread, Deadly(), more_than_a_pipe_holds)
    with pytest.raises(ProcessDied, match="exit code 4"):
        next(stream)
    assert measuring_processes() == []


def test_an_interrupt_is_left_to_the_parent() -> None:
    assert list(in_fresh_process(interrupting)) == ["still here"]
