"""What a graph says of images, whatever its batch, in the integers of a device."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from devices import DeviceSpec, Quantization, device_named
from export.logits import arithmetic_of, full_batches, loss_of, predictions, said_of
from profiler import Conv, Head
from profiler.operators.builders import chain_graph
from search.images.data import load_data

CHAIN = (
    Conv(input_shape=(3, 3, 8, 8), channels=4, kernel=3, activation="relu"),
    Head(input_shape=(3, 4, 8, 8), channels=8, classes=10),
)


def test_every_image_is_judged_once_whatever_the_batch() -> None:
    split = load_data("digits", resolution=8).test
    single = tuple(replace(op, input_shape=(1, *op.input_shape[1:])) for op in CHAIN)
    cpu = arithmetic_of(DeviceSpec(name="x", backend="simulated"))
    found = predictions(chain_graph(CHAIN), cpu, split)
    assert found.shape == (len(split),)
    np.testing.assert_array_equal(found, predictions(chain_graph(single), cpu, split))


def test_the_loss_of_a_split_is_the_mean_cross_entropy_in_nats() -> None:
    split = load_data("digits", resolution=8).test
    cpu = device_named("cpu")
    said = said_of(split, chain_graph(CHAIN), cpu)
    wanted = torch.nn.functional.cross_entropy(
        torch.from_numpy(said), torch.from_numpy(split.labels)
    )
    assert loss_of(said, split.labels) == pytest.approx(float(wanted), rel=1e-5)


def test_a_last_batch_is_filled_with_the_first_images() -> None:
    images = np.arange(4, dtype=np.float32)[:, None, None, None]
    assert full_batches(images, 3).ravel().tolist() == [0.0, 1.0, 2.0, 3.0, 0.0, 1.0]
    assert full_batches(images, 4) is not images
    np.testing.assert_array_equal(full_batches(images, 2), images)


def test_numbers_are_those_of_the_devices_integers_on_this_cpu() -> None:
    scheme = Quantization(activations="int8")
    device = DeviceSpec(name="a", backend="simulated", precision="int8", quantization=scheme)
    assert arithmetic_of(device).quantization == scheme
    assert arithmetic_of(device).backend == "onnxruntime"
