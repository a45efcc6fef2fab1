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

from collections import Counter

from devices import Shape
from profiler.operators.ops import Chain, Conv, MBConv, OpSpec, Pool, Skip


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
    """Return the chains that K at the input and P at the output are made of."""
    shapes = (op.input_shape, op.output_shape)
    return tuple(dict.fromkeys(carrier(shape, n) for shape in shapes for n in (1, 2)))


def terms(op: OpSpec) -> Counter[Chain]:
    """Return the chains that an operator's latency is a sum of, and how often each counts.

    The formula of this module; negative counts are subtracted, what cancels is left out.
    """
    if isinstance(op, Skip):
        return Counter()
    here, there = op.input_shape, op.output_shape
    counts = Counter({in_context(op): 1})
    counts.update({carrier(here, 1): 1, carrier(there, 2): 1})
    counts.subtract({carrier(here, 2): 1, carrier(there, 1): 2})
    return Counter({chain: count for chain, count in counts.items() if count})


def is_probe(chain: Chain) -> bool:
    """Return whether a chain is one of these: a network ends in a classifier, not in a pooling."""
    return len(chain) <= 3 and isinstance(chain[-1], Pool)


CANARY: Chain = (
    MBConv(input_shape=(1, 32, 28, 28), channels=32, expand=6),
    MBConv(input_shape=(1, 32, 28, 28), channels=96, stride=2, expand=3),
    MBConv(input_shape=(1, 96, 14, 14), channels=96, expand=6),
    MBConv(input_shape=(1, 96, 14, 14), channels=192, stride=2, expand=3),
    MBConv(input_shape=(1, 192, 7, 7), channels=192, expand=6),
    Pool(input_shape=(1, 192, 7, 7)),
)
"""A fixed chain, timed again and again: when it slows down, the device does.

A small network: large images with few weights and small images with 4 MB of them, since neighbours
slow down arithmetic and memory at different times. Beside a canary of two equal blocks the ratios
scattered half as much again (docs/results.md)."""

APART: Chain = (
    *(MBConv(input_shape=(1, 32, 28, 28), channels=32, expand=6),) * 2,
    Pool(input_shape=(1, 32, 28, 28)),
)
"""Two blocks that gain from threads, to see whether the threads of a device have a core each."""

METHOD = "operators between neighbours, on one thread cold, beside a canary of five blocks"
"""How a table is measured: a condition of it like any other, so that methods do not mix."""
