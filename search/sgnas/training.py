"""SGNAS: a generator that answers every limit by one forward pass, over a supernet that stays.

In pseudo-code::

    train a supernet on fair paths
    until the end:
        draw targets over the whole range of the device
        gates = relaxed draws of what the generator says for them
        loss = cross-entropy of the mixed network + weight * (expected latency - target)^2
        step the generator; the temperature falls from epoch to epoch
    search: one pass for all limits, project what it says onto each (`search.sgnas.projection`),
        evaluate, and ask for what lies between the answers (`search.sgnas.gaps`)

Source:
    Huang and Chu, Searching by Generating: Flexible and Efficient One-Shot NAS with Architecture
    Generator, CVPR 2021. Structure and constants are those of the released code and weights.

Deviations: the target is the latency on a device and spans all that the device can do, so nothing
is outside the trained range; batch norm compares the images of a batch, but in the unified space,
since a mixed network has no statistics of its own; what the generator says is projected onto the
budgets, so it need not meet them by itself; the last epoch is taken, since the projected networks
are evaluated anyway.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lut import LatencyModel
from search.sgnas.gates import ExpectedLatency, gates_of, gumbel_gates, log_probabilities
from search.sgnas.network import Generator, TrainedGenerator
from search.sgnas.objectives import Objective, hardware_loss
from search.sgnas.settings import METHOD, GeneratorSettings
from search.space import SearchSpace, as_choices
from search.training.loop import TrainingDiverged

PRIOR_DRAWS = 1000
"""Networks of which the one nearest to the middle of the range becomes the prior."""


@dataclass(frozen=True, slots=True, kw_only=True)
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
