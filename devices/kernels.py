"""What a runtime made of a graph, and how long each part of it took."""

from dataclasses import dataclass

WARM_RUNS = 5
"""Runs of a trace that do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One node of an optimised graph: what the runtime runs in one piece.

    Attributes:
        name: What the runtime calls it.
        op: Type of the operator.
        latency_s: Seconds in one run of the graph, the middle one of several. All passes through a
            loop count; what runs inside a loop or a branch does not count for the loop or branch.
    """

    name: str
    op: str
    latency_s: float

    def __post_init__(self) -> None:
        if self.latency_s < 0.0:
            raise ValueError(f"kernel {self.name!r} takes {self.latency_s} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A graph, looked at while it ran.

    Looking takes time, so these seconds tell kernels apart and do not say how long the graph takes.

    Attributes:
        kernels: In the order in which they first ran.
        optimized: The graph as it was run, serialised ONNX. It may hold operators that only this
            runtime knows, and refers to the same external weights as the graph that was given.
    """

    kernels: tuple[Kernel, ...]
    optimized: bytes

    @property
    def sum_s(self) -> float:
        """Seconds of all kernels together."""
        return sum(kernel.latency_s for kernel in self.kernels)
