"""Model files under load, at the command line: what is said, stored and gone on with."""

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

import latkit
from profiler import Chain, Conv
from profiler.operators.builders import chain_graph

CHAIN: Chain = (Conv(input_shape=(1, 100, 30, 30), channels=100),)
RUN_MS = 900 * 100 * 100 / 1e6 + 4 * 900 * 200 / 1e6 + 1e-3  # 9.7

Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process takes a second."""

    def here(
        stream: Callable[..., Generator[Any, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Any, None, None]:
        return stream(*args, **kwargs)

    monkeypatch.setattr("profiler.whole_models.sustained_load.in_fresh_process", here)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Load a model on a phone that throttles; return the exit status and what was said."""
    (tmp_path / "model.onnx").write_bytes(chain_graph(CHAIN).onnx)
    simulation = {"dense_macs_per_s": 1e9, "bytes_per_s": 1e9, "node_s": 1e-6}
    trouble = {"throttle_after_s": 20, "throttle_factor": 1.5, "noise": 0.001, "process_noise": 0}
    fields = {"name": "phone", "backend": "simulated", "simulation": {**simulation, **trouble}}
    (tmp_path / "phone.yaml").write_text(yaml.safe_dump(fields))

    def call(*args: object, device: str = "phone.yaml") -> tuple[int, str]:
        where = ("--onnx", tmp_path / "model.onnx", "--device", tmp_path / device)
        status = latkit.main(["profile", *map(str, (*where, *args))])
        streams = capsys.readouterr()
        return status, streams.out + streams.err

    return call


def test_burst_slope_and_plateau_are_figures(run: Run) -> None:
    status, said = run("--sustained", "3min", "--json")
    facts = json.loads(said)
    assert status == 0
    assert facts["load_s"] == pytest.approx(180.0, rel=0.02)
    assert facts["burst_ms"] == pytest.approx(RUN_MS, rel=0.01)
    assert facts["plateau_ms"] == pytest.approx(1.5 * RUN_MS, rel=0.01)
    low, high = facts["plateau_interval_ms"]
    assert low < facts["plateau_ms"] < high
    assert facts["slowdown"] == pytest.approx(0.5, abs=0.01)
    assert facts["slope_interval_per_min"][0] <= facts["slope_per_min"]
    assert (facts["settled"], facts["status"]) == (True, "ok")
    assert facts["percentiles_ms"]["p99"][0] == pytest.approx(1.5 * RUN_MS, rel=0.01)
    assert facts["single_runs"] > 1_000


def test_people_read_the_same(run: Run) -> None:
    said = " ".join(run("--sustained", "60s")[1].split())
    assert "without a pause for 60 s, status ok" in said
    assert "at first 9.7" in said
    assert "in the end 14.5" in said
    assert "+50" in said
    assert "the end is flat" in said


def test_a_load_that_was_stopped_goes_on_from_its_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "load.jsonl"
    command = ("--sustained", "40s", "-o", file, "--json")
    whole = json.loads(run(*command)[1])
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * whole["windows"]
    assert json.loads(run(*command)[1]) == whole  # nothing was left to run
    assert file.read_bytes() == b"".join(lines)

    file.write_bytes(b"".join(lines[:41]) + b'{"n": 41, "ki')  # killed while it wrote
    facts = json.loads(run(*command)[1])
    assert facts["windows"] == whole["windows"]
    assert file.read_bytes().startswith(b"".join(lines[:41]))
    assert facts["doubts"][0].startswith("the device could cool in 1 interruptions")


def test_a_file_of_something_else_is_left_alone(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "load.jsonl"
    run("--sustained", "15s", "-o", file)
    before = file.read_bytes()
    fields = yaml.safe_load((tmp_path / "phone.yaml").read_text())
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**fields, "threads": 2}))
    status, said = run("--sustained", "15s", "-o", file, device="other.yaml")
    assert status == 2
    assert "holds a load of another device, or under other conditions" in said
    (tmp_path / "model.onnx").write_bytes(chain_graph(CHAIN[:1] * 2).onnx)
    assert "holds a load of another model" in run("--sustained", "15s", "-o", file)[1]
    assert file.read_bytes() == before
    for content in (b"my thesis, without an end of line", b"\xff\xfe\n"):
        (tmp_path / "mine").write_bytes(content)
        status, said = run("--sustained", "15s", "-o", tmp_path / "mine")
        assert (status, "holds no load" in said) == (2, True)
        assert (tmp_path / "mine").read_bytes() == content


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--sustained", "ten minutes"), "no span of time; write 90s, 10min or 1h"),
        (("--sustained", "5s"), "5s is not within 15 s and 24 h"),
        (("--sustained", "25h"), "25h is not within 15 s and 24 h"),
        (("--sustained", "1h", "-o", "/no/such/folder/x"), "cannot write /no/such/folder/x"),
        (("--sustained", "1h", "--processes", 3), "--processes does not go with --sustained"),
        (("-o", "x"), "--output does not go with --onnx without --sustained"),
    ],
)
def test_a_load_that_cannot_be_is_refused_in_one_line(
    run: Run, args: tuple[object, ...], said: str
) -> None:
    status, line = run(*args)
    assert status == 2
    assert said in line
    assert line.count("\n") == 1
