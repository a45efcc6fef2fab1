"""Choices as probabilities: what a generator puts out, and what it is worth on average.

A generator speaks of an architecture as an image, a row for each layer and a column for each gate.
Where a layer has one choice, its gates are its choices. In the unified space a layer has six
groups with a choice each, and what a choice costs follows from all of them together: their
distributions are convolved into that of the operators, exactly. So expected latency, and expected
accuracy where a table has it, are sums without any sampling, and differentiable.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lut import LatencyModel
from search.exact import feasible_range
from search.space import Architecture, SearchSpace
from search.spaces.unified import (
    CODES,
    GROUPS,
    KERNELS,
    SKIPPED,
    digits_of,
    is_unified,
    multiset_index,
)
from search.supernets.evaluation import batch_statistics
from search.supernets.supernet import Supernet
from search.supernets.unified import multiset_probabilities


class Gates(Protocol):
    """How the gates of a space are laid out in an image."""

    @property
    def mask(self) -> Tensor:
        """``(layers, groups, options)``, which gates there are."""
        ...

    def operator_probabilities(self, gates: Tensor) -> Tensor:
        """Return how probable each operator of each layer is: ``(targets, layers, operators)``.

        Args:
            gates: ``(targets, layers, groups, options)`` probabilities.
        """
        ...

    def operator_costs(self, cost_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the seconds of each operator, ``(layers, operators)``; 0 where there is none.

        Args:
            cost_s: ``(layers, choices)``, as a latency model has them.
        """
        ...

    def choice_scores(self, log_gates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the log probabilities of the gates of each choice.

        Args:
            log_gates: ``(targets, layers, groups, options)``.

        Returns:
            ``(targets, layers, choices)``.
        """
        ...

    def one_hot(self, arch: Architecture) -> Tensor:
        """Return an architecture as gates of 0 and 1, ``(layers, groups, options)``."""
        ...

    def logits(self, supernet: Supernet, images: Tensor, gates: Tensor) -> Tensor:
        """Return the logits of a supernet whose blocks are mixed, ``(batch, classes)``.

        Args:
            supernet: Of the space; left as it is, in evaluation mode.
            images: ``(batch, 3, height, width)``, normalised as in training.
            gates: ``(layers, groups, options)`` probabilities.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ChainGates:
    """Gates of a space whose layers have one choice each, and each choice its own cost."""

    mask: Tensor

    def operator_probabilities(self, gates: Tensor) -> Tensor:
        """Return the gates themselves: operators are choices."""
        return gates.squeeze(2)

    def operator_costs(self, cost_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the costs of the choices."""
        return np.where(np.isfinite(cost_s), cost_s, 0.0)

    def choice_scores(self, log_gates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log probabilities themselves."""
        return log_gates[:, :, 0]

    def one_hot(self, arch: Architecture) -> Tensor:
        """Return a 1 for every choice."""
        image = torch.zeros(self.mask.shape)
        image[torch.arange(len(arch.choices)), 0, torch.tensor(arch.choices)] = 1.0
        return image

    def logits(self, supernet: Supernet, images: Tensor, gates: Tensor) -> Tensor:
        """Return logits; every batch is normalised by itself, as a mixture has no statistics."""
        with batch_statistics(supernet):
            return supernet.mixture(images, gates[:, 0])


@dataclass(frozen=True, slots=True, eq=False)
class CellGates:
    """Gates of a space whose layers have one choice each, and all of them one cost together.

    Attributes:
        mask: As `Gates` has it.
        chain: The same gates where nothing depends on costs.
    """

    mask: Tensor
    chain: ChainGates

    def operator_probabilities(self, gates: Tensor) -> Tensor:
        """Return how probable each architecture is: the product over the layers."""
        found = gates[:, 0, 0]  # (targets, architectures so far)
        for layer in range(1, gates.shape[1]):
            found = (found[:, :, None] * gates[:, layer, 0, None]).flatten(1)
        return found.unsqueeze(1)

    def operator_costs(self, cost_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the costs of all architectures; of those that cannot be had the largest."""
        finite = np.isfinite(cost_s)
        return np.where(finite, cost_s, cost_s[finite].max())

    def choice_scores(self, log_gates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums over the layers."""
        found = log_gates[:, 0, 0]
        for layer in range(1, log_gates.shape[1]):
            sums = found[:, :, None] + log_gates[:, layer, 0, None]
            found = sums.reshape(len(found), -1)
        return found[:, None]

    def one_hot(self, arch: Architecture) -> Tensor:
        """Return a 1 for every choice."""
        return self.chain.one_hot(arch)

    def logits(self, supernet: Supernet, images: Tensor, gates: Tensor) -> Tensor:
        """Return those of a chain."""
        return self.chain.logits(supernet, images, gates)


@dataclass(frozen=True, slots=True, eq=False)
class UnifiedGates:
    """Gates of SGNAS's unified space: six groups a layer, each one of three kernels or none.

    Attributes:
        mask: As `Gates` has it.
        digits: ``(choices, groups)`` which option of each group a choice is.
        first: ``(operators,)`` the first choice that is this operator.
    """

    mask: Tensor
    digits: NDArray[np.intp]
    first: NDArray[np.intp]

    def operator_probabilities(self, gates: Tensor) -> Tensor:
        """Return the groups' distributions convolved into those of the multisets of kernels."""
        chances = multiset_probabilities(gates.flatten(0, 1))  # of all targets' layers
        return chances.reshape(*gates.shape[:2], -1)

    def operator_costs(self, cost_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the costs of the multisets."""
        return cost_s[:, self.first]

    def choice_scores(self, log_gates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums over the groups."""
        found = np.zeros((*log_gates.shape[:2], len(self.digits)))
        for group in range(log_gates.shape[2]):
            found += log_gates[:, :, group][:, :, self.digits[:, group]]
        return found

    def one_hot(self, arch: Architecture) -> Tensor:
        """Return a 1 for the kernel of every group, or for none."""
        options = torch.arange(self.mask.shape[2])
        chosen = torch.from_numpy(self.digits[list(arch.choices)])  # (layers, groups)
        return (chosen.unsqueeze(2) == options).float()

    def logits(self, supernet: Supernet, images: Tensor, gates: Tensor) -> Tensor:
        """Return logits by the trained statistics: there are some for every number of skips."""
        return supernet.eval().mixture(images, gates)


def gates_of(space: SearchSpace, model: LatencyModel) -> Gates:
    """Return how the gates of a space are laid out.

    Args:
        space: What is generated.
        model: Prices it: every layer on its own, or all of them together.
    """
    if all(map(is_unified, space.layers)):
        return _unified_gates(space)
    mask = torch.zeros(len(space.layers), 1, max(map(len, space.layers)), dtype=torch.bool)
    for row, layer in zip(mask, space.layers, strict=True):
        row[0, : len(layer)] = True
    chain = ChainGates(mask)
    return CellGates(mask, chain) if model.together else chain


def _unified_gates(space: SearchSpace) -> UnifiedGates:
    mask = torch.ones(len(space.layers), GROUPS, len(KERNELS) + 1, dtype=torch.bool)
    mask[:, 0, SKIPPED] = False  # the first group always has a kernel
    _, first = np.unique(multiset_index(), return_index=True)
    digits = np.array([digits_of(code) for code in range(CODES)])
    return UnifiedGates(mask, digits, first)


def log_probabilities(image: Tensor, mask: Tensor) -> Tensor:
    """Return the log probabilities of the gates that a generator's image stands for.

    Args:
        image: ``(targets, layers, groups * options)`` logits.
        mask: ``(layers, groups, options)``, which gates there are.

    Returns:
        ``(targets, layers, groups, options)``; minus infinity where there is no gate.
    """
    logits = image.reshape(len(image), *mask.shape)
    return logits.masked_fill(~mask, -torch.inf).log_softmax(dim=-1)


def gumbel_gates(log_gates: Tensor, noise: Tensor, *, tau: float, hard: bool) -> Tensor:
    """Return relaxed draws of the gates.

    Args:
        log_gates: ``(targets, layers, groups, options)``.
        noise: Standard Gumbel noise of the same shape.
        tau: Temperature: near 0 the draws are 0 or 1.
        hard: Whether they are 0 or 1 at any temperature, with the gradients of the relaxed ones.

    Source:
        Jang et al., Categorical Reparameterization with Gumbel-Softmax, ICLR 2017.
    """
    soft = ((log_gates + noise) / tau).softmax(dim=-1)
    if not hard:
        return soft
    winner = torch.zeros_like(soft).scatter_(-1, soft.argmax(dim=-1, keepdim=True), 1.0)
    return winner + soft - soft.detach()


class ExpectedLatency:
    """The latency of gates on one device, as a share of what the space spans there.

    Linear in the probabilities of the operators, and steeper beyond the model's bend where it has
    one: exactly what the model says where the gates are 0 and 1.

    Args:
        model: Of the device.
        gates: Of the space.
    """

    def __init__(self, model: LatencyModel, gates: Gates) -> None:
        ends = feasible_range(model)
        self.low_s, self.high_s = ends.fastest.latency_s, ends.slowest.latency_s
        self._model, self._gates = model, gates
        self._cost_s = torch.from_numpy(gates.operator_costs(model.cost_s))

    def __call__(self, gates: Tensor) -> Tensor:
        """Return ``(targets,)`` shares of the range: 0 for the fastest network, 1 for the slowest.

        Args:
            gates: ``(targets, layers, groups, options)`` probabilities.
        """
        chances = self._gates.operator_probabilities(gates).double()
        line_s = self._model.base_s + (chances * self._cost_s.to(gates.device)).sum(dim=(1, 2))
        bend = self._model.bend
        if bend is not None:
            line_s = line_s + bend.steepening * (line_s - bend.knot_s).relu()
        return ((line_s - self.low_s) / self._span_s).float()

    def shares(self, latency_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where latencies lie within the range, in [0, 1]; those outside at its ends."""
        return ((latency_s - self.low_s) / self._span_s).clip(0.0, 1.0)

    @property
    def _span_s(self) -> float:
        return self.high_s - self.low_s or 1.0


def expected_values(gates: Tensor, table: Tensor) -> Tensor:
    """Return the mean of a table of all architectures, each as probable as gates make it.

    Contracted layer by layer: exact, and as much work as the table is long.

    Args:
        gates: ``(targets, layers, 1, choices)`` probabilities.
        table: A value for every architecture, one axis a layer.

    Returns:
        ``(targets,)``.
    """
    left = table.unsqueeze(0).expand(len(gates), *table.shape)
    for layer in range(gates.shape[1]):
        weights = gates[:, layer, 0, : left.shape[1]]
        left = torch.einsum("tc,tc...->t...", weights, left)
    return left
