"""NAS-Bench-201: one cell of six edges, the same in fifteen places, 15,625 trained networks.

A cell is no chain of layers: what an edge costs and whether it is there at all depends on the
others. So a whole pruned cell is one operator of a network, while the six edges are what a search
chooses, mutates and crosses.

Source:
    Dong and Yang, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search,
    ICLR 2020, section 2; skeleton and isomorphism as in its released code.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import Shape
from profiler import Cell, Chain, Conv, EqualCells, NormHead, OpSpec, ResidualBlock, top_of_step
from profiler.operators.cells import (
    CONV1,
    CONV3,
    EDGES,
    NODES,
    NONE,
    OPERATIONS,
    POOL,
    SKIP,
    choices_from_code,
    code_from_choices,
    pruned,
)
from search.space import Architecture, SearchSpace, snapped_name

WIDTHS = (16, 32, 64)
"""Channels of the three stages; between two of them the image is halved."""

DEPTH = 5
"""Cells of a stage."""

DIRECT = 3
"""The edge from the input of a cell to its output."""

ALL_EDGES = (len(OPERATIONS),) * len(EDGES)

LIVE = (CONV1, CONV3, POOL)
"""What costs time on an edge. To these a cell adds three things, see `live_counts`."""

CONVOLUTIONS = (CONV1, CONV3)


def nasbench201(
    *, resolution: int = 32, batch: int = 1, classes: int = 10, snap: int = 1
) -> "CellSpace":
    """Return the space for square images.

    Args:
        resolution: Side of the images in pixels.
        batch: Images per inference.
        classes: Logits.
        snap: Widths are rounded up to multiples of this.
    """
    return cell_space(
        snapped_name("nasbench201", snap),
        widths=tuple(top_of_step(width, snap) for width in WIDTHS),
        depth=DEPTH,
        image=(batch, 3, resolution, resolution),
        classes=classes,
        snap=snap,
    )


def cell_space(
    name: str, *, widths: tuple[int, ...], depth: int, image: Shape, classes: int, snap: int = 1
) -> "CellSpace":
    """Return a skeleton of so many stages of so many cells.

    Args:
        name: What it is called.
        widths: Channels of each stage.
        depth: Cells of a stage.
        image: ``(N, 3, H, W)``.
        classes: Logits.
        snap: What the widths were rounded up to.
    """
    stem = Conv(input_shape=image, channels=widths[0], kernel=3)
    stages = [stem.output_shape]
    for channels in widths[1:]:
        stages.append(ResidualBlock(input_shape=stages[-1], channels=channels).output_shape)
    return CellSpace(
        name=name,
        before=(stem,),
        layers=tuple(_edge_choices(stages[0]) for _ in EDGES),
        after=(NormHead(input_shape=stages[-1], classes=classes),),
        snap=snap,
        stages=tuple(stages),
        depth=depth,
    )


def _edge_choices(shape: Shape) -> tuple[Cell, ...]:
    """Return what each operation computes, as a cell that is nothing else."""
    return tuple(
        Cell(input_shape=shape, code=_only({DIRECT: choice})) for choice in range(len(OPERATIONS))
    )


def _only(edges: dict[int, int]) -> str:
    """Return the cell of some edges, with their choices."""
    return code_from_choices(tuple(edges.get(edge, NONE) for edge in range(len(EDGES))))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpace(SearchSpace):
    """Networks of one cell, repeated. A layer of the search is an edge of the cell.

    ``layers[i][j]`` says how choice ``j`` of edge ``i`` compares with the others: it is the cell
    that computes it alone. A network is made of whole cells, see `chain`.

    Latency is no sum over the edges (`totals`). Some 2 % of the cells have no path from input to
    output: they compute zeros, belong to the space as they belong to the benchmark, and have no
    latency that a search could keep a budget with.

    Attributes:
        stages: Shape of the cells of each stage.
        depth: Cells of a stage.
    """

    stages: tuple[Shape, ...]
    depth: int

    @property
    def operators(self) -> tuple[OpSpec, ...]:
        """What a table measures: six cells, from which the price of all others follows.

        In each stage as many of them in a row as it has; and the blocks between the stages, which
        every network has.
        """
        cells = (cells for shape in self.stages for cells in _measured(shape, self.depth))
        return (*cells, *self.blocks)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """None: `totals` has a price for each cell."""
        return ()

    @property
    def blocks(self) -> tuple[ResidualBlock, ...]:
        """What stands between the stages."""
        return tuple(
            ResidualBlock(input_shape=before, channels=after[1])
            for before, after in pairwise(self.stages)
        )

    def chain(self, arch: Architecture) -> Chain:
        """Return one network from the stem to the head, its cells without dead edges.

        Raises:
            InvalidFile: ``arch`` does not belong to this space.
        """
        self.check(arch)
        code = code_from_choices(pruned(arch.choices))
        ops: list[OpSpec] = []
        for block, shape in zip((None, *self.blocks), self.stages, strict=True):
            ops += [] if block is None else [block]
            ops += [Cell(input_shape=shape, code=code)] * self.depth
        return (*self.before, *ops, *self.after)

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the one cell that stands for its class among the 6,466 of the benchmark.

        Of a class it is the cheapest: of the fewest operations in live convolutions, then of the
        fewest edges that are not ``none``, then the first. The classes are the benchmark's, and
        its rule (`class_text`) is no equality of networks: two convolutions of one node pass for
        one that is used twice, so another form of a class may have more weights, and some dead
        edges are not seen. What computes the same as one cell is `alone`.
        """
        self.check(arch)
        return Architecture(_representatives()[arch.choices])

    def alone(self, arch: Architecture) -> Architecture:
        """Return the cell without its dead edges: all with its chain are one network."""
        self.check(arch)
        return Architecture(pruned(arch.choices))

    def described(self, layer: int) -> tuple[str, ...]:
        """Return what an edge may do, and the nodes that it is between."""
        source, target = EDGES[layer]
        return tuple(f"{source} to {target} {operation}" for operation in OPERATIONS)

    def ends(self, size: Callable[[OpSpec], Any]) -> tuple[Architecture, Architecture]:
        """Return the smallest network, whose cells pass their input on, and the largest.

        Args:
            size: Of an operator; the larger it is the larger is what it is part of.
        """
        identity = Architecture(tuple(SKIP if e == DIRECT else NONE for e in range(len(EDGES))))
        _, largest = SearchSpace.ends(self, size)
        return identity, largest

    def computes(self, arch: Architecture) -> bool:
        """Return whether there is a path from the input of the cell to its output."""
        return has_path(arch)

    def totals(self, cost: Callable[[OpSpec], float]) -> NDArray[np.float64]:
        """Return what every architecture costs: blocks, live operations, and what joins these.

        Args:
            cost: Of one of `operators`, in any unit.

        Returns:
            ``(15625,)``, the choice of the first edge the slowest to change; ``inf`` where a cell
            has no path.
        """
        unit = np.sum([_units(shape, self.depth, cost) for shape in self.stages], axis=0)
        cells = np.nan_to_num(live_counts()) @ unit
        return np.where(np.isnan(live_counts()[:, 0]), np.inf, cells + sum(map(cost, self.blocks)))

    def choices_of(self, chain: Chain) -> tuple[int, ...] | None:
        """Return the cell of a network, without dead edges; None if it is of another space."""
        cells = [op for op in chain if isinstance(op, Cell)]
        if not cells:
            return None
        choices = choices_from_code(cells[0].code)
        return choices if self.chain(Architecture(choices)) == chain else None


