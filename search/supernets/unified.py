"""SGNAS's unified supernet: one set of weights for the 3,072 blocks of every layer.

A layer has six groups, each with its share of the expanding and of the projecting convolution and a
depthwise convolution for every kernel. A path runs the groups that its code does not skip; the
output is normalised by one of six batch norms, chosen by how many are skipped, since sums of so
many groups have statistics of their own.

Source:
    Huang and Chu, Searching by Generating: Flexible and Efficient One-Shot NAS with Architecture
    Generator, CVPR 2021, and its released code. Batch norms by the number of skips: Chu et al.,
    MixPath, 2020 (shadow batch normalization).

Where the released code does otherwise, and why:

- One architecture for each forward pass, an argument of it in training and evaluation. There,
  modules keep a schedule as a hidden state.
- All expansions from 1 to 6 are trained (`search.training.path_samplers.fair_paths`). There, 1 is
  generated and never trained, and the first of every freshly shuffled order is left out.
- What a path skips has no gradient at all. There, its channels are multiplied by zero, and momentum
  and weight decay move them.
- The batch norm of a mixture is blended by the exact probability of every number of skips, which
  has a gradient. There, it is chosen by the rounded expectation, which has none.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, hardsigmoid, relu

from profiler import OpSpec, Unified
from profiler.operators.modules import Block, joined
from search.space import Architecture, SearchSpace
from search.spaces.unified import (
    GROUPS,
    KERNELS,
    MULTISETS,
    SKIPPED,
    code_of,
    digits_of,
    is_unified,
    multiset_index,
)
from search.supernets.supernet import Supernet

__all__ = [
    "MULTISETS",
    "UnifiedSupernet",
    "expansion_probabilities",
    "multiset_index",
    "multiset_probabilities",
]

Weights = Mapping[str, Tensor]


class UnifiedSupernet(Supernet):
    """A supernet whose layers choose among the codes of unified blocks.

    Args:
        space: All of its layers are of unified blocks.
        seed: Of the fresh weights.

    Raises:
        ValueError: A layer has other choices.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        for i, ops in enumerate(space.layers):
            if not is_unified(ops):
                raise ValueError(f"layer {i} of space {space.name!r} has no unified blocks")
        super().__init__(space, seed=seed)
        for layer in self._unified:
            for norm in layer.norms if layer.residual else ():
                assert isinstance(norm, nn.BatchNorm2d)
                nn.init.zeros_(norm.weight)  # as `search.supernets.supernet.initialise` has it

    def forward(self, images: Tensor, arch: Architecture) -> Tensor:
        """Return the logits of one architecture; only its own groups and kernels run.

        Args:
            images: ``(batch, 3, height, width)`` floats, normalised as in training.
            arch: One code for each layer.

        Returns:
            Logits, ``(batch, classes)``.

        Raises:
            InvalidFile: ``arch`` does not belong to the space.
        """
        self.space.check(arch)
        x = self.before(images)
        for layer, code in zip(self._unified, arch.choices, strict=True):
            x = layer(x, code)
        return self.after(x)

    def mixture(self, images: Tensor, gates: Tensor) -> Tensor:
        """Return the logits of the network whose groups are weighted sums of their kernels.

        A group that is skipped with some weight gives as much less. Batch norm, and the width of a
        squeeze-excite, are those of every expansion, weighted by its probability. With gates of 0
        and 1 it is `forward`.

        Args:
            images: As `forward` takes them.
            gates: ``(layers, 6, 4)`` probabilities of each group: its kernels 3, 5, 7, and none;
                the first group is never skipped, its last is 0.

        Returns:
            Logits, ``(batch, classes)``; differentiable in the gates, those that are 0 included.

        Raises:
            ValueError: The supernet is in training mode: a mixture must not move statistics that
                belong to paths. Or the gates are of another shape, or skip a first group.
        """
        if self.training:
            raise ValueError("a mixture takes the trained statistics: call eval() first")
        x = self.before(images)
        expansions = expansion_probabilities(gates)  # (layers, 6)
        for layer, of_groups, shares in zip(self._unified, gates, expansions, strict=True):
            x = layer.mixture(x, of_groups, shares)
        return self.after(x)

    def subnetwork(self, arch: Architecture) -> nn.Sequential:
        """Return one architecture alone: its blocks with copies of their weights, and no other.

        Blocks are those of `SearchSpace.chain`: groups in the order of their kernels. Otherwise as
        `Supernet.subnetwork`.

        Raises:
            InvalidFile: ``arch`` does not belong to the space.
        """
        self.space.check(arch)
        triples = zip(self._unified, self.space.layers, arch.choices, strict=True)
        blocks = (layer.extracted(code, ops[code]) for layer, ops, code in triples)
        return nn.Sequential(
            *map(deepcopy, self.before), *blocks, *map(deepcopy, self.after)
        ).train(self.training)

    def _layer(self, ops: tuple[OpSpec, ...]) -> nn.Module:
        return UnifiedLayer(ops)

    @property
    def _unified(self) -> tuple["UnifiedLayer", ...]:
        layers = []
        for layer in self.layers:
            assert isinstance(layer, UnifiedLayer)  # torch types what a list holds as Module
            layers.append(layer)
        return tuple(layers)


