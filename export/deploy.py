"""From an answer and the weights it was found with to a deployment directory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices import InvalidFile, device_named
from export.deployment import MODEL, Deployment, read_graph, write_deployment
from export.onnx_file import export_onnx, parity, reference_outputs
from export.verify import logits_on
from search.answers import Answer
from search.data import ImageData
from search.evaluation import accuracy, calibration_images, final_weights
from search.runs import TrainedRun
from search.spaces import space_label

REFERENCE_IMAGES = 8
"""Images of the test split whose logits are stored with a model."""

PARITY_DEVICE = "cpu"
"""Where a file is compared with the network it was made from: every install has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What exporting made.

    Attributes:
        deployment: The promise that was written.
        test_accuracy: Top-1 in [0, 1] on the test split, which nothing was chosen by.
    """

    deployment: Deployment
    test_accuracy: float


def deploy(answer: Answer, run: TrainedRun, data: ImageData, folder: Path) -> Exported:
    """Write the chosen network alone, with what is needed to verify it elsewhere.

    Args:
        answer: What to export; its first device is the one that the limit is promised on.
        run: The supernet that it was searched with.
        data: What the supernet was trained on.
        folder: Made if it is not there.

    Raises:
        InvalidFile: The answer is of another space than the run.
        ParityFailed: The file computes something else than the network.
    """
    if answer.space != run.supernet.space:
        raise InvalidFile(
            f"the architecture is of space {answer.space.name!r} {space_label(answer.space)}, "
            f"the run of {space_label(run.supernet.space)}: give the run it was searched with"
        )
    network = final_weights(run.supernet, answer.arch, calibration_images(data.training))
    test_accuracy = accuracy(network, data.test.batches(256))
    folder.mkdir(parents=True, exist_ok=True)
    batch = answer.space.input_shape[0]
    images = _images(data, count=max(1, REFERENCE_IMAGES // batch) * batch)
    logits = reference_outputs(network, images)
    file = export_onnx(network, answer.space.input_shape, folder / MODEL)
    graph = read_graph(folder, answer.space.input_shape)
    difference = parity(logits_on(device_named(PARITY_DEVICE), graph, images), logits)
    deployment = Deployment(
        arch=str(answer.arch),
        space=space_label(answer.space),
        sha256=file.sha256,
        input_shape=answer.space.input_shape,
        device=answer.devices[0],
        limit_s=answer.limits_s[0],
        predicted_s=answer.predicted_s[0],
        interval_s=answer.interval_s[0],
        parity_max_abs=difference,
        facts={
            "test_accuracy": test_accuracy,
            "validation_accuracy": answer.accuracy,
            "accuracy_from": answer.accuracy_from,
            "classes": list(data.class_names),
            "mean": list(data.mean),
            "std": list(data.std),
            "method": answer.method,
            "seed": answer.seed,
            "versions": dict(run.record.versions),
        },
    )
    write_deployment(folder, deployment, images, logits)
    return Exported(deployment=deployment, test_accuracy=test_accuracy)


def _images(data: ImageData, *, count: int) -> NDArray[np.float32]:
    """Return the first test images, ``(count, 3, H, W)``, as the network takes them."""
    images, _ = next(data.test.batches(count))
    values: NDArray[np.float32] = images.contiguous().numpy()
    return values
