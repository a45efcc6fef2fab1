"""SGNAS: a generator that answers every limit by one forward pass, over a supernet that stays.

In pseudo-code::

    train a supernet on fair paths
    until the end:
        draw targets over the whole range of the device
        gates = relaxed draws of what the generator says for them
        loss = cross-entropy of the mixed network + weight * (expected latency - target)^2
        step the generator; the temperature falls from epoch to epoch
    search: one pass for all limits, project what it says onto each (`search.projection`)

Source:
    Huang and Chu, Searching by Generating: Flexible and Efficient One-Shot NAS with Architecture
    Generator, CVPR 2021. Structure and constants are those of the released code and weights.

Deviations: the target is the latency on a device and spans all that the device can do, so nothing
is outside the trained range; batch norm compares the images of a batch, but in the unified space,
since a mixed network has no statistics of its own; what the generator says is projected onto the
budgets, so it need not meet them by itself; the last epoch is taken, since the projected networks
are evaluated anyway.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lut import LatencyBudget, LatencyModel
from search.data import Split
from search.gates import (
    ExpectedLatency,
    Gates,
    expected_values,
    gates_of,
    gumbel_gates,
    log_probabilities,
)
from search.projection import nearest_first, project
from search.settings import STRICT, Positive, Share, section_from_toml
from search.space import Architecture, SearchSpace, as_choices
from search.supernet import Supernet
from search.training import TrainingDiverged

METHOD = "sgnas"

CONDITION_CHANNELS, CHANNELS = 10, 32
"""Of the released generator: copies of the target, and feature maps."""

PUBLISHED_RANGE = 180.0
"""Millions of operations that the released generator was trained over, 270 to 450: its constants
are in millions of operations, ours in shares of the range."""

LABEL_SMOOTHING = 0.1
"""Of the cross-entropy, as released."""

PRIOR_DRAWS = 1000
"""Networks of which the one nearest to the middle of the range becomes the prior."""

COPIES, RANKINGS = 1, 64
"""Noisy opinions on a target, and of all targets together, at least."""

HEAT = 5.0
"""Temperature of the noise: that of the first epoch, since in the last nearly all gates are 0 or 1
and draws would repeat the favourites."""

JITTER = 1e-3
"""How much farther from a target each noisy opinion counts, as a share of the range: the first five
come before the opinions on the next of 181 targets."""

LEAST_LOG = -30.0
"""Where a gate is all but impossible its logarithm ends, so that sums stay finite."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class GeneratorSettings:
    """Settings of the generator and of its supernet's paths; validated when made.

    Attributes:
        paths: How the paths of the supernet are drawn.
        epochs: Epochs of the generator; the temperature falls after each. Published: 50.
        steps: Steps of an epoch. Published: a pass over the validation split, about 2,000.
        targets: Targets of a step. Published: 1, because each is a pass through the supernet.
        batch: Images of a step. Published: 128.
        learning_rate: Of Adam. Published: 0.001.
        betas: Of Adam. Published: 0.5 and 0.999.
        tau: Temperature of the first epoch. Published: 5.
        decay: What it is multiplied by after each. Published: 0.95.
        hard: Whether draws are 0 or 1, with the gradient of the relaxed ones. Published: no.
        weight: Of the squared distance to the target, in shares of the range. Published: 3e-4 in
            millions of operations.
        over: Factor above the target. Published: 1.2.
        under: Factor below the target. Published: 1.
        dead_zone: Distance that costs nothing. Published: 0.1 million operations.
        prior: Whether the generator sees one random architecture of the middle. Published: yes.
        seed: Of the weights, the prior, the targets, the draws and the images.
    """

    paths: Literal["fair", "uniform"] = "fair"
    epochs: Annotated[int, Field(ge=1)] = 50
    steps: Annotated[int, Field(ge=1)] = 20
    targets: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=2)] = 64
    learning_rate: Positive = 1e-3
    betas: tuple[Share, Share] = (0.5, 0.999)
    tau: Positive = 5.0
    decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    hard: bool = False
    weight: Positive = 3e-4 * PUBLISHED_RANGE**2
    over: Positive = 1.2
    under: Annotated[float, Field(ge=0)] = 1.0
    dead_zone: Share = 0.1 / PUBLISHED_RANGE
    prior: bool = True
    seed: Annotated[int, Field(ge=0)] = 0


