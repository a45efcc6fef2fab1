"""Verifying: the promise, the numbers, and everything that can be wrong with a directory."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, Simulation, backend_for
from devices.files import sha256_of
from export import Deployment, NoLimit, Plan, verify
from export.bundle.deployment import WrongPrecision, read_deployment, write_deployment
from export.bundle.manifest import DESCRIPTION, HISTORY, MODEL, REFERENCE, seal
from export.bundle.onnx_file import ParityFailed
from export.logits import logits_on
from profiler import Conv, Head, MBConv
from profiler.operators.builders import chain_graph
from profiler.whole_models.acceptance import Acceptance

STEM = Conv(input_shape=(1, 3, 16, 16), channels=8, kernel=3, stride=2, activation="relu")
BLOCK = MBConv(input_shape=STEM.output_shape, channels=8, expand=3)
CHAIN = (STEM, BLOCK, Head(input_shape=BLOCK.output_shape, channels=16, classes=4))
SIM = DeviceSpec(name="sim", backend="simulated", simulation=Simulation(noise=0.01))
QUICK = Plan(processes=3, most=3, rounds=2, single_runs=False)


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


def test_a_verdict_that_cannot_be_kept_is_spoken_all_the_same(folder: Path) -> None:
    (folder / HISTORY).mkdir()  # stands for a bundle on a read-only disk
    verdict = verify(folder, SIM, plan=QUICK)
    assert verdict.met
    assert verdict.doubts()[-1].startswith("the bundle does not hold this verdict: cannot write")


def test_a_verdict_of_another_device_makes_the_promised_one_no_other(folder: Path) -> None:
    verify(folder, replace(SIM, name="other"), plan=QUICK)
    assert verify(folder, SIM, plan=QUICK).differences is None
    assert verify(folder, SIM, plan=QUICK).differences == ()


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


def test_wrong_numbers_fail_before_anything_is_timed(folder: Path) -> None:
    with np.load(folder / REFERENCE) as arrays:
        images, logits = arrays["images"], arrays["logits"]
    np.savez(folder / REFERENCE, images=images, logits=logits + 1.0)
    seal(folder)
    with pytest.raises(ParityFailed):
        verify(folder, SIM, plan=QUICK)
    assert not (folder / "verdict.json").exists()


def test_another_device_is_said_and_measured_anew_against_the_same_limit(folder: Path) -> None:
    assert verify(folder, SIM, plan=QUICK).same_device is None  # nobody has measured it before
    assert verify(folder, SIM, plan=QUICK).same_device is True
    other = replace(SIM, name="other", threads=2)
    verdict = verify(folder, other, plan=QUICK)
    assert verdict.differences == (
        "name: sim before, other here",
        "threads: 1 before, 2 here",
    )
    assert verdict.predicted_s is None
    assert verdict.limit_s == pytest.approx(2 * latency_s())
    assert verdict.verdict == "met"
    assert json.loads((folder / "verdict.json").read_text())["same_device"] is False


def test_a_device_that_nothing_was_promised_on_is_said_before_anything_was_measured(
    folder: Path,
) -> None:
    verdict = verify(folder, replace(SIM, name="other"), plan=QUICK)
    assert verdict.differences == ("name: sim promised, other here",)


def test_a_line_of_the_history_that_was_cut_short_says_nothing(folder: Path) -> None:
    verify(folder, SIM, plan=QUICK)
    with (folder / "verdicts.jsonl").open("a") as file:
        file.write('{"sha256": "cut sho')
    assert verify(folder, SIM, plan=QUICK).same_device is True


def test_where_nothing_was_promised_a_limit_has_to_be_named(folder: Path) -> None:
    path = folder / DESCRIPTION
    values = json.loads(path.read_text()) | {"limit_ms": None, "predicted_ms": None}
    path.write_text(json.dumps(values))
    seal(folder)
    with pytest.raises(
        NoLimit, match=r"promises no latency\. Name the limit to verify: --limit-ms"
    ):
        verify(folder, SIM, plan=QUICK)
    assert verify(folder, SIM, limit_s=1.0, plan=QUICK).met


def test_percentiles_of_single_runs_come_with_a_verdict(folder: Path) -> None:
    verdict = verify(folder, SIM, plan=replace(QUICK, single_runs=True))
    assert [len(part.runs_s) for part in verdict.single_runs] == [334] * 3  # p99 takes 1,000
    p50, p99 = verdict.percentiles[50], verdict.percentiles[99]
    assert p50 is not None
    assert p99 is not None
    assert p50.latency_s == pytest.approx(latency_s(), rel=0.03)
    assert p50.latency_s < p99.latency_s < 1.1 * latency_s()
    written = json.loads((folder / "verdict.json").read_text())
    value, low, high = written["percentiles_ms"]["p99"]
    assert low <= value <= high
    (line,) = (folder / "verdicts.jsonl").read_text().splitlines()
    assert len(json.loads(line)["blocks"]) == 3


def test_a_percentile_is_decided_as_soon_as_the_runs_allow(folder: Path) -> None:
    test = Acceptance(percent=50, most_blocks=12)
    met = verify(folder, SIM, limit_s=1.5 * latency_s(), plan=QUICK, acceptance=test)
    assert (met.verdict, len(met.single_runs)) == ("met", test.least_blocks)
    missed = verify(folder, SIM, limit_s=0.9 * latency_s(), plan=QUICK, acceptance=test)
    assert missed.verdict == "missed"
    written = json.loads((folder / "verdict.json").read_text())
    assert written["acceptance"]["slow_runs"] == written["acceptance"]["runs"] > 0


def test_the_median_may_keep_a_limit_that_a_percentile_does_not(folder: Path) -> None:
    bumpy = replace(SIM, simulation=Simulation(noise=0.3))
    limit_s = 1.2 * latency_s()
    test = Acceptance(percent=99, most_blocks=8)
    assert verify(folder, bumpy, limit_s=limit_s, plan=QUICK, acceptance=test).verdict == "missed"
    assert verify(folder, bumpy, limit_s=limit_s, plan=QUICK).verdict == "met"


def test_under_sustained_load_the_limit_has_to_hold_in_the_end_too(folder: Path) -> None:
    hot = replace(SIM, simulation=Simulation(noise=0.01, throttle_after_s=6.0, throttle_factor=2.0))
    loaded = replace(QUICK, load_s=20.0)
    verdict = verify(folder, hot, limit_s=1.5 * latency_s(), plan=loaded)
    assert verdict.sustained is not None
    assert verdict.measured_s < verdict.limit_s < verdict.sustained.plateau.low
    assert verdict.verdict == "missed"
    assert "under sustained load" in verdict.line
    written = json.loads((folder / "verdict.json").read_text())
    assert written["sustained"]["plateau_ms"] == pytest.approx(2e3 * latency_s(), rel=0.05)
    assert verify(folder, hot, limit_s=1.5 * latency_s(), plan=QUICK).verdict == "met"


def test_a_device_of_another_precision_is_refused(folder: Path) -> None:
    int8 = replace(SIM, name="sim-int8", precision="int8")
    with pytest.raises(WrongPrecision, match="the model is fp32, device 'sim-int8' is int8"):
        verify(folder, int8, limit_s=1.0, plan=QUICK)


def test_the_real_runtime_gives_the_numbers_of_the_simulated_one(folder: Path) -> None:
    cpu = DeviceSpec(name="cpu", backend="onnxruntime")
    assert verify(folder, cpu, limit_s=10.0, plan=QUICK).parity_max_abs < 1e-4
