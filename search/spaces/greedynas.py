"""GreedyNAS's small space: 21 layers of MBConv k{3,5,7} x e{3,6} and identity, 7^21 networks.

Source:
    You et al., GreedyNAS, CVPR 2020, section 5.1; the skeleton as in the second author's
    released configurations, where an identity that changes the shape is a 1x1 convolution with
    batch norm.
"""

from devices import Shape
from profiler import Conv, Head, MBConv, OpSpec, Skip, top_of_step
from search.space import SearchSpace, snapped_name

STEM_CHANNELS = 32
FIRST_CHANNELS = 16
STAGES = ((32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""Channels, layers, and stride of the first layer of each stage."""
HEAD_CHANNELS = 1280
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 6)


def greedynas(
    *, resolution: int = 224, batch: int = 1, classes: int = 1000, snap: int = 1
) -> SearchSpace:
    """Return the space for square images.

    Args:
        resolution: Side of the images in pixels.
        batch: Images per inference.
        classes: Logits.
        snap: Widths are rounded up to multiples of this; expansions follow from them.
    """
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
            wide = top_of_step(channels, snap)
            layers.append(_choices(shape, wide, stride=stride if i == 0 else 1, first=i == 0))
            shape = layers[-1][0].output_shape
    head = Head(input_shape=shape, channels=top_of_step(HEAD_CHANNELS, snap), classes=classes)
    return SearchSpace(
        name=snapped_name("greedynas", snap),
        before=(stem, first),
        layers=tuple(layers),
        after=(head,),
        snap=snap,
    )


def _choices(shape: Shape, channels: int, *, stride: int, first: bool) -> tuple[OpSpec, ...]:
    """Return the seven choices of a layer: k3 e3, k3 e6, k5 e3 ... k7 e6, identity.

    The first layer of a stage has a convolution for its identity, as published, even where two
    stages were snapped to one width.
    """
    blocks = tuple(
        MBConv(input_shape=shape, channels=channels, kernel=kernel, stride=stride, expand=expand)
        for kernel in KERNELS
        for expand in EXPANSIONS
    )
    identity: OpSpec = (
        Conv(input_shape=shape, channels=channels, stride=stride)
        if first
        else Skip(input_shape=shape)
    )
    return (*blocks, identity)
