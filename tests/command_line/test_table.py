"""The verbs of ``latkit table`` that compare, merge and convert, on simulated devices."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latkit
from devices import DeviceSpec, Simulation
from export.verbs.table import table_app
from lut import Effort, LatencyBudget, LatencyTable, LatencyTarget, latency_model
from lut.plans.plan_file import create_plans
from search.answers import answer_of, write_answers
from search.searcher import Candidate
from search.space import architecture_from_text
from search.spaces import space_named
from tests.command_line.typed import complaint, figures

SPACE = space_named("macro", resolution=16)
EFFORT = Effort(processes=3, rounds=1)
SLOW = DeviceSpec(
    name="noisy",
    backend="simulated",
    simulation=Simulation(dense_macs_per_s=36e9, depthwise_macs_per_s=5.4e9),
)


@pytest.fixture
def a(make_table: Callable[..., LatencyTable], noisy: DeviceSpec) -> LatencyTable:
    return make_table(noisy, SPACE, effort=EFFORT)


@pytest.fixture
def again(make_table: Callable[..., LatencyTable], noisy: DeviceSpec) -> LatencyTable:
    return make_table(noisy, SPACE, effort=replace(EFFORT, first_process=10))


@pytest.fixture
def slow(make_table: Callable[..., LatencyTable]) -> LatencyTable:
    """A device that computes 10 % slower, and copies as fast as before."""
    return make_table(SLOW, SPACE, effort=EFFORT)


def shown(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Return what people see, in one line."""
    capsys.readouterr()
    assert latkit.main(command.split()) == 0
    return " ".join(capsys.readouterr().out.split())


def stored(path: Path, table: LatencyTable, *, limit: float) -> Path:
    """Write an answer whose limit is so many times the smallest that it can be sure to keep."""
    arch = architecture_from_text("22212220")
    model, device = latency_model(table, SPACE), table.conditions.device.name
    (predicted_s,) = model.latency_s(np.array([arch.choices]))
    smallest_s = predicted_s / model.allowed_s(LatencyTarget(device=device, limit_s=1.0))
    target = LatencyTarget(device=device, limit_s=limit * float(smallest_s))
    candidate = Candidate(
        arch=arch,
        latency_s=(float(predicted_s),),
        interval_s=((float(predicted_s), float(predicted_s)),),
        accuracy=0.5,
    )
    budget = LatencyBudget(model=model, target=target)
    answer = answer_of(
        [candidate], SPACE, [budget], accuracy_from="thin air", method="random", seed=0
    )
    write_answers(path, [answer])
    return path


def test_a_table_against_its_repetition_has_no_called_operator(
    a: LatencyTable, again: LatencyTable, capsys: pytest.CaptureFixture[str]
) -> None:
    diff = figures(capsys, f"table diff {a.name} {again.name}")
    assert diff["counts"]["FASTER"] == diff["counts"]["SLOWER"] == 0
    assert sum(diff["counts"].values()) == len(diff["operators"]) == len(a)
    assert len(diff["networks"]) == 20
    assert diff["conditions"] == {}
    assert (diff["margin"], diff["false_positives"]) == (0.02, 0.05)
    assert diff["shift"]["verdict"] in ("SAME", "UNDECIDED")


def test_a_slower_device_is_slower_in_every_network(
    a: LatencyTable, slow: LatencyTable, capsys: pytest.CaptureFixture[str]
) -> None:
    diff = figures(capsys, f"table diff {a.name} {slow.name}")
    assert diff["shift"]["verdict"] == "SLOWER"
    assert {network["verdict"] for network in diff["networks"]} == {"SLOWER"}
    assert diff["counts"]["FASTER"] == 0
    assert diff["conditions"]["dense_macs_per_s"] == ["40000000000.0", "36000000000.0"]
    text = shown(capsys, f"table diff {a.name} {slow.name} --margin 0.5")
    assert "A change is called beyond 50.0%" in text
    assert "20 SAME" in text


