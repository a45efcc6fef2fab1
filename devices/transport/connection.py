"""A device that commands and files can be sent to, whatever the link.

What may be repeated: looking, and copying files, since a file arrives whole or not at all. A
command may have done something before the link was cut, so it is repeated only if its caller says
that this does no harm.
"""

import hashlib
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeVar

from devices.transport.errors import CommandFailed, DeviceFull, LinkCut
from devices.transport.link import Link, exit_status, last_line, reporting
from devices.transport.running import Running

T = TypeVar("T")

PAUSES_S = (0.5, 2.0)
"""Between the tries of what may be repeated."""

TIMEOUT_S = 60.0
"""Of a command, unless its caller knows better."""

SLOWEST_BYTES_PER_S = 250e3
"""A link that copies files more slowly is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A command that has run on a device.

    Attributes:
        exit_code: 0 to 255.
        stdout: What it wrote.
        stderr: What it complained of.
    """

    exit_code: int
    stdout: bytes
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a device says of itself.

    Attributes:
        arch: As its kernel names it: ``aarch64``.
        cpus: How many it has.
        python: Version of the Python that was asked for; empty where there is none.
    """

    arch: str
    cpus: int
    python: str


@dataclass(frozen=True, slots=True)
class Connection:
    """A device and the way to it; holds nothing open, so many may be used at once.

    Attributes:
        link: How a shell command gets there.
    """

    link: Link

    @property
    def name(self) -> str:
        """What to call the device in messages."""
        return self.link.name

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = TIMEOUT_S,
        repeatable: bool = False,
    ) -> Completed:
        """Run a command on the device.

        Args:
            argv: Program and arguments; any characters but NUL.
            stdin: What it reads.
            timeout_s: Seconds after which it is given up; it may go on over there.
            repeatable: Whether it does no harm to run it twice; then a cut link is tried again.

        Raises:
            ValueError: An argument holds a NUL.
            Unreachable: The device cannot be reached until somebody acts.
            LinkCut: The link was cut, or the time was up.
        """
        script = quoted(argv)

        def once() -> Completed:
            with TemporaryFile() as source:
                source.write(stdin)
                source.seek(0)
                return self._once(script, source, subprocess.PIPE, timeout_s)

        return repeated(once) if repeatable else once()

    def start(self, argv: Sequence[str]) -> Running:
        """Start a command whose lines are read while it runs, see `Running`.

        Raises:
            ValueError: An argument holds a NUL.
            DeviceUnavailable: The link's program is not installed.
        """
        return Running(self.link, self.link.command(reporting(quoted(argv))))

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the device, whole or not at all: a new name, a checksum, a rename.

        Folders on the way are made.

        Args:
            source: A file here.
            target: Its path there; relative to where the device's shell starts.

        Raises:
            InvalidFile: The file cannot be read.
            DeviceFull: The device has no room.
            CommandFailed: It cannot be written there.
            Unreachable: The device cannot be reached until somebody acts.
            LinkCut: The link was cut again and again.
        """
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        final, partial = shlex.quote(shell_path(target)), shlex.quote(shell_path(target) + ".part")
        folder = shlex.quote(str(Path(shell_path(target)).parent))
        script = (
            f"mkdir -p {folder} && cat > {partial} && "
            f'[ "$(sha256sum < {partial} | cut -c1-64)" = {digest} ] && '
            f"mv -f {partial} {final} || {{ rm -f {partial}; exit 9; }}"
        )

        def once() -> None:
            with source.open("rb") as file:
                timeout_s = copying_s(source.stat().st_size)
                self._require(self._once(script, file, subprocess.PIPE, timeout_s), f"{target!r}")

        repeated(once)

    def pull(self, source: str, target: Path) -> None:
        """Copy a file from the device, whole or not at all.

        Args:
            source: Its path there; relative to where the device's shell starts.
            target: Where it goes here.

        Raises:
            CommandFailed: It cannot be read there.
            Unreachable: The device cannot be reached until somebody acts.
            LinkCut: The link was cut again and again.
        """
        path = shlex.quote(shell_path(source))
        script = f"cat < {path} && sha256sum < {path} >&2"
        partial = target.with_name(target.name + ".part")

        def once() -> None:
            with partial.open("w+b") as file, TemporaryFile() as nothing:
                sized = self._once(f"wc -c < {path}", nothing, subprocess.PIPE, TIMEOUT_S)
                self._require(sized, f"{source!r}")
                done = self._once(script, nothing, file, copying_s(int(sized.stdout)))
                self._require(done, f"{source!r}")
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest not in done.stderr:
                raise LinkCut(f"{source!r} of {self.name} arrived damaged")
            partial.replace(target)

        try:
            repeated(once)
        finally:
            partial.unlink(missing_ok=True)

    def machine(self, *, python: str) -> Machine:
        """Ask the device what it is.

        Args:
            python: The Python to look for.

        Raises:
            Unreachable: The device cannot be reached until somebody acts.
            LinkCut: It does not answer.
        """
        version = quoted([python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"])
        script = f"uname -m; grep -c ^processor /proc/cpuinfo; {version} || echo"

        def once() -> Completed:
            with TemporaryFile() as nothing:
                return self._once(script, nothing, subprocess.PIPE, TIMEOUT_S)

        arch, cpus, version, *_ = repeated(once).stdout.decode(errors="replace").split("\n")
        return Machine(arch=arch, cpus=int(cpus or 0), python=version)

    def _once(
        self, script: str, stdin: IO[bytes], stdout: int | IO[bytes], timeout_s: float
    ) -> Completed:
        command = self.link.command(reporting(script))
        try:
            done = subprocess.run(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LinkCut(f"{self.name} did not answer within {timeout_s:.0f} s") from error
        exit_code, said = exit_status(self.link, done.stderr)
        return Completed(exit_code=exit_code, stdout=done.stdout or b"", stderr=said)

    def _require(self, done: Completed, what: str) -> None:
        if done.exit_code == 0:
            return
        if "No space left" in done.stderr:
            raise DeviceFull(
                f"{self.name} has no room for {what}. Free some space there, or name another "
                "folder in the device file: transport: {folder: ...}"
            )
        if not done.stderr.strip():  # nothing but the checksum can have failed in silence
            raise LinkCut(f"{what} did not reach {self.name} whole")
        raise CommandFailed(f"{self.name} cannot copy {what}: {last_line(done.stderr)}")


def copying_s(size: int) -> float:
    """Return the seconds after which copying so many bytes is given up."""
    return TIMEOUT_S + size / SLOWEST_BYTES_PER_S


def repeated(work: Callable[[], T]) -> T:
    """Do what may be repeated, again where the link was cut: the one retry policy.

    Raises:
        LinkCut: Every time.
    """
    for pause_s in PAUSES_S:
        try:
            return work()
        except LinkCut:
            time.sleep(pause_s)
    return work()


def quoted(argv: Sequence[str]) -> str:
    """Return a command as text that a POSIX shell takes apart into exactly these words.

    Raises:
        ValueError: A word holds a NUL, which no program can be given.
    """
    if any("\0" in word for word in argv):
        raise ValueError("an argument of a command cannot hold a NUL")
    return shlex.join(argv)


def shell_path(path: str) -> str:
    """Return a path that no program takes for an option."""
    return f"./{path}" if path.startswith("-") else path
