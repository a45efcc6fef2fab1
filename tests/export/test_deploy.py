"""Exporting in floats and in integers: what the numbers in a deployment rest on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from devices import DeviceSpec, DeviceUnavailable, Quantization, UnknownName, device_named
from export import Plan, verify
from export.beside_floats import time_beside
from export.bundle.deployment import WrongPrecision, read_deployment, read_graph, read_reference
from export.bundle.manifest import MODEL, SIDE_BY_SIDE
from export.bundle.onnx_file import reference_outputs
from export.deploy import Exported, deploy
from export.logits import logits_on
from export.roads.ship import device_of
from export.verdicts.verify import check_numbers
from profiler import Conv, Head, MBConv, Skip
from search.answers import Answer
from search.images.data import ImageData, Split
from search.images.decoding import ArrayImages
from search.space import Architecture, SearchSpace
from search.supernets.evaluation import accuracy, calibration_images, final_weights
from search.supernets.supernet import Supernet
from search.training.runs import record_of
from search.training.settings import TrainSettings
from search.training.trained import TrainedRun

BATCH = 3
"""Which divides neither the reference images nor the test split."""

SKIP = Skip(input_shape=(BATCH, 4, 8, 8))
BLOCK = MBConv(input_shape=(BATCH, 4, 8, 8), channels=4, expand=2)
SPACE = SearchSpace(
    name="macro",  # only the label is read by that name
    before=(Conv(input_shape=(BATCH, 3, 8, 8), channels=4, kernel=3, activation="relu"),),
    layers=((SKIP, BLOCK), (SKIP, BLOCK)),
    after=(Head(input_shape=(BATCH, 4, 8, 8), channels=16, classes=2),),
)
SIM = DeviceSpec(name="sim", backend="simulated")
SIM_INT8 = DeviceSpec(name="sim-int8", backend="simulated", precision="int8")
CPU_INT8 = device_named("cpu-int8")
ANSWER = Answer(
    arch=Architecture((1, 1)),
    space=SPACE,
    devices=("sim", "sim-int8"),
    limits_s=(2.0, 1.0),
    confidence=0.95,
    predicted_s=(1.0, 0.5),
    interval_s=((0.9, 1.1), (0.4, 0.6)),
    table_hashes=("a", "b"),
    revisions=(0, 0),
    accuracy=0.9,
    accuracy_from="a test",
    method="random",
    seed=0,
)


def split_of(count: int, *, brightest: int, seed: int) -> Split:
    """Return dark images of class 0 and bright ones of class 1, one pixel as bright as said."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.normal(60.0 + 70.0 * labels[:, None, None, None], 10.0, (count, 8, 8, 3))
    pixels = pixels.clip(0, 180)
    pixels[0, 0, 0, 0], pixels[0, 0, 1, 0] = brightest, 0
    return Split(
        images=ArrayImages(pixels.astype(np.uint8)),
        rows=np.arange(count),
        labels=labels.astype(np.int64),
        resolution=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        flip=False,
    )


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Images whose test and validation splits are brighter than any that was trained on."""
    training = split_of(40, brightest=204, seed=0)
    return ImageData(
        name="blobs",
        class_names=("dark", "bright"),
        resolution=8,
        training=training,
        validation=split_of(20, brightest=255, seed=1),
        test=split_of(20, brightest=255, seed=2),
        mean=training.mean,
        std=training.std,
        skipped=(),
        fingerprint="blobs",
    )


@pytest.fixture(scope="module")
def run(data: ImageData) -> TrainedRun:
    supernet = Supernet(SPACE, seed=0)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(0)
    for _ in range(10):
        for images, labels in data.training.batches(20, rng=rng):
            optimizer.zero_grad(set_to_none=True)
            loss: Any = torch.nn.functional.cross_entropy(supernet(images, ANSWER.arch), labels)
            loss.backward()
            optimizer.step()
    record = record_of("uniform", SPACE, data, TrainSettings(epochs=1, warmup_epochs=0))
    return TrainedRun(supernet=supernet.eval(), record=record, epoch=1)


@pytest.fixture(scope="module")
def int8(
    run: TrainedRun, data: ImageData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Exported]:
    """A deployment in integers; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("int8")
    return folder, deploy(ANSWER, run, data, folder, device=SIM_INT8)


def test_floats_are_exported_with_the_promise_of_their_device(
    run: TrainedRun, data: ImageData, tmp_path: Path
) -> None:
    exported = deploy(ANSWER, run, data, tmp_path, device=SIM)
    deployment = read_deployment(tmp_path)
    assert deployment == exported.deployment
    assert (deployment.precision, deployment.device) == ("fp32", "sim")
    assert (deployment.limit_s, deployment.predicted_s) == (2.0, 1.0)
    assert exported.test_accuracy == deployment.facts["test_accuracy"]
    assert deployment.facts["weights_from"] == "inherited weights"
    assert replace(run, epoch=0).weights_from == "inherited weights after 0 of 1 epochs"
    assert "test_accuracy_fp32" not in deployment.facts


