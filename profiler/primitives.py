"""The few layers that every operator here is made of.

One description serves three readers: `profiler.builders` turns it into ONNX, `profiler.modules`
into torch, `profiler.costs` into operations and parameters. None of them knows an operator.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Activation = Literal["none", "relu", "relu6", "hswish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNorm:
    """Convolution without bias, batch norm, activation; padded to keep the size at stride 1.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        in_channels: Input channels.
        out_channels: Output channels.
        kernel: Side of the kernel, odd.
        stride: Stride in both directions.
        groups: Groups; ``in_channels`` for a depthwise convolution.
        activation: What follows the batch norm.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    groups: int = 1
    activation: Activation = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqueezeExcite:
    """Channel attention: pool, 1x1 with bias, ReLU, 1x1 with bias, hard sigmoid, multiply.

    Source:
        Hu et al., Squeeze-and-Excitation Networks, CVPR 2018; hard sigmoid gate as in
        Howard et al., MobileNetV3, ICCV 2019, section 5.3.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        channels: Channels that are weighted.
        squeeze: Channels in between.
    """

    name: str
    channels: int
    squeeze: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalPool:
    """Mean over height and width: ``(N, C, H, W)`` to ``(N, C, 1, 1)``."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Flatten, then an affine map: ``(N, C, 1, 1)`` to ``(N, out_features)``."""

    name: str
    in_features: int
    out_features: int


Primitive: TypeAlias = ConvNorm | SqueezeExcite | GlobalPool | Linear
