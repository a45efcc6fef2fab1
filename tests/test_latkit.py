"""The command line: its verbs on the simulated device, and its answers to bad input."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import latkit

SETTINGS = "epochs = 1\nwarmup_epochs = 0\nthreads = 1\n"


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a run, answers and a deployment, made by the verbs themselves."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "quick.toml").write_text(SETTINGS)
    run(f"profile --device sim --space macro --resolution 16 -o {folder}/sim.lut")
    run(
        f"train uniform --space macro --data digits --resolution 16 "
        f"--settings {folder}/quick.toml -o {folder}/run"
    )
    run(
        f"search random --run {folder}/run --table {folder}/sim.lut --limit-ms 0.4 --limit-ms 0.8 "
        f"--rounds 1 --population 4 -o {folder}/arch.json"
    )
    run(f"export {folder}/arch.json --index 1 --run {folder}/run -o {folder}/deploy")
    return folder


def run(command: str, *, expect: int = 0) -> None:
    assert latkit.main(command.split()) == expect


def figures(capsys: pytest.CaptureFixture[str], command: str, *, expect: int = 0) -> Any:
    """Run a verb with ``--json``; standard output must hold figures only."""
    capsys.readouterr()
    run(f"{command} --json", expect=expect)
    return json.loads(capsys.readouterr().out)


def complaint(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Run a verb that must be refused; return its one line."""
    capsys.readouterr()
    run(command, expect=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("latkit: ")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]


def test_devices_says_what_is_usable(capsys: pytest.CaptureFixture[str]) -> None:
    by_name = {device["name"]: device for device in figures(capsys, "devices")}
    assert by_name["sim"]["usable"]
    closely = figures(capsys, "devices sim-troubled")
    assert any("throttles" in doubt for doubt in closely["doubts"])


def test_spaces_says_what_a_table_measures(capsys: pytest.CaptureFixture[str]) -> None:
    by_name = {space["name"]: space for space in figures(capsys, "spaces")}
    assert by_name["greedynas"]["operators"] == 72
    assert by_name["macro"]["architectures"] == 6561
    assert len(figures(capsys, "spaces macro")["choices"]) == 8


