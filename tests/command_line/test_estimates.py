"""Estimates at the command line: labelled wherever they appear, refused wherever they mislead."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import latkit
from devices import DeviceSpec
from lut import LatencyTable
from search.spaces import space_named

Run = Callable[..., tuple[int, str]]
TRUTH = "nas_bench_macro/nas-bench-macro_cifar10.json.gz"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit status and what it said."""

    def call(*args: object) -> tuple[int, str]:
        status = latkit.main([*map(str, args)])
        streams = capsys.readouterr()
        return status, " ".join((streams.out + streams.err).split())

    return call


@pytest.fixture
def table(tmp_path: Path, run: Run) -> Path:
    path = tmp_path / "t4.lut"
    status, _ = run("profile", "--device", "t4-roofline", "--space", "macro", "-o", path)
    assert status == 0
    return path


@pytest.fixture
def transferred(
    make_table: Callable[..., LatencyTable],
    noisy: DeviceSpec,
    tmp_path: Path,
    run: Run,
    in_process: None,
) -> Path:
    """A table out of that of another device, and four networks measured on the new one."""
    known, device = make_table(noisy, space_named("macro", resolution=16)), tmp_path / "slow.yaml"
    device.write_text("name: slow\nbackend: simulated\nsimulation: {dense_macs_per_s: 2.0e+10}\n")
    more = ("--device", device, "--probes", 4, "--processes", 2, "-o", tmp_path / "slow.lut")
    assert run("table", "transfer", known.name, *more)[0] == 0
    return tmp_path / "slow.lut"


def test_a_transferred_table_names_what_it_is_from_and_no_spec_sheet(
    transferred: Path, run: Run, tmp_path: Path
) -> None:
    line = (
        "ESTIMATED from tables of other devices and 4 whole networks of slow.measured.lut: none of "
        "its operators was measured on slow."
    )
    assert run("predict", transferred, "22222222")[1].startswith(line)
    assert run("report", transferred, "-o", tmp_path / "page.html")[0] == 0
    page = " ".join((tmp_path / "page.html").read_text().split())
    assert line in page
    assert "90% of whole networks between" in page
    assert "spec sheet" not in page
    assert "<dd>nothing</dd>" not in page


def test_a_page_of_estimates_by_a_spec_sheet_says_what_their_ratios_are_of(
    table: Path, run: Run, tmp_path: Path
) -> None:
    assert run("report", table, "-o", tmp_path / "page.html")[0] == 0
    page = " ".join((tmp_path / "page.html").read_text().split())
    assert "ESTIMATED from a spec sheet: nothing here was measured." in page
    assert "90% of operators between" in page


def test_the_table_says_that_nobody_measured_it(table: Path, run: Run) -> None:
    status, said = run("table", table)
    assert status == 0
    assert "status estimated" in said
    assert "NVIDIA T4 product brief" in said
    assert "operators that nobody measured" in said


def test_a_prediction_says_that_it_is_an_estimate(table: Path, run: Run) -> None:
    assert run("predict", table, "22222222")[1].startswith("ESTIMATED from a spec sheet")
    figures = json.loads(run("predict", table, "22222222", "--json")[1])
    assert figures["origin"] == "estimated"
    assert figures["latency_ms"] > 0.0


@pytest.mark.parametrize(
    "verb", [("table", "check"), ("table", "diff"), ("explain",)], ids=lambda verb: verb[-1]
)
def test_what_needs_measurements_refuses_estimates(
    verb: tuple[str, ...], table: Path, run: Run
) -> None:
    more: tuple[object, ...] = {"diff": (table,), "explain": ("22222222",)}.get(verb[-1], ())
    status, said = run(*verb, table, *more)
    assert status == 2
    assert "holds estimates of 't4-roofline': none of its operators was measured" in said


@pytest.mark.skipif("LATKIT_DATA" not in os.environ, reason="LATKIT_DATA is unset: no truth here")
def test_a_search_takes_estimates_only_when_asked(table: Path, run: Run, tmp_path: Path) -> None:
    truth = Path(os.environ["LATKIT_DATA"]) / TRUTH
    search = ("search", "random", "--truth", truth, "--space", "macro", "--table", table)
    limits = ("--limit-ms", "1", "--rounds", "2", "-o", tmp_path / "arch.json")
    status, said = run(*search, *limits)
    assert status == 2
    assert "--estimated" in said
    status, said = run(*search, *limits, "--estimated")
    assert status == 0
    assert "Estimated, not measured: every latency on 't4-roofline'" in said
    (answer,) = json.loads((tmp_path / "arch.json").read_text())
    assert answer["devices"] == ["t4-roofline"]


def test_an_effort_means_nothing_to_a_spec_sheet(run: Run, tmp_path: Path) -> None:
    where = ("--device", "t4-roofline", "--space", "macro", "-o", tmp_path / "t.lut")
    status, said = run("profile", *where, "--processes", "3")
    assert status == 2
    assert "--processes does not go with --device t4-roofline" in said


def test_a_device_that_measures_is_not_calibrated_on_another_table(
    run: Run, tmp_path: Path, table: Path
) -> None:
    where = ("--device", "sim", "--space", "macro", "-o", tmp_path / "t.lut")
    status, said = run("profile", *where, "--calibrate", table)
    assert status == 2
    assert "--calibrate does not go with --device sim" in said
    assert not (tmp_path / "t.lut").exists()


def test_the_device_says_what_it_is(run: Run) -> None:
    status, said = run("devices", "t4-roofline")
    assert status == 0
    assert "on paper: latkit profile" in said
    figures = json.loads(run("devices", "t4-roofline", "--json")[1])
    assert figures["settings"]["sheet"]["bytes_per_s"] == 320e9


def test_nothing_is_verified_on_paper(run: Run, tmp_path: Path) -> None:
    status, said = run("profile", "--device", "t4-roofline", "--steps", "-o", tmp_path / "x.json")
    assert status == 2
    assert "'t4-roofline' is a spec sheet: it estimates tables" in said
