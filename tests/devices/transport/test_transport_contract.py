"""What every transport must do, on the real daemons. A new one passes by adding its fixture."""

import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from devices import Transport
from devices.transport import (
    Connection,
    DeviceFull,
    Link,
    LinkCut,
    Unreachable,
    connect,
)
from devices.transport.errors import CommandFailed

RealDevice = tuple[Transport, str]

HOSTILE = (
    "two words",
    "-rf",
    "it's",
    'a "b"',
    "new\nline",
    "$(touch pwned)",
    "`id`",
    "a;b&c|d>e",
    "*?[a]",
    "back\\slash",
    "größe",
    "trailing ",
)
BINARY = bytes(range(256)) * 400


@pytest.fixture
def device(real_device: RealDevice) -> Connection:
    return connect(real_device[0])


@pytest.fixture
def folder(real_device: RealDevice, request: pytest.FixtureRequest) -> str:
    return f"{real_device[0].folder}/{hash(request.node.name)}"


def source(folder: Path, content: bytes = BINARY) -> Path:
    path = folder / "source"
    path.write_bytes(content)
    return path


def listed(device: Connection, folder: str) -> list[str]:
    said = device.run(["sh", "-c", 'ls -A -- "$1" 2>/dev/null || true', "sh", folder])
    return said.stdout.decode().split()


def test_words_arrive_as_they_are(device: Connection) -> None:
    done = device.run(["printf", "<%s>", *HOSTILE, ""])
    assert done.stdout.decode() == "".join(f"<{word}>" for word in (*HOSTILE, ""))
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_word_with_a_nul_is_refused(device: Connection) -> None:
    with pytest.raises(ValueError, match="NUL"):
        device.run(["echo", "a\0b"])


@pytest.mark.parametrize("code", [0, 1, 9, 127, 254, 255])
def test_the_exit_status_is_that_of_the_command(device: Connection, code: int) -> None:
    done = device.run(["sh", "-c", f"echo out; echo err >&2; exit {code}"])
    assert (done.exit_code, done.stdout, done.stderr) == (code, b"out\n", "err\n")


def test_a_command_that_is_not_there_has_status_127(device: Connection) -> None:
    assert device.run(["no-such-command"]).exit_code == 127


def test_bytes_go_in_and_out_unchanged(device: Connection) -> None:
    assert device.run(["cat"], stdin=BINARY).stdout == BINARY


