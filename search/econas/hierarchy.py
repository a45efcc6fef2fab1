"""EcoNAS: evolution that spends its epochs where they matter, over proxies that keep the ranking.

In pseudo-code::

    train some random networks to the first level of effort
    in every cycle:
        drop networks that did not move up for as long as a network lives
        at every level, let the best go on to the next: weights, momentum and schedule are kept
        mutate the winners of tournaments at all levels, and train the children to the first level
    answer with the best network of the highest level

Source:
    Zhou et al., EcoNAS: Finding Proxies for Economical Neural Architecture Search, CVPR 2020,
    section 4; constants and steps as in the released code.

Deviations, each from a fault of that code: a network is judged by validation images after its
last epoch, not by the best of its epochs on test images; a stage keeps its momentum; a mutation
copies, and never edits the parent; no network is trained twice; and what a latency budget forbids
is never trained. What ageing drops still counts in the answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from devices import InvalidFile, UnknownName
from lut import LatencyBudget, within
from lut.plans.memory import MemoryBudget
from search.memory import lightened
from search.methods.random_search import repaired
from search.proxies.proxy import Proxy
from search.searcher import Candidate, Trial
from search.space import Architecture, SearchSpace, as_choices
from search.training.settings import (
    STRICT,
    TrainSettings,
    changed,
    common_values,
    section_from_toml,
)

METHOD, FLAT, ASHA, RANDOM = "econas", "flat", "asha", "random"

PROXY_METHODS = (METHOD, FLAT, ASHA)
"""Searches that train their candidates alone, so that there are no weights to inherit."""

NOVEL_DRAWS = 100
"""Draws of a network that was never tried, before there is believed to be none."""

PUBLISHED, SMALL = "published", "small"

Count = Annotated[int, Field(ge=0)]
Most = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class EconasSettings:
    """Settings of the hierarchical search; validated when made.

    Attributes:
        initial: Random networks at the start. Published: 16.
        cycles: Rounds after that. Published: 100.
        epochs: Epochs at each level of effort, increasing, counted from a network's start.
            Published: 20, 40, 60.
        promoted: How many of the best go on from each level but the last. Published: 8, 4.
        mothers: Tournaments at each level, one child each. Published: 6, 5, 5.
        lifetime: Cycles after which a network that did not move up is dropped. Published: 10.
        tournament: A tournament is the best of one and this share of a level's networks, drawn
            with replacement. Published: a quarter.
        channels: c of the proxy. Published: 4.
        resolution: r of the proxy, from the space's resolution. Published: 4.
        samples: s of the proxy. Published: 0.
        images: Training images that count as all of them; None for all. Published: all.
        validation: Validation images that networks are judged by; None for all.
    """

    initial: Most = 16
    cycles: Most = 100
    epochs: tuple[Most, ...] = (20, 40, 60)
    promoted: tuple[Count, ...] = (8, 4)
    mothers: tuple[Count, ...] = (6, 5, 5)
    lifetime: Most = 10
    tournament: Annotated[float, Field(ge=0, le=1)] = 0.25
    channels: Count = 4
    resolution: Count = 4
    samples: Count = 0
    images: Annotated[int, Field(ge=2)] | None = None
    validation: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        if list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(f"epochs are those of each level, increasing, got {self.epochs}")
        if len(self.mothers) != self.levels or len(self.promoted) != self.levels - 1:
            raise ValueError(
                f"{self.levels} levels of effort need as many mothers and one promoted less, got "
                f"{len(self.mothers)} and {len(self.promoted)}"
            )

    @property
    def levels(self) -> int:
        """Levels of effort."""
        return len(self.epochs)

    @property
    def proxy(self) -> Proxy:
        """The setting that networks are trained under."""
        return Proxy(
            channels=self.channels,
            resolution=self.resolution,
            samples=self.samples,
            epochs=self.epochs[-1],
        )

    @property
    def cycle_epochs(self) -> int:
        """Epochs that a full cycle trains: those of its children and of its promoted networks."""
        steps = np.diff(self.epochs).tolist()
        going_on = sum(count * more for count, more in zip(self.promoted, steps, strict=True))
        return sum(self.mothers) * self.epochs[0] + going_on

    @property
    def total_epochs(self) -> int:
        """Epochs that the whole search trains, if nothing is lacking. Published: 56,320."""
        return self.initial * self.epochs[0] + self.cycles * self.cycle_epochs

    @property
    def candidates(self) -> int:
        """Networks that the whole search tries, if nothing is lacking. Published: 1,616."""
        return self.initial + self.cycles * sum(self.mothers)


PRESETS: Mapping[str, EconasSettings] = {
    PUBLISHED: EconasSettings(),
    SMALL: EconasSettings(
        initial=8,
        cycles=10,
        epochs=(2, 4, 6),
        promoted=(4, 2),
        mothers=(3, 3, 2),
        channels=4,
        resolution=2,
        images=2000,
        validation=1000,
    ),
}
"""By name. ``"small"`` is some minutes on a CPU: a twelfth of the networks, a tenth of the epochs
of each, and at most 2,000 images."""

TRAINING: Mapping[str, TrainSettings] = {
    PUBLISHED: TrainSettings(
        epochs=60,
        batch=384,
        learning_rate=0.1,
        weight_decay=3e-4,
        label_smoothing=0.0,
        warmup_epochs=0.0,
    ),
    SMALL: TrainSettings(
        epochs=6,
        batch=32,
        learning_rate=0.1,
        weight_decay=3e-4,
        label_smoothing=0.0,
        warmup_epochs=0.0,
        threads=1,
    ),
}
"""How networks are trained under a proxy, by preset. Published: SGD with momentum 0.9, clipped at
5, over one cosine. ``"small"`` has smaller batches, so that 2,000 images are 62 steps."""


def econas_settings(path: Path | None = None) -> tuple[EconasSettings, TrainSettings]:
    """Read how to search and how to train meanwhile; what a file does not name is its preset's.

    Args:
        path: A TOML file. Its ``preset`` is a name of `PRESETS`, ``"small"`` where it names none,
            and so it is without a file. The method's own settings are in its table ``[econas]``.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting or preset; says the nearest.
    """
    common = {} if path is None else common_values(path)
    preset = str(common.pop("preset", SMALL))
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS, cure=f"It stands in {path}.")
    if path is None:
        return PRESETS[preset], TRAINING[preset]
    settings = section_from_toml(path, METHOD, PRESETS[preset])
    if "epochs" in common:
        raise InvalidFile(f"{path}: the epochs of a search stand in its table [{METHOD}]")
    base = replace(TRAINING[preset], epochs=settings.epochs[-1])
    return settings, changed(base, common, path=path, also=("preset",))


def flat(settings: EconasSettings) -> EconasSettings:
    """Return the search with one level of effort that costs as much in a cycle.

    Children are trained for as long as the epochs of a cycle allow, in whole epochs; published: 16
    children of 35 epochs, instead of 28 stages of 20.

    Source:
        The ablation in the released code, ``main_single.py``.
    """
    children = sum(settings.mothers)
    epochs = max(1, round(settings.cycle_epochs / children))
    children = max(1, settings.cycle_epochs // epochs)
    return replace(settings, epochs=(epochs,), promoted=(), mothers=(children,))


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A network of the population.

    Attributes:
        arch: The network.
        level: Effort that it was judged with.
        error: What came of it; less is better.
        moved: Cycle in which it reached the level.
    """

    arch: Architecture
    level: int
    error: float
    moved: int