def test_a_complete_table_is_not_measured_again(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = figures(capsys, f"profile --device sim --space macro --resolution 16 -o {road}/sim.lut")
    assert again["device_s"] == 0.0
    assert again["calibration networks"] == 20


def test_table_shows_by_default(road: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert figures(capsys, f"table {road}/sim.lut")["operators"] == 16
    run(f"table {road}/sim.lut")
    assert "slowest" in capsys.readouterr().out


def test_table_check_gives_the_promised_keys(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(road / "sim.lut", tmp_path / "sim.lut")
    report = figures(capsys, f"table check {tmp_path}/sim.lut --nets 8 --processes 2")
    promised = "nets mape bias within_5 within_10 spearman floor coverage_90 flops device_s status"
    assert set(promised.split()) <= set(report)
    assert report["nets"] == 8
    assert report["status"] == "ok"
    assert report["mape"] < report["flops"]["mape"]


def test_predict_gives_the_share_of_every_layer(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = figures(capsys, f"predict {road}/sim.lut 22212220")
    low, high = facts["interval_ms"]
    assert low < facts["latency_ms"] < high
    assert len(facts["layers"]) == 9
    assert sum(layer["share"] for layer in facts["layers"]) == pytest.approx(1.0)
    from_file = figures(capsys, f"predict {road}/sim.lut {road}/arch.json")
    assert from_file["arch"] == json.loads((road / "arch.json").read_text())[0]["arch"]


def test_search_answers_every_limit_and_keeps_each(road: Path) -> None:
    tight, loose = json.loads((road / "arch.json").read_text())
    assert tight["predicted_ms"][0] < 0.4
    assert loose["predicted_ms"][0] < 0.8
    assert 0.0 <= tight["accuracy"] <= 1.0


def test_a_limit_on_another_device_holds_too(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slow.yaml").write_text(
        "name: slow\nbackend: simulated\nsimulation:\n  dense_macs_per_s: 1.0e+10\n"
    )
    run(
        f"profile --device {tmp_path}/slow.yaml --space macro --resolution 16 -o {tmp_path}/s.lut"
        " --processes 1"
    )
    (answer,) = figures(
        capsys,
        f"search random --run {road}/run --table {road}/sim.lut --limit-ms 0.9 "
        f"--also {tmp_path}/s.lut:1.0 --rounds 1 --population 4 -o {tmp_path}/arch.json",
    )
    assert answer["devices"] == ["sim", "slow"]
    assert answer["predicted_ms"][0] < 0.9
    assert answer["predicted_ms"][1] < 1.0


def test_verify_exits_by_its_verdict(road: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = figures(capsys, f"verify {road}/deploy --device sim --processes 3")
    promised = (
        "verdict met limit_ms predicted_ms measured_ms interval_ms processes parity_max_abs status"
    )
    assert set(promised.split()) <= set(verdict)
    assert verdict["verdict"] == "met"
    assert verdict["measured_ms"] == pytest.approx(verdict["predicted_ms"], rel=0.05)
    missed = figures(
        capsys, f"verify {road}/deploy --device sim --processes 3 --limit-ms 0.01", expect=1
    )
    assert missed["met"] is False


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("devices cpux", "no device is called 'cpux'; the nearest is 'cpu'"),
        ("spaces macr", "no space is called 'macr'; the nearest is 'macro'"),
        ("profile --device sim --space greedy -o {tmp}/t.lut", "the nearest is 'greedynas'"),
        ("profile --device sim --space macro", "Missing option '-o'"),
        ("train unifrom --space macro -o {tmp}/r", "the nearest is 'uniform'"),
        (
            "search evolutoin --run {road}/run --table {road}/sim.lut --limit-ms 1 -o {tmp}/a",
            "the nearest is 'evolution'",
        ),
        ("export {road}/arch.json --run {road}/run --to onx -o {tmp}/d", "nearest is 'onnx'"),
        ("export {road}/arch.json --index 7 --run {road}/run -o {tmp}/d", "no --index 7"),
        ("table {tmp}/none.lut", "there is no table"),
        ("table {road}/quick.toml", "no latency table"),
        ("predict {road}/sim.lut 22", "has 2 choices; space 'macro' has 8 layers"),
        ("predict {road}/sim.lut 22212229", "layer 7 of space 'macro' has choices 0 to 2, not 9"),
        ("predict {road}/sim.lut deep", "is no architecture"),
        ("verify {tmp} --device sim", "is no deployment directory"),
        ("verify {road}/deploy --device sim --processes 99", "15"),
        (
            "search random --run {road}/run --table {road}/sim.lut --limit-ms 0.001 -o {tmp}/a",
            "the fastest, 00000000, is predicted to take",
        ),
        (
            "search random --run {road}/run --table {road}/sim.lut --limit-ms 1 "
            "--also {road}/sim.lut:1 -o {tmp}/a",
            "two tables are of one device",
        ),
        (
            "search random --run {road}/run --table {road}/sim.lut --limit-ms 1 "
            "--also {road}/sim.lut -o {tmp}/a",
            "write TABLE:MS",
        ),
        ("search random --run {tmp} --table {road}/sim.lut --limit-ms 1 -o {tmp}/a", "no run"),
        ("train uniform --space macro --data {tmp}/pics -o {tmp}/r", "pics"),
        ("nonsense", "No such command 'nonsense'"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, says: str
) -> None:
    assert says in complaint(capsys, command.format(road=road, tmp=tmp_path))


def test_an_unknown_key_in_a_device_file_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nbackend: simulated\nthread: 2\n")
    line = complaint(capsys, f"devices {tmp_path}/mine.yaml")
    assert "no key of a device is called 'thread'; the nearest is 'threads'" in line


def test_an_unknown_setting_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text("epoch = 3\n")
    command = f"train uniform --space macro --settings {tmp_path}/s.toml -o {tmp_path}/r"
    assert "the nearest is 'epochs'" in complaint(capsys, command)


@pytest.mark.parametrize("change", ["threads: 2", "precision: int8", "batch: 4"])
def test_a_table_of_another_condition_is_not_filled(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    (tmp_path / "sim.yaml").write_text(f"name: sim\nbackend: simulated\nsimulation: {{}}\n{change}")
    line = complaint(
        capsys, f"profile --device {tmp_path}/sim.yaml --space macro -o {road}/sim.lut"
    )
    assert f"{change.partition(':')[0]}: " in line
    assert "in the table" in line


def test_a_table_that_lacks_operators_names_them_and_the_cure(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = json.loads((road / "arch.json").read_text())
    answers[0]["space_label"]["resolution"] = 64
    (tmp_path / "arch.json").write_text(json.dumps(answers))
    line = complaint(capsys, f"predict {road}/sim.lut {tmp_path}/arch.json")
    assert "no latency for [" in line
    assert "and 14 more" in line
    assert "Measure it: latkit profile --device sim" in line


def test_a_bug_is_status_3_and_never_reads_as_a_missed_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(latkit, "known_devices", broken)
    assert latkit.main(["devices"]) == 3
    assert "this is a bug in latkit" in capsys.readouterr().err


def test_help_is_shown_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert latkit.main([]) == 0
    out = capsys.readouterr().out
    assert "  verify" in out
    assert "  table" in out
