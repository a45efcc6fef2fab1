"""The macro space as small as can be, known by name while a test runs; and a few real images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from profiler import Head
from search.images.data import ImageData, load_data
from search.proxies.narrow import narrowed
from search.space import SearchSpace
from search.spaces import SPACES
from search.spaces.macro import macro

IMAGES = 128
"""Training images; validation and test are whole."""


def tiny(*, resolution: int = 8, batch: int = 1, classes: int = 10, snap: int = 1) -> SearchSpace:
    """Return a space as shaped as macro and as small as can be."""
    space = macro(resolution=resolution, batch=batch, classes=classes, snap=snap)
    return replace(narrowed(space, 8), name="tiny")


def shallow(
    *, resolution: int = 8, batch: int = 1, classes: int = 10, snap: int = 1
) -> SearchSpace:
    """Return the first stage of macro alone, as small as can be: two layers, seven networks."""
    space = narrowed(macro(resolution=resolution, batch=batch, snap=snap), 8)
    head = Head(input_shape=space.layers[1][0].output_shape, channels=16, classes=classes)
    return replace(space, name="shallow", layers=space.layers[:2], after=(head,))


@contextmanager
def known(*names: str) -> Iterator[None]:
    """Let spaces of this module be found by their names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(SPACES, name, f"{__name__}:{name}")
        yield


def few_digits() -> ImageData:
    """Return digits of 8 pixels a side, `IMAGES` of them to train on."""
    data = load_data("digits", resolution=8)
    return replace(data, training=data.training.first(IMAGES))
