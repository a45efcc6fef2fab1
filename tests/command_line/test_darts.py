"""The road of a space whose networks are trained alone, as it is typed."""

import json
from pathlib import Path
from typing import Any

import pytest

from latkit import REFUSED, main

SETTINGS = """batch = 16
threads = 1

[econas]
initial = 2
cycles = 1
epochs = [1, 2]
promoted = [1]
mothers = [1, 1]
channels = 2
resolution = 0
images = 32
validation = 32
"""

FINAL = "epochs = 1\nbatch = 64\nwarmup_epochs = 0.0\nthreads = 1\n"

LIMIT_MS = "1000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the smallest space, measured in one process; tests read it only."""
    path = tmp_path_factory.mktemp("typed")
    (path / "s.toml").write_text(SETTINGS)
    (path / "final.toml").write_text(FINAL)
    space = ["--space", "darts-3x8", "--resolution", "8", "--processes", "1"]
    assert main(["profile", "--device", "sim", *space, "-o", str(path / "sim.lut"), "--json"]) == 0
    return path


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    capsys.readouterr()
    assert main([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert main([*args, "--json"]) == REFUSED
    return capsys.readouterr().err


def test_a_network_is_priced_by_what_its_cells_are_made_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = printed(capsys, "predict", str(folder / "sim.lut"), "3303302312500202102402")
    low_ms, high_ms = facts["interval_ms"]
    assert low_ms < facts["latency_ms"] < high_ms
    assert sum(row["ms"] for row in facts["layers"]) == pytest.approx(facts["latency_ms"])
    texts = [row["operator"] for row in facts["layers"]]
    assert texts[1] == "inputs, sums and outputs of 3 cells"
    assert texts[5] == "normal node 5: skip_connect of 0, dil_conv_3x3 of 2"
    named = printed(capsys, "predict", str(folder / "sim.lut"), facts["genotype"])
    assert named == facts


def test_networks_are_searched_trained_exported_and_verified(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arch, run, deployed = (str(tmp_path / name) for name in ("arch.json", "run", "deployed"))
    table = ["--table", str(folder / "sim.lut"), "--limit-ms", LIMIT_MS]
    data = ["--data", "digits", "--settings"]
    (answer,) = printed(
        capsys, "search", "econas", *table, *data, str(folder / "s.toml"), "-o", arch
    )
    assert answer["space"] == "darts-3x8"
    printed(capsys, "train", "final", arch, *data, str(folder / "final.toml"), "-o", run)
    shipped = printed(capsys, "export", arch, "--run", run, "--to", "onnx", "-o", deployed)
    assert shipped["parity_max_abs"] < 1e-4
    assert printed(capsys, "verify", deployed, "--device", "sim")["met"]


def test_a_supernet_is_refused_in_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    space = ["--space", "darts-3x8", "--resolution", "8", "--data", "digits"]
    said = refused(capsys, "train", "uniform", *space, "-o", str(run))
    assert "has no supernet" in said
    assert "latkit search econas --space darts-3x8" in said
    assert not run.exists()