class UnifiedLayer(nn.Module):
    """The weights of all unified blocks of one layer.

    Attributes:
        residual: Whether the input is added to the output.
        groups: Six, each with everything for its share of the hidden channels.
        norms: ``norms[e - 1]`` normalises the sum of ``e`` groups.
        attention: Squeeze-excite; None where the blocks have none.
    """

    def __init__(self, ops: Sequence[OpSpec]) -> None:
        super().__init__()
        by_expansion = [
            ops[code_of((0,) * count + (SKIPPED,) * (GROUPS - count))]
            for count in range(1, GROUPS + 1)
        ]
        smallest = by_expansion[0]
        assert isinstance(smallest, Unified)
        self.residual = smallest.residual
        self.groups = nn.ModuleList(_Group(smallest) for _ in range(GROUPS))
        self.norms = nn.ModuleList(nn.BatchNorm2d(smallest.channels) for _ in range(GROUPS))
        widths = [op.squeeze for op in by_expansion if isinstance(op, Unified)]
        self.attention = _SharedAttention(smallest.input_shape[1], widths) if any(widths) else None

    def forward(self, x: Tensor, code: int) -> Tensor:
        """Run the block of one code on ``x``, ``(batch, C, height, width)``."""
        active = self._active(code)
        hidden = torch.cat([self._group(g)(x, kernel) for g, kernel in active], dim=1)
        members = [g for g, _ in active]
        if self.attention is not None:
            hidden = hidden * self.attention(hidden, members)
        y = self.norms[len(active) - 1](self._projected(hidden, members))
        return x + y if self.residual else y

    def mixture(self, x: Tensor, gates: Tensor, expansions: Tensor) -> Tensor:
        """Run the mixture of all blocks.

        Args:
            x: ``(batch, C, height, width)``.
            gates: ``(6, 4)``, see `UnifiedSupernet.mixture`.
            expansions: ``(6,)`` probabilities of 1 to 6 groups.
        """
        every = range(GROUPS)
        mixed = [self._group(g).mixture(x, gates[g]) for g in every]
        hidden = torch.cat(mixed, dim=1)  # (batch, 6 C, height, width)
        if self.attention is not None:
            hidden = hidden * self.attention.mixture(hidden, expansions)
        summed = self._projected(hidden, every)
        pairs = zip(expansions, self.norms, strict=True)
        y = reduce(torch.add, [share * norm(summed) for share, norm in pairs])
        return x + y if self.residual else y

    def extracted(self, code: int, op: OpSpec) -> Block:
        """Return the block of one code alone, as its operator is built, with copies of weights."""
        active = self._active(code)
        members = [g for g, _ in active]
        norm = self.norms[len(active) - 1].state_dict()
        state = {f"body.project.1.{name}": value.clone() for name, value in norm.items()}
        state["body.project.0.weight"] = self._project_weight(members).detach().clone()
        joins = {"body.expand": [self._group(g).expand for g in members]}
        kernels = dict.fromkeys(kernel for _, kernel in active)
        for kernel in kernels:
            part = f".parts.k{kernel}" if len(kernels) > 1 else ""
            joins[f"body.depthwise{part}"] = [
                self._group(g).depthwise[str(kernel)] for g, k in active if k == kernel
            ]
        for prefix, sources in joins.items():
            together = joined([source.state_dict() for source in sources])
            state |= {f"{prefix}.{name}": value for name, value in together.items()}
        if self.attention is not None:
            state |= self.attention.extracted("body.attention", members)
        with torch.device("meta"):  # draws no weights: they are given
            block = Block(op)
        block.load_state_dict(state, assign=True)
        return block

    def _active(self, code: int) -> list[tuple[int, int]]:
        """Return the groups that run with their kernels, in the order of the kernels."""
        chosen = ((g, d) for g, d in enumerate(digits_of(code)) if d != SKIPPED)
        return sorted(((g, KERNELS[d]) for g, d in chosen), key=lambda pair: pair[1])

    def _group(self, number: int) -> "_Group":
        group = self.groups[number]
        assert isinstance(group, _Group)  # torch types what a list holds as Module
        return group

    def _project_weight(self, members: Sequence[int]) -> Tensor:
        """Return the projection of some groups, ``(Cout, C * members, 1, 1)``."""
        return torch.cat([self._group(g).project.weight for g in members], dim=1)

    def _projected(self, hidden: Tensor, members: Sequence[int]) -> Tensor:
        return conv2d(hidden, self._project_weight(members))


