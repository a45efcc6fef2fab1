"""What an agent does with a job, without a link."""

from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from devices import BACKENDS, DeviceSpec, Gpu, Simulation, Transport
from devices.remote.plain import device_to_plain
from profiler import Chain, MBConv, Pace, Taken, Task, chain_to_key, in_context
from profiler.agent import events_of_job
from profiler.operators.builders import chain_graph
from profiler.operators.probes import APART, CANARY

CHAIN: Chain = in_context(MBConv(input_shape=(1, 8, 16, 16), channels=8, expand=3))
FAR = Transport(kind="ssh", host="far")


def sent(folder: Path, chain: Chain) -> dict[str, Any]:
    """Put a graph where an agent reads it; return what a job says of it."""
    graph = chain_graph(chain)
    name = sha256(graph.onnx).hexdigest()
    (folder / name).write_bytes(graph.onnx)
    return {
        "chain": chain_to_key(chain),
        "file": name,
        "inputs": graph.inputs,
        "dtypes": graph.dtypes,
        "outside": "",
    }


def first_slice(folder: Path, device: DeviceSpec) -> Taken:
    """Return the first slice that the agent of a device takes of an operator."""
    job = {
        "device": device_to_plain(device),
        "replicate": 0,
        "sustained": False,
        "pace": asdict(Pace()),
        "tasks": [asdict(Task(number=0, process=0, round=0))],
        "graphs": [sent(folder, CHAIN)],
        "probes": [sent(folder, chain) for chain in (CANARY, APART)],
    }
    first = next(events_of_job(folder, job, []))
    assert isinstance(first, Taken)
    return first


def test_a_gpu_behind_an_agent_is_timed_warm_as_one_of_this_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "fake-gpu", "tests.fake_gpu:FakeGpu")
    gpu = DeviceSpec(name="gpu", backend="fake-gpu", gpu=Gpu(), transport=FAR)
    assert first_slice(tmp_path, gpu).slice.repeats > 1  # a cold sample is a single run


def test_a_cpu_behind_an_agent_is_timed_cold(tmp_path: Path) -> None:
    cpu = DeviceSpec(name="sim", backend="simulated", simulation=Simulation(), transport=FAR)
    assert first_slice(tmp_path, cpu).slice.repeats == 1
