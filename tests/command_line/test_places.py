"""Bad places for results: each verb refuses them in one line, before it does anything."""

from pathlib import Path

import pytest

from tests.command_line.typed import complaint

LIMIT = "--table missing.lut --limit-ms 1"


@pytest.mark.parametrize(
    "verb",
    [
        f"search evolution --run missing {LIMIT} -o",
        f"search nsga2 --truth missing.gz --space macro {LIMIT} -o",
        f"search greedynas --run missing {LIMIT} -o",
        f"search sgnas --run missing {LIMIT} -o",
        f"search econas --data missing {LIMIT} -o",
        "report missing.lut -o",
        "verify missing --junit",
    ],
)
def test_a_file_that_has_no_place_is_refused_before_anything_is_read(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"there is no folder {tmp_path}/none" in complaint(capsys, f"{verb} {tmp_path}/none/a.b")
    assert f"cannot write {tmp_path}: it is a folder" in complaint(capsys, f"{verb} {tmp_path}")


@pytest.mark.parametrize(
    "verb",
    [
        "train uniform --space macro -o",
        "train final missing.json -o",
        "export missing.json --run missing -o",
        "proxies --space macro -o",
        "demo -o",
    ],
)
def test_a_folder_that_has_no_place_is_refused_before_anything_is_read(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"{tmp_path / 'file'} is a file" in complaint(capsys, f"{verb} {folder}")