@plain_dataclass(slots=True, kw_only=True)
class HierarchicalEvolution:
    """Ageing evolution at several levels of effort, see the module; with one level it is flat.

    Attributes:
        space: Where to search.
        budgets: The bounds to keep. What breaks one is made faster, or drawn again.
        rng: Source of every random draw.
        settings: Sizes of the levels.
        memory: A bound on memory that holds, too.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    settings: EconasSettings
    memory: MemoryBudget | None = None
    _population: dict[Architecture, _Member] = field(default_factory=dict, init=False, repr=False)
    _novel: "NovelNetworks" = field(init=False, repr=False)
    _cycle: int = field(default=-1, init=False, repr=False)

    def __post_init__(self) -> None:
        self._novel = NovelNetworks(
            space=self.space, budgets=self.budgets, rng=self.rng, memory=self.memory
        )

    def ask(self) -> list[Trial]:
        """Return the first networks, then those that go on and the children of each cycle."""
        self._cycle += 1
        if self._cycle == 0:
            drawn = (self._novel(self._random) for _ in range(self.settings.initial))
            return [Trial(arch) for arch in drawn if arch is not None]
        self._drop_the_old()
        levels = self._ranked()
        going_on = [
            Trial(member.arch, member.level + 1)
            for members, count in zip(levels, self.settings.promoted, strict=False)
            for member in members[:count]
        ]
        return [*going_on, *self._children(levels)]

    def tell(self, judged: Sequence[Candidate]) -> None:
        """Put networks where their effort has brought them."""
        for candidate in judged:
            if candidate.accuracy is not None:
                self._population[candidate.arch] = _Member(
                    arch=candidate.arch,
                    level=candidate.effort,
                    error=candidate.error,
                    moved=self._cycle,
                )

    def _drop_the_old(self) -> None:
        self._population = {
            arch: member
            for arch, member in self._population.items()
            if self._cycle - member.moved < self.settings.lifetime
        }

    def _ranked(self) -> list[list[_Member]]:
        """Return the networks of each level, the best first."""
        best_first = sorted(self._population.values(), key=lambda each: (each.error, each.arch))
        levels = range(1, self.settings.levels + 1)
        return [[each for each in best_first if each.level == level] for level in levels]

    def _children(self, levels: Sequence[Sequence[_Member]]) -> list[Trial]:
        children = []
        for members, count in zip(levels, self.settings.mothers, strict=True):
            for _ in range(count if members else 0):
                mother = self._winner(members).arch
                child = self._novel(partial(self.space.mutant, mother, self.rng))
                if child is not None:
                    children.append(Trial(child))
        return children

    def _winner(self, best_first: Sequence[_Member]) -> _Member:
        """Return who wins a tournament: the best of some, drawn with replacement."""
        contestants = int(len(best_first) * self.settings.tournament) + 1
        return best_first[int(self.rng.integers(len(best_first), size=contestants).min())]

    def _random(self) -> Architecture:
        return self.space.sample(self.rng)


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class NovelNetworks:
    """Draws networks that keep the budgets and that were never drawn before.

    Attributes:
        space: Where they are from.
        budgets: The bounds to keep.
        rng: Source of every random draw.
        memory: A bound on memory that holds, too.
        seen: What was drawn so far.
    """

    space: SearchSpace
    budgets: Sequence[LatencyBudget]
    rng: np.random.Generator
    memory: MemoryBudget | None = None
    seen: set[Architecture] = field(default_factory=set)

    def __call__(self, draw: Callable[[], Architecture]) -> Architecture | None:
        """Return a new network, one form of those that are equal when trained alone.

        Args:
            draw: Returns any network; one that breaks a budget is made faster, or lighter.

        Returns:
            None where `NOVEL_DRAWS` draws brought nothing new. Where nothing ever kept the budgets,
            one that breaks them: it is not trained, and says how far off the search is.
        """
        for _ in range(NOVEL_DRAWS):
            row = repaired(as_choices([draw()]), self.budgets, self.rng)
            if self.memory is not None:
                row = lightened(row, self.memory, self.rng)
            arch = self.space.alone(Architecture(tuple(map(int, row[0]))))
            if arch not in self.seen and self._keeps(arch):
                self.seen.add(arch)
                return arch
        return None if self.seen else arch

    def _keeps(self, arch: Architecture) -> bool:
        choices = as_choices([arch])
        light = self.memory is None or self.memory.excess(choices)[0] <= 0.0
        return bool(light and within(self.budgets, choices)[0])
