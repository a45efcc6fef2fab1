"""NAS-Bench-201's operators: the cell, the residual block between stages, the head.

A whole cell is one operator: what it costs is no sum over its edges, because branches that lead
nowhere are not exported and what is left is added up.

Source:
    Dong and Yang, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search,
    ICLR 2020, section 2; the skeleton as in its released code.
"""

from dataclasses import dataclass
from functools import cache

from devices import InvalidFile, Shape
from profiler.operators.primitives import (
    AveragePool,
    Branch,
    Branches,
    ConvNorm,
    GlobalPool,
    Linear,
    Norm,
    Primitive,
    Rectify,
)
from profiler.operators.shapes import Ending, Straight, checked, shape_text, strided

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""What an edge may do, in the order of the benchmark; an index here is a choice of the space."""

NONE, SKIP, CONV1, CONV3, POOL = range(len(OPERATIONS))

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target of every edge, in the order of the published strings."""

NODES = 4


@cache
def choices_from_code(code: str) -> tuple[int, ...]:
    """Read ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``: for every edge the index of its operation.

    Raises:
        InvalidFile: The text is no such cell.
    """
    parts = [part for node in code.split("+") for part in node.strip("|").split("|")]
    named = [part.partition("~")[0] for part in parts]
    if not all(name in OPERATIONS for name in named) or len(named) != len(EDGES):
        raise _no_cell(code)
    choices = tuple(map(OPERATIONS.index, named))
    if code_from_choices(choices) != code:  # edges in another order, a node too few
        raise _no_cell(code)
    return choices


def _no_cell(code: str) -> InvalidFile:
    return InvalidFile(
        f"{code[:120]!r} is no cell of NAS-Bench-201: write |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, "
        f"with operations {', '.join(OPERATIONS)}"
    )


def code_from_choices(choices: tuple[int, ...]) -> str:
    """Write a cell as the benchmark does; the inverse of `choices_from_code`."""
    nodes: dict[int, str] = dict.fromkeys(range(1, NODES), "|")
    for choice, (source, target) in zip(choices, EDGES, strict=True):
        nodes[target] += f"{OPERATIONS[choice]}~{source}|"
    return "+".join(nodes.values())


@cache
def pruned(choices: tuple[int, ...]) -> tuple[int, ...]:
    """Return the cell without its dead edges: those that the input or the output never meets.

    What is left computes the same. A cell whose output the input never reaches becomes all
    ``none``.
    """
    reached, needed = {0}, {NODES - 1}
    for choice, (source, target) in zip(choices, EDGES, strict=True):
        if choice != NONE and source in reached:
            reached.add(target)
    for choice, (source, target) in zip(reversed(choices), reversed(EDGES), strict=True):
        if choice != NONE and target in needed:
            needed.add(source)
    return tuple(
        choice if source in reached and target in needed else NONE
        for choice, (source, target) in zip(choices, EDGES, strict=True)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Straight):
    """A cell: four nodes, each the sum of its edges; dead edges are not computed.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        code: ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``. Equal cells have one latency, so a space
            names them without dead edges, see `pruned`.
    """

    input_shape: Shape
    code: str

    def __post_init__(self) -> None:
        checked(self.input_shape)
        choices_from_code(self.code)

    def __str__(self) -> str:
        digits = "".join(map(str, choices_from_code(self.code)))
        return f"cell {shape_text(self.input_shape)} {digits}"

    @property
    def output_shape(self) -> Shape:
        """The input shape."""
        return self.input_shape

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """The live edges."""
        return (_cell("cell", self.code, self.input_shape[1]),)


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualCells(Straight):
    """Equal cells one after the other, as a stage has them.

    What is timed to price a cell. One alone takes some tens of microseconds, and what its
    neighbours cost is subtracted with an error of its own. Cells have more operations or fewer, so
    that calibration against whole networks does not take that error back, as it does where every
    network has one operator a layer: it has to be small beside what is timed.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        code: Of each of them, as of `Cell`.
        count: How many, 1 or more.
    """

    input_shape: Shape
    code: str
    count: int

    def __post_init__(self) -> None:
        checked(self.input_shape)
        choices_from_code(self.code)
        if self.count < 1:
            raise ValueError(f"there is one cell or more, got {self.count}")

    def __str__(self) -> str:
        one = Cell(input_shape=self.input_shape, code=self.code)
        return f"{self.count} x {one}"

    @property
    def output_shape(self) -> Shape:
        """The input shape."""
        return self.input_shape

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """The live edges of each."""
        channels = self.input_shape[1]
        return tuple(_cell(f"cell{i}", self.code, channels) for i in range(self.count))


