"""Synaptic flow: how well gradients pass a network that was never trained, as a free score.

A baseline for everything that trains networks to rank them. Imported by name: it needs torch.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from search.final.files import only_network, space_of_one
from search.space import Architecture, SearchSpace
from search.supernets.supernet import Supernet

CURVED = (nn.ReLU6, nn.Hardswish)
"""Activations that bend positive inputs, as no input of the score should be."""


class Synflow:
    """Scores architectures by the synaptic flow of their fresh weights, squashed into (0, 1).

    The weights are made positive and an image of ones goes through; the score is the logarithm of
    the sum, over all weights of convolutions and linear layers, of weight times gradient. It ranks
    and means nothing else, so it may stand where a search asks for an accuracy.

    Source:
        Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic
        flow, NeurIPS 2020; as a score of architectures, Abdelfattah et al., Zero-Cost Proxies for
        Lightweight NAS, ICLR 2021, whose code computes in double precision and takes batch norm
        for the identity.

    Args:
        space: Whose networks are scored.
        seed: Of the fresh weights.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        self._space, self._seed = space, seed

    def __call__(self, archs: Sequence[Architecture]) -> list[float]:
        """Return a score for each architecture, more is better.

        Raises:
            InvalidFile: An architecture is not of the space.
        """
        return [0.5 + math.atan(self.logarithm(arch)) / math.pi for arch in archs]

    def logarithm(self, arch: Architecture) -> float:
        """Return the natural logarithm of a network's synaptic flow."""
        self._space.check(arch)
        alone = space_of_one(self._space, arch)
        network = only_network(Supernet(alone))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            _make_linear(network)
        network.double()
        _, channels, side, _ = self._space.input_shape
        image = torch.ones(1, channels, side, side, dtype=torch.float64)
        torch.autograd.backward(network(image).sum())
        flow = 0.0
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.grad is not None:
                flow += float((module.weight.detach() * module.weight.grad).abs().sum())
        return math.log(flow) if flow > 0.0 else -math.inf


def _make_linear(network: nn.Sequential) -> None:
    """Make a network, in place, a linear map of positive images, with fresh positive weights."""
    network.eval()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
            elif isinstance(child, CURVED):
                setattr(module, name, nn.ReLU())
        if isinstance(module, nn.Conv2d | nn.Linear):
            # torch's own, as in the source: ours is for batch norm, which hides how a depthwise
            # convolution shrinks with its width
            module.reset_parameters()
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_()
