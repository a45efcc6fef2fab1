"""NAS-Bench-Macro: eight layers of {identity, k3 e3, k5 e6}, 6,561 trained networks.

Source:
    Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021,
    section 5 (the benchmark); skeleton and counts from its published tables.
"""

from devices import Shape
from profiler import Conv, Head, MBConv, OpSpec, Skip, top_of_step
from search.space import SearchSpace, snapped_name

STEM_CHANNELS = 32
STAGES = ((64, 2), (128, 3), (256, 3))
"""Channels and layers of each stage; the first layer of a stage halves the image."""
HEAD_CHANNELS = 1280


def macro(*, resolution: int = 32, batch: int = 1, classes: int = 10, snap: int = 1) -> SearchSpace:
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
        activation="relu",
    )
    shape = stem.output_shape
    layers = []
    for channels, depth in STAGES:
        for i in range(depth):
            layers.append(_choices(shape, top_of_step(channels, snap), first=i == 0))
            shape = layers[-1][0].output_shape
    head = Head(input_shape=shape, channels=top_of_step(HEAD_CHANNELS, snap), classes=classes)
    return SearchSpace(
        name=snapped_name("macro", snap),
        before=(stem,),
        layers=tuple(layers),
        after=(head,),
        snap=snap,
    )


def _choices(shape: Shape, channels: int, *, first: bool) -> tuple[OpSpec, ...]:
    """Return the three choices of a layer, in the order of the benchmark's digits."""
    stride = 2 if first else 1
    return (
        Conv(input_shape=shape, channels=channels, stride=stride)
        if first
        else Skip(input_shape=shape),
        MBConv(input_shape=shape, channels=channels, kernel=3, stride=stride, expand=3),
        MBConv(input_shape=shape, channels=channels, kernel=5, stride=stride, expand=6),
    )
