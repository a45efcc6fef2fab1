"""From plans of operators to networks: how much memory an engine will take.

Weights add. Activations are a peak: the most that lies between kernels at any time, so that of a
network is the maximum along its chain. What the operators leave out, such as the borders between
them, is learnt from whole networks that were planned beside them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from devices import LatkitError
from devices.nvidia.engine_plan import EnginePlan
from lut.calibration import Joined, Layered, choices_of, operator_matrix
from lut.plans.plan_table import PlanTable
from lut.sums import LayerSums, layer_sums
from profiler import OpSpec, Skip

Bytes = NDArray[np.float64]


class NoSuchMemory(LatkitError):
    """The memory of a space's networks is not what its operators' plans add up to."""


@dataclass(frozen=True, kw_only=True)  # no slots: the prepared sums are cached on the instance
class MemoryModel:
    """Predicts the bytes of weights and activations of the networks of one space.

    Attributes:
        device: Name of the device that planned.
        capability: Compute capability of the GPU that it planned for.
        weight_bytes: ``(layers, choices)``; ``inf`` where a layer has fewer choices.
        peak_bytes: ``(layers, choices)`` activations of each choice; ``inf`` there, too.
        fixed_weight_bytes: Weights of what every network has.
        fixed_peak_bytes: Largest activations of what every network has.
        spare_bytes: The most that a whole network took beyond that, where any was planned.
        networks: How many were.
    """

    device: str
    capability: str
    weight_bytes: Bytes
    peak_bytes: Bytes
    fixed_weight_bytes: float
    fixed_peak_bytes: float
    spare_bytes: float = 0.0
    networks: int = 0

    @cached_property
    def _weights(self) -> LayerSums:
        return layer_sums(self.weight_bytes)

    def total_bytes(self, choices: NDArray[np.integer]) -> Bytes:
        """Return predicted bytes, ``(batch,)``, of ``choices``, ``(batch, layers)``.

        Raises:
            ValueError: The shape is wrong, or a layer has no such choice.
        """
        weights = self.fixed_weight_bytes + self._weights(choices)
        layers = np.arange(len(self.peak_bytes))
        peaks = self.peak_bytes[layers, choices.astype(np.intp)].max(axis=1)
        total: Bytes = weights + np.maximum(peaks, self.fixed_peak_bytes) + self.spare_bytes
        return total

    @cached_property
    def smallest(self) -> tuple[int, ...]:
        """The choices of the network that takes least, exactly; of equal ones the first.

        Under each bound on the peak the lightest weights of each layer are best, and only peaks
        that occur need to be tried.
        """
        least = max(self.fixed_peak_bytes, float(self.peak_bytes.min(axis=1).max()))
        peaks = np.unique(self.peak_bytes[np.isfinite(self.peak_bytes)])
        picks = [
            np.where(self.peak_bytes <= peak, self.weight_bytes, np.inf).argmin(axis=1)
            for peak in np.append(least, peaks[peaks > least])
        ]
        rows = np.stack(picks)
        return tuple(rows[self.total_bytes(rows).argmin()].tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """A limit together with the model that says whether it is kept.

    Attributes:
        model: Predicts.
        limit_bytes: Largest acceptable sum of weights and activations.
    """

    model: MemoryModel
    limit_bytes: float

    def __post_init__(self) -> None:
        if not self.limit_bytes > 0.0:
            raise ValueError(f"a limit must be positive, got {self.limit_bytes} bytes")

    def excess(self, choices: NDArray[np.integer]) -> Bytes:
        """Return by which share predictions exceed the limit, ``(batch,)``; 0 is exactly it."""
        excess: Bytes = (self.model.total_bytes(choices) - self.limit_bytes) / self.limit_bytes
        return excess


def memory_model(table: PlanTable, space: Layered, capability: str) -> MemoryModel:
    """Make the model of one space from a table of plans.

    Args:
        table: Holds the plans of its operators.
        space: Whose networks.
        capability: Compute capability of the GPU.

    Raises:
        MissingPlan: An operator was not planned for that GPU, or refused.
        NoSuchMemory: The space's operators are parts of cells, which do not add up.
    """
    if isinstance(space, Joined):
        raise NoSuchMemory(
            "the networks of this space are cells, and the plans of its operators do not add up "
            "to theirs: limit the memory of a space of layers, such as greedynas"
        )

    def plan(op: OpSpec) -> EnginePlan | None:
        return None if isinstance(op, Skip) else table.plan(op, capability)

    def weights(op: OpSpec) -> float:
        return float(found.weight_bytes) if (found := plan(op)) else 0.0

    def peak(op: OpSpec) -> float:
        return float(found.activation_bytes) if (found := plan(op)) else 0.0

    fixed = (*space.before, *space.after)
    model = MemoryModel(
        device=table.conditions.device.name,
        capability=capability,
        weight_bytes=operator_matrix(space, weights),
        peak_bytes=operator_matrix(space, peak),
        fixed_weight_bytes=sum(map(weights, fixed)),
        fixed_peak_bytes=max(map(peak, fixed)),
    )
    return _corrected(model, table, space)


def _corrected(model: MemoryModel, table: PlanTable, space: Layered) -> MemoryModel:
    """Return a model that is right, or too large, for every whole network that was planned."""
    planned = table.networks(model.capability)
    known = {
        choices: plan.total_bytes
        for chain, plan in planned.items()
        if (choices := choices_of(chain, space)) is not None
    }
    if not known:
        return model
    beyond = np.array(list(known.values())) - model.total_bytes(np.array(list(known)))
    return replace(model, spare_bytes=float(beyond.max()), networks=len(known))
