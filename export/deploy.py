"""From an answer and the weights it was found with to a deployment directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from devices import DeviceSpec, Graph, InvalidFile, device_named
from export.bundle.deployment import Deployment, claim_folder, write_deployment
from export.bundle.engine_file import remove_engine
from export.bundle.manifest import MODEL, SIDE_BY_SIDE
from export.bundle.onnx_file import Array, write_onnx
from export.bundle.texts import parity_text, texts_beside
from export.precision.number_format import PARITY_DEVICE, Model, PrecisionAsked, in_format_of
from search.answers import Answer
from search.final.distillation import SECTION
from search.final.files import FinalRun
from search.images.data import ImageData
from search.spaces import space_label
from search.supernets.evaluation import calibration_images, final_weights
from search.training.trained import TrainedRun

AnyRun: TypeAlias = TrainedRun | FinalRun
"""Where weights come from: a supernet, or a network that was trained alone."""

REFERENCE_IMAGES = 8
"""Images of the test split whose logits are stored with a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What exporting made.

    Attributes:
        deployment: The promise that was written.
        test_accuracy: Top-1 in [0, 1] on the test split, which nothing was chosen by.
        shortfall: What was asked of the precision and could not be had; empty where nothing.
        floats: The same network in fp32, where it was exported in another precision.
    """

    deployment: Deployment
    test_accuracy: float
    shortfall: str = ""
    floats: Graph | None = None


def deploy(
    answer: Answer,
    run: AnyRun,
    data: ImageData,
    folder: Path,
    *,
    device: DeviceSpec,
    asked: PrecisionAsked | None = None,
) -> Exported:
    """Write the chosen network alone, with what is needed to verify it elsewhere.

    Args:
        answer: What to export.
        run: The supernet that it was searched with, or the network trained alone.
        data: What that was trained on.
        folder: Made if it is not there.
        device: In whose precision; the limit is promised on it if it is one of the answer's.
        asked: What is wanted of a precision other than fp32; None for the usual.

    Raises:
        BadCalibration: Images cannot tell the ranges of integers.
        InvalidFile: The answer is of another space than the run, or of another architecture
            than the one that was trained alone; or there are other files in the folder.
        CannotWrite: The folder cannot be made, or nothing can be written there.
        ParityFailed: The file computes something else than the network.
    """
    _check_fit(answer, run)
    claim_folder(folder)
    asked = asked or PrecisionAsked()
    shape = answer.space.input_shape
    network = _network(answer, run, calibration_images(data.training))
    images = _images(data, count=max(1, REFERENCE_IMAGES // shape[0]) * shape[0])
    model = in_format_of(device, network, images, data, input_shape=shape, asked=asked)
    limit_s, predicted_s, interval_s = _promise(answer, device)
    deployment = Deployment(
        arch=str(answer.arch),
        space=space_label(answer.space),
        sha256=sha256(model.graph.onnx).hexdigest(),
        input_shape=shape,
        precision=device.precision,
        device=device.name,
        limit_s=limit_s,
        predicted_s=predicted_s if model.as_priced else None,
        interval_s=interval_s if model.as_priced else None,
        parity_max_abs=model.parity_max_abs,
        facts={"test_accuracy": model.test_accuracy, **model.facts, **_facts(answer, run, data)},
        weights="final" if isinstance(run, FinalRun) else "inherited",
        **_priced_by(answer, device),
    )
    _write(folder, deployment, answer, data, device=device, model=model, images=images)
    return Exported(
        deployment=deployment,
        test_accuracy=model.test_accuracy,
        shortfall=model.shortfall,
        floats=None if model.graph == model.floats else model.floats,
    )


def _write(
    folder: Path,
    deployment: Deployment,
    answer: Answer,
    data: ImageData,
    *,
    device: DeviceSpec,
    model: Model,
    images: Array,
) -> None:
    """Write the bundle, as quickly as can be: a kill in between leaves one that is refused."""
    report = parity_text(
        model.graph,
        model.float_logits,
        images,
        deployment=deployment,
        images_from=f"the test split of {data.name}",
        device=device_named(PARITY_DEVICE),
    )
    beside = texts_beside(
        deployment, answer, data, device=device, parity=report, images=len(images)
    )
    write_onnx(model.graph, folder / MODEL)
    remove_engine(folder)  # of another model that was here
    (folder / SIDE_BY_SIDE).unlink(missing_ok=True)
    write_deployment(folder, deployment, images, model.logits, beside=beside)


def _check_fit(answer: Answer, run: AnyRun) -> None:
    """Check that a run holds the weights of an answer's network."""
    space = run.space if isinstance(run, FinalRun) else run.supernet.space
    if answer.space != space:
        raise InvalidFile(
            f"the architecture is of space {answer.space.name!r} {space_label(answer.space)}, "
            f"the run of {space_label(space)}: give the run it was searched with"
        )
    if isinstance(run, FinalRun) and answer.space.alone(answer.arch) != run.arch:
        raise InvalidFile(
            f"the run trained {run.arch} alone and holds no weights of {answer.arch}: give the "
            f"run of the supernet, or train it: latkit train final ARCH.json -o ANOTHER_RUN"
        )