def _cell(name: str, code: str, channels: int) -> Branches:
    """Return what a cell computes, dead edges left out."""
    live = pruned(choices_from_code(code))
    branches = (
        edge_branch(edge, choice, channels=channels)
        for edge, choice in enumerate(live)
        if choice != NONE
    )
    return Branches(name=name, branches=tuple(branches))


def edge_branch(edge: int, choice: int, *, channels: int) -> Branch:
    """Return what an edge of a cell computes.

    Args:
        edge: Index in `EDGES`.
        choice: Index in `OPERATIONS`, none excluded.
        channels: Of the cell.
    """
    source, target = EDGES[edge]
    lines: dict[int, tuple[Primitive, ...]] = {
        SKIP: (),
        CONV1: (Rectify(name="relu"), _conv(channels, channels, kernel=1)),
        CONV3: (Rectify(name="relu"), _conv(channels, channels, kernel=3)),
        POOL: (AveragePool(name="pool", kernel=3),),
    }
    name = f"edge{edge}_{OPERATIONS[choice]}"
    return Branch(name=name, source=source, target=target, primitives=lines[choice])


def _conv(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int,
    stride: int = 1,
    norm: bool = True,
    name: str = "conv",
) -> ConvNorm:
    return ConvNorm(
        name=name,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel=kernel,
        stride=stride,
        norm=norm,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualBlock(Straight):
    """The block between two stages: ReLU-convolution-norm twice, beside a pooled shortcut.

    The image is halved. The shortcut is an average over 2x2 and a 1x1 convolution without norm.

    Deviation: where a side is odd, the average takes what is left over as the convolution does.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        channels: Output channels.
    """

    input_shape: Shape
    channels: int

    def __post_init__(self) -> None:
        checked(self.input_shape)

    def __str__(self) -> str:
        return f"residual {shape_text(self.input_shape)} -> {self.channels}"

    @property
    def output_shape(self) -> Shape:
        """``(N, channels, H / 2, W / 2)``, rounded up."""
        return strided(self.input_shape, self.channels, 2)

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """The two branches."""
        _, channels, height, width = self.input_shape
        body = (
            Rectify(name="relu_a"),
            _conv(channels, self.channels, kernel=3, stride=2, name="conv_a"),
            Rectify(name="relu_b"),
            _conv(self.channels, self.channels, kernel=3, name="conv_b"),
        )
        odd = bool(height % 2 or width % 2)
        shortcut = (
            AveragePool(name="pool", kernel=2, stride=2, partial=odd),
            _conv(channels, self.channels, kernel=1, norm=False),
        )
        branches = (
            Branch(name="body", source=0, target=1, primitives=body),
            Branch(name="shortcut", source=0, target=1, primitives=shortcut),
        )
        return (Branches(name="block", branches=branches),)


@dataclass(frozen=True, slots=True, kw_only=True)
class NormHead(Ending):
    """Batch norm, ReLU, global pooling, classifier: the end of a network of cells.

    Attributes:
        input_shape: ``(N, C, H, W)``.
        classes: Logits.
    """

    input_shape: Shape
    classes: int

    def __post_init__(self) -> None:
        checked(self.input_shape)

    def __str__(self) -> str:
        return f"norm head {shape_text(self.input_shape)} -> {self.classes}"

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """Norm, ReLU, pooling, linear."""
        channels = self.input_shape[1]
        return (
            Norm(name="norm", channels=channels),
            Rectify(name="relu"),
            GlobalPool(name="pool"),
            Linear(name="classifier", in_features=channels, out_features=self.classes),
        )
