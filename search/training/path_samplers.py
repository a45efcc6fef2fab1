"""How the paths of a training step are drawn: the seam, and the rules that only draw.

A method that scores candidates or remembers some is a `PathSampler` of its own file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from devices import UnknownName
from profiler.operators.costs import macs, parameters, total_macs
from search.space import Architecture, SearchSpace
from search.spaces.unified import GROUPS, KERNELS, SKIPPED, code_of, is_unified

if TYPE_CHECKING:
    from search.supernets.supernet import Supernet

SANDWICH_RANDOM = 2
"""Random paths of a sandwich, beside the largest and the smallest.

Source:
    Yu and Huang, Universally Slimmable Networks, ICCV 2019: n = 4 networks a step; Yu et al.,
    BigNAS, ECCV 2020, takes as many.
"""

Draw = Callable[[np.random.Generator], Sequence[Architecture]]


class PathSampler(Protocol):
    """How a method draws the paths of a step, and all that it remembers while training."""

    def __call__(self, supernet: "Supernet", rng: np.random.Generator) -> Sequence[Architecture]:
        """Return the paths of the next step, one or more.

        Their gradients are averaged, over the same images, before the optimizer steps once. A
        method that steps once per path returns one path at a time.

        Args:
            supernet: As trained so far, in training mode on the device of the training, to
                evaluate candidates with; must be left as it is. The call runs at the precision of
                the training, autograd on.
            rng: Draws; its state is part of every checkpoint.
        """
        ...

    @property
    def scored_images(self) -> int:
        """Images that candidates were scored on since the run began; 0 where none are."""
        ...

    @property
    def done(self) -> bool:
        """Whether training may stop; asked after every epoch, and follows from the state."""
        ...

    def state(self) -> dict[str, Any]:
        """Return all that changes while training: plain data and tensors, for a checkpoint.

        It is read again by ``torch.load(weights_only=True)``: no class of ours, no numpy.
        """
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        ...


class MemorylessPaths:
    """Paths of a rule that scores nothing, remembers nothing, and never stops early.

    Args:
        draw: Returns the paths of a step.
    """

    scored_images = 0
    done = False

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def __call__(self, supernet: "Supernet", rng: np.random.Generator) -> Sequence[Architecture]:
        """Return the paths of the next step; the supernet is not looked at."""
        return self._draw(rng)

    def state(self) -> dict[str, Any]:
        """Return nothing: the generator's state is in every checkpoint."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore nothing."""


