"""What may be chosen, and what was."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import InvalidFile
from profiler import Chain, OpSpec, Skip
from profiler.operators.cells import choices_from_code
from profiler.operators.darts_genotype import choices_from_genotype

Choices = NDArray[np.uint16]
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
    """Read ``"22212220"``, ``"12-0-3"`` where a choice has two digits, or published cells.

    Raises:
        InvalidFile: The text is none of them.
    """
    if text.startswith("|"):
        return Architecture(choices_from_code(text))
    if text.startswith("Genotype("):
        return Architecture(choices_from_genotype(text)[0])
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
            their input and their output shape. Choices may be one operator: they are one network
            when trained alone, while a supernet has weights for each (see `alone`).
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
            if len({(op.input_shape, op.output_shape) for op in _objects(layer)}) != 1:
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
        return tuple(op for op in self._distinct if not isinstance(op, Skip))

    @property
    def _distinct(self) -> dict[OpSpec, None]:
        layers = {id(layer): layer for layer in self.layers}.values()  # equal ones are often one
        return dict.fromkeys(op for layer in layers for op in _objects(layer))

    def costs(self, cost: Callable[[OpSpec], float]) -> list[NDArray[np.float64]]:
        """Return what every choice of every layer costs, ``(choices,)`` each.

        Args:
            cost: Asked once for each distinct operator: a layer may have thousands of choices of a
                few operators.
        """
        known = {op: cost(op) for op in self._distinct}
        return [np.array([known[op] for op in layer], float) for layer in self.layers]

    def described(self, layer: int) -> tuple[str, ...]:
        """Return what a layer chooses among, for people: its distinct operators."""
        return tuple(map(str, dict.fromkeys(self.layers[layer])))

    def ends(self, size: Callable[[OpSpec], Any]) -> tuple[Architecture, Architecture]:
        """Return the smallest and the largest network, layer by layer, in canonical form.

        Args:
            size: Of an operator: anything that compares; of equal choices the first is taken.
        """
        known = {op: size(op) for op in self._distinct}
        sizes = [[known[op] for op in layer] for layer in self.layers]
        smallest, largest = (
            self.canonical(Architecture(tuple(of.index(end(of)) for of in sizes)))
            for end in (min, max)
        )
        return smallest, largest

    def computes(self, arch: Architecture) -> bool:
        """Return whether the network's output depends on its input; of a chain it does."""
        self.check(arch)
        return True

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
        return rng.integers(highs, size=(count, len(self.layers))).astype(np.uint16)

    def mutant(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a copy in which one layer that has a choice chose something else."""
        choosing = [i for i, layer in enumerate(self.layers) if len(layer) > 1]
        layer = choosing[int(rng.integers(len(choosing)))]
        others = [c for c in range(len(self.layers[layer])) if c != arch.choices[layer]]
        choices = list(arch.choices)
        choices[layer] = others[int(rng.integers(len(others)))]
        return Architecture(tuple(choices))

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the one architecture that stands for all which compute the same.

        Skips commute with their neighbours among layers that offer the same choices, so they
        move to the end of such a run; the order of the others stays. Choices that are one operator
        are not merged: in a supernet each has weights of its own, see `alone`.
        """
        choices: list[int] = []
        for layer, run in groupby(zip(self.layers, arch.choices, strict=True), lambda p: p[0]):
            picked = [choice for _, choice in run]
            kept = [c for c in picked if not isinstance(layer[c], Skip)]
            skips = [c for c in picked if isinstance(layer[c], Skip)]
            choices += kept + skips
        return Architecture(tuple(choices))

    def alone(self, arch: Architecture) -> Architecture:
        """Return the one architecture that stands for all which are one network when trained alone.

        Their chains are equal. It is the canonical form with the first choice of each operator: to
        compare by where weights are not inherited.

        Raises:
            InvalidFile: ``arch`` does not belong to this space.
        """
        self.check(arch)
        pairs = zip(self.layers, self.canonical(arch).choices, strict=True)
        return Architecture(tuple(layer.index(layer[choice]) for layer, choice in pairs))


def _objects(layer: Iterable[OpSpec]) -> tuple[OpSpec, ...]:
    """Return the choices of a layer, those that are one object once."""
    return tuple({id(op): op for op in layer}.values())


def as_choices(archs: list[Architecture]) -> Choices:
    """Return architectures as one array, ``(batch, layers)``."""
    return np.array([arch.choices for arch in archs], np.uint16)
