"""Files that are either whole or not there."""

import hashlib
import os
from pathlib import Path

from devices.errors import LatkitError


class CannotWrite(LatkitError):
    """A file could not be written; what was there before still is."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash, a kill or a full disk leaves the old one or the new one.

    Raises:
        CannotWrite: The disk is full, or the place is not writable.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CannotWrite(
            f"cannot write {path}: {error.strerror}. Free some space or name another place"
        ) from error


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