def _measured(shape: Shape, depth: int) -> tuple[EqualCells, ...]:
    """Return the cells whose latencies the price of any cell is made of, see `_units`."""
    first, last = EDGES.index((0, 1)), EDGES.index((1, 3))
    codes = (
        *(_only({DIRECT: each}) for each in LIVE),
        _only({first: CONV1, last: SKIP, DIRECT: SKIP}),  # the input goes around a 1x1
        _only({first: POOL, last: SKIP, DIRECT: SKIP}),  # and around a pooling
        _only({first: POOL, last: CONV1}),  # a 1x1 behind a pooling
    )
    return tuple(EqualCells(input_shape=shape, code=code, count=depth) for code in codes)


def _units(shape: Shape, depth: int, cost: Callable[[OpSpec], float]) -> NDArray[np.float64]:
    """Return what each column of `live_counts` costs in all cells of a stage."""
    conv1, conv3, pool, around_conv, around_pool, behind_pool = map(cost, _measured(shape, depth))
    rectifier = behind_pool - pool - conv1
    return np.array(
        [conv1, conv3, pool, around_conv - conv1 - rectifier, around_pool - pool, rectifier]
    )


@lru_cache(maxsize=1)
def live_counts() -> NDArray[np.float64]:
    """Count what every cell has to compute once its dead edges are gone.

    Runtimes compute an addition within the convolution that gives one of its terms, and a ReLU
    within what gives its input, unless that is no convolution or something else reads it, too;
    ReLUs and poolings of one value are computed once. ONNX Runtime's optimised graphs of 150 drawn
    cells had these counts but for one, where a sum occurs twice.

    Returns:
        ``(15625, 6)``: of `LIVE` one by one; additions that a convolution takes up; additions by
        themselves; ReLUs by themselves. No number where there is no path.
    """
    none = [np.nan] * (len(LIVE) + 3)
    lives = (pruned(choices) for choices in every_cell())
    return np.array([_count(live) if any(live) else none for live in lives], float)


