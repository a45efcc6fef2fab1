"""Shared weights of a cell space: every operation on every edge, in every place of the cell.

What is shared: all architectures use one stem, one set of blocks between the stages and one head;
an operation on an edge has weights of its own in each of the fifteen places, shared by all cells
that have it there. All places have one cell in a forward pass, as in the networks that are searched
(the released code of Few-shot NAS drew another cell for each place, and evaluated equal ones).

Edges that lead nowhere do not run: a cell and the same without its dead edges give the same logits
and the same gradients. Cells that compute the same on other edges (a skip before a convolution or
after it) use other weights; only the canonical one of a class is trained, judged and exported.

Source:
    Dong and Yang, NAS-Bench-201, ICLR 2020, section 2; Zhao et al., Few-Shot Neural Architecture
    Search, ICML 2021, for the supernet.
"""

from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor, nn

from profiler import OpSpec
from profiler.operators.cells import EDGES, NODES, NONE, edge_branch, pruned
from profiler.operators.modules import Wired, build, line
from search.space import Architecture
from search.spaces.nasbench201 import CellSpace
from search.supernets.supernet import Supernet, initialise


class CellSupernet(Supernet):
    """All candidates of a cell, in all places.

    Attributes:
        space: What the candidates were built from.
        layers: ``layers[i][j][k]`` is choice ``j`` of edge ``i`` in place ``k``; ``none`` has no
            places.
        blocks: Between the stages.
    """

    space: CellSpace

    def __init__(self, space: CellSpace, *, seed: int = 0) -> None:
        super().__init__(space, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.blocks = nn.ModuleList(map(build, space.blocks))
            initialise(self.blocks)

    def _layer(self, ops: tuple[OpSpec, ...]) -> nn.Module:
        """Return the operations of one edge, each in every place."""
        widths = [shape[1] for shape in self.space.stages for _ in range(self.space.depth)]
        return nn.ModuleList(
            nn.ModuleList(
                line(edge_branch(0, choice, channels=width)) for width in widths if choice != NONE
            )
            for choice in range(len(ops))
        )

    def mixture(self, images: Tensor, gates: Tensor) -> Tensor:
        """Return the logits of the network whose edges are weighted sums of all operations.

        With weights of 0 and 1 it is `forward`, and zeros where there is no path; all
        operations run.

        Args:
            images: As `forward` takes them.
            gates: ``(6, 5)`` weights; that of ``none`` takes nothing with it.

        Returns:
            Logits, ``(batch, classes)``.
        """
        x = self.before(images)
        for place, block in self._places():
            if block is not None:
                x = block(x)
            nodes = {0: x} | dict.fromkeys(range(1, NODES), torch.zeros_like(x))
            for edge, (source, target) in enumerate(EDGES):
                lines = self._lines(edge, place).items()  # none where a part has `none` alone
                terms = [gates[edge, j] * run(nodes[source]) for j, run in lines]
                nodes[target] = reduce(torch.add, terms, nodes[target])
            x = nodes[NODES - 1]
        return self.after(x)

    def _path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        self.space.check(arch)
        path: list[nn.Module] = []
        for place, block in self._places():
            path += [] if block is None else [block]
            path.append(self._cell(pruned(arch.choices), place))
        return (*self.before, *path, *self.after)

    def _places(self) -> Iterator[tuple[int, nn.Module | None]]:
        """Go through the places of the cell, each with the block right before it, if any."""
        depth = self.space.depth
        for place in range(depth * len(self.space.stages)):
            stage, first = divmod(place, depth)
            yield place, self.blocks[stage - 1] if stage and not first else None

    def _cell(self, choices: tuple[int, ...], place: int) -> Wired:
        """Return a cell without dead edges, made of the weights of its place."""
        live = [(edge, choice) for edge, choice in enumerate(choices) if choice != NONE]
        branches = (edge_branch(edge, choice, channels=1) for edge, choice in live)
        wires = [(branch.name, branch.source, branch.target) for branch in branches]
        return Wired(wires, [self._lines(edge, place)[choice] for edge, choice in live])

    def _lines(self, edge: int, place: int) -> dict[int, nn.Module]:
        """Return what the choices of an edge compute in one place, ``none`` left out."""
        layer = self.layers[edge]
        assert isinstance(layer, nn.ModuleList)  # torch types what a list holds as Module
        lists = ((j, places) for j, places in enumerate(layer) if isinstance(places, nn.ModuleList))
        return {j: places[place] for j, places in lists if j != NONE}