class Generator(nn.Module):
    """Maps targets to images of gates, a row for each layer; fully convolutional.

    With a prior it has 67,969 parameters, as released, whatever the rows and columns.

    Args:
        rows: Layers.
        columns: Gates of a layer.
        prior: Whether it sees an architecture beside the target.
        seed: Of the weights.
    """

    def __init__(self, rows: int, columns: int, *, prior: bool = True, seed: int = 0) -> None:
        super().__init__()
        self.shape = (rows, columns)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.condition = _convolutions(CONDITION_CHANNELS, 3)
            self.prior = _convolutions(1, 2) if prior else None
            self.body = _convolutions(CHANNELS, 4)  # the head and three more
            self.tail = nn.Conv2d(CHANNELS, 1, 3, padding=1)
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.weight, std=(2 / (9 * module.out_channels)) ** 0.5)
            assert self.tail.bias is not None
            nn.init.zeros_(self.tail.bias)

    def forward(self, targets: Tensor, prior: Tensor | None) -> Tensor:
        """Return logits of gates, ``(targets, rows, columns)``.

        Args:
            targets: ``(targets,)`` shares of the range, in [0, 1].
            prior: ``(rows, columns)`` of 0 and 1; None where the generator takes none.
        """
        planes = targets.reshape(-1, 1, 1, 1).expand(-1, CONDITION_CHANNELS, *self.shape)
        seen = self.condition(planes)  # (targets, channels, rows, columns)
        if self.prior is not None:
            assert prior is not None
            seen = seen + self.prior(prior.reshape(1, 1, *self.shape))
        return self.tail(self.body(seen) + seen).squeeze(1)


