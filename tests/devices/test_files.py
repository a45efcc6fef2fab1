import errno
import os
from pathlib import Path
from typing import NoReturn
from unittest.mock import Mock

import pytest

from devices.files import CannotWrite, whole, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        write_atomically(tmp_path / "x.json", content)
    assert (tmp_path / "x.json").read_bytes() == b"new"
    assert names(tmp_path) == ["x.json"]


def test_a_full_disk_leaves_the_old_file_and_takes_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "x.json").write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotWrite, match=r"x\.json: No space left on device. Free some space"):
        write_atomically(tmp_path / "x.json", b"new")
    assert (tmp_path / "x.json").read_bytes() == b"old"
    assert names(tmp_path) == ["x.json"]


def test_an_interrupted_writer_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.json", b"half")
    assert names(tmp_path) == []


def test_two_writers_of_one_file_do_not_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    with whole(path) as mine:
        mine.write_bytes(b"mine")
        with monkeypatch.context() as another:
            another.setattr("os.getpid", lambda: os.getppid())
            write_atomically(path, b"theirs, longer")
        assert path.read_bytes() == b"theirs, longer"
    assert path.read_bytes() == b"mine"
    assert names(tmp_path) == ["x.json"]


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite, match=r"cannot write .*file/x\.json: Not a directory"):
        write_atomically(tmp_path / "file" / "x.json", b"")
