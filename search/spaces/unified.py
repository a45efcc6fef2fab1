"""SGNAS's unified blocks: every layer chooses six kernels, each 3, 5, 7 or none.

A block expands to six groups of as many channels as come in. Each group has a depthwise kernel of
its own or is skipped; the first never is. So a layer has 3 * 4 ** 5 = 3,072 choices, called codes,
and the number of kernels left is the expansion rate, 1 to 6. Groups are exchangeable once a network
is trained alone: then only the multiset of kernels counts, of which there are 83. The 3,072 choices
of a layer are therefore 83 operators, and `SearchSpace.alone` tells which codes are one network.
Inherited weights are not exchangeable: `SearchSpace.canonical` keeps every code.

- ``unified``: the 19 layers of the released configuration, 3072^19 codes of 83^19 networks.
- ``unified-se``: the same with hard swish and squeeze-excite everywhere, as the released networks
  were trained in the end.
- ``unified-macro``: the 8 layers of NAS-Bench-Macro with these blocks; small enough for 16 pixels.

Source:
    Huang and Chu, Searching by Generating: Flexible and Efficient One-Shot NAS with Architecture
    Generator, CVPR 2021; layers, strides and activations as in the released configuration.

Deviations: the expanding convolution stays at expansion 1, as in the supernet, where the released
retrained networks leave it out (`released_macs` counts as they do). ``unified-macro`` has no layer
that can be left out, and plain ReLU, as its benchmark has. Squeeze-excite has a quarter of the
hidden channels, rounded down, with a ReLU inside and a hard sigmoid, as every operator here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations_with_replacement
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from profiler import Conv, Head, MBConv, OpSpec, Unified, macs, parameters, top_of_step
from profiler.operators.primitives import Activation
from search.space import SearchSpace, snapped_name
from search.spaces import macro as benchmark

KERNELS = (3, 5, 7)
GROUPS = 6
SKIPPED = len(KERNELS)
"""What a group's digit is that has no kernel; the others index `KERNELS`."""

CODES = len(KERNELS) * (len(KERNELS) + 1) ** (GROUPS - 1)
"""Choices of a layer: the first group always has a kernel."""

MULTISETS: tuple[tuple[int, ...], ...] = tuple(
    kernels
    for count in range(1, GROUPS + 1)
    for kernels in combinations_with_replacement(KERNELS, count)
)
"""The distinct blocks of a layer, by their number of kernels, then by the kernels: (3), (5), (7),
(3, 3), (3, 5) ... (7, 7, 7, 7, 7, 7)."""

