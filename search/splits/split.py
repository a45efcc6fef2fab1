"""A space cut into parts, one for each child of a few-shot supernet.

A split deals the choices of one layer to groups, and several splits give the products of theirs.
An architecture belongs to the part that its *canonical form* falls into: two forms of one network
have one canonical form, so they are in one part, and every network is in exactly one. The canonical
form is also what is trained, judged and exported.

The canonical form of a cell is the cheapest of its class, and all forms of a class go to one part
by it. So a part is no set of raw codes: a cell with a choice of another part on the split edge may
well belong to this one.

A product may hold no canonical form: where layer 3 skips, layer 4 of its stage skips as well. Such
a part has no network and is left out, so that layers of one stage give fewer parts than products.

Source:
    Zhao et al., Few-Shot Neural Architecture Search, ICML 2021, section 3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby, islice, product
from math import prod

import numpy as np

from devices import LatkitError
from search.space import Architecture, SearchSpace

MOST_PARTS = 10_000
"""Parts of a partition, those without a network included: each of them would be trained."""

LOOKED_AT = 20_000
"""Combinations of choices among which a part's first network is looked for."""

DRAWS = 100_000
"""Draws of a path after which a part is believed to be empty."""


class InvalidSplit(LatkitError):
    """A split leaves a part empty or two overlapping, or asks for more parts than there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A layer whose choices are dealt to groups.

    Attributes:
        layer: Index of the layer, from 0.
        groups: Choices, ascending in each group.
    """

    layer: int
    groups: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        return f"{self.layer}:{'/'.join(map(ranges_text, self.groups))}"


def split_from_text(text: str, space: SearchSpace) -> Split:
    """Read ``"3"``, one part for each choice of layer 3, or ``"3:0,1/2"``, one for each group.

    ``"0-5"`` stands for the choices 0 to 5.

    Raises:
        InvalidSplit: The text is neither, or the layer or a choice is not of the space.
    """
    head, colon, tail = text.partition(":")
    try:
        layer = int(head)
        groups = tuple(_choices(group) for group in tail.split("/")) if colon else None
    except ValueError as error:
        raise InvalidSplit(
            f"--split {text}: write a layer, as 3, or a layer and groups of its choices, as "
            "3:0,1/2 or 3:0-3/4-6"
        ) from error
    if not 0 <= layer < len(space.layers):
        raise InvalidSplit(
            f"--split {text}: space {space.name!r} has layers 0 to {len(space.layers) - 1}"
        )
    one_each = tuple((choice,) for choice in range(len(space.layers[layer])))
    split = Split(layer=layer, groups=groups or one_each)
    check_split(split, space)
    return split


def _choices(text: str) -> tuple[int, ...]:
    """Read ``"0,2-4"``."""
    found: list[int] = []
    for piece in text.split(",") if text else ():
        first, dash, last = piece.partition("-")
        found += range(int(first), int(last) + 1) if dash else [int(first)]
    return tuple(sorted(found))


def ranges_text(choices: Sequence[int]) -> str:
    """Return ascending choices as ``"0,2-4"``."""
    pieces = []
    for _, group in groupby(enumerate(choices), lambda pair: pair[1] - pair[0]):
        run = [choice for _, choice in group]
        pieces.append(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)))
    return ",".join(pieces)


def check_split(split: Split, space: SearchSpace) -> None:
    """Check that a split deals every choice of its layer to one group, and to two or more groups.

    Raises:
        InvalidSplit: A group is empty or holds no network, two overlap, or a choice is left out.
    """
    count = len(space.layers[split.layer])
    dealt = list(chain(*split.groups))
    where = f"split {split} of space {space.name!r}"
    if not all(split.groups):
        raise InvalidSplit(f"{where}: a group is empty, and its child would have no network")
    if unknown := sorted(set(dealt) - set(range(count))):
        raise InvalidSplit(
            f"{where}: layer {split.layer} has choices 0 to {count - 1}, not {unknown[0]}"
        )
    if twice := sorted({choice for choice in dealt if dealt.count(choice) > 1}):
        raise InvalidSplit(f"{where}: choice {twice[0]} is in two groups, which may not overlap")
    if missing := sorted(set(range(count)) - set(dealt)):
        raise InvalidSplit(
            f"{where}: choices {ranges_text(missing)} are in no group, and no child would hold "
            "their networks: add them to one"
        )
    if len(split.groups) < 2:
        raise InvalidSplit(f"{where}: one group is no split; write / between groups")