def test_a_command_that_takes_too_long_is_given_up(device: Connection) -> None:
    with pytest.raises(LinkCut, match="did not answer within 0 s"):
        device.run(["sleep", "30"], timeout_s=0.2)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_comes_back_as_it_went(
    device: Connection, folder: str, tmp_path: Path, name: str
) -> None:
    path = f"{folder}/{name}/{name}"
    device.push(source(tmp_path), path)
    device.pull(path, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == BINARY
    assert not list(Path().glob("pwned*"))


def test_a_push_replaces_a_file_and_leaves_nothing_beside_it(
    device: Connection, folder: str, tmp_path: Path
) -> None:
    for content in (BINARY, b""):
        device.push(source(tmp_path, content), f"{folder}/file")
    assert listed(device, folder) == ["file"]
    device.pull(f"{folder}/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_a_pull_of_nothing_leaves_nothing(device: Connection, folder: str, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"cannot copy .*none.*No such file"):
        device.pull(f"{folder}/none", tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


def test_a_push_to_where_nothing_can_be_says_so(device: Connection, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="cannot copy '/proc/none/file'"):
        device.push(source(tmp_path), "/proc/none/file")


def test_a_full_device_is_named_and_nothing_is_left_there(
    device: Connection, folder: str, tmp_path: Path
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    assert device.run(["mkdir", "-p", folder]).exit_code == 0
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    try:
        with pytest.raises(DeviceFull, match=r"has no room for .*transport: \{folder"):
            device.push(source(tmp_path), f"{folder}/file")
        assert listed(device, folder) == []
        device.push(source(tmp_path, b"small"), f"{folder}/file")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_lines_come_while_the_command_runs_and_it_can_be_answered(device: Connection) -> None:
    with device.start(["sh", "-c", "while read word; do echo got $word; done; exit 3"]) as command:
        for word in ("one", "two"):
            command.send(word)
            assert command.line(timeout_s=20) == f"got {word}"
        with pytest.raises(LinkCut, match="said nothing for 0 s"):
            command.line(timeout_s=0.05)


def test_a_command_that_ends_has_a_result(device: Connection) -> None:
    with device.start(["sh", "-c", "echo a; echo b; echo no >&2; exit 3"]) as command:
        assert list(command.lines(timeout_s=20)) == ["a", "b"]
        assert command.result == (3, "no\n")


def test_the_machine_says_what_it_is(device: Connection, real_device: RealDevice) -> None:
    machine = device.machine(python=real_device[0].python)
    assert machine.arch == os.uname().machine
    assert machine.cpus == os.cpu_count()
    assert machine.python.startswith("3.")
    assert device.machine(python="/no/such python").python == ""


def test_many_commands_run_at_once(device: Connection) -> None:
    def echo(number: int) -> bytes:
        return device.run(["echo", str(number)]).stdout

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(echo, range(8))) == [f"{n}\n".encode() for n in range(8)]


@dataclass
class Tearing:
    """A link that is torn in the first commands, as soon as there is a file on the device."""

    link: Link
    cut: str
    seen: str
    times: int

    @property
    def name(self) -> str:
        return self.link.name

    def command(self, script: str) -> list[str]:
        command = self.link.command(script)
        self.times -= 1
        if self.times < 0:
            return command
        wait = f"until [ -s {shlex.quote(self.seen)} ]; do sleep 0.02; done"
        feed = f"{{ head -c 20000; {wait}; {self.cut}; cat; }} | {shlex.join(command)}"
        return ["sh", "-c", feed]

    def failure(self, said: str) -> Unreachable | LinkCut:
        return self.link.failure(said)


over_a_link = pytest.mark.parametrize("real_device", ["ssh", "adb"], indirect=True)
"""Between this machine and itself there is nothing to be torn."""


def torn(real_device: RealDevice, times: int, *, seen: str) -> Connection:
    """Return a connection that is torn so often, whenever a file is there to be seen."""
    transport, cut = real_device
    return Connection(Tearing(connect(transport).link, cut, seen, times))


@over_a_link
def test_a_push_survives_a_cut_in_the_middle(
    real_device: RealDevice, folder: str, tmp_path: Path
) -> None:
    device = torn(real_device, 1, seen=f"{folder}/file.part")
    device.push(source(tmp_path), f"{folder}/file")
    device.pull(f"{folder}/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == BINARY


@over_a_link
def test_a_push_that_is_cut_each_time_leaves_the_old_file(
    real_device: RealDevice, folder: str, tmp_path: Path
) -> None:
    device = connect(real_device[0])
    device.push(source(tmp_path, b"old"), f"{folder}/file")
    with pytest.raises(LinkCut):
        torn(real_device, 3, seen=f"{folder}/file.part").push(source(tmp_path), f"{folder}/file")
    device.pull(f"{folder}/file", tmp_path / "back")  # which is repeated until the link is up
    assert (tmp_path / "back").read_bytes() == b"old"


@over_a_link
def test_a_command_is_run_again_only_where_that_does_no_harm(
    real_device: RealDevice, folder: str
) -> None:
    def note(where: str) -> list[str]:
        return ["sh", "-c", 'mkdir -p "$1"; echo x >> "$1/note"; cat', "sh", where]

    def noted(where: str) -> bytes:
        return connect(real_device[0]).run(["cat", f"{where}/note"], repeatable=True).stdout

    once, twice = f"{folder}/once", f"{folder}/twice"
    with pytest.raises(LinkCut):
        torn(real_device, 1, seen=f"{once}/note").run(note(once), stdin=BINARY)
    assert noted(once) == b"x\n"
    device = torn(real_device, 1, seen=f"{twice}/note")
    assert device.run(note(twice), stdin=BINARY, repeatable=True).stdout == BINARY
    assert noted(twice) == b"x\n" * 2


def test_the_folder_of_a_file_is_made_with_it(
    device: Connection, folder: str, tmp_path: Path
) -> None:
    device.push(source(tmp_path), f"{folder}/a/b/c")
    assert listed(device, f"{folder}/a/b") == [PurePosixPath("c").name]
