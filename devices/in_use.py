"""Folders that one process works in at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from devices.errors import InvalidFile, LatkitError

LOCK = "in-use.lock"
"""The file in such a folder that is held. It stays when its holder is gone, and holds nothing."""


class InUse(LatkitError):
    """Another process works in a folder."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; made where there is none.

    The system gives the folder free when this process ends, however it ends.

    Raises:
        InUse: Another holder is there, in whatever process; says which.
        InvalidFile: There is a file of that name, or nothing can be written there.
    """
    make_folder(folder)
    try:
        lock = (folder / LOCK).open("a+")
    except OSError as error:
        raise _unusable(folder, error) from error
    with lock:
        take(lock, f"{folder} is in use", "directory")
        yield
        lock.truncate(0)


def make_folder(folder: Path) -> None:
    """Make a folder to work in, with all above it, where there is none.

    Raises:
        InvalidFile: There is a file of that name, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InvalidFile(f"{folder} is a file; a run needs a directory: name another") from error
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> InvalidFile:
    return InvalidFile(f"cannot work in the directory {folder}: {error.strerror}. Name another one")


def take(lock: TextIO, what: str, kind: str) -> None:
    """Lock an open file until it is closed, and write into it who did.

    Args:
        lock: Open for reading and appending.
        what: Begins the complaint: what is in use.
        kind: Ends it: what else to name.

    Raises:
        InUse: Another holder is there, in whatever process; says which.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "that has just begun"
        raise InUse(
            f"{what} by process {holder}: wait until it ends, or name another {kind}"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
