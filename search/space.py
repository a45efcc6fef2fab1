"""What may be chosen, and what was."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from devices import InvalidFile
from profiler import Chain, OpSpec, Skip

Choices = NDArray[np.uint8]
"""A batch of architectures, ``(batch, layers)``: row by row the choice of every layer."""


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """One choice per searched layer: ``choices[i]`` indexes ``space.layers[i]``."""

    choices: tuple[int, ...]

    def __str__(self) -> str:
        separator = "" if max(self.choices) < 10 else "-"
        return separator.join(map(str, self.choices))


def snapped_name(name: str, snap: int) -> str:
    """Return what a space is called where its widths are rounded up to multiples of ``snap``."""
    return name if snap == 1 else f"{name}-snap{snap}"


def architecture_from_text(text: str) -> Architecture:
    """Read ``"22212220"``, or ``"12-0-3"`` where a choice has two digits.

    Raises:
        InvalidFile: The text is neither.
    """
    parts = text.split("-") if "-" in text else list(text)
    if not parts or not all(part.isdecimal() for part in parts):
        raise InvalidFile(
            f"{text!r} is no architecture: write one digit a layer, as 22212220, or dashes "
            "between choices, as 12-0-3"
        )
    return Architecture(tuple(map(int, parts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The networks that a search may return: a chain of layers with choices.

    Attributes:
        name: What `search.spaces.space_named` takes: a key of `SPACES`, or ``KEY-snap16``.
        before: Operators that every network starts with, such as the stem.
        layers: ``layers[i][j]`` is choice ``j`` of layer ``i``; the choices of a layer share
            their input and their output shape.
        after: Operators that every network ends with, such as the head.
        snap: Widths are rounded up to multiples of this; 1: they are as published.
    """

    name: str
    before: Chain
    layers: tuple[tuple[OpSpec, ...], ...]
    after: Chain
    snap: int = 1

    def __post_init__(self) -> None:
        for i, layer in enumerate(self.layers):
            if len({(op.input_shape, op.output_shape) for op in layer}) != 1:
                raise ValueError(f"space {self.name!r}: choices of layer {i} differ in shape")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(N, 3, H, W)`` of the images."""
        return self.before[0].input_shape

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.after[-1].output_shape[1]

    @property
    def size(self) -> int:
        """How many architectures there are, duplicates included."""
        product = 1
        for layer in self.layers:
            product *= len(layer)
        return product

    @property
    def operators(self) -> tuple[OpSpec, ...]:
        """The distinct operators of the searched layers that compute something."""
        distinct = dict.fromkeys(op for layer in self.layers for op in layer)
        return tuple(op for op in distinct if not isinstance(op, Skip))

    def check(self, arch: Architecture) -> None:
        """Check that an architecture belongs to this space.

        Raises:
            InvalidFile: It has another number of layers, or a choice that a layer lacks.
        """
        if len(arch.choices) != len(self.layers):
            raise InvalidFile(
                f"architecture {arch} has {len(arch.choices)} choices; "
                f"space {self.name!r} has {len(self.layers)} layers"
            )
        for i, (choice, layer) in enumerate(zip(arch.choices, self.layers, strict=True)):
            if not 0 <= choice < len(layer):
                raise InvalidFile(
                    f"architecture {arch}: layer {i} of space {self.name!r} has choices 0 to "
                    f"{len(layer) - 1}, not {choice}"
                )

    def chain(self, arch: Architecture) -> Chain:
        """Return the operators of one network, from the stem to the head.

        Raises:
            InvalidFile: ``arch`` does not belong to this space.
        """
        self.check(arch)
        chosen = (layer[c] for layer, c in zip(self.layers, arch.choices, strict=True))
        return (*self.before, *chosen, *self.after)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture uniformly."""
        return Architecture(tuple(int(rng.integers(len(layer))) for layer in self.layers))

    def sample_batch(self, count: int, rng: np.random.Generator) -> Choices:
        """Draw ``count`` architectures uniformly and independently: ``(count, layers)``."""
        highs = np.array([len(layer) for layer in self.layers])
        return rng.integers(highs, size=(count, len(self.layers))).astype(np.uint8)

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the one architecture that stands for all which compute the same.

        Skips commute with their neighbours among layers that offer the same choices, so they
        move to the end of such a run; the order of the others stays.
        """
        choices: list[int] = []
        for layer, run in groupby(zip(self.layers, arch.choices, strict=True), lambda p: p[0]):
            picked = [choice for _, choice in run]
            kept = [c for c in picked if not isinstance(layer[c], Skip)]
            skips = [c for c in picked if isinstance(layer[c], Skip)]
            choices += kept + skips
        return Architecture(tuple(choices))


def as_choices(archs: list[Architecture]) -> Choices:
    """Return architectures as one array, ``(batch, layers)``."""
    return np.array([arch.choices for arch in archs], np.uint8)
