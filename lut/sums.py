"""Sums over layers for millions of architectures: one look-up for several layers at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices: TypeAlias = NDArray[np.intp]

Groups: TypeAlias = Sequence[Sequence[int]]
"""For each priced row the searched layers that it looks at."""

TABLE_ENTRIES = 4096
"""Largest look-up for one group of layers; more and it no longer stays in the cache."""

ROWS = 8192
"""Architectures per step; keeps the intermediate arrays in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSums:
    """``sum(cost[i, choices[i]])``, for a batch of architectures.

    Neighbouring layers are merged into groups with one table each, in mixed radix: with 7 choices
    a layer, four layers become one table of 2,401 sums.

    Attributes:
        counts: ``(layers,)`` choices of each layer.
        places: ``(layers, groups)`` place value of a layer in the index of its group, else 0.
        tables: For each group the sum of its layers at every index.
    """

    counts: NDArray[np.intp]
    places: NDArray[np.float32]
    tables: tuple[NDArray[np.float64], ...]

    def __call__(self, choices: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the sum of every row.

        Args:
            choices: ``(batch, layers)`` non-negative integers.

        Returns:
            ``(batch,)``.

        Raises:
            ValueError: The shape is wrong, or a layer has no such choice.
        """
        if choices.ndim != 2 or choices.shape[1] != len(self.counts):
            raise ValueError(f"choices are (batch, {len(self.counts)}), got {choices.shape}")
        total = np.zeros(len(choices))
        for start in range(0, len(choices), ROWS):
            rows = choices[start : start + ROWS]
            if (rows.max(axis=0) >= self.counts).any() or rows.min() < 0:
                raise ValueError(f"a choice is out of range; layers have {self.counts.tolist()}")
            # A float32 product is exact here (indices are far below 2^24) and uses BLAS.
            index = (rows.astype(np.float32) @ self.places).astype(np.int32)  # (rows, groups)
            step = total[start : start + ROWS]
            for group, table in enumerate(self.tables):
                step += table.take(index[:, group])
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class JointSums:
    """Sums of rows that each look at several layers, where a price is no sum over layers.

    Attributes:
        counts: ``(layers,)`` choices of each layer.
        cost: ``(rows, entries)``, the choice of the first layer of a row the slowest to change;
            ``inf`` beyond the entries of a row.
        groups: Layers of each row; none: one row looks at all. Rows may share layers, if one of
            them looks at all that are shared.
    """

    counts: NDArray[np.intp]
    cost: NDArray[np.float64]
    groups: Groups = ()

    def __call__(self, choices: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the sum of every row, ``(batch,)``; arguments and errors as of `LayerSums`."""
        index = joined(choices, self.counts, self.groups)
        return np.asarray(self.cost[np.arange(len(self.cost)), index].sum(axis=1))

    @property
    def ends(self) -> NDArray[np.intp]:
        """``(2, layers)``: choices of the smallest and of the largest finite sum, exactly."""
        largest = np.where(np.isfinite(self.cost), self.cost, -np.inf)
        return np.stack([self._smallest(self.cost), self._smallest(-largest)])

    def _smallest(self, cost: NDArray[np.float64]) -> Indices:
        """Return the choices of the smallest sum: what a row has alone is settled first."""
        groups = self.groups or (tuple(range(len(self.counts))),)
        seen = [layer for group in groups for layer in group]
        shared = {layer for layer in seen if seen.count(layer) > 1}
        hub = next(row for row, group in enumerate(groups) if shared <= set(group))
        table, settled = self._table(cost[hub], groups[hub]), []
        for row, group in enumerate(groups):
            if row == hub:
                continue
            kept = [layer for layer in group if layer in shared]
            own = [layer for layer in group if layer not in shared]
            order = [group.index(layer) for layer in (*kept, *own)]
            part = self._table(cost[row], group).transpose(order)
            part = part.reshape(*self.counts[kept], -1)
            settled.append((kept, own, part.argmin(axis=-1)))
            sizes = [self.counts[layer] if layer in kept else 1 for layer in groups[hub]]
            table = table + part.min(axis=-1).reshape(sizes)
        chosen = np.zeros(len(self.counts), np.intp)
        chosen[list(groups[hub])] = np.unravel_index(table.argmin(), table.shape)
        for kept, own, best in settled:
            chosen[own] = np.unravel_index(best[tuple(chosen[kept])], tuple(self.counts[own]))
        return chosen

    def _table(self, row: NDArray[np.float64], group: Sequence[int]) -> NDArray[np.float64]:
        sizes = tuple(self.counts[list(group)])
        return row[: np.prod(sizes)].reshape(sizes)


def joined(
    choices: NDArray[np.integer],
    counts: Sequence[int] | NDArray[np.intp],
    groups: Groups = (),
) -> Indices:
    """Return the choices of layers that are priced together as the choice of one layer.

    Args:
        choices: ``(batch, layers)``.
        counts: Choices of each layer; none where each layer has its own price.
        groups: Layers that are priced together; none: all of them.

    Returns:
        ``(batch, groups)``, ``(batch, 1)`` without groups; or the choices themselves.

    Raises:
        ValueError: The shape is wrong, or a layer has no such choice.
    """
    if not len(counts):
        return choices.astype(np.intp)
    if choices.ndim != 2 or choices.shape[1] != len(counts):
        raise ValueError(f"choices are (batch, {len(counts)}), got {choices.shape}")
    columns = choices.T.astype(np.intp)
    rows = (
        np.ravel_multi_index(tuple(columns[list(group)]), tuple(np.take(counts, group)))
        for group in groups or (range(len(counts)),)
    )
    return np.stack(list(rows), axis=1)


def parted(index: NDArray[np.integer], counts: Sequence[int] | NDArray[np.intp]) -> Indices:
    """Undo `joined` without groups: ``(batch, layers)`` for ``(batch, 1)``.

    Raises:
        ValueError: There are several columns: groups may share layers, and contradict each other.
    """
    if not len(counts):
        return index.astype(np.intp)
    if index.shape[1] != 1:
        raise ValueError(f"{index.shape[1]} groups of layers cannot be chosen one by one")
    return np.stack(np.unravel_index(index[:, 0], tuple(counts)), axis=1)


def layer_sums(cost: NDArray[np.float64]) -> LayerSums:
    """Prepare the sums of a cost matrix.

    Args:
        cost: ``(layers, choices)``; ``inf`` where a layer has fewer choices.
    """
    counts = np.isfinite(cost).sum(axis=1)
    groups: list[list[int]] = [[]]
    for layer, count in enumerate(counts):
        if np.prod(counts[groups[-1]], initial=1) * count > TABLE_ENTRIES and groups[-1]:
            groups.append([])
        groups[-1].append(layer)
    places = np.zeros((len(cost), len(groups)), np.float32)
    tables = []
    for column, layers in enumerate(groups):
        table = np.zeros(1)
        for layer in layers:
            places[layers[0] : layer, column] *= counts[layer]
            places[layer, column] = 1
            table = (table[:, None] + cost[layer, : counts[layer]]).ravel()
        tables.append(table)
    return LayerSums(counts=counts, places=places, tables=tuple(tables))
