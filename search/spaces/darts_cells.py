"""DARTS's cells: a normal and a reduction cell of four nodes, 1e18 networks.

What is searched are two small graphs. Each of the four nodes of a cell reads two different earlier
ones, each by one of seven operations; the nodes that none reads are the cell's output. A network
stacks the cells, so what an edge costs is no property of the edge alone: the output's width follows
from how many nodes are read, and a reduction cell halves what comes from its inputs.

Source:
    Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, section 3 and appendix B;
    loose ends and mutations as in the released code of Zhou et al., EcoNAS, CVPR 2020.

Deviations: see `profiler.operators.darts_code`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import InvalidFile, Shape
from lut.sums import JointSums
from profiler import CellStack, Chain, Conv, OpSpec, PoolHead, Skip, top_of_step
from profiler.operators.darts_cells import Place, places_of
from profiler.operators.darts_code import (
    INPUTS,
    NODES,
    OPERATIONS,
    Edge,
    Ends,
    code_from_edges,
    edges_from_code,
)
from profiler.operators.darts_genotype import (
    CELL_LAYERS,
    PAIRS,
    Cell,
    cell_of,
    edges_of,
    genotype_text,
)
from search.space import Architecture, SearchSpace, snapped_name
from search.spaces.darts_prices import (
    every_ends,
    filled,
    node_rows,
    stack_units,
    units_to_measure,
    wiring_row,
)

CELLS, WIDTH, STEM = 20, 36, 3
"""Cells and channels of the published network for CIFAR; the stem has three times as many."""

FEWEST_CELLS = 3
"""Cells of the smallest network: a normal one, and the two that reduce."""


def darts(
    *,
    resolution: int = 32,
    batch: int = 1,
    classes: int = 10,
    snap: int = 1,
    cells: int = CELLS,
    width: int = WIDTH,
) -> "DartsSpace":
    """Return the space whose cells give their loose ends, as EcoNAS searches it.

    Args:
        resolution: Side of the images in pixels.
        batch: Images per inference.
        classes: Logits.
        snap: The first width is rounded up to a multiple of this, and so is the stem's; reductions
            double the first.
        cells: In a stack, `FEWEST_CELLS` or more; those at a third and two thirds halve the image.
        width: Channels of the first cells' nodes.

    Raises:
        InvalidFile: Too few cells are asked for.
    """
    image = (batch, 3, resolution, resolution)
    return _space(
        "darts", ends="loose", image=image, classes=classes, snap=snap, cells=cells, width=width
    )


def darts_all(
    *,
    resolution: int = 32,
    batch: int = 1,
    classes: int = 10,
    snap: int = 1,
    cells: int = CELLS,
    width: int = WIDTH,
) -> "DartsSpace":
    """Return the space whose cells give all four nodes, as DARTS publishes them; see `darts`."""
    image = (batch, 3, resolution, resolution)
    return _space(
        "darts-all", ends="all", image=image, classes=classes, snap=snap, cells=cells, width=width
    )


def _space(
    name: str, *, ends: Ends, image: Shape, classes: int, snap: int, cells: int, width: int
) -> "DartsSpace":
    if cells < FEWEST_CELLS or width < 2:
        raise InvalidFile(
            f"space {name!r} has {FEWEST_CELLS} cells or more, of 2 channels or more, not "
            f"{cells} of {width}: name it {name}-{CELLS}x{WIDTH}, cells by channels"
        )
    sized = name if (cells, width) == (CELLS, WIDTH) else f"{name}-{cells}x{width}"
    stem = Conv(input_shape=image, channels=top_of_step(STEM * width, snap), kernel=3)
    width = top_of_step(width, snap)
    places = tuple(_places(stem.output_shape, width, cells, (NODES, NODES)))
    return DartsSpace(
        name=snapped_name(sized, snap),
        before=(stem,),
        layers=_layers(places[0].shape) * 2,
        after=(PoolHead(input_shape=places[-1].output_shape, classes=classes),),
        snap=snap,
        cells=cells,
        width=width,
        ends_of_cell=ends,
    )


def _places(shape: Shape, width: int, cells: int, ends: tuple[int, int]) -> Sequence[Place]:
    reductions = _reductions(cells)
    return tuple(places_of(shape, channels=width, cells=cells, reductions=reductions, ends=ends))


def _reductions(cells: int) -> tuple[int, int]:
    return cells // 3, 2 * cells // 3


def _layers(shape: Shape) -> tuple[tuple[OpSpec, ...], ...]:
    """Return what the layers of a cell choose among: cells of one operation tell those apart."""
    operations = tuple(filled(operation, shape) for operation in range(len(OPERATIONS)))
    wires = (tuple(Skip(input_shape=shape) for _ in pairs) for pairs in PAIRS)
    return tuple(
        layer
        for pairs in wires
        for layer in ((pairs,) if len(pairs) > 1 else ()) + (operations, operations)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DartsSpace(SearchSpace):
    """Networks of two cells. Of 22 layers the first half choose the normal cell.

    Of each node: which two it reads (the first can only read the inputs), then the operation on
    what comes from the first of them, then that on the other.

    Attributes:
        cells: In a network.
        width: Channels of the first cells' nodes.
        ends_of_cell: Whether a cell gives its loose ends or all nodes.
    """

    cells: int
    width: int
    ends_of_cell: Ends

    @property
    def operators(self) -> tuple[OpSpec, ...]:
        """What a table measures: small whole cells, and what prepares their inputs.

        See `search.spaces.darts_prices`: any other cell is priced by them.
        """
        return units_to_measure([self.places(ends) for ends in every_ends(self.ends_of_cell)])

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The pairs of all nodes, then for each node its pair and operations."""
        nodes: list[tuple[int, ...]] = []
        first = 0
        for pairs in PAIRS * 2:
            size = 2 + (len(pairs) > 1)
            nodes.append(tuple(range(first, first + size)))
            first += size
        return (tuple(node[0] for node in nodes if len(node) == 3), *nodes)

    def places(self, ends: tuple[int, int]) -> Sequence[Place]:
        """Return where the cells of a network stand.

        Args:
            ends: Nodes that a normal cell gives, and a reduction cell.
        """
        return _places(self.before[0].output_shape, self.width, self.cells, ends)

    def cells_of(self, arch: Architecture) -> tuple[Cell, Cell]:
        """Return the choices of the normal cell and of the reduction cell.

        Raises:
            InvalidFile: ``arch`` does not belong to this space.
        """
        self.check(arch)
        return arch.choices[:CELL_LAYERS], arch.choices[CELL_LAYERS:]

    def chain(self, arch: Architecture) -> Chain:
        """Return one network: the stem, all its cells as one operator, the head.

        Raises:
            InvalidFile: ``arch`` does not belong to this space.
        """
        normal, reduction = (code_from_edges(edges_of(cell)) for cell in self.cells_of(arch))
        stack = CellStack(
            input_shape=self.before[0].output_shape,
            channels=self.width,
            cells=self.cells,
            reductions=_reductions(self.cells),
            normal=normal,
            reduction=reduction,
            ends=self.ends_of_cell,
        )
        head = PoolHead(input_shape=stack.output_shape, classes=self.classes)
        return (*self.before, stack, head)

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the one architecture that stands for all which compute the same.

        Nodes may change places where none reads the other. What a cell gives is then the same
        channels in another order, and what reads them is a 1x1 convolution or the classifier,
        whose weights may stand in that order, too. Of all such orders it is the one of the
        smallest choices.
        """
        normal, reduction = map(_first_order, self.cells_of(arch))
        return Architecture(normal + reduction)

    def alone(self, arch: Architecture) -> Architecture:
        """Return the canonical form: weights of their own are all that equal networks lack."""
        return self.canonical(arch)

    def mutant(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a copy of which one edge reads another node, or does another operation.

        Either as often, in either cell as often; of the first node only operations can change.

        Source:
            The released code of EcoNAS, ``mutate.py``.
        """
        cells = [list(edges_of(cell)) for cell in self.cells_of(arch)]
        edges = cells[int(rng.integers(2))]
        if rng.integers(2):
            _rewire(edges, rng)
        else:
            place = int(rng.integers(len(edges)))
            operation, source = edges[place]
            others = [each for each in range(len(OPERATIONS)) if each != operation]
            edges[place] = (others[int(rng.integers(len(others)))], source)
        return Architecture(cell_of(cells[0]) + cell_of(cells[1]))

    def genotype(self, arch: Architecture) -> str:
        """Return the cells of a network as they are published.

        Raises:
            InvalidFile: ``arch`` does not belong to this space.
        """
        self.check(arch)
        return genotype_text(arch.choices, ends=self.ends_of_cell)

    def described(self, layer: int) -> tuple[str, ...]:
        """Return what a layer chooses among, and whose node it is of."""
        number = next(i for i, group in enumerate(self.groups[1:]) if layer in group)
        group, pairs = self.groups[1 + number], PAIRS[number % NODES]
        node = f"{('normal', 'reduction')[number // NODES]} node {INPUTS + number % NODES}"
        place = layer - group[0] - (len(group) - 2)
        if place < 0:
            return tuple(f"{node} reads {one} and {other}" for one, other in pairs)
        which = ("first", "second")[place]
        return tuple(f"{node} {which} {operation}" for operation in OPERATIONS)

    def described_groups(self, arch: Architecture) -> tuple[str, ...]:
        """Return what each row of `totals` prices of a network, for people."""
        texts = [f"inputs, sums and outputs of {self.cells} cells"]
        for kind, cell in zip(("normal", "reduction"), self.cells_of(arch), strict=True):
            edges = edges_of(cell)
            for node, pair in enumerate(zip(edges[::2], edges[1::2], strict=True), start=INPUTS):
                one, other = (f"{OPERATIONS[op]} of {source}" for op, source in pair)
                texts.append(f"{kind} node {node}: {one}, {other}")
        return tuple(texts)

    def ends(self, size: Callable[[OpSpec], Any]) -> tuple[Architecture, Architecture]:
        """Return the smallest and the largest network, exactly, in canonical form.

        Args:
            size: Of an operator, a number.
        """
        sums = JointSums(
            counts=np.array([len(layer) for layer in self.layers]),
            cost=self.totals(lambda op: float(size(op))),
            groups=self.groups,
        )
        smallest, largest = (self.canonical(Architecture(tuple(row))) for row in sums.ends.tolist())
        return smallest, largest

    def totals(self, cost: Callable[[OpSpec], float]) -> NDArray[np.float64]:
        """Return what networks cost, stem and head left out, as a sum over `groups`.

        Args:
            cost: Of one of `operators`, in any unit.

        Returns:
            ``(9, 32400)``, the choice of a row's first layer the slowest to change; ``inf`` beyond
            a row's entries.
        """
        places = {ends: self.places(ends) for ends in every_ends(self.ends_of_cell)}
        units = stack_units(next(iter(places.values())), cost)
        wires = wiring_row(places, units, cost)
        rows = [wires, *node_rows(next(iter(places.values())), units)]
        table = np.full((len(rows), max(map(len, rows))), np.inf)
        for row, values in zip(table, rows, strict=True):
            row[: len(values)] = values
        return table

    def choices_of(self, chain: Chain) -> tuple[int, ...] | None:
        """Return the choices that a network makes; None if it is of another space."""
        stacks = [op for op in chain if isinstance(op, CellStack)]
        if len(stacks) != 1:
            return None
        codes = (stacks[0].normal, stacks[0].reduction)
        normal, reduction = (cell_of(edges_from_code(code)) for code in codes)
        arch = Architecture(normal + reduction)
        return arch.choices if self.chain(arch) == chain else None


