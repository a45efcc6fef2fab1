"""The few layers that every operator here is made of.

One description serves three readers: `profiler.operators.builders` turns it into ONNX,
`profiler.operators.modules` into torch, `profiler.operators.costs` into operations and parameters.
None of them knows an operator.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

Activation = Literal["none", "relu", "relu6", "hswish"]

Lowering = Literal["padded", "split"]
"""How depthwise kernels of several sizes become nodes, see `MixedDepthwise`."""


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
        norm: Whether there is a batch norm at all.
        dilation: Steps between the pixels that neighbouring weights meet.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    groups: int = 1
    activation: Activation = "none"
    norm: bool = True
    dilation: int = 1

    @property
    def padding(self) -> int:
        """Rows and columns added on each side."""
        return self.kernel // 2 * self.dilation


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedDepthwise:
    """Depthwise convolutions of several kernels side by side, each on its share of the channels.

    It has two lowerings that compute the same. ``split`` cuts the channels apart, one convolution
    for each size of kernel, and concatenates what they give. ``padded`` is one convolution, its
    kernels filled up with zeros to the largest: more arithmetic, and nothing is copied.

    Source:
        Tan and Le, MixConv: Mixed Depthwise Convolutional Kernels, BMVC 2019, section 3.1.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        width: Channels of each kernel.
        kernels: Sides of the kernels, odd and ascending; one may occur several times.
        stride: Stride in both directions.
        activation: What follows each batch norm.
        lowering: How it becomes nodes.
    """

    name: str
    width: int
    kernels: tuple[int, ...]
    stride: int = 1
    activation: Activation = "none"
    lowering: Lowering = "padded"

    @property
    def channels(self) -> int:
        """Channels in all, of input and output."""
        return self.width * len(self.kernels)

    @property
    def parts(self) -> tuple["ConvNorm", ...]:
        """One depthwise convolution for each size of kernel, in the order of their channels."""
        return tuple(
            ConvNorm(
                name=f"k{kernel}",
                in_channels=self.width * count,
                out_channels=self.width * count,
                kernel=kernel,
                stride=self.stride,
                groups=self.width * count,
                activation=self.activation,
            )
            for kernel, count in Counter(self.kernels).items()
        )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Batch norm where no convolution stands before it, so that nothing takes it up.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        channels: Channels that are normalised.
    """

    name: str
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectify:
    """ReLU where it stands before what it belongs to."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool:
    """Mean over a square window; the border does not count.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        kernel: Side of the window; an odd one is padded to keep the size at stride 1.
        stride: Stride in both directions.
        partial: Whether an even window that hangs over the edge of the image counts.
    """

    name: str
    kernel: int
    stride: int = 1
    partial: bool = False

    @property
    def padding(self) -> int:
        """Rows and columns added on each side."""
        return (self.kernel - 1) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """Maximum over a square window, padded to keep the size at stride 1; the border never wins.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        kernel: Side of the window, odd.
        stride: Stride in both directions.
    """

    name: str
    kernel: int
    stride: int = 1

    @property
    def padding(self) -> int:
        """Rows and columns added on each side."""
        return self.kernel // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The image without its first row and column, so that stride 2 meets the other pixels.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        padded: Whether a row and a column of zeros are added at the end: where a side is odd, so
            that stride 2 gives as much as without the shift.
    """

    name: str
    padded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Primitives one after the other on the way between two nodes; none: what comes goes on.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        source: Node where it begins; 0 is the input.
        target: Node where it ends, larger than the source.
        primitives: What is computed on the way.
    """

    name: str
    source: int
    target: int
    primitives: tuple["Primitive", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
    """A small graph: each node is the sum of the branches that end in it, the last the output.

    Equal poolings of one value are computed once. Without any branch the output is zeros.

    Attributes:
        name: Name of the torch submodule, and prefix of the ONNX nodes.
        branches: By their targets, ascending.
        concatenated: Nodes that hold the channels of their branches one after the other instead.
    """

    name: str
    branches: tuple[Branch, ...]
    concatenated: tuple[int, ...] = ()


Primitive: TypeAlias = (
    ConvNorm
    | MixedDepthwise
    | SqueezeExcite
    | GlobalPool
    | Linear
    | Norm
    | Rectify
    | AveragePool
    | MaxPool
    | Shift
    | Branches
)