class CountedPaths:
    """The paths of another sampler, and the operations of all that it drew.

    Args:
        paths: Draws.
        space: Of the paths.
    """

    def __init__(self, paths: PathSampler, space: SearchSpace) -> None:
        self._paths, self._space = paths, space
        self.macs = 0.0
        """Multiply-accumulates of one image going forward through each path drawn so far."""

    def __call__(self, supernet: "Supernet", rng: np.random.Generator) -> Sequence[Architecture]:
        """Return the next paths."""
        drawn = self._paths(supernet, rng)
        batch = self._space.input_shape[0]
        self.macs += sum(total_macs(self._space.chain(arch)) for arch in drawn) / batch
        return drawn

    @property
    def scored_images(self) -> int:
        """As the sampler says."""
        return self._paths.scored_images

    @property
    def done(self) -> bool:
        """As the sampler says."""
        return self._paths.done

    def state(self) -> dict[str, Any]:
        """Return the sampler's state, and the operations."""
        return {"paths": self._paths.state(), "macs": self.macs}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on."""
        self._paths.restore(state["paths"])
        self.macs = state["macs"]


def uniform_paths(space: SearchSpace) -> MemorylessPaths:
    """Return the sampler that draws one architecture a step, uniformly from the space.

    Deviation: the draw is trained in its canonical form, because only canonical networks are
    judged and exported. So no step goes into a combination of blocks that nobody will use: on the
    digits it raised the mean accuracy of 24 random networks of the macro space from 96.3 to 96.9 %.

    Source:
        Guo et al., Single Path One-Shot Neural Architecture Search with Uniform Sampling, ECCV
        2020, section 3.
    """
    return MemorylessPaths(lambda rng: (space.canonical(space.sample(rng)),))


def fair_paths(space: SearchSpace) -> MemorylessPaths:
    """Return the sampler of strict fairness: every step trains each choice of each layer once.

    A step is as many paths as the largest layer has choices; a layer's choices are dealt to them
    in a random order, and dealt again from the start of that order where there are too few. The
    paths are not made canonical: that would move blocks, and some would be trained twice. Layers of
    unified blocks, whose choices share their weights, are dealt by `fair_codes`, six a step.

    Deviation: the source adds up the gradients of a step's paths; here they are averaged, as those
    of every method, so that a learning rate means the same.

    Source:
        Chu et al., FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture
        Search, ICCV 2021, algorithm 1.
    """
    paths = max(GROUPS if is_unified(layer) else len(layer) for layer in space.layers)

    def draw(rng: np.random.Generator) -> tuple[Architecture, ...]:
        orders = (
            fair_codes(rng) if is_unified(layer) else rng.permutation(len(layer))
            for layer in space.layers
        )
        dealt = [np.resize(order, paths).tolist() for order in orders]
        return tuple(map(Architecture, zip(*dealt, strict=True)))

    return MemorylessPaths(draw)


def fair_codes(rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw six codes of a layer that together train all parts of its unified blocks alike.

    Each expansion, 1 to 6, occurs once. The first group is in all six and each other group in
    three, since the groups of a small block are those that a large one leaves out. The kernels of a
    group are dealt to its blocks in a random order: each occurs as often as the others.

    Source:
        As of `search.supernets.unified`: the released code deals expansions 2 to 6 and kernels from
        shuffled orders that it keeps between steps, four blocks a step, and leaves out the first of
        every fresh order.
    """
    active = np.zeros((GROUPS, GROUPS), bool)  # (block, group)
    active[:, 0] = True
    others = GROUPS - 1
    for few in range(GROUPS // 2):  # a block of so many others, and one of all the rest
        chosen = rng.permutation(others) < few
        active[few, 1:], active[others - few, 1:] = chosen, ~chosen
    digits = np.full(active.shape, SKIPPED)
    for group in range(GROUPS):
        count = int(active[:, group].sum())
        digits[active[:, group], group] = rng.permutation(np.resize(np.arange(len(KERNELS)), count))
    return rng.permutation([code_of(block) for block in digits.tolist()])


def sandwich_paths(space: SearchSpace) -> MemorylessPaths:
    """Return the sampler of the sandwich rule: the largest, the smallest, and two random paths.

    Large and small are meant by multiply-accumulates, then by parameters, layer by layer. Random
    paths are drawn as by `uniform_paths`.

    Deviation: all learn from the labels; the sources let the others learn from the largest
    ("in-place distillation").

    Source:
        As of `SANDWICH_RANDOM`; the sandwich rule.
    """
    smallest, largest = space.ends(lambda op: (macs(op), parameters(op)))

    def draw(rng: np.random.Generator) -> tuple[Architecture, ...]:
        drawn = (space.canonical(space.sample(rng)) for _ in range(SANDWICH_RANDOM))
        return (largest, smallest, *drawn)

    return MemorylessPaths(draw)


SAMPLERS: Mapping[str, Callable[[SearchSpace], PathSampler]] = {
    "uniform": uniform_paths,
    "fair": fair_paths,
    "sandwich": sandwich_paths,
}
"""Methods that need nothing but a space, by name."""


def sampler_named(method: str, space: SearchSpace) -> PathSampler:
    """Return the path sampler of a method.

    Raises:
        UnknownName: No method of that name draws paths from a space alone.
    """
    if method not in SAMPLERS:
        raise UnknownName("training method", method, SAMPLERS)
    return SAMPLERS[method](space)
