"""DARTS's cells as text: which nodes read which, and by which operations.

Source:
    Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, section 3; operations by the
    names of its released code. Loose ends as in the released code of Zhou et al., EcoNAS, CVPR
    2020.

Deviations: ``none`` is no operation here. DARTS never derives it, a node of two is all zeros, and
of its eight it is the one that computes nothing; whoever names it is told so. The two inputs of a
node are different nodes, as DARTS derives them; EcoNAS's released code may draw one twice, and
then a cell may leave an input unread, which its concatenation takes for a loose end.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal, TypeAlias

from devices import InvalidFile

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""What an edge may do, in the published order without ``none``; an index here is a choice."""

POOLINGS, SKIP = (0, 1), 2

INPUTS, NODES = 2, 4
"""Values that a cell reads, and nodes that it computes; inputs are nodes 0 and 1."""

Edge: TypeAlias = tuple[int, int]
"""Index of an operation, and the node that it reads."""

Ends = Literal["loose", "all"]
"""What a cell gives: the nodes that no other reads (EcoNAS), or all four (DARTS)."""


def checked_edges(edges: Sequence[Edge], *, said: str) -> tuple[Edge, ...]:
    """Return the eight edges of a cell, those of a node by the node that they read.

    Args:
        edges: Two for each node, in any order within the node.
        said: How they were written, to complain about.

    Raises:
        InvalidFile: They are not eight, read a node that is not before theirs, or one twice.
    """
    if len(edges) != 2 * NODES:
        raise _no_cell(said, f"it has {len(edges)} edges")
    ordered: list[Edge] = []
    for node in range(INPUTS, INPUTS + NODES):
        start = 2 * (node - INPUTS)
        pair = sorted(edges[start : start + 2], key=lambda edge: edge[1])
        (_, one), (_, other) = pair
        if not 0 <= one < other < node:
            raise _no_cell(said, f"node {node} reads {one} and {other}")
        ordered += pair
    return tuple(ordered)


def operation_index(name: str, *, said: str) -> int:
    """Return the index of an operation by its published name.

    Raises:
        InvalidFile: There is no such operation; of ``none`` it says why.
    """
    if name == "none":
        raise _no_cell(said, "'none' computes nothing, and no derived cell has it")
    if name not in OPERATIONS:
        raise _no_cell(said, f"{name!r} is no operation")
    return OPERATIONS.index(name)


def _no_cell(said: str, why: str) -> InvalidFile:
    return InvalidFile(
        f"{said[:80]!r} is no cell of DARTS: {why}; four nodes, 2 to 5, each read two earlier ones "
        f"by {', '.join(OPERATIONS)}"
    )


@cache
def edges_from_code(code: str) -> tuple[Edge, ...]:
    """Read ``|op~0|op~1|+|op~0|op~2|+...``: what each of the four nodes reads.

    Raises:
        InvalidFile: The text is no such cell.
    """
    parts = [part for node in code.split("+") for part in node.strip("|").split("|")]
    edges = []
    for part in parts:
        name, _, source = part.partition("~")
        edges.append((operation_index(name, said=code), int(source) if source.isdecimal() else -1))
    found = checked_edges(edges, said=code)
    if code_from_edges(found) != code:
        raise _no_cell(code, "edges of a node stand in another order")
    return found


def code_from_edges(edges: Sequence[Edge]) -> str:
    """Write a cell; the inverse of `edges_from_code`."""
    texts = [f"{OPERATIONS[operation]}~{source}" for operation, source in edges]
    return "+".join(f"|{one}|{other}|" for one, other in zip(texts[::2], texts[1::2], strict=True))


def loose_ends(edges: Sequence[Edge]) -> tuple[int, ...]:
    """Return the nodes that no other node reads; the last always is one."""
    read = {source for _, source in edges}
    return tuple(node for node in range(INPUTS, INPUTS + NODES) if node not in read)
