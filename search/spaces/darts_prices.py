"""What DARTS's cells cost: any of them, from a few whole cells that are timed.

A whole cell is an operator of the table only where it was measured, and of 1e9 cells these are:
cells of one operation everywhere. In a ``ladder`` every node reads the two right before it, so only
the last is loose; in a ``star`` all read the inputs. With ``P`` for what prepares an input::

    sum of a node    = (ladder of skips - 2 P) / 4
    four outputs     = star of skips - ladder of skips
    an edge          = (ladder of its operation - ladder of skips) / edges
    an edge, halving = (star of a reduction cell - 2 P - four sums - four outputs) / edges

Any other cell is the sum of its edges, sums, outputs and preparations. So an edge includes what its
operation changes of the sum behind it: a convolution takes that up, a pooling does not. Equal
poolings of one value are computed once, and so counted in the cells above; in others each counts.
What all of this misses is in the intervals, which come from whole networks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from devices import Shape
from profiler import CellStack, OpSpec, Preparation
from profiler.operators.darts_cells import Place
from profiler.operators.darts_code import (
    INPUTS,
    NODES,
    OPERATIONS,
    POOLINGS,
    SKIP,
    Ends,
    code_from_edges,
)
from profiler.operators.darts_genotype import PAIRS

Cost = Callable[[OpSpec], float]

Values = NDArray[np.float64]

LADDER = tuple(source for node in range(INPUTS, INPUTS + NODES) for source in (node - 2, node - 1))
STAR = (0, 1) * NODES


def filled(operation: int, shape: Shape, *, star: bool = False, reduces: bool = False) -> CellStack:
    """Return a cell that does one operation on all of its edges.

    Args:
        operation: Index in `profiler.operators.darts_code.OPERATIONS`.
        shape: Of the nodes; of a cell that reduces, of its prepared inputs.
        star: Whether all nodes read the inputs; else each reads the two before it.
        reduces: Whether it halves the image.
    """
    code = code_from_edges([(operation, source) for source in (STAR if star else LADDER)])
    return CellStack(
        input_shape=shape,
        channels=shape[1] // 2 if reduces else shape[1],  # a reduction doubles them
        cells=1,
        reductions=(0,) if reduces else (),
        normal=code,
        reduction=code,
    )


def edges_counted(operation: int, *, star: bool) -> int:
    """Return how many edges of a filled cell are computed: equal poolings of a node are one."""
    if operation in POOLINGS:
        return len(set(STAR if star else LADDER))
    return 2 * NODES


def every_ends(ends: Ends) -> tuple[tuple[int, int], ...]:
    """Return how many nodes a normal cell and a reduction cell may give."""
    counts = (NODES,) if ends == "all" else tuple(range(1, NODES + 1))
    return tuple((normal, reduction) for normal in counts for reduction in counts)


def units_to_measure(networks: Iterable[Sequence[Place]]) -> tuple[OpSpec, ...]:
    """Return the cells and preparations that price every network.

    Args:
        networks: The places of cells, for every number of nodes that these may give.
    """
    units: dict[OpSpec, None] = {}
    for places in networks:
        for place in places:
            units |= dict.fromkeys(_cells_at(place))
            units |= dict.fromkeys(place.inputs)
    return tuple(units)


def _cells_at(place: Place) -> Iterator[OpSpec]:
    for operation in range(len(OPERATIONS)):
        yield filled(operation, place.shape)
    yield filled(SKIP, place.shape, star=True)
    yield _kept(place.shape)
    if place.reduction:
        shape = place.inputs[1].output_shape
        yield _kept(shape)
        for operation in range(len(OPERATIONS)):
            yield filled(operation, shape, star=True, reduces=True)


def _kept(shape: Shape) -> Preparation:
    """Return what prepares the inputs of a filled cell."""
    return Preparation(input_shape=shape, channels=shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What the parts of cells cost at the places of one shape, in the unit of what they came from.

    Attributes:
        sums: Of one node.
        outputs: Of four nodes one after the other.
        edges: ``(operations,)``.
        halving: ``(operations,)`` of edges that halve the image; zeros where no cell does.
    """

    sums: float
    outputs: float
    edges: Values
    halving: Values