def _convolutions(channels: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(count):
        given = CHANNELS if i else channels
        layers += [nn.Conv2d(given, CHANNELS, 3, padding=1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers)


class Objective(Protocol):
    """What architectures lose beside their latency: what a generator learns to keep small."""

    def __call__(self, gates: Tensor, step: int) -> Tensor:
        """Return the mean loss over targets; differentiable.

        Args:
            gates: ``(targets, layers, groups, options)`` probabilities.
            step: Steps before this one, for an objective that looks at other images each time.
        """
        ...


class CrossEntropy:
    """The loss of a frozen supernet whose blocks are mixed by the gates, on held-out images.

    Args:
        supernet: Trained weights; left as they are.
        gates: Of its space.
        split: The images; taken once, so it suits the few thousand of a validation split.
        batch: Images of a step; fewer where the split has fewer.
    """

    def __init__(self, supernet: Supernet, gates: Gates, split: Split, *, batch: int) -> None:
        self._supernet, self._gates = supernet.requires_grad_(False), gates
        self._batches = tuple(split.batches(min(batch, len(split)), drop_last=True))

    def __call__(self, gates: Tensor, step: int) -> Tensor:
        """Return the mean cross-entropy of one batch; step by step they come in order."""
        batch = self._batches[step % len(self._batches)]
        images, labels = (each.to(gates.device) for each in batch)
        losses = [
            cross_entropy(
                self._gates.logits(self._supernet, images, each),
                labels,
                label_smoothing=LABEL_SMOOTHING,
            )
            for each in gates
        ]
        return torch.stack(losses).mean()


class ExpectedError:
    """The expected error by a table of all architectures' accuracies, without any network.

    Args:
        table: Accuracies in [0, 1], one axis a layer.
        scale: Weight of a share of errors, beside the distance to the target.
    """

    def __init__(self, table: NDArray[np.float64], *, scale: float) -> None:
        self._table, self._scale = torch.from_numpy(table).float(), scale

    def __call__(self, gates: Tensor, step: int) -> Tensor:
        """Return the mean expected error, times the scale; that of every step."""
        return self._scale * (1 - expected_values(gates, self._table.to(gates.device))).mean()


def hardware_loss(latency: Tensor, targets: Tensor, settings: GeneratorSettings) -> Tensor:
    """Return what missing targets costs: squared, more above than below, nothing very near.

    Args:
        latency: ``(targets,)`` expected shares of the range.
        targets: ``(targets,)`` wanted ones.
        settings: The constants.
    """
    excess = latency - targets
    factor = torch.where(excess > 0, settings.over, settings.under)
    loss = settings.weight * factor * excess.square()
    return loss.masked_fill(excess.abs() <= settings.dead_zone, 0.0)


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorMetrics:
    """How an epoch of the generator went.

    Attributes:
        epoch: Epochs finished, this one included.
        loss: Mean of the objective.
        miss: Mean distance of the expected latency to the target, as a share of the range.
    """

    epoch: int
    loss: float
    miss: float


@plain_dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedGenerator:
    """A generator together with the device that it speaks of.

    Attributes:
        generator: The weights.
        gates: How its images are read.
        latency: What its targets are shares of.
        prior: What it sees beside the target.
        table_hash: Of the table that it was trained for.
        epoch: Epochs finished.
    """

    generator: Generator
    gates: Gates
    latency: ExpectedLatency
    prior: Tensor | None
    table_hash: str
    epoch: int

    def scores(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the generator's opinion of every choice, by one forward pass for all targets.

        Args:
            targets: ``(targets,)`` shares of the device's range, see `ExpectedLatency.shares`.

        Returns:
            Sums of log probabilities of the gates, ``(targets, layers, choices)``.
        """
        with torch.inference_mode():
            image = self.generator(torch.from_numpy(targets).float(), self.prior)
            chances = log_probabilities(image, self.gates.mask).clamp_min(LEAST_LOG)
        return self.gates.choice_scores(chances.double().numpy())


def propose(
    made: TrainedGenerator,
    budgets: Sequence[LatencyBudget],
    *,
    space: SearchSpace,
    most: int,
    rng: np.random.Generator,
) -> list[Architecture]:
    """Return what is worth evaluating for many budgets, by one pass of the generator.

    Its opinion on each budget's own target, and the same with Gumbel noise, which makes draws of
    favourites, are projected onto each budget. Budgets take turns: own opinions first, then noisy
    ones and those on the nearest other targets.

    Args:
        made: The generator.
        budgets: Of the model that it was trained for; each can be kept.
        space: What it generates.
        most: Architectures in all; every budget gets its own favourite even so.
        rng: Of the noise.

    Returns:
        Distinct, in canonical form; each keeps one of the budgets.

    Raises:
        NoFeasibleArchitecture: A budget is below the minimum, which it names.
    """
    wanted = made.latency.shares(np.array([budget.allowed_s for budget in budgets]))
    copies = 1 + max(COPIES, -(-RANKINGS // len(budgets)))
    own = made.scores(wanted)
    noise = HEAT * rng.gumbel(size=(copies, *own.shape))
    noise[0] = 0.0
    scores = (own + noise).reshape(-1, *own.shape[1:])
    later = np.repeat(JITTER * np.arange(copies), len(budgets))
    distance = np.abs(np.tile(wanted, copies)[:, None] - wanted) + later[:, None]
    return nearest_first(
        project(scores, budgets, space=space), space=space, distance=distance, most=most
    )


class GeneratorTraining:
    """Everything that changes while a generator is trained, saved and restored as one.

    Args:
        space: What it generates.
        model: Prices it; its range is that of the targets.
        objective: What is made small beside the distance to the target.
        settings: How.
        device: Where it computes.
    """

    def __init__(
        self,
        space: SearchSpace,
        model: LatencyModel,
        objective: Objective,
        settings: GeneratorSettings,
        *,
        device: torch.device | None = None,
    ) -> None:
        self.settings, self.objective = settings, objective
        self.device = device or torch.device("cpu")
        self.table_hash = model.table_hash
        self.gates = gates_of(space, model)
        self.latency = ExpectedLatency(model, self.gates)
        layers, groups, options = self.gates.mask.shape
        self.generator = Generator(
            layers, groups * options, prior=settings.prior, seed=settings.seed
        ).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.generator.parameters(), lr=settings.learning_rate, betas=settings.betas
        )
        self.rng = np.random.default_rng(settings.seed)
        self.prior = self._drawn_prior(space, model) if settings.prior else None
        self.epoch = 0

    def _drawn_prior(self, space: SearchSpace, model: LatencyModel) -> Tensor:
        """Return the image of the random network nearest to the middle of the range."""
        archs = [space.sample(self.rng) for _ in range(PRIOR_DRAWS)]
        shares = self.latency.shares(model.latency_s(as_choices(archs)))
        arch = archs[int(np.abs(shares - 0.5).argmin())]
        return self.gates.one_hot(arch).flatten(1).to(self.device)

    def run_epoch(self) -> GeneratorMetrics:
        """Take the steps of one epoch.

        Raises:
            TrainingDiverged: A loss is no number.
        """
        settings = self.settings
        count = settings.steps * settings.targets
        # evenly over the range, in random order: no epoch leaves a part of it out
        spread = (self.rng.permutation(count) + self.rng.random(count)) / count
        sums = torch.zeros(2)
        done = self.epoch * settings.steps
        for i, targets in enumerate(
            torch.split(torch.from_numpy(spread).float(), settings.targets)
        ):
            sums += self._step(targets.to(self.device), done + i).cpu()
        self.epoch += 1
        loss, miss = (sums / settings.steps).tolist()
        return GeneratorMetrics(epoch=self.epoch, loss=loss, miss=miss)

    def _step(self, targets: Tensor, step: int) -> Tensor:
        settings = self.settings
        log_gates = log_probabilities(
            self.generator(targets, self.prior), self.gates.mask.to(self.device)
        )
        noise = torch.from_numpy(self.rng.gumbel(size=tuple(log_gates.shape))).to(log_gates)
        tau = settings.tau * settings.decay**self.epoch
        gates = gumbel_gates(log_gates, noise, tau=tau, hard=settings.hard)
        latency = self.latency(gates)
        loss = self.objective(gates, step)
        total = loss + hardware_loss(latency, targets, settings).mean()
        if not torch.isfinite(total):
            raise TrainingDiverged(
                f"the generator's loss is {float(total)} in epoch {self.epoch + 1}: lower "
                f"learning_rate of [{METHOD}], it is {settings.learning_rate:g}"
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        self.optimizer.step()
        return torch.stack([loss.detach(), (latency - targets).abs().mean().detach()])

    def trained(self) -> TrainedGenerator:
        """Return the generator as it is now, on the CPU."""
        return TrainedGenerator(
            generator=self.generator.cpu(),
            gates=self.gates,
            latency=self.latency,
            prior=None if self.prior is None else self.prior.cpu(),
            table_hash=self.table_hash,
            epoch=self.epoch,
        )

    def state(self) -> dict[str, Any]:
        """Return all that it takes to go on: plain data and tensors."""
        return {
            "epoch": self.epoch,
            "generator": self.generator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "prior": self.prior,
            "rng": self.rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.epoch = state["epoch"]
        self.generator.load_state_dict(state["generator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.prior = None if state["prior"] is None else state["prior"].to(self.device)
        self.rng.bit_generator.state = state["rng"]


def generator_settings(path: Path) -> GeneratorSettings:
    """Read the table ``[sgnas]`` of a file of settings; the defaults where it has none.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    return section_from_toml(path, METHOD, GeneratorSettings())


def accuracy_table(
    space: SearchSpace, accuracy: Callable[[list[Architecture]], list[float]]
) -> NDArray[np.float64]:
    """Return the accuracy of every architecture of a small space, one axis a layer.

    Forms of one network have one value, that of the canonical form.

    Args:
        space: Of some thousand architectures.
        accuracy: Of canonical architectures; asked once, of each of them once.
    """
    shape = tuple(map(len, space.layers))
    every = [
        space.canonical(Architecture(tuple(map(int, choices)))) for choices in np.ndindex(*shape)
    ]
    distinct = list(dict.fromkeys(every))
    known = dict(zip(distinct, accuracy(distinct), strict=True))
    return np.array([known[arch] for arch in every]).reshape(shape)
