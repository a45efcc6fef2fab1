"""What the kernels of a graph have to do on a GPU: which nodes become one, and its arithmetic.

The rule of fusion is that of TensorRT as its plans show it (this module's test builds them): a
convolution takes up what follows it value by value, and pointwise nodes in a row are one kernel,
with a mean behind them. Conversions of layout, which a plan has where a graph begins and ends and
around poolings, are left out: within a network of convolutions there are none. So is the kernel
that repacks the channels of a depthwise convolution on compute capability 7.5.

Needs onnx; import it by name, where a graph is priced.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

import onnx

from devices.graph import Graph, Shape
from devices.graphs.tensor_shapes import tensor_shapes, with_shapes

FREE = {"Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Constant", "Cast"}
"""Nodes that compute nothing: another name, or another shape, of the same values."""

PRODUCTS = {"Conv", "Gemm", "MatMul"}
"""Nodes whose kernel takes up the pointwise ones behind it."""

POOLS = {"AveragePool", "MaxPool"}
"""Nodes that are a kernel of their own."""

MEANS = {"GlobalAveragePool", "ReduceMean"}
"""Nodes that a kernel of pointwise nodes before them takes up, and ends with."""

GATES = {"HardSigmoid", "Sigmoid"}
"""Pointwise nodes that no product takes up: they begin the kernel of what they gate."""

SWISHES = {"HardSwish"}
"""Pointwise nodes that a product takes up only if one node reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What one kernel has to do.

    Attributes:
        nodes: Names of the nodes that it computes, in their order.
        matrix_ops: Operations on the matrix units, two for one multiply-accumulate.
        vector_ops: Operations on the vector units.
        moved: Numbers that it reads and writes, weights included.
    """

    nodes: tuple[str, ...] = ()
    matrix_ops: float = 0.0
    vector_ops: float = 0.0
    moved: int = 0


def convolution(*, inputs: Shape, outputs: Shape, weight: Shape) -> Workload:
    """Return the work of one convolution, or of a linear layer.

    Args:
        inputs: ``(N, C, ...)``.
        outputs: ``(N, K, ...)``.
        weight: ``(K, C / groups, ...)``; a second size of 1 is a depthwise convolution.
    """
    _, per_group, *kernel = weight
    ops = 2.0 * prod(outputs) * per_group * prod(kernel)
    depthwise = per_group == 1 and len(kernel) > 0
    return Workload(
        matrix_ops=0.0 if depthwise else ops,
        vector_ops=ops if depthwise else 0.0,
        moved=prod(inputs) + prod(outputs) + prod(weight),
    )


def workloads(graph: Graph) -> tuple[Workload, ...]:
    """Return what the kernels of a graph have to do, in the order in which they run.

    Branches and bodies of loops do not count.

    Raises:
        UnsupportedGraph: It is no ONNX, or has a node that ONNX does not define.
    """
    model = with_shapes(graph, reader="the roofline").graph
    readers = Counter(name for node in model.node for name in node.input)
    readers.update(value.name for value in model.output)
    fuser = _Fuser(shapes=tensor_shapes(model), readers=readers)
    for node in model.node:
        fuser.add(node)
    return tuple(kernel.workload(fuser.shapes) for kernel in fuser.kernels)


@dataclass(slots=True, kw_only=True)
class _Kernel:
    """A kernel in the making; ``output`` is what its last node computes."""

    nodes: list[str]
    reads: dict[str, None]
    output: str
    open: bool  # to pointwise nodes that read the output
    grows: bool = False  # whether they may have more values than it: they are broadcast
    product: Workload = field(default_factory=Workload)
    pointwise: int = 0

    def workload(self, shapes: Mapping[str, Shape]) -> Workload:
        moved = sum(prod(shapes.get(name, ())) for name in (*self.reads, self.output))
        return Workload(
            nodes=tuple(self.nodes),
            matrix_ops=self.product.matrix_ops,
            vector_ops=self.product.vector_ops + self.pointwise,
            moved=moved,
        )


@dataclass(slots=True, kw_only=True)
class _Fuser:
    shapes: Mapping[str, Shape]
    readers: Counter[str]
    kernels: list[_Kernel] = field(default_factory=list)
    homes: dict[str, _Kernel] = field(default_factory=dict)  # what each kernel gave last, to it

    def add(self, node: onnx.NodeProto) -> None:
        """Put the next node into a kernel."""
        if node.op_type in FREE:
            self._rename(node)
        elif node.op_type == "Split":
            self._split(node)
        elif node.op_type in PRODUCTS | POOLS:
            self._begin(node)
        elif node.op_type == "Concat":
            return  # what is joined is written side by side in the first place
        else:
            self._join(node)

    def _rename(self, node: onnx.NodeProto) -> None:
        home = self.homes.get(node.input[0]) if node.input else None
        if home is not None:
            home.output = node.output[0]
            self.homes[node.output[0]] = home

    def _split(self, node: onnx.NodeProto) -> None:
        """Add a kernel that copies its share for each output."""
        for share in node.output:
            kernel = _Kernel(nodes=[node.name], reads={share: None}, output=share, open=False)
            self.kernels.append(kernel)
            self.homes[share] = kernel

    def _begin(self, node: onnx.NodeProto) -> _Kernel:
        product = node.op_type in PRODUCTS
        kernel = _Kernel(
            nodes=[node.name],
            reads=dict.fromkeys(filter(None, node.input)),
            output=node.output[0],
            open=product,
        )
        if product:
            kernel.product = self._product(node)
        else:
            kernel.pointwise = self._size(node.input[:1])
        self.kernels.append(kernel)
        self.homes[kernel.output] = kernel
        return kernel

    def _product(self, node: onnx.NodeProto) -> Workload:
        inputs, weight = (self.shapes.get(name, ()) for name in node.input[:2])
        outputs = self.shapes.get(node.output[0], ())
        if node.op_type != "Conv":  # the rows of the other factor, whichever way it lies
            weight = (outputs[-1], prod(weight) // max(1, outputs[-1]))
        return convolution(inputs=inputs, outputs=outputs, weight=weight)

    def _join(self, node: onnx.NodeProto) -> None:
        """Add a pointwise node to the last kernel that it can be part of, or begin another."""
        homes = [self.homes[name] for name in node.input if name in self.homes]
        fitting = [kernel for kernel in homes if self._fits(kernel, node)]
        if not fitting:
            kernel = self._begin(node)
            kernel.open = kernel.grows = node.op_type not in MEANS
            return
        kernel = max(fitting, key=self.kernels.index)
        kernel.nodes.append(node.name)
        kernel.reads |= dict.fromkeys(name for name in node.input if name and name != kernel.output)
        kernel.output = node.output[0]
        kernel.pointwise += self._size(node.input[:1])
        kernel.open = node.op_type not in MEANS
        self.homes[node.output[0]] = kernel

    def _fits(self, kernel: _Kernel, node: onnx.NodeProto) -> bool:
        if not kernel.open or kernel.output not in node.input or self.readers[kernel.output] > 1:
            return False
        alone = node.op_type in SWISHES and self.readers[node.output[0]] > 1
        if not kernel.grows and (alone or node.op_type in GATES | MEANS):
            return False
        return kernel.grows or self._size([kernel.output]) == self._size(node.output)

    def _size(self, names: Iterable[str]) -> int:
        return sum(prod(self.shapes.get(name, ())) for name in names if name)
