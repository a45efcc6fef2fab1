"""A network, others of its table and all their operators, timed together.

Once as the device runs them, and again with one thing changed: `lut.explanations.explain` compares.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from devices import DeviceSpec, Graph
from devices.spec import Optimization
from lut.calibration import (
    Curve,
    Layered,
    Times,
    calibration_curve,
    calibration_networks,
    left_out_ratios,
    network_sums,
    operator_costs,
)
from lut.table import LatencyTable
from profiler import (
    Chain,
    Measurement,
    Skip,
    Unmeasurable,
    contexts,
    in_context,
    measure_together,
)

NEAR, FAR = 3, 1
"""Other networks to time: the nearest in size, and the farthest, which gives a line through them a
slope that noise does not decide."""

NEIGHBOURS = 7
"""Networks of the table, nearest in size, that say how far its curve is off there."""

ROUNDS = 2
"""Slices of everything in each process."""

LADDER: Mapping[Optimization, tuple[tuple[str, Optimization], ...]] = {
    "all": (("layout", "extended"), ("fusion", "basic")),
    "layout": (("layout", "extended"), ("fusion", "basic")),
    "extended": (("fusion", "basic"),),
}
"""ONNX Runtime's levels: what is lost on the way down from one to the next."""


@dataclass(frozen=True, kw_only=True)  # no slots: what follows from it is cached on the instance
class Case:
    """A network whose latency is to be explained.

    Attributes:
        table: What predicted it.
        space: What it was chosen from.
        choices: One a layer.
    """

    table: LatencyTable
    space: Layered
    choices: tuple[int, ...]

    @cached_property
    def network(self) -> Chain:
        """What it is made of."""
        return self._chain(self.choices)

    @property
    def measured(self) -> Mapping[Chain, Measurement]:
        """The table's whole networks."""
        return {**self.table.verified, **self.table.networks}

    @cached_property
    def curve(self) -> Curve:
        """How the table leads from the sum of operators to a latency."""
        return calibration_curve(self.table, self.space)

    @cached_property
    def table_sum_s(self) -> float:
        """Seconds of its operators as the table has them, without calibration."""
        return self.sum_s(self.table, self.network, self.table.reference_s)

    @cached_property
    def neighbours_off(self) -> tuple[float, ...]:
        """How far networks next to this one were off the curve of all others, relative."""
        _, sums, measured_s = self._calibration
        ratios = left_out_ratios(sums, measured_s)
        return tuple(ratios[i] - 1 for i in self._nearest[:NEIGHBOURS])

    @cached_property
    def near(self) -> tuple[Chain, ...]:
        """Networks of the table to compare with: the nearest in size."""
        chosen, _, _ = self._calibration
        return tuple(self._chain(chosen[i]) for i in self._nearest[:NEAR])

    @cached_property
    def others(self) -> tuple[Chain, ...]:
        """The same, and the farthest."""
        chosen, _, _ = self._calibration
        far = self._nearest[NEAR:][-FAR:]
        return (*self.near, *(self._chain(chosen[i]) for i in far))

    @property
    def networks(self) -> tuple[Chain, ...]:
        """The network, and those to compare with."""
        return (self.network, *self.others)

    def sum_s(self, rows: LatencyTable, network: Chain, reference_s: float) -> float:
        """Return the plain sum of a network's operators.

        Args:
            rows: Has them.
            network: Of this space.
            reference_s: Seconds of the canary at the speed that is asked for.
        """
        total_s = sum(rows[op] for op in self.operators(network))
        return total_s * reference_s / rows.reference_s

    def operators(self, network: Chain) -> Chain:
        """Return the operators of the searched layers."""
        return network[len(self.space.before) : len(network) - len(self.space.after)]

    @cached_property
    def _calibration(self) -> tuple[Sequence[Sequence[int]], Times, Times]:
        """Choices, sums of operators and measured seconds of the table's whole networks."""
        choices, measured_s = calibration_networks(self.table, self.space)
        cost_s = operator_costs(self.table, self.space)
        return choices.tolist(), network_sums(self.space, choices, cost_s), measured_s

    @cached_property
    def _nearest(self) -> tuple[int, ...]:
        """Numbers of the table's other networks, the nearest in size first."""
        chosen, sums, _ = self._calibration
        by_chain: dict[Chain, int] = {}
        for i in np.argsort(np.abs(sums - self.table_sum_s), kind="stable"):
            by_chain.setdefault(self._chain(chosen[i]), int(i))  # one may be verified, too
        by_chain.pop(self.network, None)
        return tuple(by_chain.values())

    def _chain(self, choices: Sequence[int]) -> Chain:
        chosen = (layer[c] for layer, c in zip(self.space.layers, choices, strict=True))
        return (*self.space.before, *chosen, *self.space.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What was timed together under one set of conditions.

    Attributes:
        chains: Operators in context, and what is subtracted.
        networks: Whole networks.
        cold: Network to its operators in context, side by side in one graph.
        cold_carriers: Network to what is to be subtracted of that, side by side as well.
    """

    chains: Mapping[Chain, Measurement]
    networks: Mapping[Chain, Measurement]
    cold: Mapping[Chain, Measurement]
    cold_carriers: Mapping[Chain, Measurement]

    @property
    def processes(self) -> tuple[int, ...]:
        """Numbers of the fresh processes."""
        return tuple(next(iter(self.networks.values())).by_process)

    def cold_sum_s(self, network: Chain, reference_s: float) -> float:
        """Return the sum of a network's operators where they were timed side by side.

        Args:
            network: One of `networks`.
            reference_s: Seconds of the canary at the speed that is asked for.
        """
        plus, minus = self.cold.get(network), self.cold_carriers.get(network)
        return (plus.at(reference_s) if plus else 0.0) - (minus.at(reference_s) if minus else 0.0)

    def alone(self, process: int) -> "Scene":
        """Return what one process would have said."""

        def only(rows: Mapping[Chain, Measurement]) -> dict[Chain, Measurement]:
            slices = {
                chain: tuple(piece for piece in row.slices if piece.process == process)
                for chain, row in rows.items()
            }
            return {chain: Measurement(slices=each) for chain, each in slices.items()}

        return Scene(
            chains=only(self.chains),
            networks=only(self.networks),
            cold=only(self.cold),
            cold_carriers=only(self.cold_carriers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """The same device with one thing changed.

    Attributes:
        cause: What is not there any more.
        device: The device without it.
        what: What is run, for people.
        after: The cause that was taken away before, where one thing after the other is.
    """

    cause: str
    device: DeviceSpec
    what: str
    after: str | None = None


def counterfactuals(device: DeviceSpec) -> tuple[Counterfactual, ...]:
    """Return what can be changed about a device so that a cause of a gap goes away."""
    found: list[Counterfactual] = []
    ladder = LADDER.get(device.optimization, ()) if device.backend == "onnxruntime" else ()
    for cause, level in ladder:
        found.append(
            Counterfactual(
                cause=cause,
                device=replace(device, optimization=level),
                what=f"without optimisation of {cause} (level {level})",
                after=found[-1].cause if found else None,
            )
        )
    if device.threads > 1:
        alone = replace(device, threads=1, affinity=device.affinity[:1])
        what = f"on 1 thread instead of {device.threads}"
        found.append(Counterfactual(cause="threads", device=alone, what=what))
    return tuple(found)


def measure_scene(
    case: Case,
    device: DeviceSpec,
    *,
    processes: int,
    on_process: Callable[[int], None] = lambda _: None,
) -> Scene:
    """Time a network, those to compare with and their operators, interleaved in one campaign.

    Args:
        case: Which.
        device: Where.
        processes: Fresh processes.
        on_process: Called with the number of processes done.

    Raises:
        Unmeasurable: The device cannot run one of them.
        ProcessDied: A process crashed.
    """
    ops = dict.fromkeys(op for network in case.networks for op in case.operators(network))
    chains = dict.fromkeys(
        chain for op in ops if not isinstance(op, Skip) for chain in (in_context(op), *contexts(op))
    )
    cold, carriers = _medleys(case, device)
    timed: list[Chain | Graph] = [
        *case.networks,
        *chains,
        *cold.values(),
        *carriers.values(),
    ]
    done = measure_together(
        timed, device, processes=processes, rounds=ROUNDS, on_process=on_process
    )
    for why in done.refused.values():
        raise Unmeasurable(f"device {device.name!r} cannot time a part of the network: {why}")
    found = done.measured
    return Scene(
        chains={chain: found[chain] for chain in chains},
        networks={network: found[network] for network in case.networks},
        cold={network: found[graph] for network, graph in cold.items()},
        cold_carriers={network: found[graph] for network, graph in carriers.items()},
    )


def _medleys(case: Case, device: DeviceSpec) -> tuple[dict[Chain, Graph], dict[Chain, Graph]]:
    """Return each network's operators in context, side by side, and what is subtracted."""
    from profiler.operators.medley import medley, pieces  # onnx is slow to import

    parts = {network: pieces(case.operators(network)) for network in case.networks}
    plus, minus = (
        {network: medley(pair[i], device) for network, pair in parts.items() if pair[i]}
        for i in (0, 1)
    )
    return plus, minus