STEM_CHANNELS, FIRST_CHANNELS, HEAD_CHANNELS = 32, 16, 1280
STAGES = ((32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""Channels, layers, and stride of the first layer of each stage."""

SQUEEZE_SHARE = 0.25
"""Channels of the squeeze-excite over the hidden channels of its block, rounded down."""

Digits: TypeAlias = tuple[int, ...]
"""One for each group: an index into `KERNELS`, or `SKIPPED`."""


def digits_of(code: int) -> Digits:
    """Return what the groups of a block do, in their order.

    Raises:
        ValueError: There is no such code.
    """
    if not 0 <= code < CODES:
        raise ValueError(f"codes are 0 to {CODES - 1}, got {code}")
    digits = []
    for _ in range(GROUPS):
        code, digit = divmod(code, SKIPPED + 1)
        digits.append(digit)
    return tuple(reversed(digits))


def code_of(digits: Sequence[int]) -> int:
    """Return the code of a block: its digits as a number of base 4, the first group's first.

    Raises:
        ValueError: There are not six digits, one is unknown, or the first group is skipped.
    """
    known = all(0 <= digit <= SKIPPED for digit in digits)
    if len(digits) != GROUPS or not known or digits[0] == SKIPPED:
        raise ValueError(
            f"a block has {GROUPS} digits of 0 to {SKIPPED}, the first below {SKIPPED}; "
            f"got {tuple(digits)}"
        )
    code = 0
    for digit in digits:
        code = code * (SKIPPED + 1) + digit
    return code


@cache
def multiset_index() -> NDArray[np.intp]:
    """Return for each code which of `MULTISETS` its kernels are, ``(3072,)``; not to be written."""
    number = {kernels: i for i, kernels in enumerate(MULTISETS)}
    index = np.empty(CODES, np.intp)
    for code in range(CODES):
        kernels = sorted(KERNELS[digit] for digit in digits_of(code) if digit != SKIPPED)
        index[code] = number[tuple(kernels)]
    index.setflags(write=False)
    return index


def is_unified(layer: Sequence[OpSpec]) -> bool:
    """Return whether the choices of a layer are the codes of unified blocks."""
    return len(layer) == CODES and isinstance(layer[0], Unified)


def unified(
    *, resolution: int = 224, batch: int = 1, classes: int = 1000, snap: int = 1
) -> SearchSpace:
    """Return the released space for square images.

    Args:
        resolution: Side of the images in pixels.
        batch: Images per inference.
        classes: Logits.
        snap: Widths are rounded up to multiples of this; groups and expansions follow from them.
    """
    skeleton = _Skeleton(name="unified", snap=snap, activation="relu6")
    return skeleton.released(resolution=resolution, batch=batch, classes=classes)


def unified_se(
    *, resolution: int = 224, batch: int = 1, classes: int = 1000, snap: int = 1
) -> SearchSpace:
    """Return the released space with hard swish and squeeze-excite; arguments as `unified`."""
    skeleton = _Skeleton(name="unified-se", snap=snap, activation="hswish", squeezed=True)
    return skeleton.released(resolution=resolution, batch=batch, classes=classes)


def unified_macro(
    *, resolution: int = 32, batch: int = 1, classes: int = 10, snap: int = 1
) -> SearchSpace:
    """Return unified blocks in the skeleton of NAS-Bench-Macro; arguments as `unified`."""
    skeleton = _Skeleton(name="unified-macro", snap=snap, activation="relu")
    stem = Conv(
        input_shape=(batch, 3, resolution, resolution),
        channels=skeleton.width(benchmark.STEM_CHANNELS),
        kernel=3,
        activation="relu",
    )
    stages = tuple((channels, depth, 2) for channels, depth in benchmark.STAGES)
    return skeleton.space((stem,), stages, benchmark.HEAD_CHANNELS, classes=classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Skeleton:
    """What the spaces here differ in.

    Attributes:
        name: Before it is snapped.
        snap: Widths are rounded up to multiples of this.
        activation: Of all convolutions that have one.
        squeezed: Whether blocks have squeeze-excite.
    """

    name: str
    snap: int
    activation: Activation
    squeezed: bool = False

    def width(self, channels: int) -> int:
        return top_of_step(channels, self.snap)

    def released(self, *, resolution: int, batch: int, classes: int) -> SearchSpace:
        stem = Conv(
            input_shape=(batch, 3, resolution, resolution),
            channels=self.width(STEM_CHANNELS),
            kernel=3,
            stride=2,
            activation=self.activation,
        )
        first = MBConv(
            input_shape=stem.output_shape,
            channels=self.width(FIRST_CHANNELS),
            expand=1,
            squeeze=int(SQUEEZE_SHARE * stem.channels) if self.squeezed else 0,
            activation=self.activation,
        )
        return self.space((stem, first), STAGES, HEAD_CHANNELS, classes=classes)

    def space(
        self,
        before: tuple[OpSpec, ...],
        stages: Iterable[tuple[int, int, int]],
        head_channels: int,
        *,
        classes: int,
    ) -> SearchSpace:
        shape = before[-1].output_shape
        layers = []
        for channels, depth, stride in stages:
            for i in range(depth):
                block = Unified(
                    input_shape=shape,
                    channels=self.width(channels),
                    kernels=KERNELS[:1],
                    stride=stride if i == 0 else 1,
                    activation=self.activation,
                )
                layers.append(_layer(block, self.squeezed))
                shape = block.output_shape
        head = Head(
            input_shape=shape,
            channels=self.width(head_channels),
            classes=classes,
            activation=self.activation,
        )
        return SearchSpace(
            name=snapped_name(self.name, self.snap),
            before=before,
            layers=tuple(layers),
            after=(head,),
            snap=self.snap,
        )


@cache
def _layer(block: Unified, squeezed: bool) -> tuple[Unified, ...]:
    """Return the choices of a layer; equal layers are one object, and so are equal choices."""
    share = SQUEEZE_SHARE * block.input_shape[1] if squeezed else 0
    blocks = [
        replace(block, kernels=kernels, squeeze=int(share * len(kernels))) for kernels in MULTISETS
    ]
    return tuple(blocks[i] for i in multiset_index().tolist())


def released_macs(chain: Iterable[OpSpec]) -> int:
    """Count a network's multiply-accumulates as the released code does.

    Convolutions and squeeze-excite count, the classifier does not; a block of one kernel has no
    expanding convolution.
    """
    ops = [_as_released(op) for op in chain]
    classifiers = (op for op in ops if isinstance(op, Head))
    return sum(map(macs, ops)) - sum(
        op.input_shape[0] * op.channels * op.classes for op in classifiers
    )


def released_parameters(chain: Iterable[OpSpec]) -> int:
    """Count a network's parameters as the released code does: with the classifier's."""
    return sum(parameters(_as_released(op)) for op in chain)


def _as_released(op: OpSpec) -> OpSpec:
    """Return a block of one kernel without its expanding convolution."""
    match op:
        case Unified(kernels=(kernel,)):
            return MBConv(
                input_shape=op.input_shape,
                channels=op.channels,
                kernel=kernel,
                stride=op.stride,
                expand=1,
                squeeze=op.squeeze,
                activation=op.activation,
            )
    return op
