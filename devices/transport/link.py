"""What differs between the ways to reach a device: how a shell command gets there.

Every script ends by saying its exit status on the error stream. If that word is missing, the link
was cut or never up: no exit status of ssh or adb has to be told from that of the command.
"""

import re
from typing import Protocol

from devices.transport.errors import LinkCut, Unreachable

ENDED = re.compile(rb"\nlatkit-exit (\d+)\n\Z")
"""What the device's shell says last, on its error stream."""


class Link(Protocol):
    """One way to run a POSIX shell script on a device, by a program of this system."""

    @property
    def name(self) -> str:
        """What to call the device in messages."""
        ...

    def command(self, script: str) -> list[str]:
        """Return the command of this system that runs ``script`` in the device's shell.

        Bytes reach its standard streams and come back unchanged. Its exit status need not be the
        script's: the connection asks for that in a way that tells a cut link, too.

        Raises:
            DeviceUnavailable: The program is not installed.
        """
        ...

    def failure(self, said: str) -> Unreachable | LinkCut:
        """Return what it means that a command ended without a word from the device's shell.

        Args:
            said: What the program of this system wrote to its error stream.
        """
        ...


def reporting(script: str) -> str:
    """Return a script that says last how the given one ended."""
    return f"( {script}\n)\nprintf '\\nlatkit-exit %s\\n' $? >&2"


def exit_status(link: Link, said: bytes) -> tuple[int, str]:
    """Return a script's exit status and what it wrote on its error stream.

    Raises:
        Unreachable: The device's shell never spoke, and will not until somebody acts.
        LinkCut: It never spoke, or no more.
    """
    found = ENDED.search(said)
    if found is None:
        raise link.failure(said.decode(errors="replace"))
    return int(found[1]), said[: found.start()].decode(errors="replace")


def last_line(text: str) -> str:
    """Return the last line that says anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no word why"