@dataclass(frozen=True, kw_only=True)  # no slots: what follows from the space is kept
class Part:
    """The architectures of a space whose canonical form has given choices in some layers.

    Attributes:
        space: The whole space.
        groups: Layers with the choices they may have, ascending by layer; none: the whole space.
    """

    space: SearchSpace
    groups: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def name(self) -> str:
        """What to call it: ``"3:0,1 5:2"``."""
        parts = (f"{layer}:{ranges_text(choices)}" for layer, choices in self.groups)
        return " ".join(parts) or "all"

    @cached_property
    def allowed(self) -> tuple[tuple[int, ...], ...]:
        """The choices that each layer may have in this part."""
        given = dict(self.groups)
        return tuple(
            given.get(i, tuple(range(len(layer)))) for i, layer in enumerate(self.space.layers)
        )

    def __contains__(self, arch: object) -> bool:
        if not isinstance(arch, Architecture):
            return False
        canonical = self.space.canonical(arch)
        return not self._outside(canonical)

    def _outside(self, canonical: Architecture) -> list[int]:
        """Return the layers where a canonical form has a choice of another part."""
        return [layer for layer, choices in self.groups if canonical.choices[layer] not in choices]

    @cached_property
    def empty(self) -> bool:
        """Whether no canonical form is in it.

        Asked run by run: canonical forms are made within runs of layers that offer the same. Of
        more than `LOOKED_AT` combinations that many are drawn, always the same ones.
        """
        split = {layer for layer, _ in self.groups}
        return not all(self._reachable(run) for run in runs(self.space) if split & set(run))

    def _reachable(self, run: range) -> bool:
        choices = [allowed[0] for allowed in self.allowed]
        for combination in islice(self._combinations(run), LOOKED_AT):
            choices[run.start : run.stop] = combination
            canonical = self.space.canonical(Architecture(tuple(choices)))
            if not set(self._outside(canonical)) & set(run):
                return True
        return False

    def _combinations(self, run: range) -> Iterator[tuple[int, ...]]:
        options = [self.allowed[i] for i in run]
        if prod(map(len, options)) <= LOOKED_AT:
            yield from product(*options)
            return
        rng = np.random.default_rng(0)
        while True:  # the caller takes LOOKED_AT
            yield tuple(options_of[int(rng.integers(len(options_of)))] for options_of in options)

    @cached_property
    def _run_of(self) -> tuple[range, ...]:
        """For every layer the run that it is in."""
        return tuple(run for run in runs(self.space) for _ in run)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a canonical architecture of this part.

        Uniform over the forms whose choices are allowed here, before and after they are made
        canonical; the whole space is drawn as `SearchSpace.sample` does. A run of layers that
        falls outside is drawn again.

        Raises:
            InvalidSplit: `DRAWS` draws in a row were outside: the part is as good as empty.
        """
        drawn = [self._draw(layer, rng) for layer in range(len(self.allowed))]
        for _ in range(DRAWS):
            canonical = self.space.canonical(Architecture(tuple(drawn)))
            outside = self._outside(canonical)
            if not outside:
                return canonical
            again = sorted({layer for i in outside for layer in self._run_of[i]})
            for layer in again:
                drawn[layer] = self._draw(layer, rng)
        raise InvalidSplit(
            f"none of {DRAWS} draws of space {self.space.name!r} is in part {self.name}: "
            "split another layer, or into larger groups"
        )

    def _draw(self, layer: int, rng: np.random.Generator) -> int:
        allowed = self.allowed[layer]
        return allowed[int(rng.integers(len(allowed)))]


@dataclass(frozen=True, kw_only=True)  # no slots: the parts are kept
class Partition:
    """A space cut into parts: every architecture is in exactly one, in all of its forms alike.

    Attributes:
        space: The whole space.
        splits: Of different layers, ascending; none: one part that is the whole space.
    """

    space: SearchSpace
    splits: tuple[Split, ...]

    def __post_init__(self) -> None:
        layers = [split.layer for split in self.splits]
        if layers != sorted(set(layers)):
            raise InvalidSplit(
                f"layers are split once each, in ascending order; got {layers}. Give all groups "
                "of a layer in one --split"
            )
        count = prod(len(split.groups) for split in self.splits)
        if count > MOST_PARTS:
            raise InvalidSplit(
                f"{count:,} children are too many to train, at most {MOST_PARTS:,}: split fewer "
                "layers, or into larger groups"
            )
        for split in self.splits:
            check_split(split, self.space)
            self._check_groups(split)

    def _check_groups(self, split: Split) -> None:
        for group in split.groups:
            if Part(space=self.space, groups=((split.layer, group),)).empty:
                raise InvalidSplit(
                    f"split {split} of space {self.space.name!r}: no network has a choice of "
                    f"{ranges_text(group)} in its canonical form, and the child would be empty: "
                    "put it into a larger group"
                )

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All parts that hold a network, in the order of their groups."""
        return tuple(
            Part(space=self.space, groups=tuple(chain(*combination)))
            for combination in product(*map(self._of_run, runs(self.space)))
        )

    def _of_run(self, run: range) -> list[tuple[tuple[int, tuple[int, ...]], ...]]:
        """Return the combinations of groups in one run of layers that hold a network."""
        options = [
            [(split.layer, group) for group in split.groups]
            for split in self.splits
            if split.layer in run
        ]
        return [
            combination
            for combination in product(*options)
            if not Part(space=self.space, groups=combination).empty
        ]

    @cached_property
    def _number(self) -> dict[tuple[tuple[int, ...], ...], int]:
        return {tuple(group for _, group in p.groups): n for n, p in enumerate(self.parts)}

    @cached_property
    def _group_of(self) -> tuple[tuple[int, dict[int, tuple[int, ...]]], ...]:
        """For every split its layer, and the group of each choice."""
        return tuple(
            (split.layer, {choice: group for group in split.groups for choice in group})
            for split in self.splits
        )

    def index(self, arch: Architecture) -> int:
        """Return which part an architecture is in, by its canonical form.

        Raises:
            InvalidFile: It is of another space.
        """
        self.space.check(arch)
        canonical = self.space.canonical(arch)
        return self._number[
            tuple(group_of[canonical.choices[layer]] for layer, group_of in self._group_of)
        ]


def partition_from_texts(texts: Sequence[str], space: SearchSpace) -> Partition:
    """Read splits and put them together.

    Raises:
        InvalidSplit: One is wrong, or they do not go together.
    """
    splits = sorted((split_from_text(text, space) for text in texts), key=lambda s: s.layer)
    return Partition(space=space, splits=tuple(splits))


def runs(space: SearchSpace) -> tuple[range, ...]:
    """Return the runs of neighbouring layers that offer the same choices.

    Within one, and nowhere else, `SearchSpace.canonical` moves choices. The edges of a cell are one
    run: its canonical form may change any of them.
    """
    found = []
    for _, group in groupby(range(len(space.layers)), lambda i: space.layers[i]):
        layers = list(group)
        found.append(range(layers[0], layers[-1] + 1))
    return tuple(found)
