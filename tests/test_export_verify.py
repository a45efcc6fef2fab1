"""Verifying: the promise, the numbers, and everything that can be wrong with a directory."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, InvalidFile, Simulation, backend_for
from devices.files import sha256_of
from export import Deployment, NoLimit, Plan, verify
from export.deployment import (
    MODEL,
    REFERENCE,
    WrongPrecision,
    read_deployment,
    write_deployment,
)
from export.onnx_file import ParityFailed
from export.verify import logits_on
from profiler import Conv, Head, MBConv
from profiler.builders import chain_graph

STEM = Conv(input_shape=(1, 3, 16, 16), channels=8, kernel=3, stride=2, activation="relu")
BLOCK = MBConv(input_shape=STEM.output_shape, channels=8, expand=3)
CHAIN = (STEM, BLOCK, Head(input_shape=BLOCK.output_shape, channels=16, classes=4))
SIM = DeviceSpec(name="sim", backend="simulated", simulation=Simulation(noise=0.01))
QUICK = Plan(processes=3, most=3, rounds=2)


def latency_s() -> float:
    """Return what the network takes on the simulated device, but for its noise."""
    quiet = replace(SIM, simulation=Simulation(noise=0.0, process_noise=0.0))
    with backend_for(quiet).open(chain_graph(CHAIN)) as session:
        return session.time(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graph = chain_graph(CHAIN)
    (tmp_path / MODEL).write_bytes(graph.onnx)
    images = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
    deployment = Deployment(
        arch="0",
        space={"name": "tiny"},
        sha256=sha256_of(tmp_path / MODEL),
        input_shape=STEM.input_shape,
        precision="fp32",
        device="sim",
        limit_s=2 * latency_s(),
        predicted_s=latency_s(),
        interval_s=(0.9 * latency_s(), 1.1 * latency_s()),
        parity_max_abs=0.0,
        facts={},
    )
    write_deployment(tmp_path, deployment, images, logits_on(SIM, graph, images))
    return tmp_path


def test_a_deployment_reads_back_as_it_was_written(folder: Path) -> None:
    deployment = read_deployment(folder)
    assert deployment.limit_s == pytest.approx(2 * latency_s())
    assert deployment.input_shape == (1, 3, 16, 16)


def test_a_kept_promise_is_met_and_written_down_with_its_samples(folder: Path) -> None:
    verdict = verify(folder, SIM, plan=QUICK)
    assert verdict.verdict == "met"
    assert verdict.met
    assert verdict.measured_s == pytest.approx(latency_s(), rel=0.03)
    written = json.loads((folder / "verdict.json").read_text())
    assert written["met"] is True
    assert written["predicted_ms"] == pytest.approx(latency_s() * 1e3)
    assert written["processes"] == 3
    (line,) = (folder / "verdicts.jsonl").read_text().splitlines()
    assert len(json.loads(line)["slices"]) == 6


def test_a_broken_promise_is_missed(folder: Path) -> None:
    verdict = verify(folder, SIM, limit_s=0.5 * latency_s(), plan=QUICK)
    assert verdict.verdict == "missed"
    assert not verdict.met


def test_a_limit_inside_the_interval_stays_undecided_and_is_not_met(folder: Path) -> None:
    measured_s = verify(folder, SIM, plan=QUICK).measured_s  # simulated processes repeat exactly
    verdict = verify(folder, SIM, limit_s=measured_s, plan=QUICK)
    assert verdict.verdict == "undecided"
    assert not verdict.met


def test_an_open_verdict_takes_more_processes(folder: Path) -> None:
    measured_s = verify(folder, SIM, plan=QUICK).measured_s
    verdict = verify(folder, SIM, limit_s=measured_s, plan=replace(QUICK, most=5))
    assert len(verdict.measurement.by_process) > 3


def test_every_verdict_is_kept(folder: Path) -> None:
    verify(folder, SIM, plan=QUICK)
    verify(folder, SIM, limit_s=1.0, plan=QUICK)
    lines = (folder / "verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line)["limit_ms"] for line in lines][1] == 1000.0


def test_a_miss_under_permanent_load_is_not_held_against_the_network(folder: Path) -> None:
    crowded = Simulation(noise=0.0, load_period_s=1.0, load_share=1.0, load_factor=2.0)
    verdict = verify(
        folder, replace(SIM, simulation=crowded), limit_s=1.5 * latency_s(), plan=QUICK
    )
    assert verdict.status == "noisy"
    assert verdict.verdict == "undecided"


def test_an_altered_model_is_refused(folder: Path) -> None:
    with (folder / MODEL).open("ab") as file:
        file.write(b"x")
    with pytest.raises(InvalidFile, match=r"model\.onnx was altered: its sha256 begins with"):
        verify(folder, SIM, plan=QUICK)


def test_a_missing_model_and_a_foreign_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="is no deployment directory"):
        verify(tmp_path / "nowhere", SIM, plan=QUICK)
    (folder / MODEL).unlink()
    with pytest.raises(InvalidFile, match=r"model\.onnx is missing"):
        verify(folder, SIM, plan=QUICK)


def test_a_damaged_description_is_refused(folder: Path) -> None:
    (folder / "deployment.json").write_text("{")
    with pytest.raises(InvalidFile, match=r"deployment\.json is damaged"):
        read_deployment(folder)


def test_wrong_numbers_fail_before_anything_is_timed(folder: Path) -> None:
    with np.load(folder / REFERENCE) as arrays:
        images, logits = arrays["images"], arrays["logits"]
    np.savez(folder / REFERENCE, images=images, logits=logits + 1.0)
    with pytest.raises(ParityFailed):
        verify(folder, SIM, plan=QUICK)
    assert not (folder / "verdict.json").exists()


def test_another_device_needs_a_limit_of_its_own(folder: Path) -> None:
    other = replace(SIM, name="other")
    with pytest.raises(NoLimit, match="promises no latency on 'other', only on 'sim'"):
        verify(folder, other, plan=QUICK)
    assert verify(folder, other, limit_s=1.0, plan=QUICK).predicted_s is None


def test_a_device_of_another_precision_is_refused(folder: Path) -> None:
    int8 = replace(SIM, name="sim-int8", precision="int8")
    with pytest.raises(WrongPrecision, match="the model is fp32, device 'sim-int8' is int8"):
        verify(folder, int8, limit_s=1.0, plan=QUICK)


def test_a_description_without_a_precision_is_of_an_fp32_model(folder: Path) -> None:
    path = folder / "deployment.json"
    values = json.loads(path.read_text())
    del values["precision"]
    path.write_text(json.dumps(values))
    assert read_deployment(folder).precision == "fp32"
    path.write_text(json.dumps(values | {"precision": "fp8"}))
    with pytest.raises(InvalidFile, match="no precision is called 'fp8'"):
        read_deployment(folder)


def test_the_real_runtime_gives_the_numbers_of_the_simulated_one(folder: Path) -> None:
    cpu = DeviceSpec(name="cpu", backend="onnxruntime")
    assert verify(folder, cpu, limit_s=10.0, plan=QUICK).parity_max_abs < 1e-4
