"""Engines beside a deployed model: really built by TensorRT for RTX, for GPUs that are not here."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, DeviceUnavailable, Gpu, InvalidFile, Precision, device_named
from devices.nvidia.tensorrt_build import tensorrt_module
from export.bundle.deployment import Deployment, WrongPrecision, read_graph, write_deployment
from export.bundle.engine_file import WrongEngine, read_engine, remove_engine, write_engine
from export.bundle.manifest import ENGINE, ENGINE_FACTS, KERNELS, MODEL, TIMING_CACHE
from export.verdicts.engines import NoEngineDevice, engine_device_of, engine_facts
from export.verdicts.verify import deployed_graph, verify
from profiler import Conv, Head
from profiler.operators.builders import graph_for
from search.answers import Answer
from search.space import Architecture, SearchSpace
from tests.rtx_engines import check_engine

SHAPE = (1, 3, 16, 16)
CHAIN = (
    Conv(input_shape=SHAPE, channels=8, kernel=3, activation="relu"),
    Head(input_shape=(1, 8, 16, 16), channels=16, classes=2),
)
RTX = device_named("rtx-4090")


def deployed(folder: Path, device: DeviceSpec) -> Deployment:
    """Write a deployment of a small network in a device's precision; its numbers mean nothing."""
    graph = graph_for(CHAIN, device)
    (folder / MODEL).write_bytes(graph.onnx)
    deployment = Deployment(
        arch="0",
        space={},
        sha256=sha256(graph.onnx).hexdigest(),
        input_shape=SHAPE,
        precision=device.precision,
        device=device.name,
        limit_s=1e-3,
        predicted_s=None,
        interval_s=None,
        parity_max_abs=0.0,
        facts={},
    )
    images = np.zeros(SHAPE, np.float32)
    write_deployment(folder, deployment, images, np.zeros((1, 2), np.float32))
    return deployment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A deployment with an engine for an RTX 4090, in fp16."""
    deployed(tmp_path, RTX)
    write_engine(tmp_path, read_graph(tmp_path, SHAPE), RTX)
    return tmp_path


def test_an_engine_stands_beside_its_model_with_what_built_it(folder: Path) -> None:
    file = read_engine(folder)
    assert file is not None
    content = (folder / ENGINE).read_bytes()
    assert file.sha256 == sha256(content).hexdigest()
    assert file.size_bytes == len(content)
    assert file.onnx_sha256 == sha256((folder / MODEL).read_bytes()).hexdigest()
    assert (file.module, file.compute_capability) == ("tensorrt_rtx", "8.9")
    assert file.version == tensorrt_module("tensorrt_rtx").__version__
    assert not (folder / TIMING_CACHE).exists()  # the RTX builder keeps none
    assert file.timing_cache_sha256 == ""
    check_engine(tensorrt_module("tensorrt_rtx"), content)


def test_the_plan_names_the_nodes_in_each_kernel_and_the_memory(folder: Path) -> None:
    plan = (folder / KERNELS).read_text()
    assert "Layers:" in plan
    assert "[ONNX Layer: 0.conv]" in plan
    assert "Weights Memory: " in plan


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_precision_becomes_an_engine(tmp_path: Path, precision: Precision) -> None:
    device = device_named(f"rtx-3090-{precision}")
    deployed(tmp_path, device)
    file = write_engine(tmp_path, read_graph(tmp_path, SHAPE), device)
    assert file.compute_capability == "8.6"
    assert file.size_bytes > 1_000


def test_a_gpu_runs_the_engine_and_a_cpu_the_model(folder: Path) -> None:
    deployment = deployed(folder, RTX)
    write_engine(folder, read_graph(folder, SHAPE), RTX)
    assert deployed_graph(folder, deployment, RTX).engine == (folder / ENGINE).read_bytes()
    assert deployed_graph(folder, deployment, device_named("cpu")).engine is None


def test_an_engine_for_another_gpu_says_how_to_export_for_this_one(folder: Path) -> None:
    deployment = deployed(folder, RTX)
    write_engine(folder, read_graph(folder, SHAPE), RTX)
    with pytest.raises(WrongEngine, match=r"8\.9, device 'rtx-3090' needs .* 8\.6: export .*3090"):
        deployed_graph(folder, deployment, device_named("rtx-3090"))


def test_an_altered_engine_is_found_by_its_hash(folder: Path) -> None:
    (folder / ENGINE).write_bytes(b"junk")
    with pytest.raises(InvalidFile, match=r"model\.engine is not the one that engine\.json"):
        read_engine(folder)


def test_an_engine_of_another_model_is_found_by_the_models_hash(folder: Path) -> None:
    (folder / MODEL).write_bytes(b"another")
    with pytest.raises(InvalidFile, match=r"model\.onnx is not the one"):
        read_engine(folder)


@pytest.mark.parametrize("text", ["", "{}", '{"module": 1, "warnings": []}'])
def test_a_damaged_description_of_an_engine_is_named(folder: Path, text: str) -> None:
    (folder / ENGINE_FACTS).write_text(text)
    with pytest.raises(InvalidFile, match=r"engine\.json is missing or damaged"):
        read_engine(folder)


def test_an_engine_is_removed_with_all_that_belongs_to_it(folder: Path) -> None:
    kept = {MODEL, "deployment.json", "reference.npz", "bundle.json"}
    remove_engine(folder)
    assert {path.name for path in folder.iterdir()} == kept
    assert read_engine(folder) is None


def test_without_a_compute_capability_there_is_nothing_to_build_for(tmp_path: Path) -> None:
    device = DeviceSpec(name="any", backend="tensorrt", gpu=Gpu(module="tensorrt_rtx"))
    deployed(tmp_path, device)
    with pytest.raises(DeviceUnavailable, match="'any' names no compute_capability"):
        write_engine(tmp_path, read_graph(tmp_path, SHAPE), device)


def test_a_gpu_that_is_not_here_measures_nothing_and_says_so(folder: Path) -> None:
    if has_gpu():
        pytest.skip("there is a GPU on this machine")
    facts = engine_facts(folder, deployed(folder, RTX), RTX)
    assert "gpu_max_abs" not in facts
    assert facts["measured"].startswith("nothing: there is no NVIDIA driver on this machine")
    assert facts["measured"].endswith(f"latkit verify {folder} --device rtx-4090")


def test_to_verify_where_there_is_no_gpu_is_one_line(folder: Path) -> None:
    if has_gpu():
        pytest.skip("there is a GPU on this machine")
    with pytest.raises(DeviceUnavailable, match="no NVIDIA driver") as raised:
        verify(folder, RTX)
    assert "\n" not in str(raised.value)
    with pytest.raises(WrongPrecision, match="such as 'rtx-4090'"):
        verify(folder, device_named("cpu"))


def has_gpu() -> bool:
    from devices.nvidia.cuda_python import check_driver

    try:
        check_driver(0)
    except DeviceUnavailable:
        return False
    return True


SPACE = SearchSpace(name="macro", before=CHAIN[:1], layers=(), after=CHAIN[1:])


def answer_of(*devices: str) -> Answer:
    count = len(devices)
    return Answer(
        arch=Architecture(()),
        space=SPACE,
        devices=devices,
        limits_s=(1.0,) * count,
        confidence=0.95,
        predicted_s=(1.0,) * count,
        interval_s=((0.9, 1.1),) * count,
        table_hashes=("a",) * count,
        revisions=(0,) * count,
        accuracy=0.9,
        accuracy_from="a test",
        method="random",
        seed=0,
    )


def test_an_engine_is_built_for_the_gpu_that_the_answer_was_priced_on() -> None:
    assert engine_device_of(answer_of("cpu", "rtx-4090-int8")).precision == "int8"
    assert engine_device_of(answer_of("a100"), precision="fp32").name == "a100-fp32"
    assert engine_device_of(answer_of("cpu"), given=RTX, precision="int8").name == "rtx-4090-int8"


@pytest.mark.parametrize("given", [None, device_named("cpu")], ids=["none", "a CPU"])
def test_without_a_gpu_to_build_for_the_flag_is_named(given: DeviceSpec | None) -> None:
    with pytest.raises(NoEngineDevice, match=r"GPU, and cpu is none: name it, such as --device"):
        engine_device_of(answer_of("cpu"), given=given)


def test_a_gpu_of_another_batch_is_refused() -> None:
    with pytest.raises(NoEngineDevice, match=r"batches of 8, .* batches of 1: .*b1"):
        engine_device_of(answer_of("cpu"), given=replace(RTX, batch=8))


def test_engine_facts_are_plain_json(folder: Path) -> None:
    facts = engine_facts(folder, deployed(folder, RTX), RTX)
    assert json.loads(json.dumps(facts)) == facts
