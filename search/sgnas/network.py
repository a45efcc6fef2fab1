"""SGNAS's generator: targets in, gates of all layers out, by one forward pass.

Source:
    As of `search.sgnas.training`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search.sgnas.gates import ExpectedLatency, Gates, log_probabilities

CONDITION_CHANNELS, CHANNELS = 10, 32
"""Of the released generator: copies of the target, and feature maps."""

LEAST_LOG = -30.0
"""Where a gate is all but impossible its logarithm ends, so that sums stay finite."""


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