@dataclass(slots=True, eq=False)
class _Value:
    """What nodes of a cell hold, and who reads it.

    Attributes:
        terms: What it is the sum of: choices of edges, and what they read; none for the input.
        convolutions: How many read it.
        sums: How many sums read it as it is.
        pooled: Whether poolings read it; equal ones are computed once.
        convolved: Whether a convolution gives it, with the additions that it takes up.
    """

    terms: list[tuple[int, "_Value"]]
    convolutions: int = 0
    sums: int = 0
    pooled: bool = False
    convolved: bool = False

    def additions(self) -> tuple[int, int]:
        """Count the additions that convolutions take up, and those by themselves.

        Of three terms the first two are added, then the third. Notes whether a convolution gives
        the sum.
        """
        given = [choice in CONVOLUTIONS or _goes_on(choice, term) for choice, term in self.terms]
        taken = [any(given[:2]), *given[2:]][: len(given) - 1] if given else []
        self.convolved = taken[-1] if taken else any(given)
        return sum(taken), len(taken) - sum(taken)

    @property
    def rectified_alone(self) -> bool:
        """Whether convolutions read it, and their ReLU is not part of what gives it."""
        return self.convolutions > 0 and (self.sums > 0 or self.pooled or not self.convolved)


def _goes_on(choice: int, value: _Value) -> bool:
    """Return whether a term is what one convolution gave, no sum, and nothing else reads."""
    only = value.convolutions + value.sums + value.pooled == 1
    return choice == SKIP and only and len(value.terms) == 1 and value.convolved


def _values(live: tuple[int, ...]) -> list[_Value]:
    """Return what the nodes hold, the input first, the output last: the input if it is that."""
    held = {0: _Value(terms=[])}  # a node that only passes another's value on shares it
    for node in range(1, NODES):
        pairs = zip(live, EDGES, strict=True)
        terms = [(choice, held[s]) for choice, (s, t) in pairs if t == node and choice != NONE]
        if [choice for choice, _ in terms] == [SKIP]:
            held[node] = terms[0][1]
        elif terms:
            held[node] = _Value(terms=terms)
            for choice, value in terms:
                value.convolutions += choice in CONVOLUTIONS
                value.sums += choice == SKIP
                value.pooled |= choice == POOL
    return [*dict.fromkeys(held.values())]


def _count(live: tuple[int, ...]) -> tuple[int, ...]:
    """Count what a cell without dead edges computes, as `live_counts` lists it."""
    values = _values(live)
    taken, alone = map(sum, zip(*(value.additions() for value in values), strict=True))
    values[0].convolved = values[-1].convolved  # the cell before is the same
    poolings = sum(value.pooled for value in values)
    rectifiers = sum(value.rectified_alone for value in values)
    return live.count(CONV1), live.count(CONV3), poolings, taken, alone, rectifiers


def every_cell() -> Iterator[tuple[int, ...]]:
    """Go through all 15,625 cells, the choice of the first edge the slowest to change."""
    return product(range(len(OPERATIONS)), repeat=len(EDGES))


def has_path(arch: Architecture) -> bool:
    """Return whether the output of a cell depends on its input."""
    return any(pruned(arch.choices))


def class_text(choices: tuple[int, ...]) -> str:
    """Return what the cells of one class have in common, as the benchmark writes it.

    Nodes are texts of what they compute; skips vanish, sums are sorted, and what comes from a first
    node without input is ``#``. Two cells that compute the same may still be of two classes: the
    rule sees no further than that.

    Source:
        ``Structure.to_unique_str(consider_zero=True)`` of the released code, reproduced because
        the 6,466 classes are defined by it.
    """
    nodes = {0: "0"}
    for target in range(1, NODES):
        terms = []
        for choice, (source, end) in zip(choices, EDGES, strict=True):
            if end != target:
                continue
            before = nodes[source]
            if choice == NONE or before == "#":
                terms.append("#")
            else:
                terms.append(before if choice == SKIP else f"({before})@{OPERATIONS[choice]}")
        nodes[target] = "+".join(sorted(terms))
    return nodes[NODES - 1]


@lru_cache(maxsize=1)
def _representatives() -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return for every cell the one that stands for its class."""
    texts = {choices: class_text(choices) for choices in every_cell()}
    chosen: dict[str, tuple[int, ...]] = {}
    for choices in sorted(texts, key=_expense):
        chosen.setdefault(texts[choices], choices)
    return {choices: chosen[text] for choices, text in texts.items()}


def _expense(choices: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
    live = pruned(choices)
    weights = 9 * live.count(CONV3) + live.count(CONV1)  # 3x3 and 1x1 of equal widths
    return weights, len(choices) - choices.count(NONE), choices


def cell_text(arch: Architecture) -> str:
    """Write a cell as the benchmark does."""
    return code_from_choices(arch.choices)
