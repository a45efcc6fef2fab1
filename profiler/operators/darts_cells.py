"""DARTS's operators: stacks of cells, what prepares a cell's input, the head.

A cell reads two values, what the two cells before it gave, so a network of cells is no chain of
operators that each read one. Here a whole stack of cells is one operator, and so is a stack of a
single cell, which reads its one input twice: as small a whole cell as can be timed.

Source:
    Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, section 3 and appendix B;
    operations and skeleton as in its released ``model.py`` and ``operations.py``.

Deviation: the halves of a factorized reduction have a batch norm each, which is the same as one
over both, and folds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from devices import Shape
from profiler.operators.darts_code import (
    INPUTS,
    NODES,
    OPERATIONS,
    Edge,
    Ends,
    edges_from_code,
    loose_ends,
)
from profiler.operators.primitives import (
    AveragePool,
    Branch,
    Branches,
    ConvNorm,
    GlobalPool,
    Linear,
    MaxPool,
    Primitive,
    Rectify,
    Shift,
)
from profiler.operators.shapes import Ending, Straight, checked, shape_text, strided


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation(Straight):
    """What brings an input of a cell to its width: ReLU, 1x1 convolution, batch norm.

    At stride 2 it is a factorized reduction: the convolution is cut in two halves, one of which
    sees the image moved by one pixel. It is ``skip_connect`` where a cell halves the image, too.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        channels: Output channels.
        stride: 1, or 2 to halve the image.
    """

    input_shape: Shape
    channels: int
    stride: int = 1

    def __post_init__(self) -> None:
        checked(self.input_shape)
        if self.stride not in (1, 2):
            raise ValueError(f"a preparation has stride 1 or 2, got {self.stride}")

    def __str__(self) -> str:
        where = f"{shape_text(self.input_shape)} -> {self.channels}"
        return f"preparation {where} s{self.stride}"

    @property
    def output_shape(self) -> Shape:
        """``(N, channels, H / stride, W / stride)``, rounded up."""
        return strided(self.input_shape, self.channels, self.stride)

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """ReLU, then the convolution or its halves."""
        return _prepared(self.input_shape, self.channels, self.stride)


def _prepared(shape: Shape, channels: int, stride: int) -> tuple[Primitive, ...]:
    rectify = Rectify(name="relu")
    _, before, height, width = shape
    if stride == 1:
        return rectify, _pointwise("conv", before, channels)
    half = channels // 2
    shift = Shift(name="shift", padded=bool(height % 2 or width % 2))
    lines = (
        (_pointwise("conv", before, half, stride=2),),
        (shift, _pointwise("conv", before, channels - half, stride=2)),
    )
    halves = (
        Branch(name=f"half{i}", source=0, target=1, primitives=line) for i, line in enumerate(lines)
    )
    return rectify, Branches(name="halves", branches=tuple(halves), concatenated=(1,))


def _pointwise(name: str, before: int, after: int, *, stride: int = 1) -> ConvNorm:
    return ConvNorm(name=name, in_channels=before, out_channels=after, kernel=1, stride=stride)


def _depthwise(name: str, channels: int, kernel: int, *, stride: int, dilation: int) -> ConvNorm:
    return ConvNorm(
        name=name,
        in_channels=channels,
        out_channels=channels,
        kernel=kernel,
        stride=stride,
        groups=channels,
        norm=False,
        dilation=dilation,
    )


def _operation(choice: int, shape: Shape, stride: int) -> tuple[Primitive, ...]:
    """Return what an edge computes of a node of this shape."""
    name, channels = OPERATIONS[choice], shape[1]
    kernel = 5 if name.endswith("5x5") else 3
    match name.partition("_")[0]:
        case "max":
            return (MaxPool(name="pool", kernel=kernel, stride=stride),)
        case "avg":
            return (AveragePool(name="pool", kernel=kernel, stride=stride),)
        case "skip":
            return () if stride == 1 else _prepared(shape, channels, stride)
        case "dil":
            return _separable("", channels, kernel, stride=stride, dilation=2)
        case _:
            return (
                *_separable("_a", channels, kernel, stride=stride),
                *_separable("_b", channels, kernel),
            )


def _separable(
    suffix: str, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> tuple[Primitive, ...]:
    return (
        Rectify(name=f"relu{suffix}"),
        _depthwise(f"depthwise{suffix}", channels, kernel, stride=stride, dilation=dilation),
        _pointwise(f"pointwise{suffix}", channels, channels),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a cell of a stack stands.

    Attributes:
        reduction: Whether it halves the image, and is the reduction cell.
        inputs: What prepares its two inputs, the older one first.
        shape: Of its nodes, ``(N, C, H, W)``.
        ends: How many of them it gives.
    """

    reduction: bool
    inputs: tuple[Preparation, Preparation]
    shape: Shape
    ends: int

    @property
    def output_shape(self) -> Shape:
        """The nodes that it gives, one after the other."""
        batch, channels, height, width = self.shape
        return (batch, channels * self.ends, height, width)