def test_stored_architectures_that_a_slower_table_breaks_are_named(
    a: LatencyTable, slow: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tight = stored(tmp_path / "tight.json", a, limit=1.02)
    loose = stored(tmp_path / "loose.json", a, limit=1.5)
    command = f"table diff {a.name} {slow.name} --archs {tight} --archs {loose}"
    first, second = figures(capsys, command)["archs"]
    assert (first["met_a"], first["met_b"], first["changed"]) == (True, False, True)
    assert (second["met_a"], second["met_b"], second["changed"]) == (True, True, False)
    assert first["b_ms"] == pytest.approx(1.08 * first["a_ms"], rel=0.05)
    text = shown(capsys, command)
    assert "1 of 2 stored architectures change their verdict" in text
    assert "22212220" in text
    back = figures(capsys, f"table diff {slow.name} {a.name} --archs {tight}")["archs"]
    assert (back[0]["met_a"], back[0]["met_b"]) == (False, True)


def test_architectures_without_a_limit_on_the_device_are_refused(
    a: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored(tmp_path / "arch.json", a, limit=1.0)
    path.write_text(path.read_text().replace('"noisy"', '"other"'))
    line = complaint(capsys, f"table diff {a.name} {a.name} --archs {path}")
    assert "has a limit on 'noisy'" in line


def test_a_merge_has_the_processes_of_both(
    a: LatencyTable, again: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"table merge {a.name} {again.name} -o {tmp_path}/both.lut"
    assert figures(capsys, command)["shared"] == 0
    assert figures(capsys, f"table {tmp_path}/both.lut")["processes"] == 6
    assert "exists already" in complaint(capsys, command)
    text = shown(capsys, f"table merge {tmp_path}/both.lut {a.name} -o {tmp_path}/same.lut")
    assert "0 of them from" in text


def test_a_merge_of_different_devices_names_the_difference(
    a: LatencyTable, slow: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, f"table merge {a.name} {slow.name} -o {tmp_path}/both.lut")
    assert "dense_macs_per_s: 40000000000.0 and 36000000000.0" in line
    assert "latkit table diff" in line


@pytest.mark.parametrize("to", ["csv", "json"])
def test_an_export_comes_back_with_the_same_hash(
    a: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    done = figures(capsys, f"table export {a.name} --to {to} -o {tmp_path}/a.{to}")
    assert done["left_out"] == []
    back = figures(capsys, f"table import {tmp_path}/a.{to} -o {tmp_path}/back.lut")
    assert back["rows"] == done["rows"] > 0
    assert figures(capsys, f"table {tmp_path}/back.lut")["hash"] == a.hash


def test_an_export_replaces_an_older_one_but_never_a_table(
    a: LatencyTable, again: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv, plans, before = tmp_path / "a.csv", tmp_path / "a.plan", Path(again.name).read_bytes()
    with create_plans(plans, {}):
        pass
    for _ in range(2):
        figures(capsys, f"table export {a.name} --to csv -o {csv}")
    for to in ("csv", "ofa"):
        line = complaint(capsys, f"table export {a.name} --to {to} -o {again.name}")
        assert "is a latency table, which an export never replaces; name another" in line
    line = complaint(capsys, f"table export {a.name} --to csv -o {plans}")
    assert "is a table of plans, which" in line
    assert Path(again.name).read_bytes() == before


def test_what_another_project_has_no_words_for_is_named(
    a: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"table export {a.name} --to ofa -o {tmp_path}/a.yaml"
    done = figures(capsys, command)
    assert done["rows"] + len(done["left_out"]) == len(a)
    assert all(name.startswith("conv ") for name in done["left_out"])
    assert f"{len(done['left_out'])} have no name there: conv 1x" in shown(capsys, command)


def test_an_imported_list_is_shown_and_compared_but_prices_nothing(
    a: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = figures(capsys, f"table export {a.name} --to ofa -o {tmp_path}/a.yaml")["rows"]
    done = figures(capsys, f"table import {tmp_path}/a.yaml -o {tmp_path}/phone.lut")
    assert (done["rows"], done["operators"]) == (blocks, blocks)
    facts = figures(capsys, f"table {tmp_path}/phone.lut")
    assert (facts["operators"], facts["imported rows"]) == (0, blocks)
    assert "price no space" in shown(capsys, f"table {tmp_path}/phone.lut")
    diff = figures(capsys, f"table diff {a.name} {tmp_path}/phone.lut")
    assert len(diff["imported"]) == blocks
    assert {row["verdict"] for row in diff["imported"]} == {"UNDECIDED"}
    assert len(diff["only_a"]) == len(a) - blocks
    assert "no samples, no verdict" in shown(capsys, f"table diff {a.name} {tmp_path}/phone.lut")
    assert "is for none" in complaint(capsys, f"predict {tmp_path}/phone.lut 22212220")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("table diff {a} {tmp}/none.lut", "there is no table"),
        ("table diff {a} {a} --false-positives 0.9", "0.5"),
        ("table diff {a} {a} --archs {tmp}/none.json", "none.json"),
        ("table merge {a} {tmp}/none.lut -o {tmp}/c.lut", "there is no table"),
        ("table export {a} --to csvv -o {tmp}/a", "the nearest is 'csv'"),
        ("table export {a} --to csv -o {a}", "is the table itself"),
        ("table export {a} --to csv -o {tmp}/no/where.csv", "cannot write"),
        ("table import {tmp}/none.csv -o {tmp}/b.lut", "cannot read"),
        ("table import {a} -o {tmp}/b.lut", "cannot be read as a table"),
        ("table import {tmp} -o {tmp}/b.lut", "cannot read"),
    ],
)
def test_bad_input_gets_one_line(
    a: LatencyTable, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, says: str
) -> None:
    assert says in complaint(capsys, command.format(a=a.name, tmp=tmp_path))


def test_parquet_names_the_extra_that_brings_it(
    a: LatencyTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    line = complaint(capsys, f"table export {a.name} --to parquet -o {tmp_path}/a.parquet")
    assert "pip install 'latkit[parquet]'" in line


def test_every_verb_of_a_table_is_known_to_the_command_line() -> None:
    commands = {command.name for command in table_app.registered_commands}
    assert commands == set(latkit.TABLE_VERBS)


def test_a_new_device_is_transferred_from_a_known_one(
    a: LatencyTable, capsys: pytest.CaptureFixture[str], tmp_path: Path, in_process: None
) -> None:
    device, out = tmp_path / "slow.yaml", tmp_path / "slow.lut"
    device.write_text("name: slow\nbackend: simulated\nsimulation: {dense_macs_per_s: 2.0e+10}\n")
    command = f"table transfer {a.name} --device {device} --probes 4 --processes 2 -o {out}"
    facts = figures(capsys, command)
    assert (facts["status"], facts["operators"]) == ("estimated", 15)
    assert facts["measured"] == str(tmp_path / "slow.measured.lut")
    assert "stem, head and overhead" in shown(capsys, f"predict {out} 22212220")
    assert "none of its operators was measured" in complaint(capsys, f"table check {out}")


def test_a_transfer_onto_a_measured_table_leaves_it_as_it_is(
    a: LatencyTable, again: LatencyTable, capsys: pytest.CaptureFixture[str], in_process: None
) -> None:
    before = Path(again.name).read_bytes()
    assert latkit.main(["table", "transfer", a.name, "--device", "sim", "-o", again.name]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "estimates never replace them; name another file" in said
    assert Path(again.name).read_bytes() == before
    assert not Path(again.name).with_suffix(".measured.lut").exists()
