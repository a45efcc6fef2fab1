"""Limits on the memory of an engine: what is possible, and whether the winner keeps its promise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import DeviceSpec, InvalidFile
from devices.nvidia.engine_plan import plan_engine
from lut.plans.memory import MemoryBudget, memory_model
from lut.plans.plan_table import load_plans
from search.exact import NoFeasibleArchitecture, megabytes
from search.searcher import Candidate
from search.space import Architecture, SearchSpace, as_choices

BUILDS = 5
"""Whole engines that are built for one answer at most: the best candidates, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPromise:
    """The memory of one answer, predicted and built.

    Attributes:
        capability: Compute capability of the GPU that it was planned for.
        limit_bytes: Largest acceptable sum of weights and activations.
        predicted_bytes: By the plans of its operators.
        built_bytes: By its own engine.
    """

    capability: str
    limit_bytes: float
    predicted_bytes: float
    built_bytes: float

    def as_json(self) -> dict[str, Any]:
        """Return plain data, in megabytes of a million bytes."""
        return {
            "capability": self.capability,
            "limit_mb": self.limit_bytes / 1e6,
            "predicted_mb": self.predicted_bytes / 1e6,
            "built_mb": self.built_bytes / 1e6,
        }

    def __str__(self) -> str:
        return (
            f"Its engine for compute capability {self.capability} was built and takes "
            f"{megabytes(self.built_bytes)} of {megabytes(self.limit_bytes)} "
            f"({megabytes(self.predicted_bytes)} predicted)"
        )


def promise_from_json(values: dict[str, Any]) -> MemoryPromise:
    """Read `MemoryPromise.as_json` back; KeyError or ValueError where that is not what it is."""
    return MemoryPromise(
        capability=str(values["capability"]),
        limit_bytes=float(values["limit_mb"]) * 1e6,
        predicted_bytes=float(values["predicted_mb"]) * 1e6,
        built_bytes=float(values["built_mb"]) * 1e6,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """A budget of memory, and the device that can build what has to keep it.

    Attributes:
        budget: Predicts, and bounds.
        device: Of the backend ``rtx-aot``.
    """

    budget: MemoryBudget
    device: DeviceSpec

    def check(self, space: SearchSpace) -> None:
        """Refuse a limit that no network of the space can keep, before any search.

        Raises:
            NoFeasibleArchitecture: It is below the minimum of the space; says which.
        """
        model, limit = self.budget.model, self.budget.limit_bytes
        smallest = Architecture(model.smallest)
        least = float(model.total_bytes(as_choices([smallest]))[0])
        if least > limit:
            raise NoFeasibleArchitecture(
                f"no network of space {space.name!r} keeps {megabytes(limit)} on compute "
                f"capability {model.capability}: the smallest, {space.canonical(smallest)}, is "
                f"predicted to take {megabytes(least)}. Allow {megabytes(least, up=True)} or more, "
                "or take a smaller space or resolution"
            )

    def kept(
        self, candidates: Sequence[Candidate], space: SearchSpace
    ) -> tuple[tuple[Candidate, ...], MemoryPromise]:
        """Return the candidates from the first on whose engine keeps the limit, built whole.

        Args:
            candidates: All predicted to keep it, best first; one or more.
            space: Their space.

        Raises:
            NoFeasibleArchitecture: None of the first `BUILDS` does.
        """
        model, limit, built = self.budget.model, self.budget.limit_bytes, 0.0
        for place, candidate in enumerate(candidates[:BUILDS]):
            built = float(self._built_bytes(candidate.arch, space))
            if built <= limit:
                promise = MemoryPromise(
                    capability=model.capability,
                    limit_bytes=limit,
                    predicted_bytes=float(model.total_bytes(as_choices([candidate.arch]))[0]),
                    built_bytes=built,
                )
                return tuple(candidates[place:]), promise
        raise NoFeasibleArchitecture(
            f"none of the {min(BUILDS, len(candidates))} best networks of space {space.name!r} "
            f"keeps {megabytes(limit)} once it is built; the last takes {megabytes(built)}. "
            "Allow more"
        )

    def _built_bytes(self, arch: Architecture, space: SearchSpace) -> int:
        from profiler.operators.builders import graph_for  # onnx is slow to import

        graph = graph_for(space.chain(arch), self.device)
        return plan_engine(graph, capability=self.budget.model.capability).total_bytes


def lightened(
    choices: NDArray[np.integer], memory: MemoryBudget, rng: np.random.Generator
) -> NDArray[np.integer]:
    """Return networks that keep a bound: layer by layer, at random, as the lightest has it.

    Args:
        choices: ``(batch, layers)``; those that keep it stay as they are.
        memory: The bound; its lightest network keeps it.
        rng: Of the order of the layers.
    """
    lighter = choices.copy()
    for layer in rng.permutation(choices.shape[1]):
        over = memory.excess(lighter) > 0.0
        lighter[over, layer] = memory.model.smallest[layer]
    return lighter


def kept_by(
    memory: MemoryLimit | None, candidates: Sequence[Candidate], space: SearchSpace
) -> tuple[tuple[Candidate, ...], MemoryPromise | None]:
    """Return candidates from the first on whose engine keeps a limit; all where there is none.

    Raises:
        NoFeasibleArchitecture: None of the first does, see `MemoryLimit.kept`.
    """
    return (tuple(candidates), None) if memory is None else memory.kept(candidates, space)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAsked:
    """A limit as it is typed.

    Attributes:
        plans: The table of plans.
        limit_bytes: Largest acceptable sum of weights and activations.
        capability: Compute capability of the GPU; None where the table is for one.
    """

    plans: Path
    limit_bytes: float
    capability: str | None = None

    def limit(self, space: SearchSpace) -> MemoryLimit:
        """Read the table, and make the limit of a search of this space from it.

        Raises:
            InvalidFile: It is no table of plans, or is for several GPUs and none is named.
            MissingPlan: It lacks operators of the space.
            NoSuchMemory: The space has no such sums.
        """
        table = load_plans(self.plans)
        if self.capability is None and len(table.capabilities) != 1:
            known = ", ".join(table.capabilities) or "none"
            raise InvalidFile(
                f"{self.plans} has plans for compute capabilities {known}: name one, --capability"
            )
        capability = self.capability or table.capabilities[0]
        model = memory_model(table, space, capability)
        budget = MemoryBudget(model=model, limit_bytes=self.limit_bytes)
        return MemoryLimit(budget=budget, device=table.conditions.device)
