"""Devices, graphs and arrays as plain data, for programs on two machines that speak in JSON.

Reading needs nothing but the standard library and numpy: a board has no pydantic.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.spec import DeviceSpec, Gpu, Quantization, Simulation

_PARTS = {"quantization": Quantization, "gpu": Gpu, "simulation": Simulation}


def device_to_plain(device: DeviceSpec) -> dict[str, Any]:
    """Return a device as it is seen from itself: without the way to it."""
    fields = asdict(device)
    del fields["transport"]
    return fields


def device_from_plain(fields: Mapping[str, Any]) -> DeviceSpec:
    """Return the device that `device_to_plain` made plain."""
    parts = {
        key: make(**fields[key]) for key, make in _PARTS.items() if fields.get(key) is not None
    }
    return DeviceSpec(**{**fields, "affinity": tuple(fields["affinity"]), **parts})


def array_to_plain(array: NDArray[Any]) -> str:
    """Return an array as text, with its shape and type."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return base64.b64encode(buffer.getvalue()).decode()


def array_from_plain(text: str) -> NDArray[Any]:
    """Return the array that `array_to_plain` made plain; text alone never runs code."""
    loaded: NDArray[Any] = np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
    return loaded