def stack_units(places: Sequence[Place], cost: Cost) -> dict[Shape, Units]:
    """Return the parts of the cells of a network, by the shape of their nodes.

    Args:
        places: Of the cells; how many nodes they give does not matter.
        cost: Of what `units_to_measure` returns.
    """
    reducing = {place.shape: place.inputs[1].output_shape for place in places if place.reduction}
    return {
        place.shape: _units(place.shape, cost, halved=reducing.get(place.shape)) for place in places
    }


def _units(shape: Shape, cost: Cost, *, halved: Shape | None) -> Units:
    operations = range(len(OPERATIONS))
    ladders = np.array([cost(filled(operation, shape)) for operation in operations])
    sums = (ladders[SKIP] - 2 * cost(_kept(shape))) / NODES
    outputs = cost(filled(SKIP, shape, star=True)) - ladders[SKIP]
    counts = np.array([edges_counted(operation, star=False) for operation in operations])
    edges = (ladders - ladders[SKIP]) / counts
    if halved is None:
        nothing = np.zeros_like(edges)
        return Units(sums=float(sums), outputs=float(outputs), edges=edges, halving=nothing)
    stars = [cost(filled(each, halved, star=True, reduces=True)) for each in operations]
    around = 2 * cost(_kept(halved)) + NODES * sums + outputs
    counts = np.array([edges_counted(operation, star=True) for operation in operations])
    halving = (np.array(stars) - around) / counts
    return Units(sums=float(sums), outputs=float(outputs), edges=edges, halving=halving)


def wiring_row(
    networks: Mapping[tuple[int, int], Sequence[Place]], units: Mapping[Shape, Units], cost: Cost
) -> Values:
    """Return what preparations, sums and outputs cost, by which nodes are read.

    Args:
        networks: The places of cells, by the nodes that normal and reduction cells give.
        units: Of their parts.
        cost: Of what prepares an input.

    Returns:
        ``(32400,)``: the pairs of the normal cell's nodes, then the reduction cell's.
    """
    table = np.zeros((NODES + 1, NODES + 1))
    for ends, places in networks.items():
        table[ends] = sum(_around_edges(place, units[place.shape], cost) for place in places)
    if len(networks) == 1:  # all nodes are given, whatever reads them
        return np.full(len(_loose_counts()) ** 2, table[next(iter(networks))])
    loose = _loose_counts()
    return np.asarray(table[loose[:, None], loose].ravel())


def _around_edges(place: Place, units: Units, cost: Cost) -> float:
    given = place.ends / NODES if place.ends > 1 else 0.0  # one is given as it is
    return sum(map(cost, place.inputs)) + NODES * units.sums + given * units.outputs


def _loose_counts() -> NDArray[np.intp]:
    """Return how many nodes are loose, ``(180,)``: for every choice of the pairs."""
    counts = []
    for chosen in product(*PAIRS):
        read = {source for pair in chosen for source in pair if source >= INPUTS}
        counts.append(NODES - len(read))
    return np.array(counts)


def node_rows(places: Sequence[Place], units: Mapping[Shape, Units]) -> list[Values]:
    """Return what the edges of each node cost: the normal cell's, then the reduction cell's.

    Args:
        places: Of the cells.
        units: Of their parts.

    Returns:
        For each node ``(pairs * 7 * 7,)``: its pair, the operation on the first of it, the other.
    """
    rows = []
    for reduction in (False, True):
        there = [units[place.shape] for place in places if place.reduction == reduction]
        plain = np.sum([each.edges for each in there], axis=0)
        halving = np.sum([each.halving for each in there], axis=0) if reduction else plain
        for pairs in PAIRS:
            ends = [[halving if source < INPUTS else plain for source in pair] for pair in pairs]
            rows.append(np.array([one[:, None] + other for one, other in ends]).ravel())
    return rows
