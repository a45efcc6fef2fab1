"""DARTS's genotypes: two cells as the choices of a search, and as the published text.

Source:
    Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, section 3; the text as in its
    released ``genotypes.py``.
"""

import ast
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any, TypeAlias

from devices import InvalidFile
from profiler.operators.darts_code import (
    INPUTS,
    NODES,
    OPERATIONS,
    Edge,
    Ends,
    checked_edges,
    loose_ends,
    operation_index,
)

PAIRS = tuple(tuple(combinations(range(node), 2)) for node in range(INPUTS, INPUTS + NODES))
"""For each node the pairs of earlier ones that it may read; the first has only its one pair."""

ALL = tuple(range(INPUTS, INPUTS + NODES))
"""The nodes that a cell computes."""

CELL_LAYERS = 3 * NODES - 1
"""Choices of a cell: a pair but for the first node, and two operations a node."""

Cell: TypeAlias = tuple[int, ...]
"""The choices of one cell, `CELL_LAYERS` of them."""


@cache
def edges_of(cell: Cell) -> tuple[Edge, ...]:
    """Return the eight edges of a cell's choices."""
    chosen = iter(cell)
    edges: list[Edge] = []
    for pairs in PAIRS:
        pair = pairs[next(chosen) if len(pairs) > 1 else 0]
        edges += [(next(chosen), source) for source in pair]
    return tuple(edges)


def cell_of(edges: Sequence[Edge]) -> Cell:
    """Return the choices that give eight edges; the inverse of `edges_of`."""
    choices: list[int] = []
    for pairs, one, other in zip(PAIRS, edges[::2], edges[1::2], strict=True):
        choices += [pairs.index((one[1], other[1]))] if len(pairs) > 1 else []
        choices += [one[0], other[0]]
    return tuple(choices)


def genotype_text(choices: Sequence[int], *, ends: Ends) -> str:
    """Write two cells as they are published.

    Args:
        choices: Of the normal cell, then of the reduction cell.
        ends: Which nodes the cells give.
    """
    parts = []
    for kind, cell in (("normal", choices[:CELL_LAYERS]), ("reduce", choices[CELL_LAYERS:])):
        edges = edges_of(tuple(cell))
        pairs = [(OPERATIONS[operation], source) for operation, source in edges]
        given = list(ALL if ends == "all" else loose_ends(edges))
        parts.append(f"{kind}={pairs}, {kind}_concat={given}")
    return f"Genotype({', '.join(parts)})"


def choices_from_genotype(text: str) -> tuple[tuple[int, ...], frozenset[Ends]]:
    """Read ``Genotype(normal=[(op, node), ...], normal_concat=[...], reduce=..., ...)``.

    Returns:
        The choices of the normal cell and of the reduction cell; and which nodes both cells give:
        where no node reads another the loose ends are all.

    Raises:
        InvalidFile: The text is no genotype of this space; says what is wrong.
    """
    fields = _fields(text)
    choices: list[int] = []
    given: frozenset[Ends] = frozenset(("loose", "all"))
    for kind in ("normal", "reduce"):
        pairs, concatenated = fields[kind], fields[f"{kind}_concat"]
        try:
            named = [(operation_index(name, said=text), int(node)) for name, node in pairs]
            nodes = tuple(sorted(map(int, concatenated)))
        except (TypeError, ValueError) as error:
            raise _no_genotype(text) from error
        edges = checked_edges(named, said=text)
        choices += cell_of(edges)
        means: dict[Ends, tuple[int, ...]] = {"loose": loose_ends(edges), "all": ALL}
        given &= {name for name, meant in means.items() if meant == nodes}
    if not given:
        raise InvalidFile(
            f"{text[:60]!r}: its cells give neither their loose ends nor all four nodes, which is "
            "what the spaces 'darts' and 'darts-all' hold"
        )
    return tuple(choices), given


def _fields(text: str) -> dict[str, list[Any]]:
    """Return what the four fields hold."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        keywords = call.keywords if isinstance(call, ast.Call) else []
        found = {each.arg or "": _values(each.value) for each in keywords}
    except (SyntaxError, TypeError, ValueError) as error:
        raise _no_genotype(text) from error
    if found.keys() != {"normal", "normal_concat", "reduce", "reduce_concat"}:
        raise _no_genotype(text)
    return found


def _values(node: ast.expr) -> list[Any]:
    """Return a list that is written out, or as ``range(2, 6)``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return list(range(*(ast.literal_eval(each) for each in node.args)))
    return list(ast.literal_eval(node))


def _no_genotype(text: str) -> InvalidFile:
    return InvalidFile(
        f"{text[:60]!r} is no genotype: write Genotype(normal=[('sep_conv_3x3', 0), ...], "
        "normal_concat=[...], reduce=[...], reduce_concat=[...]), eight edges a cell"
    )
