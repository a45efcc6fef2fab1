"""What became of a graph that was built: how long it took, what it computes in, what it waits for.

Backends that build engines answer to `BuildsEngines`; the others have nothing of this kind to say.
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from devices.graph import Graph

LAUNCH_BOUND = 0.8
"""Share of its runs that the CPU spends on queueing them from which on the GPU waits for it. A GPU
that is busy is left behind by the queue, and the share falls well below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What one build of a graph turned out to be, in one process.

    Attributes:
        build_s: Seconds that building took.
        load_s: Seconds that loading it for the first time took; TensorRT for RTX compiles its
            kernels meanwhile.
        nodes: Convolutions and products that were found among the layers of the engine; 0 where
            the runtime does not say what it computes in.
        strays: Those that compute in another number format than the graph says, each with both:
            ``0.conv reads fp32, not int8``.
        queue_share: Seconds that the CPU spent to queue runs, over those that the GPU took for
            them; None where that was not timed.
    """

    build_s: float
    load_s: float
    nodes: int = 0
    strays: tuple[str, ...] = ()
    queue_share: float | None = None

    @property
    def other_precision(self) -> bool:
        """Whether most of it computes in another number format than the graph says."""
        return 2 * len(self.strays) > self.nodes

    @property
    def launch_bound(self) -> bool:
        """Whether the GPU waits for the CPU that launches its kernels."""
        return self.queue_share is not None and self.queue_share >= LAUNCH_BOUND

    def as_json(self) -> dict[str, Any]:
        """Return plain data; `engine_facts_from_json` reads it back."""
        return asdict(self)


def engine_facts_from_json(values: dict[str, Any]) -> EngineFacts:
    """Read `EngineFacts.as_json` back; KeyError or TypeError where that is not what it is."""
    return EngineFacts(**{**values, "strays": tuple(values["strays"])})


@runtime_checkable
class BuildsEngines(Protocol):
    """A backend that builds engines before it runs them."""

    def use_timing_cache(self, content: bytes) -> None:
        """Build with what an earlier process learned of kernels; called before anything else."""
        ...

    def timing_cache(self) -> bytes:
        """Return what is known of kernels by now; empty where the runtime keeps nothing."""
        ...

    def engine_facts(self, graph: Graph) -> EngineFacts:
        """Return what became of a graph that was opened before.

        Raises:
            UnsupportedGraph: The runtime refuses the graph.
        """
        ...
