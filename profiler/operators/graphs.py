"""Operators as graphs, built where one is asked for: onnx is slow to import, tables do without."""

from collections.abc import Callable
from typing import TypeAlias

from devices import DeviceSpec, Graph
from profiler.operators.ops import Chain

Build: TypeAlias = Callable[[Chain], Graph]
"""Makes a graph of operators."""


def as_run_on(device: DeviceSpec, chain: Chain) -> Graph:
    """Build a graph of operators in the precision of a device."""
    from profiler.operators.builders import graph_for

    return graph_for(chain, device)


def in_floats(chain: Chain) -> Graph:
    """Build a graph of operators in fp32."""
    from profiler.operators.builders import chain_graph

    return chain_graph(chain)
