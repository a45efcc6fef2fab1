"""GreedyNAS's small space: 21 layers of MBConv k{3,5,7} x e{3,6} and identity, 7^21 networks.

Source:
    You et al., GreedyNAS, CVPR 2020, section 5.1; the skeleton as in the second author's
    released configurations, where an identity that changes the shape is a 1x1 convolution with
    batch norm.
"""

from devices import Shape
from profiler import Conv, Head, MBConv, OpSpec, Skip
from search.space import SearchSpace

STEM_CHANNELS = 32
FIRST_CHANNELS = 16
STAGES = ((32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""Channels, layers, and stride of the first layer of each stage."""
HEAD_CHANNELS = 1280
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 6)


def greedynas(*, resolution: int = 224, batch: int = 1, classes: int = 1000) -> SearchSpace:
    """Return the space for square images.

    Args:
        resolution: Side of the images in pixels.
        batch: Images per inference.
        classes: Logits.
    """
    stem = Conv(
        input_shape=(batch, 3, resolution, resolution),
        channels=STEM_CHANNELS,
        kernel=3,
        stride=2,
        activation="relu",
    )
    first = MBConv(input_shape=stem.output_shape, channels=FIRST_CHANNELS, kernel=3, expand=1)
    shape = first.output_shape
    layers = []
    for channels, depth, stride in STAGES:
        for i in range(depth):
            layers.append(_choices(shape, channels, stride=stride if i == 0 else 1))
            shape = layers[-1][0].output_shape
    head = Head(input_shape=shape, channels=HEAD_CHANNELS, classes=classes)
    return SearchSpace(name="greedynas", before=(stem, first), layers=tuple(layers), after=(head,))


def _choices(shape: Shape, channels: int, stride: int) -> tuple[OpSpec, ...]:
    """Return the seven choices of a layer: k3 e3, k3 e6, k5 e3 ... k7 e6, identity."""
    blocks = tuple(
        MBConv(input_shape=shape, channels=channels, kernel=kernel, stride=stride, expand=expand)
        for kernel in KERNELS
        for expand in EXPANSIONS
    )
    same = stride == 1 and shape[1] == channels
    identity: OpSpec = (
        Skip(input_shape=shape)
        if same
        else Conv(input_shape=shape, channels=channels, stride=stride)
    )
    return (*blocks, identity)
