"""The operators that are worth timing, as data.

Every kind is a frozen dataclass that describes itself completely, input shape included, because
it is the key under which a latency is stored. A kind offers the same five properties:
``input_shape``, ``output_shape``, ``primitives`` (what it computes, see
`profiler.operators.primitives`), ``residual`` (whether its input is added to its output) and
``str()``, which people read. To add a kind (an edge of NAS-Bench-201, say), write its dataclass
and add it to `profiler.operators.chains.KINDS`.
"""

from dataclasses import dataclass
from typing import TypeAlias, get_args

from devices import Shape
from profiler.operators.cells import Cell, EqualCells, NormHead, ResidualBlock
from profiler.operators.darts_cells import CellStack, PoolHead, Preparation
from profiler.operators.primitives import (
    Activation,
    ConvNorm,
    GlobalPool,
    Linear,
    Lowering,
    MixedDepthwise,
    Primitive,
    SqueezeExcite,
)
from profiler.operators.shapes import Ending, Straight, check_odd, checked, shape_text, strided


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Straight):
    """Convolution, batch norm, activation: stems, and identities that change the shape.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        channels: Output channels.
        kernel: Side of the kernel, odd.
        stride: Stride in both directions.
        activation: What follows the batch norm.
    """

    input_shape: Shape
    channels: int
    kernel: int = 1
    stride: int = 1
    activation: Activation = "none"

    def __post_init__(self) -> None:
        checked(self.input_shape)
        check_odd(self.kernel)

    def __str__(self) -> str:
        act = "" if self.activation == "none" else f" {self.activation}"
        where = f"{shape_text(self.input_shape)} -> {self.channels}"
        return f"conv {where} k{self.kernel} s{self.stride}{act}"

    @property
    def output_shape(self) -> Shape:
        """``(N, channels, H / stride, W / stride)``, rounded up."""
        return strided(self.input_shape, self.channels, self.stride)

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """One convolution."""
        return (
            ConvNorm(
                name="conv",
                in_channels=self.input_shape[1],
                out_channels=self.channels,
                kernel=self.kernel,
                stride=self.stride,
                activation=self.activation,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MBConv:
    """Inverted bottleneck: 1x1 expand, depthwise ``kernel``, squeeze-excite, 1x1 project.

    The expanding convolution is left out at ``expand`` 1. The input is added to the output
    where the shape stays the same.

    Source:
        Sandler et al., MobileNetV2, CVPR 2018, section 3; squeeze-excite after the depthwise
        convolution as in Howard et al., MobileNetV3, ICCV 2019.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        channels: Output channels.
        kernel: Side of the depthwise kernel, odd.
        stride: Stride of the depthwise convolution.
        expand: Hidden channels over input channels.
        squeeze: Channels of the squeeze-excite; 0 for none.
        activation: After the first two convolutions.
    """

    input_shape: Shape
    channels: int
    kernel: int = 3
    stride: int = 1
    expand: int = 6
    squeeze: int = 0
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        checked(self.input_shape)
        check_odd(self.kernel)
        if self.expand < 1:
            raise ValueError(f"expand must be 1 or more, got {self.expand}")

    def __str__(self) -> str:
        extra = "" if self.activation == "relu" else f" {self.activation}"
        extra += f" se{self.squeeze}" if self.squeeze else ""
        where = f"{shape_text(self.input_shape)} -> {self.channels}"
        return f"mbconv {where} k{self.kernel} s{self.stride} e{self.expand}{extra}"

    @property
    def output_shape(self) -> Shape:
        """``(N, channels, H / stride, W / stride)``, rounded up."""
        return strided(self.input_shape, self.channels, self.stride)

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output: when both have one shape."""
        return self.output_shape == self.input_shape

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """Expand, depthwise, squeeze-excite, project; the first and third if there are any."""
        hidden = self.input_shape[1] * self.expand
        depthwise = ConvNorm(
            name="depthwise",
            in_channels=hidden,
            out_channels=hidden,
            kernel=self.kernel,
            stride=self.stride,
            groups=hidden,
            activation=self.activation,
        )
        return _around(depthwise, hidden, self, expands=self.expand > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unified:
    """SGNAS's unified block as it is extracted: an inverted bottleneck of several kernels.

    Every kernel is that of a group of as many hidden channels as come in, so the number of kernels
    is the expansion rate. Groups are exchangeable, so the kernels are sorted. The expanding
    convolution stays at one kernel, too, as in the supernet.

    Source:
        Huang and Chu, Searching by Generating: Flexible and Efficient One-Shot NAS with
        Architecture Generator, CVPR 2021: the unified block, as the released code builds it.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        channels: Output channels.
        kernels: Sides of the depthwise kernels, odd and ascending; one or more.
        stride: Stride of the depthwise convolutions.
        squeeze: Channels of the squeeze-excite; 0 for none.
        activation: After all convolutions but the last.
        lowering: How kernels of several sizes become nodes, see `MixedDepthwise`.
    """

    input_shape: Shape
    channels: int
    kernels: tuple[int, ...]
    stride: int = 1
    squeeze: int = 0
    activation: Activation = "relu"
    lowering: Lowering = "padded"

    def __post_init__(self) -> None:
        checked(self.input_shape)
        for kernel in self.kernels:
            check_odd(kernel)
        if not self.kernels or list(self.kernels) != sorted(self.kernels):
            raise ValueError(f"kernels are one or more, ascending; got {self.kernels}")
        if self.lowering not in get_args(Lowering):
            raise ValueError(f"a lowering is padded or split, got {self.lowering!r}")

    def __str__(self) -> str:
        extra = "" if self.activation == "relu" else f" {self.activation}"
        extra += f" se{self.squeeze}" if self.squeeze else ""
        extra += " split" if self.lowering == "split" else ""
        where = f"{shape_text(self.input_shape)} -> {self.channels}"
        return f"unified {where} k{'+'.join(map(str, self.kernels))} s{self.stride}{extra}"

    @property
    def expand(self) -> int:
        """Hidden channels over input channels: the number of kernels."""
        return len(self.kernels)

    @property
    def output_shape(self) -> Shape:
        """``(N, channels, H / stride, W / stride)``, rounded up."""
        return strided(self.input_shape, self.channels, self.stride)

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output: when both have one shape."""
        return self.output_shape == self.input_shape

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """Expand, depthwise, squeeze-excite if there is any, project."""
        depthwise = MixedDepthwise(
            name="depthwise",
            width=self.input_shape[1],
            kernels=self.kernels,
            stride=self.stride,
            activation=self.activation,
            lowering=self.lowering,
        )
        return _around(depthwise, depthwise.channels, self, expands=True)


def _around(
    depthwise: Primitive, hidden: int, op: MBConv | Unified, *, expands: bool
) -> tuple[Primitive, ...]:
    """Return an inverted bottleneck around its depthwise part of ``hidden`` channels."""
    expand = ConvNorm(
        name="expand",
        in_channels=op.input_shape[1],
        out_channels=hidden,
        kernel=1,
        activation=op.activation,
    )
    attention = SqueezeExcite(name="attention", channels=hidden, squeeze=op.squeeze)
    project = ConvNorm(name="project", in_channels=hidden, out_channels=op.channels, kernel=1)
    return (
        *((expand,) if expands else ()),
        depthwise,
        *((attention,) if op.squeeze else ()),
        project,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip(Straight):
    """The layer that is not there: its output is its input."""

    input_shape: Shape

    def __post_init__(self) -> None:
        checked(self.input_shape)

    def __str__(self) -> str:
        return f"skip {shape_text(self.input_shape)}"

    @property
    def output_shape(self) -> Shape:
        """The input shape."""
        return self.input_shape

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """Nothing."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Straight):
    """Global average pooling; the end of every chain that is timed in context."""

    input_shape: Shape

    def __post_init__(self) -> None:
        checked(self.input_shape)

    def __str__(self) -> str:
        return f"pool {shape_text(self.input_shape)}"

    @property
    def output_shape(self) -> Shape:
        """``(N, C, 1, 1)``."""
        return (*self.input_shape[:2], 1, 1)

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """One pooling."""
        return (GlobalPool(name="pool"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(Ending):
    """1x1 convolution, global pooling, classifier: the end of a network.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        channels: Channels of the 1x1 convolution.
        classes: Logits.
        activation: After the convolution.
    """

    input_shape: Shape
    channels: int
    classes: int
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        checked(self.input_shape)

    def __str__(self) -> str:
        where = shape_text(self.input_shape)
        return f"head {where} -> {self.channels} -> {self.classes}"

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """Convolution, pooling, linear."""
        return (
            ConvNorm(
                name="conv",
                in_channels=self.input_shape[1],
                out_channels=self.channels,
                kernel=1,
                activation=self.activation,
            ),
            GlobalPool(name="pool"),
            Linear(name="classifier", in_features=self.channels, out_features=self.classes),
        )


OpSpec: TypeAlias = (
    Conv
    | MBConv
    | Unified
    | Skip
    | Pool
    | Head
    | Cell
    | EqualCells
    | ResidualBlock
    | NormHead
    | CellStack
    | Preparation
    | PoolHead
)

Chain: TypeAlias = tuple[OpSpec, ...]
"""Operators one after the other, each fed by the one before: a carrier or a whole network."""
