"""What several test files need: seeds, quiet devices, tables that are filled within a second."""

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from devices import DeviceSpec, Simulation
from lut import Effort, LatencyTable, fill_table, load_table, table_for
from profiler import Event
from search import SearchSpace
from search.coverage import chains_to_measure

# Before anything imports torch: tensors this small are slower on two threads, much slower on a busy
# machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A deadline would be a clock gate; a drawn seed would make another test of every run.
settings.register_profile("latkit", deadline=None, derandomize=True)
settings.load_profile("latkit")

MakeTable = Callable[..., LatencyTable]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def exact() -> DeviceSpec:
    """A simulated device without any noise: what it says can be checked by hand."""
    return DeviceSpec(
        name="exact", backend="simulated", simulation=Simulation(noise=0.0, process_noise=0.0)
    )


@pytest.fixture(scope="session")
def noisy() -> DeviceSpec:
    """A simulated device as quiet as a real one can be."""
    return DeviceSpec(name="noisy", backend="simulated", simulation=Simulation())


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fill_table` measure in this process: starting one takes a second."""
    monkeypatch.setattr("lut.fill.in_fresh_process", _in_this_process)


@pytest.fixture(scope="session")
def make_table(tmp_path_factory: pytest.TempPathFactory) -> MakeTable:
    """Fill tables of a space on a simulated device; each is measured once a session."""
    made: dict[object, Path] = {}

    def make(
        device: DeviceSpec, space: SearchSpace, *, networks: int = 20, effort: Effort | None = None
    ) -> LatencyTable:
        effort = effort or Effort(processes=1, rounds=1)
        key = (device, space, networks, effort)
        if key not in made:
            path = tmp_path_factory.mktemp("tables") / f"{device.name}.lut"
            with pytest.MonkeyPatch.context() as patch, table_for(path, device) as file:
                patch.setattr("lut.fill.in_fresh_process", _in_this_process)
                fill_table(file, chains_to_measure(space, networks=networks), effort)
            made[key] = path
        return load_table(made[key])

    return make


def _in_this_process(
    stream: Callable[..., Generator[Event, None, None]], *args: Any, **kwargs: Any
) -> Generator[Event, None, None]:
    return stream(*args, **kwargs)
