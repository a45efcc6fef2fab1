"""What stands beside the model of a bundle for those who have no latkit, as text."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from devices import DeviceSpec, Graph, Shape, backend_for
from export.bundle.deployment import Deployment, Weights
from export.bundle.manifest import ARCHITECTURE, LOADER, NOTES, PARITY
from export.bundle.onnx_file import PARITY_TOLERANCE, Array
from export.bundle.output_parity import output_parity, parity_json
from export.logits import logits_on
from search.answers import Answer

if TYPE_CHECKING:
    from search.images.data import ImageData

LOADER_TEXT = '''\
"""Run the network; needs numpy and onnxruntime. `python load.py` repeats the stored sample."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

FOLDER = Path(__file__).parent


def load():
    """Load the model with the settings that its latency is measured with on a CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = {threads}
    options.graph_optimization_level = ort.GraphOptimizationLevel.{level}
    options.add_session_config_entry("session.intra_op.allow_spinning", "{spinning}")
    path = str(FOLDER / "model.onnx")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session, images):
    """Return logits, ({batch}, classes), of float32 images, {shape}, normalised:

    (RGB / 255 - {mean}) / {std}
    """
    return session.run(None, {{session.get_inputs()[0].name: images}})[0]


if __name__ == "__main__":
    session, sample = load(), np.load(FOLDER / "reference.npz")
    batches = np.split(sample["images"], len(sample["images"]) // {batch})
    found = np.concatenate([run(session, images) for images in batches])
    print("largest difference to the stored logits:", np.abs(found - sample["logits"]).max())
'''

NOTES_TEXT = """\
# Licence and data

- **Model.** Its weights {weights} on {data} ({classes} classes). They are the
  work of whoever trained them; latkit, which is Apache-2.0, lays no claim to them. Say here under
  which licence you pass them on.
- **Images.** `reference.npz` holds {images} images of the test split of {data}, normalised; whoever
  passes the bundle on passes them on, too.
  {terms}
- **Loader.** `load.py` may be used for any purpose, without conditions.
- **Accuracy** in `deployment.json` is of the test split, by which nothing was chosen.
"""

WEIGHTS: dict[Weights, str] = {
    "inherited": "are those of a supernet that was trained",
    "final": "were trained for this network alone,",
}

KNOWN_TERMS = {
    "digits": "They are from the Optical Recognition of Handwritten Digits of E. Alpaydin and\n"
    "  C. Kaynak, UCI Machine Learning Repository, 1998, CC BY 4.0, as scikit-learn ships them.",
}
"""Whose images they are, by the name of the data."""

OWN_TERMS = "Their licence is that of the data set; latkit does not know it."


def texts_beside(
    deployment: Deployment,
    answer: Answer,
    data: "ImageData",
    *,
    device: DeviceSpec,
    parity: str,
    images: int,
) -> dict[str, str]:
    """Return the texts of a bundle by the names of their files.

    Args:
        deployment: What is promised.
        answer: What was exported.
        data: What the network was trained on.
        device: Whose settings of the runtime the loader takes.
        parity: Text of the report, see `parity_text`.
        images: In the sample.
    """
    return {
        ARCHITECTURE: json.dumps([answer.as_json()], indent=2) + "\n",
        PARITY: parity,
        LOADER: loader_text(device, deployment.input_shape, mean=data.mean, std=data.std),
        NOTES: notes_text(
            data=data.name,
            weights=deployment.weights,
            classes=len(data.class_names),
            images=images,
        ),
    }


def parity_text(
    graph: Graph,
    expected: Array,
    images: Array,
    *,
    deployment: Deployment,
    images_from: str,
    device: DeviceSpec,
) -> str:
    """Compare a file with the network in torch; return the report of a bundle.

    Args:
        graph: The file.
        expected: Torch's logits, ``(n, classes)``.
        images: What they are of, ``(n, 3, H, W)``.
        deployment: Whose precision says what rounding may do; int8 is another function.
        images_from: What the images are.
        device: What runs the file.
    """
    largest, precision = max(1.0, float(abs(expected).max())), deployment.precision
    tolerance = None if precision == "int8" else PARITY_TOLERANCE[precision] * largest
    found = logits_on(device, graph, images)
    output = output_parity("logits", found, expected, tolerance=tolerance)
    runtime = backend_for(device).environment()["runtime"]
    return parity_json([output], images_from=images_from, runtime=runtime)


def loader_text(
    device: DeviceSpec, input_shape: Shape, *, mean: Sequence[float], std: Sequence[float]
) -> str:
    """Return a Python file that runs the model without latkit.

    Args:
        device: Whose settings of the runtime the latency is measured with.
        input_shape: ``(N, 3, H, W)``.
        mean: Of each channel, taken from pixels in [0, 1].
        std: Of each channel, divided by.
    """
    from devices.onnx_runtime.cpu import LEVELS  # a bundle is written where its runtime is

    return LOADER_TEXT.format(
        threads=device.threads,
        level=LEVELS[device.optimization],
        spinning=int(device.spinning),
        batch=input_shape[0],
        shape="x".join(map(str, input_shape)),
        mean=[round(value, 6) for value in mean],
        std=[round(value, 6) for value in std],
    )


def notes_text(*, data: str, weights: Weights, classes: int, images: int) -> str:
    """Return what is to be known of rights in a model and in the images beside it.

    Args:
        data: Name of the data that it was trained on.
        weights: Whose they are.
        classes: That it tells apart.
        images: Of the data that are in the bundle.
    """
    terms = KNOWN_TERMS.get(data, OWN_TERMS)
    return NOTES_TEXT.format(
        data=data, weights=WEIGHTS[weights], classes=classes, images=images, terms=terms
    )
