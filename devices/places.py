"""Places for files and folders, refused before the work whose result goes there."""

import os
from pathlib import Path

from devices.files import CannotWrite


def check_place(path: Path, suffix: str = "") -> None:
    """Refuse a place where no file can be written.

    Args:
        path: Of the file to be written; what is there will be replaced.
        suffix: What its name ends in, as ``.png``; empty for anything.

    Raises:
        CannotWrite: Its name ends otherwise, a folder is in its place, its folder is not there or
            not writable, or the file that is there is not.
    """
    cure = f"name a {suffix + ' ' if suffix else ''}file in a folder that is there"
    if suffix and path.suffix.lower() != suffix:
        raise CannotWrite(f"cannot write {path}: its name does not end in {suffix}; {cure}")
    if path.is_dir():
        raise CannotWrite(f"cannot write {path}: it is a folder; {cure}")
    if not path.parent.is_dir():
        raise CannotWrite(f"cannot write {path}: there is no folder {path.parent}; {cure}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise CannotWrite(f"cannot write {path}: you may not write in {path.parent}; {cure}")
    if path.exists() and not os.access(path, os.W_OK):
        raise CannotWrite(f"cannot write {path}: the file there is read-only; name another one")


def check_folder(folder: Path) -> None:
    """Refuse a place where no folder of results can be, or be made with all above it.

    Raises:
        CannotWrite: There is a file of that name or above it, or the folder to write in, or to make
            it in, is not writable.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise CannotWrite(f"cannot write in {folder}: {there} is a file; name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise CannotWrite(f"cannot write in {folder}: you may not write in {there}; name another")
