"""The file of a device's steps: what it holds, what is said of it, and what snaps by it."""

import json
from pathlib import Path
from typing import Any

import pytest

import latkit
from devices import InvalidFile, known_devices
from devices.files import CannotWrite
from export.figures.steps_file import profile_hardware_steps, snap_from_text
from profiler.whole_models.steps import KINDS, WIDTHS
from search.spaces import SPACES
from tests.command_line.typed import complaint

STAIRS = """
name: stairs
backend: simulated
simulation: {channel_step: 16, noise: 0.002, process_noise: 0.002}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device with steps, and the file that the verb itself wrote of it."""
    path = tmp_path_factory.mktemp("steps")
    (path / "stairs.yaml").write_text(STAIRS)
    command = f"profile --device {path}/stairs.yaml --steps -o {path}/steps.json --processes 3"
    assert latkit.main(command.split()) == 0
    return path


def test_the_file_has_the_steps_the_sweep_and_the_conditions(folder: Path) -> None:
    facts: dict[str, Any] = json.loads((folder / "steps.json").read_text())
    steps = {each["kind"]: each["step"] for each in facts["kinds"]}
    assert steps == {"conv_out": 16, "conv_in": 16, "depthwise": 16, "mbconv": 4}
    assert facts["step"] == 4
    assert facts["conditions"]["device"]["name"] == "stairs"
    assert facts["conditions"]["environment"]["channel_step"] == "16"
    assert facts["doubts"] == []
    for each in facts["kinds"]:
        assert [row["channels"] for row in each["sweep"]] == list(WIDTHS)
        for row in each["sweep"]:
            low, high = row["interval_us"]
            assert low <= row["latency_us"] <= high
            assert row["status"] == "ok"


def test_steps_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"profile --device {folder}/stairs.yaml --steps --processes 3"
    assert latkit.main(command.split()) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "conv_in: latency jumps every 16 channels; up to the next multiple they" in said
    assert "all kinds share a step of 4 on stairs" in said


def test_while_steps_are_open_more_processes_are_taken_than_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    command = f"profile --device {folder}/stairs.yaml --steps --processes 1 --json"
    assert latkit.main(command.split()) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [each["step"] for each in facts["kinds"][:3]] == [16, 16, 16]
    assert [each["open"] for each in facts["kinds"]] == [[]] * len(KINDS)


def test_steps_that_noise_hides_are_open_and_the_cure_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "wild.yaml").write_text(STAIRS.replace("0.002", "0.3").replace("stairs", "wild"))
    capsys.readouterr()
    command = f"profile --device {folder}/wild.yaml --steps --processes 1 --json"
    assert latkit.main(command.split()) == 0
    facts = json.loads(capsys.readouterr().out)
    hidden = [each for each in facts["kinds"] if each["open"]]
    assert hidden
    assert sum("or in more --processes" in doubt for doubt in facts["doubts"]) == len(hidden)


@pytest.mark.parametrize("place", ["", "no-such-folder/steps.json"])
def test_a_bad_place_is_refused_before_anything_is_measured(tmp_path: Path, place: str) -> None:
    with pytest.raises(CannotWrite, match="name a file in a folder that is there"):
        profile_hardware_steps(
            known_devices()["sim"], processes=1, output=tmp_path / place, quiet=True
        )


def test_a_snap_is_channels_or_the_step_that_all_kinds_share(folder: Path) -> None:
    assert snap_from_text(None) == 1
    assert snap_from_text("16") == 16
    assert snap_from_text(str(folder / "steps.json")) == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0", "--snap 0: write channels, as in --snap 16"),
        ("-16", "cannot read -16: No such file or directory; write channels, as in --snap 16"),
        ("none.json", "cannot read none.json: No such file or directory"),
    ],
)
def test_a_snap_that_is_neither_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidFile, match=says):
        snap_from_text(text)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"step": "many"}', '{"step": null}'])
def test_a_file_without_steps_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InvalidFile, match=r"other\.json holds no steps of a device; write"):
        snap_from_text(str(path))


def test_a_file_that_proves_no_step_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    path.write_text('{"step": 1}')
    with pytest.raises(InvalidFile, match="proves no step that all kinds share"):
        snap_from_text(str(path))


def test_spaces_are_shown_snapped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert latkit.main(["spaces", "greedynas", "--snap", "16", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"] == "greedynas-snap16"
    assert facts["choices"][5][0] == "mbconv 1x48x28x28 -> 48 k3 s1 e3"
    assert latkit.main(["spaces", "--snap", f"{folder}/steps.json", "--json"]) == 0
    names = [each["name"] for each in json.loads(capsys.readouterr().out)]
    assert names == [f"{name}-snap4" for name in SPACES]


def test_a_table_of_snapped_widths_predicts_them_by_its_label_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = f"{folder}/snapped.lut"
    command = (
        f"profile --device {folder}/stairs.yaml --space macro --snap 48 --resolution 16 "
        f"--processes 1 -o {table} --json"
    )
    assert latkit.main(command.split()) == 0
    capsys.readouterr()
    assert latkit.main(["predict", table, "22212220", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["space"] == "macro-snap48"
    assert facts["layers"][1]["operator"] == "mbconv 1x48x16x16 -> 96 k5 s2 e6"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("profile --steps --space macro -o t.lut", "Name what to profile"),
        ("profile --steps --seed 3", "--seed does not go with --steps"),
        ("profile --steps --snap 16", "--snap does not go with --steps"),
        ("profile --onnx m.onnx --snap 16", "--snap does not go with --onnx"),
        ("profile --space macro --snap x -o t.lut", "cannot read x: No such file"),
        ("profile --space macro-snap16 --snap 8 -o t.lut", "is snapped to 16 by its name"),
        ("spaces macro --snap 0", "--snap 0: write channels"),
        ("train uniform --space macro-snap16 --snap 8 -o r", "is snapped to 16 by its name"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], command: str, says: str
) -> None:
    assert says in complaint(capsys, command)
