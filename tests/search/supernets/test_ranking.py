from dataclasses import replace
from itertools import accumulate, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from profiler import Conv, Head, MBConv, Skip
from search.exact import TooManyNetworks
from search.images.data import Split
from search.images.decoding import ArrayImages
from search.space import Architecture, SearchSpace
from search.supernets.evaluation import Evaluator
from search.supernets.ranking import score_all
from search.supernets.supernet import Supernet

WIDE, DEEP = (1, 4, 8, 8), (1, 8, 4, 4)
FIRST = (
    Skip(input_shape=WIDE),
    MBConv(input_shape=WIDE, channels=4, expand=2),
    MBConv(input_shape=WIDE, channels=4, kernel=5, expand=2),
)
DOWN = (
    Conv(input_shape=WIDE, channels=8, stride=2),
    MBConv(input_shape=WIDE, channels=8, stride=2, expand=2),
)
LAST = (Skip(input_shape=DEEP), MBConv(input_shape=DEEP, channels=8, expand=2))
SPACE = SearchSpace(
    name="two stages",
    before=(Conv(input_shape=(1, 3, 8, 8), channels=4, kernel=3, activation="relu"),),
    layers=(FIRST, FIRST, DOWN, LAST, LAST, LAST),
    after=(Head(input_shape=DEEP, channels=16, classes=3),),
)
CANONICAL = sorted(
    {
        SPACE.canonical(Architecture(choices))
        for choices in product(*(range(len(layer)) for layer in SPACE.layers))
    }
)
IMAGES = 40


def noise() -> Split:
    """Return images of noise, darker and brighter ones."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, 8, 8, 3)) * rng.random((IMAGES, 1, 1, 1))
    return Split(
        images=ArrayImages(pixels.astype(np.uint8)),
        rows=np.arange(IMAGES),
        labels=rng.integers(0, 3, IMAGES),
        resolution=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        flip=False,
    )


SPLIT = noise()


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    """Weights that make every network another one: fresh residual blocks would add nothing."""
    supernet = Supernet(SPACE, seed=0)
    generator = torch.Generator().manual_seed(0)
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.normal_(1.0, 0.5, generator=generator)
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(0.0, 1.0, generator=generator)
            module.weight.data -= module.weight.data.mean(dim=1, keepdim=True)
    return supernet


def everything() -> tuple[Tensor, Tensor]:
    ((images, labels),) = SPLIT.batches(IMAGES)
    return images, labels


@pytest.mark.parametrize("batch", [16, IMAGES])
def test_scores_are_those_of_one_network_after_the_other(supernet: Supernet, batch: int) -> None:
    scores = score_all(supernet, *everything(), batch=batch)
    judge = Evaluator(supernet, SPLIT, calibration=(), batch_norm="batch", batch=batch)
    assert list(scores.archs) == CANONICAL
    assert scores.accuracy.tolist() == pytest.approx(judge(CANONICAL))
    assert len(set(scores.accuracy.tolist())) > 5


def test_the_loss_is_the_mean_cross_entropy(supernet: Supernet) -> None:
    images, labels = everything()
    scores = score_all(supernet, images, labels, batch=IMAGES)
    rng = np.random.default_rng(0)
    for row in rng.choice(len(CANONICAL), size=10, replace=False):
        network = supernet.subnetwork(CANONICAL[row]).train()
        loss = nn.functional.cross_entropy(network(images), labels)
        assert scores.loss[row] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert len(set(scores.loss.tolist())) == len(CANONICAL)


@pytest.mark.parametrize(("batch", "batches"), [(IMAGES, 1), (16, 3)])
def test_a_block_runs_once_for_every_node_of_the_tree(
    supernet: Supernet, batch: int, batches: int
) -> None:
    nodes = {prefix for arch in CANONICAL for prefix in accumulate((c,) for c in arch.choices)}
    calls: list[str] = []
    blocks: list[tuple[str, nn.Module]] = [("before", supernet.before), ("after", supernet.after)]
    for i, layer in enumerate(supernet.layers):
        blocks += [(f"layer {i}", block) for block in layer.children()]
    hooks = [
        block.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, block in blocks
    ]
    score_all(supernet, *everything(), batch=batch)
    for hook in hooks:
        hook.remove()
    counts = [sum(len(node) == i + 1 for node in nodes) for i in range(len(SPACE.layers))]
    # Seven beginnings of the first stage, as skips come last; then times 2; then 2, 3 and 4.
    assert counts == [3, 7, 14, 28, 42, 56]
    assert [calls.count(f"layer {i}") for i in range(6)] == [batches * each for each in counts]
    assert calls.count("before") == batches
    assert calls.count("after") == batches * len(CANONICAL)


def test_scoring_changes_no_bit_of_the_supernet(supernet: Supernet) -> None:
    supernet.eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    score_all(supernet, *everything())
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert not supernet.training


def test_a_space_that_is_too_large_is_refused() -> None:
    long = replace(SPACE, layers=(*SPACE.layers, *[LAST] * 20))
    with pytest.raises(TooManyNetworks, match=r"has 1\.5e\+08 networks, and at most 1,000,000"):
        score_all(Supernet(long), *everything())


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (3, 2)])
def test_images_without_labels_are_refused(supernet: Supernet, images: int, labels: int) -> None:
    with pytest.raises(ValueError, match=f"got {images} and {labels}"):
        score_all(supernet, torch.zeros(images, 3, 8, 8), torch.zeros(labels, dtype=torch.int64))
