from itertools import pairwise

import numpy as np
import pytest
import torch

from devices import InvalidFile
from profiler import Conv, Head, MBConv, Skip
from profiler.operators.costs import total_parameters
from search.space import Architecture, SearchSpace
from search.supernets.supernet import Supernet

STEM = Conv(input_shape=(1, 3, 8, 8), channels=4, kernel=3, activation="relu")
SPACE = SearchSpace(
    name="tiny",
    before=(STEM,),
    layers=(
        (
            Conv(input_shape=(1, 4, 8, 8), channels=8, stride=2),
            MBConv(input_shape=(1, 4, 8, 8), channels=8, stride=2, expand=2),
        ),
        (Skip(input_shape=(1, 8, 4, 4)), MBConv(input_shape=(1, 8, 4, 4), channels=8, expand=2)),
        (Skip(input_shape=(1, 8, 4, 4)), MBConv(input_shape=(1, 8, 4, 4), channels=8, expand=2)),
    ),
    after=(Head(input_shape=(1, 8, 4, 4), channels=16, classes=5),),
)
IMAGES = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32))


@pytest.fixture
def supernet() -> Supernet:
    return Supernet(SPACE, seed=0)


def test_an_architecture_trains_its_own_blocks_and_no_other(supernet: Supernet) -> None:
    supernet(IMAGES, Architecture((1, 0, 1))).sum().backward()
    moved = {n for n, p in supernet.layers.named_parameters() if p.grad is not None}
    assert {name[:3] for name in moved} == {"0.1", "2.1"}  # layer.choice; layer 1 is skipped


def test_logits_do_not_depend_on_what_ran_before(supernet: Supernet) -> None:
    arch = Architecture((1, 1, 1))
    supernet.eval()
    before = supernet(IMAGES, arch)
    supernet(IMAGES, Architecture((0, 0, 0)))
    assert torch.equal(supernet(IMAGES, arch), before)


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_any_batch_fits_whatever_the_batch_of_the_space(supernet: Supernet, batch: int) -> None:
    logits = supernet.eval()(IMAGES[:batch], Architecture((0, 1, 0)))
    assert logits.shape == (batch, 5)


def test_the_subnetwork_computes_what_the_path_computes(supernet: Supernet) -> None:
    arch = Architecture((1, 0, 1))
    supernet(IMAGES, arch)  # moves the statistics of batch norm away from 0 and 1
    supernet.eval()
    assert torch.equal(supernet.subnetwork(arch)(IMAGES), supernet(IMAGES, arch))


@pytest.mark.parametrize("choices", [(0, 0, 0), (1, 0, 1), (1, 1, 1)])
def test_the_subnetwork_holds_its_own_parameters_and_no_other(
    supernet: Supernet, choices: tuple[int, ...]
) -> None:
    arch = Architecture(choices)
    network = supernet.subnetwork(arch)
    own = list(network.parameters())
    assert sum(p.numel() for p in own) == total_parameters(SPACE.chain(arch))
    shared = {p.data_ptr() for p in own} & {p.data_ptr() for p in supernet.parameters()}
    assert not shared


def test_training_the_subnetwork_leaves_the_supernet_alone(supernet: Supernet) -> None:
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    network = supernet.subnetwork(Architecture((1, 1, 1))).train()
    network(IMAGES)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_equal_seeds_give_equal_weights_and_other_seeds_others() -> None:
    first, again, other = (
        torch.cat([p.flatten() for p in Supernet(SPACE, seed=seed).parameters()])
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_building_a_supernet_leaves_the_random_state_of_the_process_alone() -> None:
    before = torch.get_rng_state()
    Supernet(SPACE, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_fresh_convolutions_follow_kaiming_over_their_fan_out() -> None:
    wide = Conv(input_shape=(1, 3, 8, 8), channels=512, kernel=3)
    head = Head(input_shape=wide.output_shape, channels=4, classes=5)
    space = SearchSpace(name="wide", before=(wide,), layers=(), after=(head,))
    weight = Supernet(space).before[0].get_parameter("body.conv.0.weight")
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.03)


def test_a_fresh_block_with_a_shortcut_is_the_identity(supernet: Supernet) -> None:
    supernet.eval()
    chains = [Architecture((1, 0, 0)), Architecture((1, 1, 0)), Architecture((1, 1, 1))]
    logits = [supernet(IMAGES, arch) for arch in chains]
    assert all(torch.equal(a, b) for a, b in pairwise(logits))


@pytest.mark.parametrize("choices", [(0, 1), (0, 1, 2), (0, 0, 0, 0)])
def test_an_architecture_of_another_space_is_refused(
    supernet: Supernet, choices: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidFile, match="space 'tiny' has"):
        supernet(IMAGES, Architecture(choices))
