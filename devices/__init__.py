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
from devices.on_paper.roofline import Roofline, Slowdown, fitted_slowdown, held_out_ratios
from devices.spec import DeviceSpec, Gpu, Precision, Quantization, Simulation, Transport
from devices.spec_sheet import SpecSheet

__all__ = [
    "BACKENDS",
    "IR_VERSION",
    "OPSET",
    "Backend",
    "DeviceSpec",
    "DeviceUnavailable",
    "Gpu",
    "Graph",
    "Host",
    "InvalidFile",
    "Kernel",
    "LatkitError",
    "LoadReading",
    "Precision",
    "Quantization",
    "Roofline",
    "Session",
    "Shape",
    "Simulation",
    "Slowdown",
    "SpecSheet",
    "Tensors",
    "Trace",
    "Transport",
    "UnknownName",
    "UnsupportedGraph",
    "backend_for",
    "device_from_fields",
    "device_named",
    "fitted_slowdown",
    "held_out_ratios",
    "known_devices",
]
