"""Operators that others timed on GPUs through TensorRT, as kernels of a roofline.

Source:
    Convolutions on a V100 in fp16: alibaba/lightweight-neural-architecture-search. Blocks on a
    GTX 1080 Ti, taken for fp32: FasterSeg (Chen et al., ICLR 2020), whose released operations say
    what a block computes. Ten of its rows, heads and fusions of branches, are left out.
"""

import csv
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices import Roofline, Shape, device_named
from devices.on_paper.workload import Workload, convolution
from lut.on_paper.estimates import roofline_of

CONVOLUTIONS = "op_tables/v100_tensorrt_conv_fp16.csv.gz"
BLOCKS = "op_tables/fasterseg_1080ti_tensorrt.csv"

BLOCK = re.compile(
    r"(?P<kind>\w+?)_H(?P<h>\d+)_W(?P<w>\d+)_Cin(?P<cin>\d+)_Cout(?P<cout>\d+)"
    r"(_kernel(?P<kernel>\d))?_stride(?P<stride>\d)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What was timed on one GPU.

    Attributes:
        name: For people.
        roofline: Of that GPU, not calibrated.
        kernels: Of each row.
        measured_s: ``(rows,)`` seconds.
    """

    name: str
    roofline: Roofline
    kernels: tuple[tuple[Workload, ...], ...]
    measured_s: NDArray[np.float64]

    @property
    def parts_s(self) -> NDArray[np.float64]:
        """``(rows, 4)`` seconds by the sheet: launches, matrix and vector units, memory."""
        return np.array([self.roofline.parts_s(each) for each in self.kernels])

    @property
    def operations(self) -> NDArray[np.float64]:
        """``(rows,)``, on whatever units."""
        return np.array([sum(k.matrix_ops + k.vector_ops for k in each) for each in self.kernels])

    @property
    def moved(self) -> NDArray[np.float64]:
        """``(rows,)`` numbers read and written."""
        return np.array([sum(k.moved for k in each) for each in self.kernels], float)


def read_convolutions(folder: Path, *, every: int = 1) -> Rows:
    """Read the convolutions on a V100.

    Args:
        folder: With the data that others published.
        every: Take one row of so many.
    """
    with gzip.open(folder / CONVOLUTIONS, "rt") as file:
        rows = list(csv.DictReader(file))[::every]
    return Rows(
        name="V100, fp16 convolutions",
        roofline=roofline_of(device_named("v100-roofline")),
        kernels=tuple((_row(row),) for row in rows),
        measured_s=np.array([float(row["latency_ms"]) * 1e-3 for row in rows]),
    )


def read_blocks(folder: Path) -> Rows:
    """Read the blocks on a GTX 1080 Ti."""
    kernels, measured_s = [], []
    with (folder / BLOCKS).open() as file:
        for row in csv.DictReader(file):
            found = BLOCK.match(row["op"])
            if found:
                sizes = {k: int(v) for k, v in found.groupdict("3").items() if k != "kind"}
                kernels.append(tuple(block_kernels(found["kind"], **sizes)))
                measured_s.append(float(row["latency_ms"]) * 1e-3)
    return Rows(
        name="GTX 1080 Ti, fp32 blocks",
        roofline=roofline_of(device_named("gtx-1080-ti-roofline")),
        kernels=tuple(kernels),
        measured_s=np.array(measured_s),
    )


def _row(row: dict[str, str]) -> Workload:
    names = ("batch", "in_c", "in_h", "in_w", "out_c", "kernel", "stride")
    batch, cin, height, width, cout, kernel, stride = (int(row[name]) for name in names)
    return convolution(
        inputs=(batch, cin, height, width),
        outputs=(batch, cout, -(-height // stride), -(-width // stride)),
        weight=(cout, 1 if row["type"] == "Depthwise" else cin, kernel, kernel),
    )


def block_kernels(
    kind: str, *, h: int, w: int, cin: int, cout: int, kernel: int, stride: int
) -> Iterator[Workload]:
    """Yield the kernels of one of FasterSeg's blocks, batch 1.

    Args:
        kind: Its class in the released operations.
        h: Height of the input.
        w: Width of the input.
        cin: Input channels.
        cout: Output channels.
        kernel: Side of the kernel of a ``ConvNorm``; the others have their own.
        stride: Of the block.
    """
    here, out = (1, cin, h, w), (1, cout, h // stride, w // stride)
    half = (1, cin, h // 2, w // 2)
    if kind in ("ConvNorm", "BasicResidual1x", "BasicResidual2x"):
        yield _conv(here, out, kernel)
    elif kind in ("BasicResidual_downup_1x", "BasicResidual_downup_2x"):
        yield _copy(here, half)
        yield _conv(half, (1, cout, *half[2:]), 3)
        here = (1, cout, *half[2:])
    elif stride == 1:
        yield _conv(here, out, 1)
    else:  # a FactorizedReduce of two convolutions, each of half the channels
        yield from [_conv(here, (1, cout // 2, *out[2:]), 1)] * 2
        yield _copy(out, out)
    if kind == "BasicResidual2x":
        yield _conv(out, out, 3)
    if kind == "BasicResidual_downup_2x":
        yield _conv(here, here, 3)
    if "downup" in kind and stride == 1:
        yield _copy(here, out)


def _conv(inputs: Shape, outputs: Shape, kernel: int) -> Workload:
    weight = (outputs[1], inputs[1], kernel, kernel)
    return convolution(inputs=inputs, outputs=outputs, weight=weight)


def _copy(inputs: Shape, outputs: Shape) -> Workload:
    """Return a kernel that resizes or joins images."""
    return Workload(vector_ops=float(prod(outputs)), moved=prod(inputs) + prod(outputs))
