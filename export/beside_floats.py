"""An exported model, timed beside the network in fp32 that it was made from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices import DeviceSpec, DeviceUnavailable, Graph
from devices.files import write_atomically
from export.bundle.manifest import SIDE_BY_SIDE
from export.deploy import Exported
from profiler import Unmeasurable
from profiler.whole_models.side_by_side import side_by_side


def time_beside(
    folder: Path,
    exported: Exported,
    graph: Graph,
    device: DeviceSpec,
    *,
    on_process: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Time an exported model beside the network in fp32, and write what was found; return it.

    Args:
        folder: The deployment directory.
        exported: What was exported, in another precision than fp32.
        graph: The model.
        device: Where.
        on_process: Called with the number of fresh processes done.

    Returns:
        The figures; or why there are none, where the device is not here or cannot run both.
    """
    assert exported.floats is not None
    try:
        found = side_by_side(exported.floats, graph, device, on_process=on_process)
    except (DeviceUnavailable, Unmeasurable) as error:
        return {"not_measured": str(error)}
    facts = {"device": device.name, "sha256": exported.deployment.sha256, **found.as_json()}
    write_atomically(folder / SIDE_BY_SIDE, (json.dumps(facts, indent=2) + "\n").encode())
    return facts