def test_integers_are_exported_with_the_promise_of_theirs(int8: tuple[Path, Exported]) -> None:
    folder, exported = int8
    deployment = read_deployment(folder)
    assert deployment == exported.deployment
    assert (deployment.precision, deployment.device) == ("int8", "sim-int8")
    assert (deployment.limit_s, deployment.predicted_s) == (1.0, 0.5)
    assert deployment.facts["quantization"]["activations"] == "uint8"
    assert json.loads((folder / "deployment.json").read_text())["precision"] == "int8"


def test_both_accuracies_are_of_the_test_split(
    int8: tuple[Path, Exported], run: TrainedRun, data: ImageData
) -> None:
    folder, exported = int8
    network = final_weights(run.supernet, ANSWER.arch, calibration_images(data.training))
    floats = accuracy(network, data.test.batches(20))
    assert exported.deployment.facts["test_accuracy_fp32"] == floats
    images, labels = next(data.test.batches(20))
    graph = read_graph(folder, SPACE.input_shape)
    logits = logits_on(CPU_INT8, graph, images[:18].contiguous().numpy())
    right = int((logits.argmax(axis=1) == labels[:18].numpy()).sum())
    assert right <= 20 * exported.test_accuracy <= right + 2
    assert exported.test_accuracy > 0.8


def test_ranges_come_from_training_images_only(int8: tuple[Path, Exported]) -> None:
    folder, exported = int8
    model = onnx.load(folder / MODEL)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    # pixels from 0 to 204 of 255, less 0.5, by 0.25; a brighter one occurs in no training image
    assert 0.5 * 204 / 255 / 0.25 / 255 < tensors["images_scale"] < 1.0001 * 204 / 255 / 0.25 / 255
    facts = exported.deployment.facts
    assert facts["calibration_images"] == facts["calibration"]["images"] == 40
    assert facts["calibration"]["source"] == "the training split of blobs"


def test_the_reference_is_what_the_integers_mean_and_not_what_the_floats_gave(
    int8: tuple[Path, Exported], run: TrainedRun, data: ImageData
) -> None:
    folder, exported = int8
    images, logits = read_reference(folder)
    graph = read_graph(folder, SPACE.input_shape)
    np.testing.assert_allclose(logits_on(SIM_INT8, graph, images), logits, atol=0.05)
    network = final_weights(run.supernet, ANSWER.arch, calibration_images(data.training))
    apart = np.abs(logits_on(CPU_INT8, graph, images) - reference_outputs(network, images)).max()
    assert exported.deployment.facts["fp32_max_abs"] == pytest.approx(apart)
    assert 0.0 < apart < 0.2 * np.abs(logits).max()
    assert exported.deployment.parity_max_abs < apart


def test_every_device_of_integers_can_verify_them(int8: tuple[Path, Exported]) -> None:
    folder, _ = int8
    verdict = verify(folder, SIM_INT8, plan=Plan(processes=3, most=3, rounds=2))
    assert verdict.verdict == "met"
    for device in (CPU_INT8, replace(CPU_INT8, optimization="basic")):
        assert check_numbers(folder, read_graph(folder, SPACE.input_shape), device) < 0.05
    with pytest.raises(WrongPrecision, match="the model is int8, device 'sim' is fp32"):
        verify(folder, SIM, limit_s=1.0)


def test_the_scheme_of_the_device_is_the_scheme_of_the_file(
    run: TrainedRun, data: ImageData, tmp_path: Path
) -> None:
    arm = replace(SIM_INT8, quantization=Quantization(activations="int8", per_channel=False))
    exported = deploy(ANSWER, run, data, tmp_path, device=arm)
    assert exported.deployment.facts["quantization"] == {
        "activations": "int8",
        "per_channel": False,
        "reduce_range": False,
        "symmetric": False,
    }
    tensors = {t.name: t for t in onnx.load(tmp_path / MODEL).graph.initializer}
    assert numpy_helper.to_array(tensors["images_zero_point"]).dtype == np.int8


def test_the_first_device_of_the_precision_asked_for_is_taken() -> None:
    answer = replace(ANSWER, devices=("cpu", "cpu-int8"))
    assert device_of(answer).name == "cpu"
    assert device_of(answer, precision="fp32").name == "cpu"
    assert device_of(answer, precision="int8").name == "cpu-int8"


def test_a_table_of_another_precision_is_refused_in_one_line() -> None:
    answer = replace(ANSWER, devices=("cpu", "sim"))
    with pytest.raises(WrongPrecision) as raised:
        device_of(answer, precision="int8")
    said = str(raised.value)
    assert "priced by tables of 'cpu' (fp32), 'sim' (fp32), which say nothing of int8" in said
    assert "\n" not in said


