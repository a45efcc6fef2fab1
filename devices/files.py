"""Files that are either whole or not there."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devices.errors import LatkitError

PARTIAL = ".partial"
"""What ends the name of a file that is being written."""


class CannotWrite(LatkitError):
    """A file could not be written; what was there before still is."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield the name of a file to write, which takes the place of another when it is written.

    Two processes that write one file write two, and the last one stays. Nothing is left of what
    was not written to its end, but after a kill.

    Args:
        path: The file to make or to replace.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        partial.unlink(missing_ok=True)  # of a process that was killed and had this number
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):  # what went wrong before is what matters
            partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash, a kill or a full disk leaves the old one or the new one.

    Raises:
        CannotWrite: The disk is full, or the place is not writable.
    """
    try:
        with whole(path) as partial, partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CannotWrite(
            f"cannot write {path}: {error.strerror}. Free some space or name another place"
        ) from error


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
