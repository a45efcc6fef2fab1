"""From an answer to a bundle: for which device it is exported, and whether that confirms it."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from devices import DeviceSpec, Precision, UnknownName, backend_for, device_named, known_devices
from export.bundle.deployment import WrongPrecision, read_graph
from export.bundle.engine_file import check_buildable, write_engine
from export.deploy import AnyRun, Exported, deploy
from export.precision.number_format import PrecisionAsked
from export.progress import bar
from export.roads.retrain import is_final, refuse_without_weights
from export.verdicts.engines import Format
from export.verdicts.ship import Shipped, ship
from search.answers import Answer
from search.final.files import load_final_run
from search.load_supernet import load_supernet
from search.training.trained import load_run_data


def export_run(
    answer: Answer,
    folder: Path,
    *,
    run_dir: Path,
    device: DeviceSpec,
    to: Format = "onnx",
    asked: PrecisionAsked | None = None,
) -> Exported:
    """Export one answer with the weights of the run that it was searched with, or its own.

    Args:
        answer: What to export.
        folder: The deployment directory.
        run_dir: The supernet, or the network trained alone.
        device: What to export for, see `device_of` and `export.verdicts.engines`.
        to: Whether an engine is built beside the model.
        asked: What is wanted of a precision other than fp32; None for the usual.

    Raises:
        InvalidFile: Also where the answer was found without a supernet, and the run is of one.
        DeviceUnavailable: No engine for that device can be built here.
    """
    if to == "tensorrt":
        check_buildable(device)
    refuse_without_weights(answer, run_dir)
    final = is_final(run_dir)
    run: AnyRun = load_final_run(run_dir) if final else load_supernet(run_dir)
    exported = deploy(answer, run, load_run_data(run.record), folder, device=device, asked=asked)
    if to == "tensorrt":
        write_engine(folder, read_graph(folder, exported.deployment.input_shape), device)
    return exported


def ship_run(
    answer: Answer,
    run_dir: Path,
    folder: Path,
    *,
    device: DeviceSpec,
    tries: int,
    table: Path | None,
    quiet: bool,
    to: Format = "onnx",
    asked: PrecisionAsked | None = None,
) -> Shipped:
    """Export an answer, or the first of its runners-up that the device confirms, see `ship`.

    A run of one network alone holds the weights of no runner-up, so there it is that or nothing.
    """
    if is_final(run_dir):
        answer = replace(answer, runners_up=())
    with bar(f"shipping to {device.name}", quiet=quiet) as update:
        return ship(
            answer,
            folder,
            export=partial(export_run, run_dir=run_dir, device=device, to=to, asked=asked),
            device=device,
            tries=tries,
            table=table,
            on_try=lambda number, each: update(number - 1, tries, f"try {number}: {each.arch}"),
        )


def device_of(
    answer: Answer, *, precision: Precision | None = None, given: DeviceSpec | None = None
) -> DeviceSpec:
    """Return the device to export an answer for: the first of its own that fits.

    Args:
        answer: Priced by a table of every device that it names.
        precision: What the model has to be in; None for what the device runs.
        given: The only one to consider, for a device that is in no catalog.

    Raises:
        UnknownName: A device of the answer is not in the catalog, or the one given is not its.
        WrongPrecision: No table that priced the answer is of the precision asked for.
        DeviceUnavailable: That is fp16, and the CPU here would only convert it to fp32 and back.
    """
    if given is not None and given.name not in answer.devices:
        raise UnknownName("device of the architecture", given.name, answer.devices)
    names = answer.devices if given is None else (given.name,)
    known = {name: given or _priced_on(name) for name in names}
    for device in known.values():
        if precision in (None, device.precision):
            return device
    if precision == "fp16":
        _refuse_cast(known.values())
    tables = ", ".join(f"{name!r} ({device.precision})" for name, device in known.items())
    raise WrongPrecision(
        f"the architecture was priced by tables of {tables}, which say nothing of {precision}: "
        f"search with a table of a device with precision: {precision} (latkit devices), or "
        "leave out --precision"
    )


def _refuse_cast(devices: Iterable[DeviceSpec]) -> None:
    """Refuse fp16 on devices that compute none, where searching another table is no cure."""
    for device in devices:
        if device.backend == "onnxruntime" and device.transport is None:
            backend_for(replace(device, precision="fp16", quantization=None))  # or says why not


def _priced_on(name: str) -> DeviceSpec:
    """Return a device of the catalog that an architecture was priced on."""
    try:
        return device_named(name)
    except UnknownName as error:
        cure = "The architecture was priced on it: name its file, --device FILE.yaml."
        raise UnknownName("device", name, known_devices(), cure=cure) from error
