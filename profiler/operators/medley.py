"""The operators of a network side by side in one graph, to time them with cold weights.

An operator that is timed by itself finds its weights in the caches, where its own last run left
them. In a network all other operators run in between. So here every operator of the network has a
chain of its own in one graph, with its own input and output: no chain is connected to another, but
each finds the caches as the others leave them.

Needs onnx; import it by name, where such a graph is built.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import onnx
from onnx.compose import add_prefix_graph

from devices import DeviceSpec, Graph
from profiler.operators.builders import graph_for
from profiler.operators.ops import Chain, OpSpec
from profiler.operators.probes import terms


def pieces(ops: Iterable[OpSpec]) -> tuple[tuple[Chain, ...], tuple[Chain, ...]]:
    """Return the chains whose latencies make up those of operators.

    See `profiler.operators.probes`.

    Args:
        ops: Operators; one that occurs twice counts twice.

    Returns:
        Chains to add and chains to subtract, as often as they count. What would be in both is in
        neither.
    """
    balance: Counter[Chain] = Counter()
    for op in ops:
        balance.update(terms(op))
    return tuple((+balance).elements()), tuple((-balance).elements())


def medley(chains: Sequence[Chain], device: DeviceSpec) -> Graph:
    """Build chains side by side: one graph with an input and an output for each.

    Equal chains have weights of their own, as equal layers of a network have.

    Args:
        chains: One or more.
        device: Where they are timed; its number format.

    Raises:
        UnsupportedGraph: The device computes in integers, and a chain has nothing for it.
    """
    graphs = [graph_for(chain, device) for chain in chains]
    models = [onnx.load_from_string(graph.onnx) for graph in graphs]
    whole = models[0]
    parts = [add_prefix_graph(model.graph, f"{i}/") for i, model in enumerate(models)]
    whole.graph.CopyFrom(parts[0])
    for part in parts[1:]:
        whole.graph.MergeFrom(part)  # appends nodes, weights, inputs and outputs
    whole.graph.name = "medley"
    return Graph(
        onnx=whole.SerializeToString(),
        inputs=tuple(
            (f"{i}/{name}", shape) for i, graph in enumerate(graphs) for name, shape in graph.inputs
        ),
    )
