"""Operations and parameters of an operator: the baseline that a latency table must beat.

Source:
    One multiply-accumulate (MAC) counts once. Counted are convolutions and linear layers, the
    two of squeeze-excite included; batch norm, activations, pooling, additions and biases are
    not, nor are the zeros that fill a kernel up. Parameters count everything that is trained:
    weights, biases, batch norm's two per channel. It is the convention under which
    NAS-Bench-Macro's ``flops`` and ``params`` come out exactly for all 6,561 networks.
"""

from collections.abc import Iterable
from typing import TypeAlias

from profiler.operators.ops import OpSpec
from profiler.operators.primitives import (
    AveragePool,
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


def macs(op: OpSpec) -> int:
    """Return the multiply-accumulates of one operator, for its whole batch."""
    batch, _, height, width = op.input_shape
    total, _ = _sequence_macs(op.primitives, (height, width))
    return batch * total


Size: TypeAlias = tuple[int, int]
"""Height and width of an image."""


def _sequence_macs(primitives: Iterable[Primitive], size: Size) -> tuple[int, Size]:
    """Return the MACs of primitives one after the other for one image, and the size it ends with.

    A global pooling leaves the size: what follows counts no pixels.
    """
    total = 0
    for primitive in primitives:
        if isinstance(primitive, Branches):
            more, size = _branches_macs(primitive, size)
            total += more
            continue
        if isinstance(primitive, ConvNorm | MixedDepthwise | AveragePool | MaxPool):
            height, width = size
            size = -(-height // primitive.stride), -(-width // primitive.stride)
        total += _macs(primitive, size[0] * size[1])
    return total, size


def _branches_macs(graph: Branches, size: Size) -> tuple[int, Size]:
    """Return the MACs of all branches, and the size of the last node."""
    total, sizes = 0, {0: size}
    for branch in graph.branches:
        more, sizes[branch.target] = _sequence_macs(branch.primitives, sizes[branch.source])
        total += more
    return total, sizes[max(sizes)]


def _macs(primitive: Primitive, pixels: int) -> int:
    """Return the MACs of one primitive for one image with ``pixels`` output positions."""
    match primitive:
        case ConvNorm(in_channels=cin, out_channels=cout, kernel=kernel, groups=groups):
            return kernel * kernel * (cin // groups) * cout * pixels
        case MixedDepthwise(parts=parts):
            return sum(_macs(part, pixels) for part in parts)
        case SqueezeExcite(channels=channels, squeeze=squeeze):
            return 2 * channels * squeeze
        case Linear(in_features=cin, out_features=cout):
            return cin * cout
        case Norm() | GlobalPool() | Rectify() | AveragePool() | MaxPool() | Shift() | Branches():
            return 0  # those of branches have sizes of their own, and are counted one by one


def parameters(op: OpSpec) -> int:
    """Return the trained parameters of one operator."""
    return sum(map(_parameters, op.primitives))


def _parameters(primitive: Primitive) -> int:
    match primitive:
        case ConvNorm(in_channels=cin, out_channels=cout, kernel=kernel, groups=groups):
            norm = 2 * cout if primitive.norm else 0
            return kernel * kernel * (cin // groups) * cout + norm
        case MixedDepthwise(parts=parts):
            return sum(map(_parameters, parts))
        case Norm(channels=channels):
            return 2 * channels
        case Branches(branches=branches):
            lines = (branch.primitives for branch in branches)
            return sum(_parameters(each) for line in lines for each in line)
        case SqueezeExcite(channels=channels, squeeze=squeeze):
            return 2 * channels * squeeze + squeeze + channels
        case Linear(in_features=cin, out_features=cout):
            return cin * cout + cout
        case GlobalPool() | Rectify() | AveragePool() | MaxPool() | Shift():
            return 0


def total_macs(chain: Iterable[OpSpec]) -> int:
    """Return the multiply-accumulates of operators one after the other."""
    return sum(map(macs, chain))


def total_parameters(chain: Iterable[OpSpec]) -> int:
    """Return the trained parameters of operators one after the other."""
    return sum(map(parameters, chain))
