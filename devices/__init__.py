"""Devices: what can run a network, and how to ask it to."""

from devices.backend import BACKENDS, Backend, Session, Tensors, backend_for
from devices.catalog import device_from_fields, device_named, known_devices
from devices.errors import (
    DeviceUnavailable,
    InvalidFile,
    LatkitError,
    UnknownName,
    UnsupportedGraph,
)
from devices.graph import IR_VERSION, OPSET, Graph, Shape
from devices.host import Host, LoadReading
from devices.kernels import Kernel, Trace
from devices.spec import DeviceSpec, Precision, Quantization, Simulation

__all__ = [
    "BACKENDS",
    "IR_VERSION",
    "OPSET",
    "Backend",
    "DeviceSpec",
    "DeviceUnavailable",
    "Graph",
    "Host",
    "InvalidFile",
    "Kernel",
    "LatkitError",
    "LoadReading",
    "Precision",
    "Quantization",
    "Session",
    "Shape",
    "Simulation",
    "Tensors",
    "Trace",
    "UnknownName",
    "UnsupportedGraph",
    "backend_for",
    "device_from_fields",
    "device_named",
    "known_devices",
]
