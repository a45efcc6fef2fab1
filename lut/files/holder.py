"""Tables that one process fills at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from devices import InvalidFile
from devices.in_use import InUse, take

SUFFIX = ".in-use"
"""What ends the name of the file beside a table that is locked while it is filled."""


@contextmanager
def held_table(path: Path) -> Iterator[None]:
    """Keep other processes from filling a table; they may read it.

    The system unlocks the table when this process ends, however it ends. After a kill the file
    beside it stays and holds nothing; else nothing stays.

    Args:
        path: The table; it need not be there yet.

    Raises:
        InUse: Another holder is there, in whatever process; says which.
        InvalidFile: Nothing can be written beside it.
    """
    real = path.resolve()
    beside = real.with_name(real.name + SUFFIX)
    try:
        file = _locked(beside, path)
    except OSError as error:
        raise InvalidFile(f"cannot make or fill the table {path}: {error.strerror}") from error
    with file:
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)  # before it is unlocked, so that it is still ours


def _locked(beside: Path, table: Path) -> TextIO:
    """Return the locked file; a holder that ends may have removed the one that was opened."""
    while True:
        file = beside.open("a+")
        try:
            take(file, f"{table} is being filled", "file")
        except InUse:
            file.close()
            raise
        if _is(file, beside):
            return file
        file.close()


def _is(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
