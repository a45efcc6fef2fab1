"""A bundle from the command line: what is in it, that it runs alone, and what verifying it says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import latkit
from export.bundle.manifest import (
    ARCHITECTURE,
    DESCRIPTION,
    HISTORY,
    LOADER,
    MANIFEST,
    MODEL,
    NOTES,
    PARITY,
    REFERENCE,
    VERDICT,
)
from search.answers import read_answers
from tests.command_line.typed import figures, run

ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "onnx", "latkit", "devices", "export"), None))
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a run, an answer and its bundle, made by the verbs themselves."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "quick.toml").write_text("epochs = 1\nwarmup_epochs = 0\nthreads = 1\n")
    run(f"profile --device sim --space macro --resolution 16 -o {folder}/sim.lut")
    run(
        f"train uniform --space macro --data digits --resolution 16 "
        f"--settings {folder}/quick.toml -o {folder}/run"
    )
    run(
        f"search random --run {folder}/run --table {folder}/sim.lut --limit-ms 0.8 "
        f"--rounds 1 --population 4 -o {folder}/arch.json"
    )
    run(f"export {folder}/arch.json --run {folder}/run -o {folder}/deploy")
    return folder


@pytest.fixture
def bundle(road: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to change."""
    return shutil.copytree(road / "deploy", tmp_path / "deploy")


def said(capsys: pytest.CaptureFixture[str], command: str, *, expect: int) -> str:
    capsys.readouterr()
    run(command, expect=expect)
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def cases(path: Path) -> dict[str, str]:
    """Return what became of each claim in a file of JUnit XML: passed, or the reason why not."""
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        reasons = [each.get("message", "") for each in case if each.tag != "system-out"]
        found[case.get("name", "")] = reasons[0] if reasons else "passed"
    return found


def test_a_bundle_has_every_file_and_the_manifest_names_it(road: Path) -> None:
    there = {path.name for path in (road / "deploy").iterdir()}
    files = {MODEL, DESCRIPTION, ARCHITECTURE, PARITY, REFERENCE, LOADER, NOTES}
    assert there == files | {MANIFEST}
    assert set(json.loads((road / "deploy" / MANIFEST).read_text())["files"]) == files


def test_a_second_export_is_the_same_byte_for_byte(road: Path, tmp_path: Path) -> None:
    run(f"export {road}/arch.json --run {road}/run -o {tmp_path}/again")
    for path in (road / "deploy").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_table_that_priced_the_network_is_known_by_its_hash(road: Path) -> None:
    (stored,) = read_answers(road / "deploy" / ARCHITECTURE)
    (answer,) = read_answers(road / "arch.json")
    assert (stored.arch, stored.table_hashes) == (answer.arch, answer.table_hashes)
    facts = json.loads((road / "deploy" / DESCRIPTION).read_text())
    assert (facts["table_hash"], facts["table_revision"]) == (answer.table_hashes[0], 0)


def test_the_outputs_are_compared_with_those_of_torch_on_real_images(road: Path) -> None:
    report = json.loads((road / "deploy" / PARITY).read_text())
    assert report["images_from"] == "the test split of digits"
    assert (report["images"], report["against"]) == (8, "the network in torch, fp32")
    assert report["runtime"].startswith("onnxruntime ")
    (logits,) = report["outputs"]
    assert (logits["name"], logits["shape"], logits["within"]) == ("logits", [8, 10], True)
    assert 0.0 < logits["mean_abs"] <= logits["max_abs"] < 1e-5 < logits["tolerance"]
    assert logits["top1_agreement"] == 1.0


def test_the_notes_name_the_data_and_its_licence(road: Path) -> None:
    notes = (road / "deploy" / NOTES).read_text()
    assert "`reference.npz` holds 8 images of the test split of digits" in notes
    assert "CC BY 4.0" in notes


def test_the_loader_repeats_the_sample_with_neither_latkit_nor_torch(bundle: Path) -> None:
    loader = bundle / LOADER
    assert len(loader.read_text().splitlines()) <= 40
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(loader)], capture_output=True, text=True, check=True
    )
    text, _, value = done.stdout.rpartition(":")
    assert text == "largest difference to the stored logits"
    assert float(value) < 1e-5


def test_verifying_names_every_claim_in_junit(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xml = tmp_path / "verify.xml"
    command = f"verify {bundle} --processes 3 --data digits --junit {xml}"
    facts = figures(capsys, command)  # on the device that it was made for, without its name
    assert (facts["device"], facts["met"], facts["same_device"]) == ("sim", True, None)
    promised = json.loads((bundle / DESCRIPTION).read_text())["facts"]["test_accuracy"]
    assert facts["test_accuracy"] == pytest.approx(promised, abs=0.005)
    assert len(facts["percentiles_ms"]["p99"]) == 3
    assert cases(xml) == dict.fromkeys(("files", "parity", "accuracy", "latency"), "passed")
    missed = said(capsys, f"verify {bundle} --processes 3 --limit-ms 0.01 --junit {xml}", expect=1)
    reason = cases(xml)["latency"]
    assert reason.startswith("missed: 0.")
    assert reason in missed


def test_a_table_of_another_device_is_refused_before_anything_is_measured(
    bundle: Path, road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("name: other\nbackend: simulated\nsimulation: {}\n")
    claims = tmp_path / "claims.xml"
    claims.write_text("of an earlier verification, all passed")
    command = f"verify {bundle} --device {other} --table {road}/sim.lut --junit {claims}"
    assert latkit.main(command.split()) == 2
    assert "name: " in capsys.readouterr().err.splitlines()[-1]
    assert not (bundle / HISTORY).exists()
    assert "all passed" not in claims.read_text()


def test_an_altered_file_is_refused_and_fails_its_claim(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / LOADER).write_text("print('something else')\n")
    xml = tmp_path / "verify.xml"
    line = said(capsys, f"verify {bundle} --junit {xml}", expect=2)
    assert line.startswith(f"latkit: {bundle}/load.py was altered: its sha256 begins with")
    found = cases(xml)
    assert f"latkit: {found.pop('files')}" == line
    assert found == dict.fromkeys(("parity", "latency"), "not tested after files")


def test_a_device_that_is_not_there_leaves_the_claims_untested(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xml = tmp_path / "verify.xml"
    line = said(capsys, f"verify {bundle} --device cpux --junit {xml}", expect=2)
    assert "no device is called 'cpux'" in line
    found = cases(xml)
    assert found.pop("files") == "passed"
    assert found == {"parity": line.removeprefix("latkit: "), "latency": "not tested after parity"}


def test_another_device_is_said_to_be_another_and_measured(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nbackend: simulated\n")
    shown = said(capsys, f"verify {bundle} --device {tmp_path}/mine.yaml --processes 3", expect=0)
    assert "another device: name: sim promised, mine here" in shown
    assert json.loads((bundle / VERDICT).read_text())["device"] == "mine"


def test_a_percentile_has_an_exit_status_for_what_its_runs_do_not_decide(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads((bundle / DESCRIPTION).read_text())
    slow = f"verify {bundle} --processes 3 --percentile 99 --limit-ms {facts['predicted_ms'] / 2}"
    missed = figures(capsys, slow, expect=1)["acceptance"]
    assert missed["decision"] == "missed"
    assert missed["runs"] == missed["slow_runs"] == 100 * missed["processes"]
    assert (missed["percentile"], missed["confidence"]) == (99.0, 0.95)


def test_confidence_belongs_to_a_percentile(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = said(capsys, f"verify {bundle} --confidence 95", expect=2)
    assert "--confidence is of a percentile: give --percentile 99, too" in line
