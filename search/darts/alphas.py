"""Alphas of a relaxation: one for each limit, and the steps that they take.

Source:
    Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, section 2 and its released
    constants; Cai et al., ProxylessNAS, ICLR 2019, section 3.3, for the latency term.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn.functional import cross_entropy

from lut import LatencyBudget
from profiler.operators.costs import macs, total_macs
from search.images.data import Split
from search.space import Architecture
from search.splits.split import Part
from search.supernets.evaluation import batch_statistics
from search.supernets.supernet import Supernet
from search.training.settings import STRICT, Positive

BETAS = (0.5, 0.999)
"""Of alpha's Adam, as released."""

FIRST_STD = 1e-3
"""Standard deviation of fresh alphas, as released."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class DartsSettings:
    """Settings of alpha; validated when made.

    Attributes:
        learning_rate: Of its Adam. Published: 3e-4.
        weight_decay: Of its Adam. Published: 1e-3.
        latency_weight: What exceeding the limit once over costs, in nats of cross-entropy. The
            default is ProxylessNAS's for its linear form.
    """

    learning_rate: Positive = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    latency_weight: Annotated[float, Field(ge=0)] = 0.1


class AlphaPaths:
    """Steps alpha before every step of the weights; a path sampler of `search.training.loop`.

    Args:
        part: The architectures that are relaxed; the whole space, or a child's.
        budgets: Limits on one device, an alpha each.
        held_out: Images that alpha learns from; the weights see none of them.
        batch: Of those images, at every step.
        settings: Of alpha.
        seed: Of fresh alphas.
    """

    done = False
    scored_images = 0  # alpha's images go backward as well: they are trained on

    def __init__(
        self,
        part: Part,
        budgets: Sequence[LatencyBudget],
        held_out: Split,
        settings: DartsSettings,
        *,
        batch: int,
        seed: int,
    ) -> None:
        space = part.space
        self.part, self.budgets, self.held_out = part, tuple(budgets), held_out
        self.batch, self.settings = min(batch, len(held_out)), settings
        self.trained_images = 0
        """Images that alpha learnt from since this sampler was made: forward and backward."""
        self.macs = 0.0
        """Forward operations of alpha's steps and those of the weights, for an image of a batch."""
        self._batch_of_weights = batch
        self.turn = 0
        allowed = torch.zeros(len(space.layers), max(map(len, space.layers)), dtype=torch.bool)
        for layer, choices in enumerate(part.allowed):
            allowed[layer, list(choices)] = True
        self.allowed = allowed
        generator = torch.Generator().manual_seed(seed)
        fresh = torch.randn(len(self.budgets), *allowed.shape, generator=generator) * FIRST_STD
        self.alphas = [torch.nn.Parameter(each.clone()) for each in fresh]
        self._optimizers = [
            torch.optim.Adam(
                [alpha],
                lr=settings.learning_rate,
                betas=BETAS,
                weight_decay=settings.weight_decay,
            )
            for alpha in self.alphas
        ]
        costs = [np.where(np.isfinite(b.model.cost_s), b.model.cost_s, 0.0) for b in self.budgets]
        self._costs_s = [torch.from_numpy(cost).float() for cost in costs]
        all_blocks = sum(
            macs(space.layers[i][choice])
            for i, choices in enumerate(part.allowed)
            for choice in choices
        )
        batch_of_space = space.input_shape[0]
        ends = total_macs((*space.before, *space.after))
        self.mixture_macs = (ends + all_blocks) / batch_of_space

    def gates(self, number: int | None = None) -> Tensor:
        """Return the weights of all choices for a limit, ``(layers, choices)``.

        Args:
            number: Of the limit; the one whose turn it is, if left out.
        """
        alpha = self.alphas[self.turn if number is None else number]
        return torch.softmax(alpha.masked_fill(~self.allowed, -torch.inf), dim=1)

    def __call__(self, supernet: Supernet, rng: np.random.Generator) -> Sequence[Architecture]:
        """Step the alpha of the next limit; return its favourite, for the record."""
        self.turn = (self.turn + 1) % len(self.budgets)
        images, labels = self._images(rng)
        device = next(supernet.parameters()).device
        gates = self.gates()
        with batch_statistics(supernet):
            logits = supernet.mixture(images.to(device), gates.to(device))
        loss = cross_entropy(logits, labels.to(device)).cpu() + self._latency_loss(gates)
        alpha = self.alphas[self.turn]
        (alpha.grad,) = torch.autograd.grad(loss, [alpha])
        self._optimizers[self.turn].step()
        self.trained_images += len(labels)
        # the step of the weights that comes next, and this one, whose batch may be smaller
        self.macs += self.mixture_macs * (1 + len(labels) / self._batch_of_weights)
        favourite = self.gates().argmax(dim=1)
        return (Architecture(tuple(favourite.tolist())),)

    def _images(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        picked = rng.choice(len(self.held_out), self.batch, replace=False)
        return next(self.held_out.of(picked).batches(self.batch))

    def _latency_loss(self, gates: Tensor) -> Tensor:
        """Return by which share the expected latency exceeds the limit, weighted; 0 within it."""
        budget = self.budgets[self.turn]
        allowed_s = budget.model.undone(budget.allowed_s)  # of the additive view
        expected_s = budget.model.base_s + (gates * self._costs_s[self.turn]).sum()
        return self.settings.latency_weight * torch.relu(expected_s / allowed_s - 1.0)

    def state(self) -> dict[str, Any]:
        """Return what changes while training."""
        return {
            "alphas": [alpha.detach().clone() for alpha in self.alphas],
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "turn": self.turn,
            "macs": self.macs,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for alpha, known in zip(self.alphas, state["alphas"], strict=True):
            alpha.data.copy_(known)
        for optimizer, known in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        self.turn, self.macs = state["turn"], state["macs"]
