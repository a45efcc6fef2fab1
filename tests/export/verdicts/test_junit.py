"""Claims of a bundle as JUnit XML: what servers of continuous integration read."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from devices import DeviceSpec, DeviceUnavailable, InvalidFile, LatkitError
from export.bundle.manifest import NewerBundle
from export.bundle.onnx_file import ParityFailed
from export.verdicts.accuracy_check import AccuracyFailed, OtherImages
from export.verdicts.junit import CLAIMS, Claim, claims_after, claims_of, write_junit
from export.verdicts.verdict import Verdict
from lut import Conditions
from profiler import Measurement, Slice

SLICES = tuple(
    Slice(process=i, round=0, repeats=1, samples_s=(1e-3, 1e-3), gate="clean") for i in range(3)
)
MET = Verdict(
    limit_s=2e-3,
    predicted_s=None,
    measurement=Measurement(slices=SLICES),
    conditions=Conditions(device=DeviceSpec(name="sim", backend="simulated"), environment={}),
    parity_max_abs=1e-6,
)


def outcomes(claims: tuple[Claim, ...]) -> dict[str, str]:
    return {claim.name: claim.outcome for claim in claims}


def test_every_claim_that_was_tested_is_a_case() -> None:
    assert outcomes(claims_of(MET)) == dict.fromkeys(("files", "parity", "latency"), "passed")
    with_images = claims_of(replace(MET, test_accuracy=0.91))
    assert tuple(claim.name for claim in with_images) == CLAIMS
    assert with_images[2].reason == "top-1 on the test split 91.00%"


def test_a_limit_that_is_missed_fails_with_the_line_that_people_read() -> None:
    missed = claims_of(replace(MET, limit_s=0.5e-3))
    assert outcomes(missed) == {"files": "passed", "parity": "passed", "latency": "failure"}
    assert missed[-1].reason == "missed: 1 ms measured (1 to 1), limit 0.5 ms"


@pytest.mark.parametrize(
    ("error", "passed", "outcome"),
    [
        (InvalidFile("model.onnx was altered"), [], "failure"),
        (NewerBundle("of format 9"), [], "error"),
        (ParityFailed("0.3 away"), ["files"], "failure"),
        (DeviceUnavailable("no such GPU"), ["files"], "error"),
        (AccuracyFailed("80 %"), ["files", "parity"], "failure"),
        (OtherImages("others"), ["files", "parity"], "error"),
        (DeviceUnavailable("went away"), ["files", "parity", "accuracy"], "error"),
    ],
)
def test_what_ended_testing_is_told_by_the_claim_that_it_ended_at(
    error: LatkitError, passed: list[str], outcome: str
) -> None:
    claims = claims_after(error, passed=passed, tested=CLAIMS)
    ended = len(passed)
    expected = ["passed"] * ended + [outcome] + ["skipped"] * (3 - ended)
    assert [claim.outcome for claim in claims] == expected
    assert claims[ended].reason == str(error)
    assert all(claim.reason == f"not tested after {CLAIMS[ended]}" for claim in claims[ended + 1 :])


def test_the_file_is_xml_that_counts_what_it_holds(tmp_path: Path) -> None:
    error = ParityFailed('"0.3" <away>\n & more\x1b')
    claims = claims_after(error, passed=["files"], tested=("files", "parity", "latency"))
    write_junit(tmp_path / "report.xml", claims, bundle="deploy & co", elapsed_s=1.5)
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()[0]
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1", "time": "1.500"}
    files, parity, latency = suite.findall("testcase")
    assert (files.get("classname"), files.get("name")) == ("deploy & co", "files")
    assert files.find("failure") is None
    failure = parity.find("failure")
    assert failure is not None
    assert failure.get("message") == '"0.3" <away> & more'
    assert latency.find("skipped") is not None
