"""Bad places for results, each with one line of its own."""

from pathlib import Path

import pytest

from devices.files import CannotWrite
from devices.places import check_folder, check_place


def read_only(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Let some paths be writable by nobody, root included."""
    monkeypatch.setattr("devices.places.os.access", lambda path, mode: path not in paths)


def refusal(path: Path, suffix: str = "") -> str:
    with pytest.raises(CannotWrite) as refused:
        check_place(path, suffix)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_good_place_is_a_new_file_or_one_that_can_be_replaced(tmp_path: Path) -> None:
    check_place(tmp_path / "new.json")
    (tmp_path / "old.PNG").touch()
    check_place(tmp_path / "old.PNG", ".png")
    assert [each.name for each in tmp_path.iterdir()] == ["old.PNG"]


def test_a_file_needs_a_folder_that_is_there(tmp_path: Path) -> None:
    said = refusal(tmp_path / "none" / "a.json")
    assert f"there is no folder {tmp_path / 'none'}" in said
    (tmp_path / "file").touch()
    assert "there is no folder" in refusal(tmp_path / "file" / "a.json")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"cannot write {tmp_path}: it is a folder")


def test_a_picture_has_to_be_called_one(tmp_path: Path) -> None:
    said = refusal(tmp_path / "a.pdf", ".png")
    assert "does not end in .png; name a .png file" in said


def test_a_folder_that_is_not_writable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only(monkeypatch, tmp_path)
    assert f"you may not write in {tmp_path}" in refusal(tmp_path / "a.json")


def test_a_read_only_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.touch()
    read_only(monkeypatch, path)
    assert "the file there is read-only" in refusal(path)


def test_a_folder_of_results_may_be_made_with_all_above_it(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    check_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_folder_can_be_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CannotWrite, match=f"{tmp_path / 'file'} is a file"):
            check_folder(folder)


def test_no_folder_can_be_made_where_nobody_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only(monkeypatch, tmp_path)
    with pytest.raises(CannotWrite, match=f"you may not write in {tmp_path}"):
        check_folder(tmp_path / "run")
