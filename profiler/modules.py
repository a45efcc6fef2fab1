"""Operators as torch modules: the same ones for supernets and for export.

The only file of this package that needs torch; import it by name where torch is installed.
"""

from torch import Tensor, nn

from profiler.ops import OpSpec
from profiler.primitives import Activation, ConvNorm, GlobalPool, Linear, Primitive, SqueezeExcite

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
}


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation, see `profiler.primitives.SqueezeExcite`."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeeze, 1),
            nn.ReLU(),
            nn.Conv2d(squeeze, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weight the channels of ``x``, ``(N, C, H, W)``; the shape stays."""
        return x * self.gate(x)


class Block(nn.Module):
    """One operator: its primitives in order, its input added where it is residual."""

    def __init__(self, op: OpSpec) -> None:
        super().__init__()
        self.residual = op.residual
        self.body = nn.Sequential()
        for primitive in op.primitives:
            self.body.add_module(primitive.name, _module(primitive))

    def forward(self, x: Tensor) -> Tensor:
        """Map the operator's input shape to its output shape, at any batch size."""
        return x + self.body(x) if self.residual else self.body(x)


def build(op: OpSpec) -> nn.Module:
    """Return the module that an operator describes, with fresh weights."""
    return Block(op)


def _module(primitive: Primitive) -> nn.Module:
    match primitive:
        case ConvNorm():
            return nn.Sequential(
                nn.Conv2d(
                    primitive.in_channels,
                    primitive.out_channels,
                    primitive.kernel,
                    primitive.stride,
                    primitive.kernel // 2,
                    groups=primitive.groups,
                    bias=False,
                ),
                nn.BatchNorm2d(primitive.out_channels),
                ACTIVATIONS[primitive.activation](),
            )
        case SqueezeExcite(channels=channels, squeeze=squeeze):
            return ChannelAttention(channels, squeeze)
        case GlobalPool():
            return nn.AdaptiveAvgPool2d(1)
        case Linear(in_features=features, out_features=classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))
