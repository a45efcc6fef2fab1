"""Narrower twins of networks: the same operators on fewer channels and pixels, as cheap proxies.

A twin is of another space, with another name: ``macro-c4``, a quarter as wide. So what a run of it
trained is never taken for weights of the full width.
"""

import math
from dataclasses import replace
from typing import Any

from devices import Shape
from profiler.operators.cells import Cell, EqualCells, NormHead
from profiler.operators.darts_cells import PoolHead
from profiler.operators.ops import Chain, MBConv, OpSpec, Pool, Skip, Unified
from search.space import Architecture, SearchSpace

WIDTHLESS = (Skip, Pool, Cell, EqualCells, NormHead, PoolHead)
"""Operators that give as many channels as they take."""

SQUEEZED = (MBConv, Unified)
"""Operators that may have squeeze-excite."""

CHANNEL_STEP = 8
"""Reduced widths are multiples of this, and no smaller: what vector units like."""


def narrowed_name(name: str, cut: int) -> str:
    """Return what a space is called where operations fell by ``2 ** cut`` through its widths."""
    return name if cut == 0 else f"{name}-c{cut}"


def narrow_width(channels: int, cut: int) -> int:
    """Return a width times ``2 ** (-cut / 2)``, to the nearest step, one step at least.

    A width is never more than it was, so one below a step stays; uncut, every width stays.
    """
    if cut == 0:
        return channels
    steps = math.floor(channels * 2 ** (-cut / 2) / CHANNEL_STEP + 0.5)
    return min(channels, max(1, steps) * CHANNEL_STEP)


def narrowest(space: SearchSpace) -> int:
    """Return the smallest output width of a space's operators."""
    ops = (*_skeleton(space), *(op for layer in space.layers for op in dict.fromkeys(layer)))
    return min(op.channels for op in ops if not isinstance(op, WIDTHLESS))


def total_stride(space: SearchSpace) -> int:
    """Return by how much the strides of a space divide the side of an image."""
    stride = 1
    for op in _skeleton(space):
        if len(op.output_shape) == 4:  # a head gives logits, which have no side
            stride *= round(op.input_shape[2] / op.output_shape[2])
    return stride


def _skeleton(space: SearchSpace) -> Chain:
    """Return any network: the choices of a layer have one shape."""
    return space.chain(Architecture((0,) * len(space.layers)))


def narrowed(space: SearchSpace, cut: int, *, resolution: int | None = None) -> SearchSpace:
    """Return a space with narrower operators, so that operations fall by about ``2 ** cut``.

    Expansions follow from the widths, and squeezes in proportion; the number of classes stays. As
    with snapped widths, two neighbours may come to have one shape, and a block between them a
    shortcut.

    Args:
        space: A chain of layers; where networks are none, as those of cells, a space of one of
            them (`search.final.files.space_of_one`).
        cut: Halvings of the operations, 0 or more; 0 leaves all widths.
        resolution: Side of the images in pixels; None leaves it.
    """
    if cut < 0:
        raise ValueError(f"a width is cut by 2 ** 0 or more, got 2 ** {cut}")
    batch, channels, side, _ = space.input_shape
    resolution = resolution or side
    if (cut, resolution) == (0, side):
        return space
    shape: Shape = (batch, channels, resolution, resolution)
    before, shape = _narrow_chain(space.before, shape, cut)
    layers = []
    for layer in space.layers:
        layers.append(tuple(_narrow(op, shape, cut) for op in layer))
        shape = layers[-1][0].output_shape
    after, _ = _narrow_chain(space.after, shape, cut)
    return replace(
        space,
        name=narrowed_name(space.name, cut),
        before=before,
        layers=tuple(layers),
        after=after,
    )


def _narrow_chain(chain: Chain, shape: Shape, cut: int) -> tuple[Chain, Shape]:
    """Return the operators on an input of this shape, and the shape of what they give."""
    ops = []
    for op in chain:
        ops.append(_narrow(op, shape, cut))
        shape = ops[-1].output_shape
    return tuple(ops), shape


def _narrow(op: OpSpec, shape: Shape, cut: int) -> OpSpec:
    changed: dict[str, Any] = {"input_shape": shape}
    if not isinstance(op, WIDTHLESS):
        changed["channels"] = narrow_width(op.channels, cut)
    if isinstance(op, SQUEEZED) and op.squeeze:
        changed["squeeze"] = max(1, round(op.squeeze * shape[1] / op.input_shape[1]))
    return replace(op, **changed)
