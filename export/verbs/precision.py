"""What ``latkit export`` asks of a number format, and measures of it."""

from pathlib import Path
from typing import Any

from devices import DeviceSpec
from export.beside_floats import time_beside
from export.bundle.deployment import read_graph
from export.deploy import Exported
from export.precision.calibration import CalibrationAsked
from export.precision.number_format import PrecisionAsked
from export.precision.quantize import MAX_DROP_POINTS
from export.progress import counting
from export.verbs.report import UsageError
from profiler.whole_models.side_by_side import PROCESSES


def precision_asked(
    device: DeviceSpec, source: str, images: int | None, max_drop_points: float | None
) -> PrecisionAsked:
    """Return what the command line asks of int8.

    Raises:
        UsageError: It does, and the device is of another precision.
        BadCalibration: It asks for too few images.
    """
    given = {"--calibrate": source, "--calibration-images": images, "--max-drop": max_drop_points}
    named = [name for name, value in given.items() if value not in ("", None)]
    if named and device.quantization is None:
        raise UsageError(
            f"{named[0]} is of int8, and device {device.name!r} is {device.precision}: search with "
            "a table of an int8 device, such as cpu-int8."
        )
    return PrecisionAsked(
        calibration=CalibrationAsked(source=source, images=images),
        max_drop_points=MAX_DROP_POINTS if max_drop_points is None else max_drop_points,
    )


def beside_facts(
    folder: Path, exported: Exported, device: DeviceSpec, *, quiet: bool
) -> dict[str, Any]:
    """Time an exported model beside the same network in fp32, where it is not in fp32 itself.

    Args:
        folder: The deployment directory.
        exported: What was exported.
        device: Where.
        quiet: Whether to show no progress.
    """
    if exported.floats is None:
        return {}
    shape = exported.deployment.input_shape
    graph = read_graph(folder, shape)
    with counting(f"timing it beside fp32 on {device.name}", PROCESSES, quiet=quiet) as on_process:
        found = time_beside(folder, exported, graph, device, on_process=on_process)
    return {"side_by_side": found}
