"""A command that runs on a device while its lines are read here."""

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from tempfile import TemporaryFile

from devices.transport.errors import LinkCut
from devices.transport.link import Link, exit_status

END_S = 5.0
"""Seconds that a command gets to end after its input has."""

AT_ONCE = 2**16
"""Bytes that are read at once."""


class Running:
    """A started command; a context that ends it.

    Args:
        link: Knows what a failure means.
        command: Of this system.
    """

    def __init__(self, link: Link, command: list[str]) -> None:
        self._link = link
        self._errors = TemporaryFile()  # noqa: SIM115 - closed with the command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self._read = b""  # and not yet returned

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, line: str) -> None:
        """Give the command a line to read.

        Raises:
            Unreachable: The device cannot be reached until somebody acts.
            LinkCut: The link was cut, or the command reads no more.
        """
        assert self._process.stdin is not None  # it is a pipe
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            _, said = self.result  # says so if the link was cut
            why = " ".join(said.split()) or "no word why"
            raise LinkCut(f"the command on {self._link.name} reads no more: {why}") from error

    def line(self, *, timeout_s: float) -> str | None:
        """Return the next line that the command writes, without its end; None after the last.

        Args:
            timeout_s: Seconds to wait for it.

        Raises:
            Unreachable: The device cannot be reached until somebody acts.
            LinkCut: The link was cut, or no line came in time.
        """
        assert self._process.stdout is not None  # it is a pipe
        until = time.monotonic() + timeout_s
        while b"\n" not in self._read:
            left_s = max(0.0, until - time.monotonic())
            if not select.select([self._process.stdout], [], [], left_s)[0]:
                raise LinkCut(f"{self._link.name} said nothing for {timeout_s:.0f} s")
            more = os.read(self._process.stdout.fileno(), AT_ONCE)
            if not more:
                self.result  # noqa: B018 - raises if the link was cut
                return None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode(errors="replace")

    def lines(self, *, timeout_s: float) -> Iterator[str]:
        """Yield the lines, until the command ends.

        Args:
            timeout_s: Seconds to wait for each.

        Raises:
            Unreachable: The device cannot be reached until somebody acts.
            LinkCut: The link was cut, or no line came in time.
        """
        while (line := self.line(timeout_s=timeout_s)) is not None:
            yield line

    @property
    def result(self) -> tuple[int, str]:
        """Exit status and error stream of a command that has ended.

        Raises:
            Unreachable: The device cannot be reached until somebody acts.
            LinkCut: The link was cut.
        """
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired as error:
            raise LinkCut(f"a command on {self._link.name} does not end") from error
        self._errors.seek(0)
        return exit_status(self._link, self._errors.read())

    def close(self) -> None:
        """End the command: its input first, itself if that does not help."""
        assert self._process.stdin is not None  # both are pipes
        assert self._process.stdout is not None
        with suppress(OSError):  # what it has not read is lost
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