def _promise(
    answer: Answer, device: DeviceSpec
) -> tuple[float | None, float | None, tuple[float, float] | None]:
    """Return limit, prediction and its interval in seconds; nothing where no table priced it."""
    if device.name not in answer.devices:
        return None, None, None
    here = answer.devices.index(device.name)
    return answer.limits_s[here], answer.predicted_s[here], answer.interval_s[here]


def _priced_by(answer: Answer, device: DeviceSpec) -> dict[str, Any]:
    """Return hash and revision of the table that made the promise; nothing where none did."""
    if device.name not in answer.devices:
        return {}
    here = answer.devices.index(device.name)
    revision = answer.revisions[here] if answer.revisions else 0  # latkit 0.1 counted none
    return {"table_hash": answer.table_hashes[here], "table_revision": revision}


def _network(answer: Answer, run: AnyRun, calibration: Sequence[Tensor]) -> nn.Module:
    """Return the network as it ships; one that was trained alone has statistics of its own."""
    if isinstance(run, FinalRun):
        return run.network
    return final_weights(run.supernet, answer.arch, calibration)


def _facts(answer: Answer, run: AnyRun, data: ImageData) -> dict[str, Any]:
    """Return what is to be known of a network in any precision."""
    return {
        **_accuracy_facts(answer, run, data),
        "data": data.name,
        "fingerprint": data.fingerprint,
        "skipped": bool(data.skipped),
        "classes": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "method": answer.method,
        "seed": answer.seed,
        "versions": dict(run.record.versions),
    }


def _accuracy_facts(answer: Answer, run: AnyRun, data: ImageData) -> dict[str, Any]:
    if not isinstance(run, FinalRun):
        return {
            "validation_accuracy": answer.accuracy,
            "accuracy_from": answer.accuracy_from,
            "weights_from": run.weights_from,
        }
    return {
        "validation_accuracy": run.validation.averaged,
        "accuracy_from": (
            f"trained alone for {run.epoch} of {run.record.settings.epochs} epochs{_taught(run)}, "
            f"weights averaged, {len(data.validation)} validation images"
        ),
        "validation_accuracy_inherited": answer.accuracy,
    }


def _taught(run: FinalRun) -> str:
    taught = run.record.options.get(SECTION)
    return "" if taught is None else f", taught by {taught['teacher']}"


def _images(data: ImageData, *, count: int) -> Array:
    """Return the first test images, ``(count, 3, H, W)``, as the network takes them."""
    images, _ = next(data.test.batches(count))
    values: Array = images.contiguous().numpy()
    return values