def _rewire(edges: list[Edge], rng: np.random.Generator) -> None:
    """Let one edge of a node after the first read another node, in place."""
    place = int(rng.integers(2, len(edges)))
    node, first = INPUTS + place // 2, place // 2 * 2
    operation, _ = edges[place]
    taken = {source for _, source in edges[first : first + 2]}
    others = [source for source in range(node) if source not in taken]
    edges[place] = (operation, others[int(rng.integers(len(others)))])
    edges[first : first + 2] = sorted(edges[first : first + 2], key=lambda edge: edge[1])


@cache
def _first_order(cell: Cell) -> Cell:
    """Return the choices of a cell with its nodes in the order of the smallest choices."""
    edges = edges_of(cell)
    pairs = [edges[start : start + 2] for start in range(0, len(edges), 2)]
    found = []
    for order in permutations(range(NODES)):
        places = {INPUTS + old: INPUTS + new for new, old in enumerate(order)}
        places |= {i: i for i in range(INPUTS)}
        moved = [
            sorted(((op, places[s]) for op, s in pairs[old]), key=lambda e: e[1]) for old in order
        ]
        if all(edge[1] < INPUTS + new for new, pair in enumerate(moved) for edge in pair):
            found.append(cell_of([edge for pair in moved for edge in pair]))
    return min(found)
