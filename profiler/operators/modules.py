"""Operators as torch modules: the same ones for supernets and for export.

The only file of this package that needs torch; import it by name where torch is installed.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import reduce
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from profiler.operators.ops import OpSpec
from profiler.operators.primitives import (
    Activation,
    AveragePool,
    Branch,
    Branches,
    ConvNorm,
    GlobalPool,
    Linear,
    MaxPool,
    MixedDepthwise,
    Norm,
    Primitive,
    Rectify,
    Shift,
    SqueezeExcite,
)

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
}


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation, see `profiler.operators.primitives.SqueezeExcite`."""

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


class DepthwiseParts(nn.Module):
    """Depthwise convolutions of several kernels.

    See `profiler.operators.primitives.MixedDepthwise`.

    Whatever the lowering, each size of kernel has weights of its own and no zeros to train;
    `deployed` makes one convolution of them where that is how the operator is lowered.
    """

    def __init__(self, primitive: MixedDepthwise) -> None:
        super().__init__()
        self.primitive = primitive
        self.parts = nn.ModuleDict({part.name: _module(part) for part in primitive.parts})

    def forward(self, x: Tensor) -> Tensor:
        """Convolve every share of the channels of ``x``, ``(N, C, H, W)``, by its kernel."""
        shares = torch.split(x, [part.out_channels for part in self.primitive.parts], dim=1)
        pairs = zip(self.parts.values(), shares, strict=True)
        return torch.cat([part(share) for part, share in pairs], dim=1)

    def padded(self) -> nn.Sequential:
        """Return a copy that is one convolution, each kernel padded to the largest by zeros."""
        layers = (tuple(part.children()) for part in self.parts.values())
        convs, norms, activations = zip(*layers, strict=True)
        largest, parts = max(self.primitive.kernels), self.primitive.parts
        channels = self.primitive.channels
        conv = nn.Conv2d(
            channels,
            channels,
            largest,
            self.primitive.stride,
            largest // 2,
            groups=channels,
            bias=False,
        )
        margins = [(largest - part.kernel) // 2 for part in parts]
        weights = [
            pad(each.get_parameter("weight").detach(), [margin] * 4)
            for each, margin in zip(convs, margins, strict=True)
        ]
        conv.weight = nn.Parameter(torch.cat(weights))
        norm = nn.BatchNorm2d(channels)
        norm.load_state_dict(joined([each.state_dict() for each in norms]))
        return nn.Sequential(conv, norm, activations[0]).train(self.training)


def joined(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the state of one module over the channels of several, one after the other.

    Args:
        states: ``state_dict`` of batch norms, or of convolutions by output channel with theirs.
    """
    return {
        name: torch.cat([state[name] for state in states]) if value.dim() else value.clone()
        for name, value in states[0].items()
    }


class Shifted(nn.Module):
    """An image without its first row and column, see `profiler.operators.primitives.Shift`."""

    def __init__(self, *, padded: bool) -> None:
        super().__init__()
        self.padded = padded

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, ``(N, C, H, W)``, moved by one pixel; padded it keeps its size."""
        return (pad(x, (0, 1, 0, 1)) if self.padded else x)[:, :, 1:, 1:]


class Wired(nn.Module):
    """Branches between nodes, each node the sum of those that end in it, or all their channels.

    See `profiler.operators.primitives.Branches`.

    Args:
        wires: Name, source and target of every branch, by their targets, ascending.
        lines: What each computes, in that order.
        concatenated: Nodes that are no sums.
    """

    def __init__(
        self,
        wires: Sequence[tuple[str, int, int]],
        lines: Iterable[nn.Module],
        *,
        concatenated: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.wires = tuple(wires)
        self.concatenated = tuple(concatenated)
        names = (name for name, _, _ in self.wires)
        self.lines = nn.ModuleDict(dict(zip(names, lines, strict=True)))
        self.weightless = {
            name: repr(each)
            for name, each in self.lines.items()
            if next(each.parameters(), None) is None
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return the last node, of the input's size or that which the branches give."""
        nodes = {0: x}
        known: dict[tuple[int, str], Tensor] = {}  # equal poolings of one value are one
        for target, wires in groupby(self.wires, lambda wire: wire[2]):
            terms = []
            for name, source, _ in wires:
                key = (id(nodes[source]), self.weightless.get(name, name))
                if key not in known:
                    known[key] = self.lines[name](nodes[source])
                terms.append(known[key])
            whole = target in self.concatenated and len(terms) > 1
            nodes[target] = torch.cat(terms, dim=1) if whole else reduce(torch.add, terms)
        return nodes[max(nodes)] if self.wires else x * 0.0


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


def deployed(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose operators are lowered as their graphs are built.

    Batch norm must have its final statistics: what the copy computes in evaluation mode is what the
    network computes, while its weights are padded by zeros that training would fill.
    """
    copy = deepcopy(network)
    for module in list(copy.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, DepthwiseParts) and child.primitive.lowering == "padded":
                setattr(module, name, child.padded())
    return copy


def _module(primitive: Primitive) -> nn.Module:
    match primitive:
        case ConvNorm():
            return nn.Sequential(
                nn.Conv2d(
                    primitive.in_channels,
                    primitive.out_channels,
                    primitive.kernel,
                    primitive.stride,
                    primitive.padding,
                    primitive.dilation,
                    groups=primitive.groups,
                    bias=False,
                ),
                nn.BatchNorm2d(primitive.out_channels) if primitive.norm else nn.Identity(),
                ACTIVATIONS[primitive.activation](),
            )
        case MixedDepthwise(parts=[only]):
            return _module(only)
        case MixedDepthwise():
            return DepthwiseParts(primitive)
        case SqueezeExcite(channels=channels, squeeze=squeeze):
            return ChannelAttention(channels, squeeze)
        case Branches(branches=branches, concatenated=concatenated):
            wires = [(branch.name, branch.source, branch.target) for branch in branches]
            return Wired(wires, map(line, branches), concatenated=concatenated)
        case Linear(in_features=features, out_features=classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))
        case _:
            return _plain(primitive)


def line(branch: Branch) -> nn.Sequential:
    """Return what a branch computes on its way, with fresh weights."""
    return nn.Sequential(OrderedDict((each.name, _module(each)) for each in branch.primitives))


def _plain(
    primitive: Norm | Rectify | AveragePool | MaxPool | GlobalPool | Shift,
) -> nn.Module:
    match primitive:
        case Norm(channels=channels):
            return nn.BatchNorm2d(channels)
        case Rectify():
            return nn.ReLU()
        case AveragePool(kernel=kernel, stride=stride, padding=padding, partial=partial):
            return nn.AvgPool2d(kernel, stride, padding, partial, count_include_pad=False)
        case MaxPool(kernel=kernel, stride=stride, padding=padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case GlobalPool():
            return nn.AdaptiveAvgPool2d(1)
        case Shift(padded=padded):
            return Shifted(padded=padded)
