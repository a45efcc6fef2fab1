"""Operations and parameters of an operator: the baseline that a latency table must beat.

Source:
    One multiply-accumulate (MAC) counts once. Counted are convolutions and linear layers, the
    two of squeeze-excite included; batch norm, activations, pooling, additions and biases are
    not. Parameters count everything that is trained: weights, biases, batch norm's two per
    channel. It is the convention under which NAS-Bench-Macro's ``flops`` and ``params`` come out
    exactly for all 6,561 networks.
"""

from collections.abc import Iterable

from profiler.ops import OpSpec
from profiler.primitives import ConvNorm, GlobalPool, Linear, Primitive, SqueezeExcite


def macs(op: OpSpec) -> int:
    """Return the multiply-accumulates of one operator, for its whole batch."""
    batch, _, height, width = op.input_shape
    total = 0
    for primitive in op.primitives:
        if isinstance(primitive, ConvNorm):
            height, width = -(-height // primitive.stride), -(-width // primitive.stride)
        total += _macs(primitive, height * width)
    return batch * total


def _macs(primitive: Primitive, pixels: int) -> int:
    """Return the MACs of one primitive for one image with ``pixels`` output positions."""
    match primitive:
        case ConvNorm(in_channels=cin, out_channels=cout, kernel=kernel, groups=groups):
            return kernel * kernel * (cin // groups) * cout * pixels
        case SqueezeExcite(channels=channels, squeeze=squeeze):
            return 2 * channels * squeeze
        case Linear(in_features=cin, out_features=cout):
            return cin * cout
        case GlobalPool():
            return 0


def parameters(op: OpSpec) -> int:
    """Return the trained parameters of one operator."""
    return sum(map(_parameters, op.primitives))


def _parameters(primitive: Primitive) -> int:
    match primitive:
        case ConvNorm(in_channels=cin, out_channels=cout, kernel=kernel, groups=groups):
            return kernel * kernel * (cin // groups) * cout + 2 * cout
        case SqueezeExcite(channels=channels, squeeze=squeeze):
            return 2 * channels * squeeze + squeeze + channels
        case Linear(in_features=cin, out_features=cout):
            return cin * cout + cout
        case GlobalPool():
            return 0


def total_macs(chain: Iterable[OpSpec]) -> int:
    """Return the multiply-accumulates of operators one after the other."""
    return sum(map(macs, chain))


def total_parameters(chain: Iterable[OpSpec]) -> int:
    """Return the trained parameters of operators one after the other."""
    return sum(map(parameters, chain))
