"""Operations and parameters of an operator: the baseline that a latency table must beat.

Source:
    One multiply-accumulate (MAC) counts once. Counted are convolutions and linear layers, the
    two of squeeze-excite included; batch norm, activations, pooling, additions and biases are
    not, nor are the zeros that fill a kernel up. Parameters count everything that is trained:
    weights, biases, batch norm's two per channel. It is the convention under which
    NAS-Bench-Macro's ``flops`` and ``params`` come out exactly for all 6,561 networks.
"""

from collections.abc import Iterable

from profiler.ops import OpSpec
from profiler.primitives import (
    AveragePool,
    Branches,
    ConvNorm,
    GlobalPool,
    Linear,
    MixedDepthwise,
    Norm,
    Primitive,
    Rectify,
    SqueezeExcite,
)


def macs(op: OpSpec) -> int:
    """Return the multiply-accumulates of one operator, for its whole batch."""
    batch, _, height, width = op.input_shape
    return batch * _sequence_macs(op.primitives, height, width)


def _sequence_macs(primitives: Iterable[Primitive], height: int, width: int) -> int:
    """Return the MACs of primitives one after the other for one image of this size."""
    total = 0
    for primitive in primitives:
        if isinstance(primitive, Branches):
            lines = (branch.primitives for branch in primitive.branches)
            total += sum(_sequence_macs(line, height, width) for line in lines)
            continue
        if isinstance(primitive, ConvNorm | MixedDepthwise | AveragePool):
            height, width = -(-height // primitive.stride), -(-width // primitive.stride)
        total += _macs(primitive, height * width)
    return total


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
        case Norm() | GlobalPool() | Rectify() | AveragePool() | Branches():
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
        case GlobalPool() | Rectify() | AveragePool():
            return 0


def total_macs(chain: Iterable[OpSpec]) -> int:
    """Return the multiply-accumulates of operators one after the other."""
    return sum(map(macs, chain))


def total_parameters(chain: Iterable[OpSpec]) -> int:
    """Return the trained parameters of operators one after the other."""
    return sum(map(parameters, chain))
