"""A device elsewhere, at the command line: every verb works as with this machine."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import latkit
from devices import device_named
from lut import Effort, Progress, fill_table, load_table, table_for
from lut.fill import CAMPAIGN
from lut.storage import open_table
from search.coverage import chains_to_measure
from search.spaces import space_named

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit status and what it said."""

    def call(*args: object) -> tuple[int, str]:
        status = latkit.main([*map(str, args)])
        streams = capsys.readouterr()
        return status, streams.out + streams.err

    return call


@pytest.fixture
def device(tmp_path: Path) -> str:
    """The file of a device that an agent stands for."""
    fields = {
        "name": "far",
        "backend": "simulated",
        "simulation": {"noise": 0.001},
        "transport": {"kind": "local", "python": sys.executable, "folder": str(tmp_path / "there")},
    }
    path = tmp_path / "far.yaml"
    path.write_text(yaml.safe_dump(fields))
    return str(path)


@pytest.mark.usefixtures("in_process")
def test_a_table_is_made_and_checked_and_predicts(device: str, run: Run, tmp_path: Path) -> None:
    table = tmp_path / "far.lut"
    where = ("--space", "macro", "--resolution", 16, "--processes", 1)
    assert run("profile", "--device", device, *where, "-o", table)[0] == 0
    status, said = run("table", "check", table, "--nets", 3, "--processes", 2, "--json")
    figures = json.loads(said)
    assert (status, figures["status"]) == (0, "ok")
    assert figures["mape"] < 0.02
    assert json.loads(run("predict", table, "10110100", "--json")[1])["latency_ms"] > 0.0
    spaces = json.loads(run("table", table, "--json")[1])["spaces"]
    assert spaces == "macro at 16 px, batch 1, 10 classes"  # the name of the campaign is none


def test_a_device_elsewhere_is_asked_only_by_name(device: str, run: Run) -> None:
    listed = {each["name"]: each for each in json.loads(run("devices", "--json")[1])}
    assert listed["raspberry-pi-5"]["usable"] is None
    assert listed["raspberry-pi-5"]["why_not"] == "not asked: latkit devices raspberry-pi-5"
    asked = json.loads(run("devices", device, "--json")[1])
    assert asked["usable"] is True
    assert asked["environment"]["noise"] == "0.001"


class Killed(Exception):
    """Stands for a signal."""


@pytest.mark.usefixtures("in_process")
def test_a_command_that_was_stopped_measures_nothing_twice(device: str, tmp_path: Path) -> None:
    space, spec = space_named("macro", resolution=16), device_named(device)
    wanted = chains_to_measure(space, networks=4)
    path, effort = tmp_path / "far.lut", Effort(processes=1)

    def kill(progress: Progress) -> None:
        if progress.done == 7:
            raise Killed

    with table_for(path, spec) as file, pytest.raises(Killed):
        fill_table(file, wanted, effort, on_progress=kill)
    with open_table(path) as file:
        campaign = file.labels()[CAMPAIGN]
        assert len(list(file.slices())) == 7
    with table_for(path, spec) as file:
        fill_table(file, wanted, effort)
        assert file.labels()[CAMPAIGN] == campaign
        taken = Counter((row.chain, row.slice.round) for row in file.slices())
    assert set(taken.values()) == {1}
    assert len(taken) == sum(effort.rounds_of(role) for role in wanted.values())
    assert list((tmp_path / "there/jobs").iterdir()) == []
    assert len(load_table(path)) == len(space.operators)
