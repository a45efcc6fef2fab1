"""Sums over layers for millions of architectures: one look-up for several layers at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices: TypeAlias = NDArray[np.intp]

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
    """One number for every architecture, where it is no sum over layers.

    Attributes:
        counts: ``(layers,)`` choices of each layer.
        table: One number for each architecture, the choice of the first layer the slowest to
            change.
    """

    counts: NDArray[np.intp]
    table: NDArray[np.float64]

    def __call__(self, choices: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the number of every row, ``(batch,)``; arguments and errors as of `LayerSums`."""
        return self.table.take(joined(choices, self.counts)[:, 0])


def joined(choices: NDArray[np.integer], counts: Sequence[int] | NDArray[np.intp]) -> Indices:
    """Return the choices of layers that are priced together as the choice of one layer.

    Args:
        choices: ``(batch, layers)``.
        counts: Choices of each layer; none where each layer has its own price.

    Returns:
        ``(batch, 1)``, or the choices themselves.

    Raises:
        ValueError: The shape is wrong, or a layer has no such choice.
    """
    if not len(counts):
        return choices.astype(np.intp)
    if choices.ndim != 2 or choices.shape[1] != len(counts):
        raise ValueError(f"choices are (batch, {len(counts)}), got {choices.shape}")
    return np.ravel_multi_index(tuple(choices.T.astype(np.intp)), tuple(counts))[:, None]


def parted(index: NDArray[np.integer], counts: Sequence[int] | NDArray[np.intp]) -> Indices:
    """Undo `joined`: ``(batch, layers)`` for ``(batch, 1)``."""
    if not len(counts):
        return index.astype(np.intp)
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
