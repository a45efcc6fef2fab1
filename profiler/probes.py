"""What is timed to know an operator: chains in which it has neighbours.

An operator that is timed alone pays for layout conversions and lost fusion at its edges, which it
never meets inside a network. So it is timed between a 1x1 convolution and a pooling, and what those
two cost is subtracted::

    K(s)  = T(pre_s, pre_s, pool) - T(pre_s, pool)       one such convolution at shape s
    P(s)  = T(pre_s, pool) - K(s)                        the rest of the carrier
    op    = T(pre_in, op, pool) - K(in) - P(out)

Two choices of one layer share ``K(in)`` and ``P(out)``: their difference is anchored within the
layer, whatever the carrier costs. The constants themselves only matter for the shares of layers;
a network's total is set by calibration against whole networks.
"""

from devices import Shape
from profiler.ops import Chain, Conv, MBConv, OpSpec, Pool, Skip


def neighbour(shape: Shape) -> Conv:
    """Return the neighbour: the 1x1 convolution that ends a block and keeps ``shape``.

    Not a whole block: the addition of one that stands first takes the graph's input as it comes,
    and a runtime that has a layout of its own converts around it, which no network pays for.
    """
    return Conv(input_shape=shape, channels=shape[1])


def carrier(shape: Shape, blocks: int) -> Chain:
    """Return so many neighbours and a pooling."""
    return (*(neighbour(shape),) * blocks, Pool(input_shape=shape))


def in_context(op: OpSpec) -> Chain:
    """Return the chain that has the operator between its neighbours."""
    if isinstance(op, Skip):
        return carrier(op.input_shape, 1)
    return (neighbour(op.input_shape), op, Pool(input_shape=op.output_shape))


def contexts(op: OpSpec) -> tuple[Chain, ...]:
    """Return the chains that are subtracted: K at the input, P at the output."""
    shapes = (op.input_shape, op.output_shape)
    return tuple(dict.fromkeys(carrier(shape, n) for shape in shapes for n in (1, 2)))


CANARY: Chain = (
    *(MBConv(input_shape=(1, 32, 28, 28), channels=32, expand=6),) * 2,
    Pool(input_shape=(1, 32, 28, 28)),
)
"""A fixed chain, timed again and again: when it slows down, the device does."""
