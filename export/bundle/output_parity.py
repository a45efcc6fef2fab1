"""How far the outputs of an exported file are from those of the network in torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from export.bundle.onnx_file import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputParity:
    """One output, compared image by image.

    Attributes:
        name: Of the output in the file.
        shape: ``(images, classes)``.
        largest: Largest absolute value that torch gives.
        max_abs: Largest absolute difference.
        mean_abs: Mean absolute difference.
        top1_agreement: Share of images, in [0, 1], with the same largest class.
        tolerance: What ``max_abs`` may be at most; None where the file is meant to be another
            function than the network, as in int8.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    max_abs: float
    mean_abs: float
    top1_agreement: float
    tolerance: float | None

    @property
    def within(self) -> bool:
        """Whether the difference is within the tolerance; true where there is none."""
        return self.tolerance is None or self.max_abs <= self.tolerance


def output_parity(
    name: str, found: Array, expected: Array, *, tolerance: float | None
) -> OutputParity:
    """Compare one output of a file with torch's.

    Args:
        name: Of the output.
        found: ``(images, classes)``, by the file.
        expected: The same, by torch in fp32.
        tolerance: Largest absolute difference to accept; None for any.

    Raises:
        ValueError: The shapes differ.
    """
    if found.shape != expected.shape:
        raise ValueError(f"logits of {found.shape} against {expected.shape}")
    apart = np.abs(found - expected)
    return OutputParity(
        name=name,
        shape=found.shape,
        largest=float(np.abs(expected).max()),
        max_abs=float(apart.max()),
        mean_abs=float(apart.mean()),
        top1_agreement=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        tolerance=tolerance,
    )


def parity_json(outputs: Sequence[OutputParity], *, images_from: str, runtime: str) -> str:
    """Return the text of a bundle's ``parity.json``.

    Args:
        outputs: One or more, of the same images.
        images_from: What the images are: real ones of which data, or random ones.
        runtime: What ran the file.
    """
    values: Mapping[str, Any] = {
        "images": outputs[0].shape[0],
        "images_from": images_from,
        "against": "the network in torch, fp32",
        "runtime": runtime,
        "outputs": [{**asdict(output), "within": output.within} for output in outputs],
    }
    return json.dumps(values, indent=2) + "\n"
