"""What only a GPU says: whether it waits for its launches, how it is now, what a run costs."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from devices import DeviceSpec, Graph, backend_for
from devices.nvidia.nvml_host import NvmlHost, energy_per_run_j
from profiler import Pace, take_samples
from profiler.operators.builders import graph_for
from profiler.operators.probes import CANARY

BOUND = 1.1
"""How much longer kernels take that are launched one by one, where the launches decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launches:
    """What the canary, a small network, takes on a GPU.

    Attributes:
        whole_s: Launched as one CUDA graph.
        one_by_one_s: Launched kernel by kernel.
    """

    whole_s: float
    one_by_one_s: float

    @property
    def bound(self) -> bool:
        """Whether the GPU waits for the CPU that launches its kernels."""
        return self.one_by_one_s > BOUND * self.whole_s

    def said(self, *, cuda_graph: bool) -> str:
        """Return one sentence, for a device that launches one way or the other."""
        times = (
            f"a small network takes {self.one_by_one_s * 1e6:.0f} us kernel by kernel, "
            f"{self.whole_s * 1e6:.0f} us as one CUDA graph"
        )
        if not self.bound:
            return f"not launch-bound: {times}"
        other = "deployed without one, it is slower" if cuda_graph else "cuda_graph: true is faster"
        return f"launch-bound: {times}; {other}"


def time_launches(device: DeviceSpec) -> Launches:
    """Time the canary on a GPU both ways.

    Raises:
        DeviceUnavailable: The GPU is not usable here.
    """
    assert device.gpu is not None  # others launch nothing
    seconds = {}
    for whole in (True, False):
        gpu = replace(device.gpu, cuda_graph=whole, cold_l2=False)
        with backend_for(replace(device, gpu=gpu)).open(graph_for(CANARY, device)) as session:
            seconds[whole] = min(take_samples(session, Pace()).samples_s)
    return Launches(whole_s=seconds[True], one_by_one_s=seconds[False])


def gpu_facts(device: DeviceSpec) -> dict[str, Any]:
    """Return how a GPU is right now, and what its launches cost.

    Raises:
        DeviceUnavailable: The GPU is not usable here.
    """
    assert device.gpu is not None  # others have no such facts
    host = backend_for(device).host
    assert isinstance(host, NvmlHost)  # of every GPU
    state = {} if host.nvml is None else asdict(host.state())
    launches = time_launches(device).said(cuda_graph=device.gpu.cuda_graph)
    return {"state": state, "launches": launches}


def energy_facts(device: DeviceSpec, graph: Graph, *, latency_s: float) -> dict[str, Any]:
    """Return the millijoules of one run on a GPU; nothing on other devices, or if nobody counts.

    Args:
        device: Where.
        graph: What to run for some seconds.
        latency_s: Seconds of one run.
    """
    if device.gpu is None:
        return {}
    backend = backend_for(device)
    assert isinstance(backend.host, NvmlHost)  # of every GPU
    with backend.open(graph) as session:
        energy_j = energy_per_run_j(backend.host, session, latency_s=latency_s)
    return {} if energy_j is None else {"energy_mj": energy_j * 1e3}
