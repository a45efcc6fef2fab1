"""What is written down of a bundle that was verified, and what people are told."""

from pathlib import Path

import pytest

from devices import LatkitError
from devices.files import CannotWrite
from export.bundle.onnx_file import ParityFailed
from export.verdicts import certify as module
from export.verdicts.certify import Asked, certify, processes_of
from export.verdicts.verify import Plan
from profiler.whole_models.acceptance import Acceptance


def verified_with(monkeypatch: pytest.MonkeyPatch, error: LatkitError) -> list[int]:
    """Let every verification end with an error; return a list that grows with each."""
    calls: list[int] = []

    def verified(*_: object, **__: object) -> None:
        calls.append(1)
        raise error

    monkeypatch.setattr(module, "_verified", verified)
    return calls


def test_a_report_that_has_no_place_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = verified_with(monkeypatch, ParityFailed("0.3 away"))
    with pytest.raises(CannotWrite, match="there is no folder"):
        certify(tmp_path, Asked(junit=tmp_path / "none" / "a.xml"), quiet=True)
    assert calls == []


def test_a_report_that_cannot_be_written_hides_no_failed_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified_with(monkeypatch, ParityFailed("0.3 away"))

    def full(*_: object, **__: object) -> None:
        raise CannotWrite("the disk is full")

    monkeypatch.setattr(module, "write_junit", full)
    with pytest.raises(ParityFailed, match=r"0\.3 away"):
        certify(tmp_path, Asked(junit=tmp_path / "a.xml"), quiet=True)


def test_single_runs_count_beside_medians() -> None:
    assert processes_of(Plan(processes=5)) == 10
    assert processes_of(Plan(processes=5, single_runs=False)) == 5
    test = Acceptance(percent=99.0, most_blocks=7)
    assert processes_of(Plan(processes=5), test) == 5 + 7
