"""What a runtime's optimiser did to a graph, from the graph before and after.

Needs onnx; import it by name, where a trace is explained.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """A graph before and after optimisation; branches and loop bodies count, too.

    Attributes:
        before: Operator to the number of its nodes in the file.
        after: The same in what ran.
        gone: Nodes of the file whose result nobody computes any more, by name or else by result:
            fused with the node that used it, folded into a constant, or dropped. A fused kernel is
            mostly named after its last node, so that one is not in the list.
    """

    before: Mapping[str, int]
    after: Mapping[str, int]
    gone: tuple[str, ...]


def fusion(before: bytes, after: bytes) -> Fusion:
    """Compare two serialised models: a file and what a runtime made of it."""
    original, optimized = (list(_nodes(onnx.load_from_string(b).graph)) for b in (before, after))
    computed = {name for node in optimized for name in (*node.output, _result(node.name))}
    gone = [
        node.name or node.output[0]
        for node in original
        if node.op_type != "Constant" and computed.isdisjoint(node.output)
    ]
    return Fusion(
        before=Counter(node.op_type for node in original),
        after=Counter(node.op_type for node in optimized),
        gone=tuple(gone),
    )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _result(name: str) -> str:
    """Return the tensor that ONNX Runtime named a node after when it changed the layout."""
    return name.removesuffix("_nchwc")
