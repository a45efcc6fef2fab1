"""Proxies: cheap settings under which networks are trained to be compared, as data.

``c4r4s0e60`` is a proxy: each number ``x`` of channels (c), resolution (r) and samples (s) cuts
the cost of training by ``2 ** x``, and ``e`` is the number of epochs. What is reduced is only how a
network is trained: its latency is always that of the full network.

Source:
    Zhou et al., EcoNAS: Finding Proxies for Economical Neural Architecture Search, CVPR 2020,
    section 3; factors as in its released code.

Deviation: the source cuts the channels of CIFAR cells to any width; here widths are rounded to
multiples of `search.proxies.narrow.CHANNEL_STEP`, one step at least.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from devices import LatkitError
from search.proxies.narrow import narrowed, narrowest, total_stride
from search.space import SearchSpace

if TYPE_CHECKING:
    from search.images.data import ImageData

MOST_HALVINGS = 64
"""Exponents that are tried where the largest that works is looked for."""

_NOTATION = re.compile(r"c(\d{1,3})r(\d{1,3})s(\d{1,3})e(\d{1,6})")


class InvalidProxy(LatkitError):
    """A proxy that cannot be read, or that leaves nothing to train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A reduced setting of training; ``c0r0s0`` is the full one.

    Attributes:
        channels: x of c: widths are multiplied by ``2 ** (-x / 2)``.
        resolution: x of r: the side of the images is multiplied by ``2 ** (-x / 2)``.
        samples: x of s: a share ``2 ** -x`` of the training images is used.
        epochs: Passes over them.
    """

    channels: int = 0
    resolution: int = 0
    samples: int = 0
    epochs: int

    def __post_init__(self) -> None:
        if min(self.channels, self.resolution, self.samples) < 0:
            raise ValueError(f"c, r and s are 0 or more, got {self}")
        if self.epochs < 1:
            smallest = replace(self, epochs=1)
            raise InvalidProxy(f"proxy {self} is below one epoch; the smallest is e1: {smallest}")

    def __str__(self) -> str:
        return f"c{self.channels}r{self.resolution}s{self.samples}e{self.epochs}"

    @property
    def paper_cost(self) -> float:
        """Cost in the paper's units: epochs of the full setting, as the factors promise."""
        return self.epochs * 2.0 ** -(self.channels + self.resolution + self.samples)

    def side(self, resolution: int) -> int:
        """Return the side of the reduced images in pixels, from the full one."""
        return round(resolution * 2 ** (-self.resolution / 2))

    def images(self, count: int) -> int:
        """Return how many of ``count`` training images are used."""
        return round(count * 2.0**-self.samples)

    def check_space(self, space: SearchSpace) -> None:
        """Check that there is something left of the networks of a space.

        Raises:
            InvalidProxy: They are below one channel, or below one pixel of a feature map; says the
                smallest that works.
        """
        self._check_channels(space)
        self._check_pixels(space)

    def reduced(self, space: SearchSpace) -> SearchSpace:
        """Return the twin of a space that is trained: fewer channels and pixels.

        Args:
            space: As of `search.proxies.narrow.narrowed`; of a space that `check_space` has passed.
        """
        return narrowed(space, self.channels, resolution=self.side(space.input_shape[2]))

    def check_samples(self, count: int, *, batch: int) -> None:
        """Check that a batch is left of so many training images.

        Raises:
            InvalidProxy: None is; says the smallest share that works.
        """
        if self.images(count) < batch:
            largest = _largest(lambda x: replace(self, samples=x).images(count) >= batch)
            raise InvalidProxy(
                f"proxy {self} is below one batch: {count} training images become "
                f"{self.images(count)}, and a batch has {batch}; {_cure('s', largest)}"
            )

    def _check_channels(self, space: SearchSpace) -> None:
        width = narrowest(space)
        if width * 2 ** (-self.channels / 2) < 1:
            largest = _largest(lambda x: width * 2 ** (-x / 2) >= 1)
            raise InvalidProxy(
                f"proxy {self} is below one channel: the {width} of space {space.name!r} become "
                f"{width * 2 ** (-self.channels / 2):.2g}; {_cure('c', largest)}"
            )

    def _check_pixels(self, space: SearchSpace) -> None:
        full, stride = space.input_shape[2], total_stride(space)
        if self.side(full) < stride:
            largest = _largest(lambda x: replace(self, resolution=x).side(full) >= stride)
            raise InvalidProxy(
                f"proxy {self} is below one pixel of a feature map: {full} pixels become "
                f"{self.side(full)}, and space {space.name!r} divides them by {stride}; "
                f"{_cure('r', largest)}"
            )


def proxy_from_text(text: str) -> Proxy:
    """Read ``"c4r4s0e60"``.

    Raises:
        InvalidProxy: The text is no proxy, or has no epoch.
    """
    match = _NOTATION.fullmatch(text.strip())
    if match is None:
        raise InvalidProxy(
            f"{text!r} is no proxy: write channels, resolution, samples and epochs, as c4r4s0e60; "
            "each number but the epochs cuts the cost by a power of two"
        )
    channels, resolution, samples, epochs = map(int, match.groups())
    return Proxy(channels=channels, resolution=resolution, samples=samples, epochs=epochs)


def proxies_from_text(text: str) -> tuple[Proxy, ...]:
    """Read proxies with commas between them, each once.

    Raises:
        InvalidProxy: One is none.
    """
    return tuple(dict.fromkeys(map(proxy_from_text, text.split(","))))


def first_images(data: "ImageData", *, training: int, validation: int | None = None) -> "ImageData":
    """Return images with fewer of them to train on and to judge by: the first of each split.

    The order of a split mixes the classes. Deviation: the paper's code draws another subset at each
    stage of a network; here all networks see the same.

    Args:
        data: The images.
        training: Of the training split; all of it where it has no more.
        validation: Of the validation split; None for all.
    """
    judging = data.validation if validation is None else data.validation.first(validation)
    return replace(data, training=data.training.first(training), validation=judging)


def _largest(works: Callable[[int], bool]) -> int | None:
    """Return the largest exponent that works; None where not even 0 does."""
    return max(filter(works, range(MOST_HALVINGS)), default=None)


def _cure(letter: str, largest: int | None) -> str:
    if largest is None:
        return f"not even {letter}0 works: take larger images, more of them, or smaller batches"
    return f"the smallest that works is {letter}{largest}"
