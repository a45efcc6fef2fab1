"""A deployment directory: a model, what was promised of it, and enough to check it anywhere.

model.onnx          the network
model.engine        the same as an engine of TensorRT, where one was exported: `export.engine_file`
deployment.json     `Deployment`: architecture, sha256 of the model, limit, prediction
reference.npz       ``images`` and the ``logits`` that the model has to give for them
verdict.json        the last `Verdict`, once there is one
verdicts.jsonl      every verdict with its raw samples, oldest first

The logits of an fp32 or fp16 model are the trained network's own. A quantised model computes
another function: its logits are its own, each node by itself as ONNX defines it, and every
runtime's fused integer kernels have to reproduce them. How far they are from the trained network's,
and what that costs in accuracy, is in the facts.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from devices import DeviceSpec, Graph, InvalidFile, LatkitError, Precision, Shape
from devices.files import sha256_of, write_atomically

MODEL, DESCRIPTION, REFERENCE = "model.onnx", "deployment.json", "reference.npz"
ENGINE = "model.engine"
VERDICT, HISTORY = "verdict.json", "verdicts.jsonl"

Weights = Literal["inherited", "final"]
"""Whether the weights are a supernet's, or the architecture was trained alone."""


class WrongPrecision(LatkitError):
    """A model, a table and a device are not of one precision: none says anything of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What a deployment directory promises.

    Attributes:
        arch: The architecture as text.
        space: Label of its space, see `search.spaces.space_label`.
        sha256: Of the model file.
        input_shape: ``(N, 3, H, W)``.
        precision: Number format of the model.
        device: Name of the device that it was made for.
        limit_s: Largest acceptable latency on that device; None if nothing was promised.
        predicted_s: Predicted seconds on that device; None where no table priced it.
        interval_s: Where the measured seconds should lie; None without a prediction.
        parity_max_abs: Largest difference between the file's logits and the reference's, here.
        facts: Accuracy, seeds, settings and versions, for people and for the report.
        weights: ``"inherited"`` from a supernet, or ``"final"``: trained alone.
    """

    arch: str
    space: dict[str, Any]
    sha256: str
    input_shape: tuple[int, ...]
    precision: Precision
    device: str
    limit_s: float | None
    predicted_s: float | None
    interval_s: tuple[float, float] | None
    parity_max_abs: float
    facts: dict[str, Any]
    weights: Weights = "inherited"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f"no precision is called {self.precision!r}")
        if self.weights not in get_args(Weights):
            raise ValueError(f"no weights are called {self.weights!r}")

    def as_json(self) -> dict[str, Any]:
        """Return plain data; latencies in milliseconds."""
        interval = self.interval_s and [end * 1e3 for end in self.interval_s]
        return {
            "arch": self.arch,
            "space": self.space,
            "sha256": self.sha256,
            "input_shape": list(self.input_shape),
            "precision": self.precision,
            "device": self.device,
            "limit_ms": None if self.limit_s is None else self.limit_s * 1e3,
            "predicted_ms": None if self.predicted_s is None else self.predicted_s * 1e3,
            "interval_ms": interval,
            "parity_max_abs": self.parity_max_abs,
            "weights": self.weights,
            "facts": self.facts,
        }

    def require(self, device: DeviceSpec) -> None:
        """Check that a device runs networks of this model's precision.

        Raises:
            WrongPrecision: It does not, so its latency would be nobody's.
        """
        if device.precision != self.precision:
            raise WrongPrecision(
                f"the model is {self.precision}, device {device.name!r} is {device.precision}: "
                f"verify on a device with precision: {self.precision}, such as {self.device!r}"
            )


def write_deployment(
    folder: Path,
    deployment: Deployment,
    images: NDArray[np.float32],
    logits: NDArray[np.float32],
) -> None:
    """Write everything but the model, which is there already.

    Args:
        folder: Holds the model.
        deployment: What to promise.
        images: ``(n, 3, H, W)`` as the network takes them.
        logits: ``(n, classes)`` that the model has to give.
    """
    partial = folder / f"{REFERENCE}.partial.npz"
    np.savez_compressed(partial, images=images, logits=logits)
    partial.replace(folder / REFERENCE)
    content = json.dumps(deployment.as_json(), indent=2) + "\n"
    write_atomically(folder / DESCRIPTION, content.encode())


def read_deployment(folder: Path) -> Deployment:
    """Read a deployment and check that its model is the one it was written for.

    Raises:
        InvalidFile: The directory is none of ours, a file is missing, or the model was altered.
    """
    path = folder / DESCRIPTION
    try:
        deployment = _deployment(json.loads(path.read_text()))
    except OSError as error:
        raise InvalidFile(
            f"{folder} is no deployment directory: cannot read {DESCRIPTION} "
            f"({error.strerror}). Make one: latkit export"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFile(f"{path} is damaged ({error!r}). Export again: latkit export") from error
    model = folder / MODEL
    if not model.is_file():
        raise InvalidFile(f"{model} is missing. Export again: latkit export")
    found = sha256_of(model)
    if found != deployment.sha256:
        raise InvalidFile(
            f"{model} was altered: its sha256 begins with {found[:12]}, the deployment was written "
            f"for {deployment.sha256[:12]}. Restore the file, or export again: latkit export"
        )
    return deployment


def read_graph(folder: Path, input_shape: Shape, *, engine: bool = False) -> Graph:
    """Read the model as what a device eats.

    Args:
        folder: Holds the model.
        input_shape: ``(N, 3, H, W)``.
        engine: Whether the engine beside it is what runs.
    """
    import onnx

    content = (folder / MODEL).read_bytes()
    name = onnx.load_from_string(content).graph.input[0].name
    built = (folder / ENGINE).read_bytes() if engine else None
    return Graph(onnx=content, inputs=((name, input_shape),), engine=built)


def read_reference(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read the images ``(n, 3, H, W)`` and the logits ``(n, classes)`` that belong to them.

    Raises:
        InvalidFile: The file is missing or damaged.
    """
    path = folder / REFERENCE
    try:
        with np.load(path) as arrays:
            return arrays["images"], arrays["logits"]
    except (OSError, KeyError, ValueError) as error:
        raise InvalidFile(f"{path} is missing or damaged ({error}). Export again") from error


def _deployment(values: dict[str, Any]) -> Deployment:
    limit, predicted = values["limit_ms"], values["predicted_ms"]
    interval = values["interval_ms"]
    return Deployment(
        arch=str(values["arch"]),
        space=dict(values["space"]),
        sha256=str(values["sha256"]),
        input_shape=tuple(map(int, values["input_shape"])),
        precision=values.get("precision", "fp32"),  # older files are all fp32
        device=str(values["device"]),
        limit_s=None if limit is None else float(limit) * 1e-3,
        predicted_s=None if predicted is None else float(predicted) * 1e-3,
        interval_s=None if interval is None else (interval[0] * 1e-3, interval[1] * 1e-3),
        parity_max_abs=float(values["parity_max_abs"]),
        facts=dict(values["facts"]),
        weights=values.get("weights", "inherited"),  # older files know no others
    )