def test_half_precision_on_a_cpu_that_only_converts_is_refused_and_not_sent_to_another_table() -> (
    None
):
    answer = replace(ANSWER, devices=("cpu", "sim"))
    with pytest.raises(DeviceUnavailable, match="computes as fp32 on this CPU") as raised:
        device_of(answer, precision="fp16")
    assert "\n" not in str(raised.value)


def test_a_device_of_ones_own_is_named_by_its_file() -> None:
    with pytest.raises(UnknownName, match=r"'sim-int8'; .* name its file, --device FILE\.yaml"):
        device_of(ANSWER, precision="int8")
    assert device_of(ANSWER, precision="int8", given=SIM_INT8) == SIM_INT8
    with pytest.raises(WrongPrecision, match="say nothing of fp32"):
        device_of(ANSWER, precision="fp32", given=SIM_INT8)
    with pytest.raises(UnknownName, match="no device of the architecture is called 'cpu-int8'"):
        device_of(ANSWER, given=CPU_INT8)


def test_a_model_in_fp16_for_a_gpu_that_no_table_priced_promises_nothing(
    run: TrainedRun, data: ImageData, tmp_path: Path
) -> None:
    gpu = DeviceSpec(name="gpu", backend="tensorrt", precision="fp16")
    exported = deploy(ANSWER, run, data, tmp_path, device=gpu)
    deployment = read_deployment(tmp_path)
    assert (deployment.precision, deployment.device) == ("fp16", "gpu")
    assert (deployment.limit_s, deployment.predicted_s, deployment.interval_s) == (None,) * 3
    images, logits = read_reference(tmp_path)
    network = final_weights(run.supernet, ANSWER.arch, calibration_images(data.training))
    np.testing.assert_array_equal(logits, reference_outputs(network, images))
    assert 0.0 < deployment.parity_max_abs < 0.02 * max(1.0, np.abs(logits).max())
    assert exported.test_accuracy == pytest.approx(deployment.facts["test_accuracy_fp32"], abs=0.1)


def test_an_export_leaves_no_engine_of_an_earlier_model(
    run: TrainedRun, data: ImageData, tmp_path: Path
) -> None:
    (tmp_path / "model.engine").write_bytes(b"of another model")
    deploy(ANSWER, run, data, tmp_path, device=SIM)
    assert not (tmp_path / "model.engine").exists()


def test_what_integers_cost_and_save_is_beside_them(int8: tuple[Path, Exported]) -> None:
    folder, exported = int8
    facts = exported.deployment.facts
    found = facts["against_fp32"]
    assert found["images"] == 20
    assert found["accuracy"] == exported.test_accuracy == facts["test_accuracy"]
    assert found["accuracy_fp32"] == facts["test_accuracy_fp32"]
    assert found["drop_points"] == pytest.approx(100 * (found["accuracy_fp32"] - found["accuracy"]))
    assert found["size_bytes"] == (folder / MODEL).stat().st_size
    assert exported.floats is not None
    assert found["size_bytes_fp32"] == len(exported.floats.onnx)
    assert facts["validation_drop"]["images"] == 20
    tried = [each["ranges"] for each in facts["validation_drop"]["tried"]]
    assert tried == ["minmax", "percentile", "entropy", "mse"]
    assert facts["validation_drop"]["met"] is (exported.shortfall == "")
    assert (facts["kept_float"], facts["float_operators"]) == ([], {})


def test_a_network_in_floats_has_nothing_beside_it(
    run: TrainedRun, data: ImageData, tmp_path: Path
) -> None:
    (tmp_path / SIDE_BY_SIDE).write_text("of another model")
    exported = deploy(ANSWER, run, data, tmp_path, device=SIM)
    assert exported.floats is None
    assert exported.shortfall == ""
    assert "against_fp32" not in exported.deployment.facts
    assert not (tmp_path / SIDE_BY_SIDE).exists()


def test_latency_is_timed_beside_the_floats_and_kept_out_of_what_is_sealed(
    int8: tuple[Path, Exported], tmp_path: Path
) -> None:
    folder, exported = int8
    found = time_beside(tmp_path, exported, read_graph(folder, SPACE.input_shape), SIM_INT8)
    assert found["device"] == "sim-int8"
    assert found["sha256"] == exported.deployment.sha256
    assert found["ratio_interval"][0] <= found["ratio"] <= found["ratio_interval"][1]
    assert found["ratio"] == pytest.approx(found["ms"] / found["fp32_ms"], rel=0.05)
    assert json.loads((tmp_path / SIDE_BY_SIDE).read_text()) == found
    gpu = DeviceSpec(name="gpu", backend="tensorrt", precision="int8")
    away = time_beside(tmp_path, exported, read_graph(folder, SPACE.input_shape), gpu)
    assert list(away) == ["not_measured"]
