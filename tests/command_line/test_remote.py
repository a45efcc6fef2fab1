"""A device elsewhere, at the command line: every verb works as with this machine."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

import latkit
from devices import Transport, device_named
from lut import Effort, Progress, fill_table, load_table, table_for
from lut.files.storage import open_table
from lut.fill import CAMPAIGN
from profiler import Conv
from profiler.operators.builders import chain_graph
from search.pricing.coverage import chains_to_measure
from search.spaces import space_named

Run = Callable[..., tuple[int, str]]
RealDevice = tuple[Transport, str]


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


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file; and what profiles it does so in this process, since starting one takes long."""

    def here(
        stream: Callable[..., Generator[Any, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Any, None, None]:
        return stream(*args, **kwargs)

    for module in (
        "profiler.campaigns.together",
        "profiler.whole_models.whole_model",
        "profiler.whole_models.sustained_load",
    ):
        monkeypatch.setattr(f"{module}.in_fresh_process", here)
    path = tmp_path / "model.onnx"
    path.write_bytes(chain_graph((Conv(input_shape=(1, 64, 20, 20), channels=64),)).onnx)
    return path


def there_and_here(transport: Transport, folder: Path) -> tuple[str, str]:
    """Write two files of the same simulated device, the first at the other end of a transport."""
    fields = {"name": "far", "backend": "simulated", "simulation": {"noise": 0.01}}
    way = {key: value for key, value in asdict(transport).items() if value}
    paths = folder / "there.yaml", folder / "here.yaml"
    for path, more in zip(paths, ({"transport": way}, {}), strict=True):
        path.write_text(yaml.safe_dump({**fields, **more}))
    return str(paths[0]), str(paths[1])


@pytest.mark.parametrize(
    "how", [("--processes", 1), ("--sustained", "15s")], ids=["whole", "sustained"]
)
def test_a_model_file_is_profiled_there_exactly_as_here(
    real_device: RealDevice, model: Path, how: tuple[object, ...], run: Run, tmp_path: Path
) -> None:
    there, here = (
        json.loads(run("profile", "--onnx", model, "--device", device, *how, "--json")[1])
        for device in there_and_here(real_device[0], tmp_path)
    )
    assert there == here
    assert there["status"] == "ok"


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
