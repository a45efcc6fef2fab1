"""The history of a bundle: no line is lost, and a damaged one hides none of the others."""

from io import FileIO
from pathlib import Path

import pytest

from devices import DeviceSpec
from devices.files import CannotWrite
from export.verdicts.history import append, read
from export.verdicts.verdict import Verdict
from lut import Conditions
from profiler import Measurement, Slice

SLICES = tuple(
    Slice(process=i, round=0, repeats=1, samples_s=(1e-3, 1e-3), gate="clean") for i in range(3)
)
VERDICT = Verdict(
    limit_s=2e-3,
    predicted_s=None,
    measurement=Measurement(slices=SLICES),
    conditions=Conditions(device=DeviceSpec(name="sim", backend="simulated"), environment={}),
    parity_max_abs=1e-6,
)
SUMMARY = {**VERDICT.as_json(), "at": "2026-01-01T00:00:00+00:00", "sha256": "abc"}


def limits_ms(folder: Path) -> list[float]:
    return [round(each.limit_s * 1e3, 6) for each in read(folder).verdicts]


def test_a_verdict_reads_back_with_its_samples(tmp_path: Path) -> None:
    append(tmp_path, SUMMARY, VERDICT)
    (found,) = read(tmp_path).verdicts
    assert (found.sha256, found.device, found.verdict) == ("abc", "sim", "met")
    assert [each.samples_s for each in found.slices] == [(1e-3, 1e-3)] * 3


def test_two_that_verify_at_once_lose_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another line is added when the first writer has looked at the file, and not yet written."""
    import export.verdicts.history as module

    looked = module._after

    def slowly(file: FileIO) -> bytes:
        found = looked(file)
        monkeypatch.setattr(module, "_after", looked)
        append(tmp_path, SUMMARY | {"limit_ms": 9.0}, VERDICT)
        return found

    append(tmp_path, SUMMARY | {"limit_ms": 1.0}, VERDICT)
    monkeypatch.setattr(module, "_after", slowly)
    append(tmp_path, SUMMARY | {"limit_ms": 2.0}, VERDICT)
    assert limits_ms(tmp_path) == [1.0, 9.0, 2.0]


def test_a_line_that_was_cut_short_is_left_out_and_said(tmp_path: Path) -> None:
    append(tmp_path, SUMMARY, VERDICT)
    with (tmp_path / "verdicts.jsonl").open("a") as file:
        file.write('{"sha256": "cut sho')
    append(tmp_path, SUMMARY | {"limit_ms": 5.0}, VERDICT)
    assert limits_ms(tmp_path) == [2.0, 5.0]
    assert read(tmp_path).damaged == (2,)
    assert read(tmp_path).doubt.endswith("cannot be read: lines 2")


@pytest.mark.parametrize("line", ["{}", "[]", "7", "\\xff", '{"sha256": 1, "device": {}}'])
def test_what_is_no_verdict_is_left_out(tmp_path: Path, line: str) -> None:
    (tmp_path / "verdicts.jsonl").write_text(f"{line}\n\n")
    assert (read(tmp_path).verdicts, read(tmp_path).damaged) == ((), (1,))


def test_nobody_verified_what_has_no_history(tmp_path: Path) -> None:
    assert read(tmp_path).verdicts == ()
    assert read(tmp_path).doubt == ""


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "verdicts.jsonl").mkdir()
    with pytest.raises(CannotWrite, match=r"verdicts\.jsonl"):
        append(tmp_path, SUMMARY, VERDICT)
