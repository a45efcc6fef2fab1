"""A bundle: every file is known by its hash, and what is not as it was written is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices import DeviceSpec, InvalidFile
from devices.files import CannotWrite, sha256_of
from export.bundle.deployment import (
    Deployment,
    claim_folder,
    read_deployment,
    read_reference,
    write_deployment,
)
from export.bundle.manifest import (
    ARCHITECTURE,
    DESCRIPTION,
    FORMAT,
    HISTORY,
    LOADER,
    MANIFEST,
    MODEL,
    REFERENCE,
    VERDICT,
    NewerBundle,
    read_manifest,
    seal,
)
from export.logits import logits_on
from profiler import Conv, Head
from profiler.operators.builders import chain_graph

STEM = Conv(input_shape=(1, 3, 8, 8), channels=4, kernel=3, activation="relu")
CHAIN = (STEM, Head(input_shape=STEM.output_shape, channels=8, classes=2))
SIM = DeviceSpec(name="sim", backend="simulated")


def written(folder: Path, **beside: str) -> Deployment:
    """Write a bundle of a small network."""
    folder.mkdir(exist_ok=True)
    graph = chain_graph(CHAIN)
    (folder / MODEL).write_bytes(graph.onnx)
    deployment = Deployment(
        arch="0",
        space={"name": "tiny"},
        sha256=sha256_of(folder / MODEL),
        input_shape=STEM.input_shape,
        precision="fp32",
        device="sim",
        limit_s=1.0,
        predicted_s=0.5,
        interval_s=(0.4, 0.6),
        parity_max_abs=0.0,
        facts={"classes": ["a", "b"]},
        table_hash="abc",
        table_revision=2,
    )
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    write_deployment(folder, deployment, images, logits_on(SIM, graph, images), beside=beside)
    return deployment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path / "bundle", **{LOADER: "print('hello')\n"})
    return tmp_path / "bundle"


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_bundle_reads_back_as_it_was_written(tmp_path: Path) -> None:
    deployment = written(tmp_path)
    assert read_deployment(tmp_path) == deployment


def test_the_manifest_knows_every_file_by_its_hash(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.format == FORMAT
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
    assert manifest.files == {name: sha256_of(folder / name) for name in there}


def test_what_measuring_writes_is_not_sealed(folder: Path) -> None:
    (folder / VERDICT).write_text("{}")
    (folder / HISTORY).write_text("{}\n")
    assert set(seal(folder).files).isdisjoint({VERDICT, HISTORY})
    read_deployment(folder)


def test_two_exports_of_one_network_are_equal_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    written(again, **{LOADER: "print('hello')\n"})
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", [MODEL, DESCRIPTION, REFERENCE, LOADER])
def test_an_altered_file_is_refused_by_its_name(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(InvalidFile, match=rf"{re.escape(name)} was altered: its sha256 begins"):
        read_deployment(folder)


def test_a_model_that_is_not_the_one_described_is_refused_whatever_the_manifest_says(
    folder: Path,
) -> None:
    with (folder / MODEL).open("ab") as file:
        file.write(b" ")
    seal(folder)
    with pytest.raises(InvalidFile, match=r"model\.onnx was altered"):
        read_deployment(folder)


def test_a_folder_of_somebody_else_takes_no_bundle(tmp_path: Path) -> None:
    (tmp_path / ARCHITECTURE).write_text("[1, 2]")
    with pytest.raises(InvalidFile, match=r"holds other files, such as arch\.json: .* a new one"):
        claim_folder(tmp_path)
    with pytest.raises(CannotWrite, match="cannot make the directory"):
        claim_folder(tmp_path / ARCHITECTURE / "deploy")
    assert (tmp_path / ARCHITECTURE).read_text() == "[1, 2]"


def test_a_bundle_may_be_exported_anew_and_one_that_was_cut_off_too(
    folder: Path, tmp_path: Path
) -> None:
    claim_folder(folder)
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / MODEL).touch()
    (killed / f"{DESCRIPTION}.partial").touch()
    claim_folder(killed)
    assert read_manifest(folder) is not None
    assert {path.name for path in killed.iterdir()} == {MODEL, f"{DESCRIPTION}.partial"}


@pytest.mark.parametrize("name", [MODEL, DESCRIPTION, REFERENCE, LOADER, MANIFEST])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InvalidFile, match=rf"{re.escape(name)} is missing"):
        read_deployment(folder)


def test_a_bundle_of_a_newer_format_is_refused_with_the_cure(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT + 1, "parts": "in another form"}))
    with pytest.raises(NewerBundle, match=r"of format 3; this latkit reads up to 2\. .*--upgrade"):
        read_deployment(folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "x"}', '{"format": 2, "files": [1]}',
     '{"format": 2, "files": {"../../etc/hosts": "0"}}', '{"format": 2, "files": {}}'],
)  # fmt: skip
def test_a_damaged_manifest_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(InvalidFile, match=r"bundle\.json is damaged"):
        read_deployment(folder)


def test_a_folder_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for nothing in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(InvalidFile, match="is no deployment directory"):
            read_deployment(nothing)


def older(folder: Path) -> Path:
    """Make what latkit 0.1 wrote of a bundle; return its description."""
    (folder / MANIFEST).unlink()
    path = folder / DESCRIPTION
    values = json.loads(path.read_text())
    for name in ("format", "precision", "weights", "table_hash", "table_revision"):
        del values[name]
    path.write_text(json.dumps(values))
    return path


def test_what_latkit_0_1_wrote_is_still_read(folder: Path) -> None:
    older(folder)
    deployment = read_deployment(folder)
    assert (deployment.precision, deployment.weights) == ("fp32", "inherited")
    assert deployment.table_hash is None


@pytest.mark.parametrize("kept", [0, 40, 300])
def test_a_reference_that_was_cut_short_is_named(folder: Path, kept: int) -> None:
    older(folder)
    path = folder / REFERENCE
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidFile, match=r"reference\.npz is missing or damaged"):
        read_reference(folder)


def test_an_array_is_no_reference(folder: Path) -> None:
    with (folder / REFERENCE).open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InvalidFile, match=r"reference\.npz is missing or damaged"):
        read_reference(folder)


def test_of_an_older_directory_the_model_is_checked(folder: Path) -> None:
    path = older(folder)
    with (folder / MODEL).open("ab") as file:
        file.write(b"x")
    with pytest.raises(InvalidFile, match=r"model\.onnx was altered"):
        read_deployment(folder)
    changed(path, precision="fp8")
    with pytest.raises(InvalidFile, match="no precision is called 'fp8'"):
        read_deployment(folder)
    path.write_text("{")
    with pytest.raises(InvalidFile, match=r"deployment\.json is damaged"):
        read_deployment(folder)


def test_another_export_leaves_nothing_of_the_one_before_but_its_history(folder: Path) -> None:
    for name in (VERDICT, HISTORY):
        (folder / name).write_text("{}\n")
    written(folder)
    left = {path.name for path in folder.iterdir()}
    assert left == {MODEL, DESCRIPTION, REFERENCE, MANIFEST, HISTORY}
