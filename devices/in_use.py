"""Folders that one process works in at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        InvalidFile: There is a file of that name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InvalidFile(f"{folder} is a file; a run needs a directory: name another") from error
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "that has just begun"
            raise InUse(
                f"{folder} is in use by process {holder}: wait until it ends, or name another "
                "directory"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
        lock.truncate(0)