class _Group(nn.Module):
    """One of six shares of the hidden channels, as many as come in."""

    def __init__(self, op: Unified) -> None:
        super().__init__()
        bodies = {k: Block(replace(op, kernels=(k,), squeeze=0)).body for k in KERNELS}
        any_body = bodies[KERNELS[0]]
        self.expand = any_body.get_submodule("expand")
        self.depthwise = nn.ModuleDict(
            {str(kernel): body.get_submodule("depthwise") for kernel, body in bodies.items()}
        )
        project = any_body.get_submodule("project.0")
        assert isinstance(project, nn.Conv2d)
        self.project = project  # run for several groups at once: a sum over groups

    def forward(self, x: Tensor, kernel: int) -> Tensor:
        hidden: Tensor = self.depthwise[str(kernel)](self.expand(x))
        return hidden

    def mixture(self, x: Tensor, gates: Tensor) -> Tensor:
        """Return the sum of all kernels, weighted by ``gates``, ``(4,)``; no kernel gives 0."""
        opened = self.expand(x)
        pairs = zip(gates, self.depthwise.values(), strict=False)  # the last gate is of no kernel
        return reduce(torch.add, [gate * depthwise(opened) for gate, depthwise in pairs])


class _SharedAttention(nn.Module):
    """Squeeze-excite of blocks of any groups: the first so many of the squeezed channels.

    Where few groups run, the squeeze is narrow; rows of the wider ones get a gradient of 0 then.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        most = max(widths)
        self.squeeze = nn.ModuleList(
            nn.Conv2d(channels, most, 1, bias=False) for _ in range(GROUPS)
        )
        self.bias = nn.Parameter(torch.zeros(most))
        self.excite = nn.ModuleList(nn.Conv2d(most, channels, 1) for _ in range(GROUPS))

    def forward(self, hidden: Tensor, members: Sequence[int]) -> Tensor:
        """Return a gate for each channel of the groups that run, ``(batch, channels, 1, 1)``."""
        state = self._state(members, self.widths[len(members) - 1])
        return _attended(hidden.mean(dim=(2, 3), keepdim=True), state)

    def mixture(self, hidden: Tensor, expansions: Tensor) -> Tensor:
        """Return the gates of all groups, the mean over expansions of these probabilities."""
        pooled = hidden.mean(dim=(2, 3), keepdim=True)
        every = range(GROUPS)
        pairs = zip(expansions, self.widths, strict=True)
        return reduce(
            torch.add, [share * _attended(pooled, self._state(every, w)) for share, w in pairs]
        )

    def extracted(self, prefix: str, members: Sequence[int]) -> dict[str, Tensor]:
        """Return the weights of a `ChannelAttention` for the groups that run."""
        state = self._state(members, self.widths[len(members) - 1])
        return {f"{prefix}.gate.{name}": value.detach().clone() for name, value in state.items()}

    def _state(self, members: Sequence[int], width: int) -> dict[str, Tensor]:
        squeeze = [self.squeeze[g].get_parameter("weight")[:width] for g in members]
        excite = [self.excite[g].get_parameter("weight")[:, :width] for g in members]
        return {
            "1.weight": torch.cat(squeeze, dim=1),  # (width, channels, 1, 1)
            "1.bias": self.bias[:width],
            "3.weight": torch.cat(excite),  # (channels, width, 1, 1)
            "3.bias": torch.cat([self.excite[g].get_parameter("bias") for g in members]),
        }


def _attended(pooled: Tensor, state: Weights) -> Tensor:
    low = relu(conv2d(pooled, state["1.weight"], state["1.bias"]))
    return hardsigmoid(conv2d(low, state["3.weight"], state["3.bias"]))


def multiset_probabilities(gates: Tensor) -> Tensor:
    """Return how probable each block of a layer is where its groups are drawn independently.

    The distributions of the groups are convolved, one after the other, over the counts of the three
    kernels: exact, and differentiable.

    Args:
        gates: ``(layers, 6, 4)`` probabilities of each group: its kernels 3, 5, 7, and none; the
            first group is never skipped, its last is 0.

    Returns:
        ``(layers, 83)``, in the order of `search.spaces.unified.MULTISETS`; a layer sums to 1 where
        the gates of every group do.

    Raises:
        ValueError: The gates are of another shape, or skip a first group.
    """
    if gates.dim() != 3 or gates.shape[1:] != (GROUPS, len(KERNELS) + 1):
        raise ValueError(f"gates are (layers, {GROUPS}, 4), got {tuple(gates.shape)}")
    if gates[:, 0, SKIPPED].any():
        raise ValueError("the first group is never skipped: its last gate is 0")
    before = torch.tensor(_BEFORE, device=gates.device)  # (3, states)
    found = torch.zeros(len(gates), len(_STATES), dtype=gates.dtype, device=gates.device)
    found[:, 0] = 1.0  # no group yet: no kernel
    for of_group in gates.unbind(dim=1):  # (layers, 4)
        *by_kernel, skipped = of_group[:, :, None].unbind(dim=1)  # (layers, 1) each
        known = torch.cat([found, torch.zeros_like(found[:, :1])], dim=1)
        added = [gate * known[:, row] for gate, row in zip(by_kernel, before, strict=True)]
        found = reduce(torch.add, added, skipped * found)
    return found[:, 1:]


def expansion_probabilities(gates: Tensor) -> Tensor:
    """Return how probable each number of kernels is, ``(layers, 6)`` for 1 to 6.

    Arguments and errors are those of `multiset_probabilities`.
    """
    sizes = torch.tensor([len(kernels) for kernels in MULTISETS], device=gates.device)
    of_size = sizes[:, None] == torch.arange(1, GROUPS + 1, device=gates.device)
    return multiset_probabilities(gates) @ of_size.to(gates.dtype)


_STATES: tuple[tuple[int, ...], ...] = ((), *MULTISETS)
"""What the groups so far may have between them."""


def _before(kernel: int) -> list[int]:
    """Return for each state the one that lacks one such kernel; the place after all where none."""
    numbers = {state: i for i, state in enumerate(_STATES)}
    rows = []
    for state in _STATES:
        rest = list(state)
        if kernel in rest:
            rest.remove(kernel)
            rows.append(numbers[tuple(rest)])
        else:
            rows.append(len(_STATES))
    return rows


_BEFORE = [_before(kernel) for kernel in KERNELS]
