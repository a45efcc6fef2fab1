"""GreedyNAS's two spaces: 21 layers of MBConv k{3,5,7} x e{3,6} and identity.

``greedynas`` is just that, 7^21 networks; in ``greedynas-se`` each block comes without and with
squeeze-excite, 13^21 networks.

Source:
    You et al., GreedyNAS, CVPR 2020, section 5.1; skeleton, activations and the width of
    squeeze-excite as in the second author's released configurations, where an identity that
    changes the shape is a 1x1 convolution with batch norm.

Deviations, which change no operation and no parameter: inside squeeze-excite stands a ReLU, as in
every operator here, where the released code has a hard swish; and the fixed block behind the stem,
whose activation is not known, has a ReLU.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from profiler import Conv, Head, MBConv, OpSpec, Skip, top_of_step
from search.space import SearchSpace, snapped_name

STEM_CHANNELS = 32
FIRST_CHANNELS = 16
STAGES = ((32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""Channels, layers, and stride of the first layer of each stage."""
HEAD_CHANNELS = 1280
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 6)
SQUEEZE_SHARE = 0.25
"""Channels of the squeeze-excite over the hidden channels of its block, rounded down."""

Blocks: TypeAlias = Callable[[MBConv], tuple[MBConv, ...]]
"""From one block to the choices of its layer, the identity left out."""


def greedynas(
    *, resolution: int = 224, batch: int = 1, classes: int = 1000, snap: int = 1
) -> SearchSpace:
    """Return the small space for square images.

    Args:
        resolution: Side of the images in pixels.
        batch: Images per inference.
        classes: Logits.
        snap: Widths are rounded up to multiples of this; expansions follow from them.
    """
    return _space(
        "greedynas", _plain_blocks, resolution=resolution, batch=batch, classes=classes, snap=snap
    )


def greedynas_se(
    *, resolution: int = 224, batch: int = 1, classes: int = 1000, snap: int = 1
) -> SearchSpace:
    """Return the large space for square images: squeeze-excite is a choice, too.

    Args:
        resolution: Side of the images in pixels.
        batch: Images per inference.
        classes: Logits.
        snap: Widths are rounded up to multiples of this; expansions and squeezes follow.
    """
    return _space(
        "greedynas-se",
        _squeezed_blocks,
        resolution=resolution,
        batch=batch,
        classes=classes,
        snap=snap,
    )


def _plain_blocks(block: MBConv) -> tuple[MBConv, ...]:
    """Return a block as k3 e3, k3 e6, k5 e3 ... k7 e6."""
    return tuple(
        replace(block, kernel=kernel, expand=expand) for kernel in KERNELS for expand in EXPANSIONS
    )


def _squeezed_blocks(block: MBConv) -> tuple[MBConv, ...]:
    """Return a block as k3 e3 ... k7 e6 with hard swish, then all of them with squeeze-excite."""
    without = _plain_blocks(replace(block, activation="hswish"))
    hidden = block.input_shape[1]
    return (
        *without,
        *(replace(op, squeeze=int(SQUEEZE_SHARE * op.expand * hidden)) for op in without),
    )


def _space(
    name: str, blocks: Blocks, *, resolution: int, batch: int, classes: int, snap: int
) -> SearchSpace:
    """Return the skeleton with these blocks in its layers."""
    stem = Conv(
        input_shape=(batch, 3, resolution, resolution),
        channels=top_of_step(STEM_CHANNELS, snap),
        kernel=3,
        stride=2,
        activation="relu",
    )
    first = MBConv(
        input_shape=stem.output_shape,
        channels=top_of_step(FIRST_CHANNELS, snap),
        kernel=3,
        expand=1,
    )
    shape = first.output_shape
    layers = []
    for channels, depth, stride in STAGES:
        for i in range(depth):
            block = MBConv(
                input_shape=shape,
                channels=top_of_step(channels, snap),
                stride=stride if i == 0 else 1,
            )
            layers.append((*blocks(block), _identity(block, first=i == 0)))
            shape = block.output_shape
    head = Head(input_shape=shape, channels=top_of_step(HEAD_CHANNELS, snap), classes=classes)
    return SearchSpace(
        name=snapped_name(name, snap),
        before=(stem, first),
        layers=tuple(layers),
        after=(head,),
        snap=snap,
    )


def _identity(block: MBConv, *, first: bool) -> OpSpec:
    """Return what stands in place of a block where it is left out.

    The first layer of a stage has a convolution for its identity, as published, even where two
    stages were snapped to one width.
    """
    if first:
        return Conv(input_shape=block.input_shape, channels=block.channels, stride=block.stride)
    return Skip(input_shape=block.input_shape)
