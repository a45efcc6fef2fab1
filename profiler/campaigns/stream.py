"""A campaign from nothing but data: run here, or by the device itself where it has an agent."""

from collections.abc import Iterator, Sequence
from functools import partial

from devices import DeviceSpec, Graph, backend_for
from devices.nvidia.engine_facts import BuildsEngines
from profiler.campaigns.campaign import run_campaign
from profiler.campaigns.events import Event, Task
from profiler.campaigns.measure import Pace
from profiler.operators.graphs import as_run_on
from profiler.operators.ops import Chain


def campaign_stream(
    device: DeviceSpec,
    graphs: Sequence[Chain | Graph],
    tasks: Sequence[Task],
    pace: Pace,
    *,
    replicate: int,
    campaign: str = "",
    timing_cache: bytes = b"",
) -> Iterator[Event]:
    """Run a campaign from nothing but data, for `profiler.campaigns.process.in_fresh_process`.

    Args:
        device: Where; one with a transport measures by itself, see `profiler.campaigns.remote`.
        graphs: What a task's number means: operators to build, or a finished graph.
        tasks: Slices to take, in this order.
        pace: Time for each.
        replicate: Which of several processes this is.
        campaign: Name of what the measurements are for, so that a device can go on with them after
            whoever asked was killed; empty where it is to begin anew.
        timing_cache: What is known of kernels, where engines are to be built by it.
    """
    build = partial(as_run_on, device)
    if device.has_agent:
        from profiler.campaigns.remote import Wanted, remote_stream  # only for devices elsewhere

        wanted = Wanted(
            graphs=graphs, tasks=tasks, pace=pace, replicate=replicate, campaign=campaign
        )
        yield from remote_stream(device, wanted, build)
        return
    backend = backend_for(device, replicate=replicate)
    if isinstance(backend, BuildsEngines):
        backend.use_timing_cache(timing_cache)
    yield from run_campaign(
        backend,
        graphs,
        tasks,
        pace,
        build=build,
        threads=device.threads,
        cold=device.timed_cold,
    )