def places_of(
    input_shape: Shape, *, channels: int, cells: int, reductions: Sequence[int], ends: Edge
) -> Iterator[Place]:
    """Go through the cells of a stack.

    Args:
        input_shape: ``(N, C, H, W)`` of what the first two cells read.
        channels: Of the nodes of the first cells; every reduction doubles them.
        cells: How many.
        reductions: Which of them halve the image.
        ends: Nodes that a normal cell gives, and a reduction cell.
    """
    older = newer = input_shape
    for number in range(cells):
        reduction = number in reductions
        channels *= 2 if reduction else 1
        behind = 2 if number - 1 in reductions else 1  # the older input is of the larger image
        inputs = (
            Preparation(input_shape=older, channels=channels, stride=behind),
            Preparation(input_shape=newer, channels=channels),
        )
        shape = strided(inputs[1].output_shape, channels, 2 if reduction else 1)
        place = Place(reduction=reduction, inputs=inputs, shape=shape, ends=ends[reduction])
        yield place
        older, newer = newer, place.output_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class CellStack(Straight):
    """Cells one after the other, each reading what the two before it gave.

    Attributes:
        input_shape: ``(N, C, H, W)``; both inputs of the first cell.
        channels: Of the nodes of the first cells; every reduction doubles them.
        cells: How many, one or more.
        reductions: Which of them halve the image, counted from 0.
        normal: The cell that stands everywhere else, as `edges_from_code` reads it.
        reduction: The cell that halves the image.
        ends: Which nodes a cell gives.
    """

    input_shape: Shape
    channels: int
    cells: int
    reductions: tuple[int, ...]
    normal: str
    reduction: str
    ends: Ends = "loose"

    def __post_init__(self) -> None:
        checked(self.input_shape)
        if self.cells < 1 or self.ends not in get_args(Ends):
            raise ValueError(f"a stack has a cell or more and ends loose or all, got {self}")
        edges_from_code(self.normal)
        edges_from_code(self.reduction)

    def __str__(self) -> str:
        where = f"{shape_text(self.input_shape)} -> {self.channels}"
        kinds = [_digits(self.normal)] if len(self.reductions) < self.cells else []
        kinds += [_digits(self.reduction)] if self.reductions else []
        return f"{self.cells} darts cells {where} {' / '.join(kinds)}"

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each of its cells stands."""
        ends = [self._ends(edges_from_code(code)) for code in (self.normal, self.reduction)]
        return tuple(
            places_of(
                self.input_shape,
                channels=self.channels,
                cells=self.cells,
                reductions=self.reductions,
                ends=(len(ends[0]), len(ends[1])),
            )
        )

    @property
    def output_shape(self) -> Shape:
        """What the last cell gives."""
        return self.places[-1].output_shape

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """All cells as one graph, so that a cell may read what the one before the last gave."""
        branches: list[Branch] = []
        concatenated: list[int] = []
        older = newer = last = 0
        for number, place in enumerate(self.places):
            edges = edges_from_code(self.reduction if place.reduction else self.normal)
            cell = _CellGraph(name=f"cell{number}", place=place, first=last + 1)
            branches += cell.branches((older, newer), edges, self._ends(edges))
            concatenated += cell.concatenated
            older, newer, last = newer, cell.output, cell.output
        return (Branches(name="cells", branches=tuple(branches), concatenated=tuple(concatenated)),)

    def _ends(self, edges: Sequence[Edge]) -> tuple[int, ...]:
        return loose_ends(edges) if self.ends == "loose" else tuple(range(INPUTS, INPUTS + NODES))


def _digits(code: str) -> str:
    return " ".join(f"{operation}.{source}" for operation, source in edges_from_code(code))


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellGraph:
    """A cell as part of a larger graph: its nodes are numbered on from ``first``."""

    name: str
    place: Place
    first: int

    @property
    def output(self) -> int:
        """The node that holds what the cell gives; of one end that node itself."""
        return self.first + INPUTS + NODES - (self.place.ends == 1)

    @property
    def concatenated(self) -> tuple[int, ...]:
        return () if self.place.ends == 1 else (self.output,)

    def branches(
        self, inputs: tuple[int, int], edges: Sequence[Edge], ends: Sequence[int]
    ) -> Iterator[Branch]:
        for i, (source, prepared) in enumerate(zip(inputs, self.place.inputs, strict=True)):
            yield self._branch(f"input{i}", source, self.first + i, prepared.primitives)
        inside = self.place.inputs[1].output_shape
        for i, (operation, source) in enumerate(edges):
            halves = self.place.reduction and source < INPUTS
            shape, stride = (inside, 2) if halves else (self.place.shape, 1)
            node = INPUTS + i // 2
            yield self._branch(
                f"node{node}_{i % 2}_{OPERATIONS[operation]}",
                self.first + source,
                self.first + node,
                _operation(operation, shape, stride),
            )
        for end in ends if self.concatenated else ():
            yield self._branch(f"end{end}", self.first + end, self.output, ())

    def _branch(
        self, name: str, source: int, target: int, primitives: tuple[Primitive, ...]
    ) -> Branch:
        name = f"{self.name}_{name}"
        return Branch(name=name, source=source, target=target, primitives=primitives)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHead(Ending):
    """Global pooling and a classifier: the end of a network of DARTS's cells.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        classes: Logits.
    """

    input_shape: Shape
    classes: int

    def __post_init__(self) -> None:
        checked(self.input_shape)

    def __str__(self) -> str:
        return f"pool head {shape_text(self.input_shape)} -> {self.classes}"

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """Pooling, linear."""
        features = self.input_shape[1]
        return (
            GlobalPool(name="pool"),
            Linear(name="classifier", in_features=features, out_features=self.classes),
        )
