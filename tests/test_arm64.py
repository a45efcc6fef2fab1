"""The whole chain on real Arm code: our agent, aarch64 Python and its ONNX Runtime, under QEMU.

What is shown is that everything runs and that the numbers are right. The seconds mean nothing, and
every step has to say so.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import latkit
from devices import DeviceSpec, Transport, backend_for
from devices.files import sha256_of
from export.bundle.deployment import Deployment, write_deployment
from export.bundle.manifest import MODEL
from export.logits import logits_on
from export.precision.formats import SCHEMES, compare_formats
from export.verdicts.verify import Plan, verify
from lut import Effort, fill_table, load_table, table_for
from lut.rows import rows_of
from lut.table import NotMeasured
from profiler import Conv, Head, MBConv, Pace
from profiler.operators.builders import chain_graph
from search import SearchSpace
from search.pricing.coverage import chains_to_measure
from search.solve import models_of

RealDevice = tuple[Transport, str]

STEM = Conv(input_shape=(1, 3, 8, 8), channels=8, kernel=3, activation="relu")
LAYER = tuple(MBConv(input_shape=STEM.output_shape, channels=8, expand=e) for e in (1, 3))
SPACE = SearchSpace(
    name="macro",
    before=(STEM,),
    layers=(LAYER,) * 3,
    after=(Head(input_shape=STEM.output_shape, channels=16, classes=4),),
)
PACE = Pace(slice_s=0.002, sample_s=0.001, warm_limit_s=0.01)
EFFORT = Effort(processes=1, pace=PACE)


@pytest.fixture(params=["ssh", "adb"])
def board(request: pytest.FixtureRequest, arm_python: str) -> DeviceSpec:
    """An Arm board at the other end of each link."""
    transport, _ = request.getfixturevalue(f"{request.param}_device")
    return DeviceSpec(
        name="board", backend="onnxruntime", transport=replace(transport, python=arm_python)
    )


def device_file(device: DeviceSpec, folder: Path) -> str:
    """Write a device as a file; return its path."""
    assert device.transport is not None
    path = folder / "board.yaml"
    transport = {key: value for key, value in asdict(device.transport).items() if value}
    fields = {"name": device.name, "backend": device.backend, "transport": transport}
    path.write_text(yaml.safe_dump(fields))
    return str(path)


@pytest.mark.slow
def test_a_board_is_profiled_and_verified_and_called_emulated(
    board: DeviceSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert board.transport is not None
    assert latkit.main(["devices", device_file(board, tmp_path), "--json"]) == 0
    environment = json.loads(capsys.readouterr().out)["environment"]
    assert environment["system"] == "Linux aarch64"
    assert environment["origin"] == "emulated"
    assert environment["processor"] == "aarch64 0x41 0xd0b"

    path = tmp_path / "board.lut"
    with table_for(path, board) as file:
        fill_table(file, chains_to_measure(SPACE, networks=0), EFFORT)
    table = load_table(path)
    assert {rows_of(table).status(op) for op in LAYER} == {"emulated"}
    assert latkit.main(["table", str(path)]) == 0
    assert " emulated" in capsys.readouterr().out

    with pytest.raises(NotMeasured, match=r"'board' is emulated.*--emulated"):
        models_of([path], SPACE)

    verdict = verify(
        deployment(tmp_path, board), board, plan=Plan(processes=1, rounds=1, pace=PACE)
    )
    assert verdict.parity_max_abs < 1e-4
    assert verdict.status == "emulated"
    assert "emulated" in verdict.doubts()[0]


def deployment(folder: Path, device: DeviceSpec) -> Path:
    """Write a deployment whose stored outputs are those of this machine's processor."""
    graph = chain_graph((STEM, LAYER[1], *SPACE.after))
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    (folder / MODEL).write_bytes(graph.onnx)
    here = DeviceSpec(name="cpu", backend="onnxruntime")
    promise = Deployment(
        arch="1",
        space={"name": "macro"},
        sha256=sha256_of(folder / MODEL),
        input_shape=STEM.input_shape,
        precision="fp32",
        device=device.name,
        limit_s=60.0,
        predicted_s=1.0,
        interval_s=(0.5, 2.0),
        parity_max_abs=0.0,
        facts={},
    )
    write_deployment(folder, promise, images, logits_on(here, graph, images))
    return folder


@pytest.mark.slow
def test_the_graph_that_arm_runs_is_another_one(board: DeviceSpec) -> None:
    import onnx

    graph = chain_graph((STEM, *LAYER, *SPACE.after))
    there = onnx.load_from_string(backend_for(board).trace(graph, runs=1).optimized)
    here = onnx.load_from_string(
        backend_for(replace(board, transport=None)).trace(graph, runs=1).optimized
    )
    assert {node.domain for node in here.graph.node} >= {"com.microsoft.nchwc"}
    assert "com.microsoft.nchwc" not in {node.domain for node in there.graph.node}


@pytest.mark.slow
@pytest.mark.parametrize("board", ["ssh"], indirect=True)
def test_every_number_format_runs_on_arm_and_its_outputs_are_right(board: DeviceSpec) -> None:
    chain = (STEM, *LAYER, *SPACE.after)
    found = compare_formats(chain, board, network="small", processes=1, rounds=1, pace=PACE)
    half, *integers = found.formats
    assert half.beside is not None, half.why_not
    assert half.error is not None
    assert half.error < 0.01
    assert len(integers) == len(SCHEMES)
    for each in integers:
        assert each.beside is not None, each.why_not
        assert each.beside.status == "emulated"
        assert each.error is not None
        assert 0.0 < each.error < 0.1
