"""What a bundle promises of its model, and the sample that the model is checked by.

The logits of an fp32 or fp16 model are the trained network's own. A quantised model computes
another function: its logits are its own, each node by itself as ONNX defines it, and every
runtime's fused integer kernels have to reproduce them. How far they are from the trained network's,
and what that costs in accuracy, is in the facts.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from devices import DeviceSpec, Graph, InvalidFile, LatkitError, Precision, Shape
from devices.errors import reason_of
from devices.files import PARTIAL, CannotWrite, whole, write_atomically
from devices.places import check_folder
from export.bundle.manifest import (
    ARCHITECTURE,
    DESCRIPTION,
    ENGINE,
    FORMAT,
    LOADER,
    MANIFEST,
    MODEL,
    NOTES,
    PARITY,
    REFERENCE,
    SIDE_BY_SIDE,
    VERDICT,
    Manifest,
    read_manifest,
    refuse_newer,
    seal,
)

UNREADABLE = (
    *(OSError, EOFError, ValueError, BadZipFile, zlib.error),
    *(AttributeError, TypeError),  # an array alone, where an archive should be
)
"""What numpy raises when a file is no archive of arrays. No torch, no Pillow: see `verify`."""

Weights = Literal["inherited", "final"]
"""Whether the weights are a supernet's, or the architecture was trained alone."""


BEGUN = frozenset({MODEL, REFERENCE, ENGINE, SIDE_BY_SIDE})
"""What may lie where an export was killed before it came to the description."""


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
        table_hash: Conditions and rows of the table that priced it; None where none did.
        table_revision: How many verdicts that table's calibration had learnt from.
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
    table_hash: str | None = None
    table_revision: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f"no precision is called {self.precision!r}")
        if self.weights not in get_args(Weights):
            raise ValueError(f"no weights are called {self.weights!r}")

    def as_json(self) -> dict[str, Any]:
        """Return plain data; latencies in milliseconds."""
        interval = self.interval_s and [end * 1e3 for end in self.interval_s]
        return {
            "format": FORMAT,
            "arch": self.arch,
            "space": self.space,
            "sha256": self.sha256,
            "input_shape": list(self.input_shape),
            "precision": self.precision,
            "device": self.device,
            "limit_ms": None if self.limit_s is None else self.limit_s * 1e3,
            "predicted_ms": None if self.predicted_s is None else self.predicted_s * 1e3,
            "interval_ms": interval,
            "table_hash": self.table_hash,
            "table_revision": self.table_revision,
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


def claim_folder(folder: Path) -> None:
    """Make the folder of a bundle where there is none; before anything is made for it.

    Raises:
        InvalidFile: It holds files of somebody else, which an export might replace.
        CannotWrite: It cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in folder.iterdir() if PARTIAL not in path.name}
    except OSError as error:
        raise CannotWrite(
            f"cannot make the directory {folder}: {error.strerror}. Name another one"
        ) from error
    foreign = set() if DESCRIPTION in there else there - BEGUN
    if foreign:
        raise InvalidFile(
            f"{folder} holds other files, such as {min(foreign)}: a bundle needs a directory of "
            "its own. Name a new one"
        )
    check_folder(folder)


def write_deployment(
    folder: Path,
    deployment: Deployment,
    images: NDArray[np.float32],
    logits: NDArray[np.float32],
    *,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Write everything but the model, which is there already, and seal the bundle.

    What an earlier export left is replaced or removed; only the history of verdicts stays, since
    each names the sha256 of its model.

    Args:
        folder: Holds the model.
        deployment: What to promise.
        images: ``(n, 3, H, W)`` as the network takes them.
        logits: ``(n, classes)`` that the model has to give.
        beside: Text of more files, of those that a bundle has: architecture, parity, loader, notes.
    """
    with whole(folder / REFERENCE) as partial, partial.open("wb") as file:
        np.savez_compressed(file, images=images, logits=logits)
    content = json.dumps(deployment.as_json(), indent=2) + "\n"
    texts = {DESCRIPTION: content, **(beside or {})}
    for name in (VERDICT, ARCHITECTURE, PARITY, LOADER, NOTES):
        (folder / name).unlink(missing_ok=True)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    seal(folder)


def read_deployment(folder: Path) -> Deployment:
    """Read a deployment and check that its files are those that it was written with.

    Raises:
        NewerBundle: It is of a later format.
        InvalidFile: The directory is none of ours, a file is missing, or one was altered.
    """
    manifest = read_manifest(folder)
    if manifest is not None:
        manifest.check(folder)
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_text())
        deployment, written_as = _deployment(values), int(values.get("format", 1))
    except OSError as error:
        raise InvalidFile(
            f"{folder} is no deployment directory: cannot read {DESCRIPTION} "
            f"({error.strerror}). Make one: latkit export"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} is damaged ({reason_of(error)}). Export again: latkit export"
        ) from error
    refuse_newer(written_as, folder)
    if manifest is None and written_as > 1:
        raise InvalidFile(f"{folder / MANIFEST} is missing. Copy the whole bundle")
    Manifest(files={MODEL: deployment.sha256}).check(folder)
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
        with path.open("rb") as file, np.load(file) as arrays:
            return arrays["images"], arrays["logits"]
    except (*UNREADABLE, KeyError) as error:
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
        table_hash=values.get("table_hash"),
        table_revision=values.get("table_revision"),
    )
