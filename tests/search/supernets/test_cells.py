import numpy as np
import pytest
import torch

from devices import InvalidFile
from profiler.operators.costs import total_parameters
from search.space import Architecture
from search.spaces.nasbench201 import cell_space
from search.splits.routed import keep_part
from search.splits.split import partition_from_texts
from search.supernets.cells import CellSupernet
from search.supernets.supernet_for import supernet_for

SPACE = cell_space("tiny", widths=(4, 8), depth=2, image=(1, 3, 8, 8), classes=5)
IMAGES = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32))
ARCH = Architecture((3, 4, 2, 1, 0, 2))
DEAD = Architecture((3, 0, 0, 1, 0, 2))


@pytest.fixture
def supernet() -> CellSupernet:
    return CellSupernet(SPACE, seed=0)


def logits_of(supernet: CellSupernet, arch: Architecture) -> torch.Tensor:
    with torch.no_grad():
        return supernet.eval()(IMAGES, arch)


def test_a_cell_space_has_a_supernet_of_its_own() -> None:
    assert isinstance(supernet_for(SPACE), CellSupernet)


def test_an_architecture_trains_its_own_operations_in_all_places_and_no_other(
    supernet: CellSupernet,
) -> None:
    supernet(IMAGES, ARCH).sum().backward()
    moved = {n for n, p in supernet.layers.named_parameters() if p.grad is not None}
    # edge.choice.place: a 3x3 on edge 0, 1x1 on edges 2 and 5; the others have no weights
    places = range(4)
    edges = ("0.3", "2.2", "5.2")
    assert {name[:5] for name in moved} == {f"{edge}.{place}" for edge in edges for place in places}


def test_dead_edges_get_no_gradient_and_change_no_logit(supernet: CellSupernet) -> None:
    supernet(IMAGES, DEAD).sum().backward()
    assert all(p.grad is None for p in supernet.layers.parameters())
    alive = Architecture((0, 0, 0, 1, 0, 0))
    assert torch.equal(logits_of(supernet, DEAD), logits_of(supernet, alive))


def test_logits_do_not_depend_on_what_ran_before(supernet: CellSupernet) -> None:
    before = logits_of(supernet, ARCH)
    logits_of(supernet, DEAD)
    assert torch.equal(logits_of(supernet, ARCH), before)


def test_a_cell_without_a_path_gives_the_same_logits_for_all_images(
    supernet: CellSupernet,
) -> None:
    logits = logits_of(supernet, Architecture((3, 3, 3, 0, 0, 0)))
    torch.testing.assert_close(logits, logits[:1].expand_as(logits))


@pytest.mark.parametrize("arch", [ARCH, DEAD, Architecture((4, 3, 2, 2, 3, 4))], ids=str)
def test_the_subnetwork_computes_what_the_path_computes(
    supernet: CellSupernet, arch: Architecture
) -> None:
    supernet(IMAGES, arch)  # moves the statistics of batch norm away from 0 and 1
    network = supernet.subnetwork(arch).eval()
    assert torch.equal(network(IMAGES), logits_of(supernet, arch))
    own = list(network.parameters())
    assert sum(p.numel() for p in own) == total_parameters(SPACE.chain(arch))
    assert not {p.data_ptr() for p in own} & {p.data_ptr() for p in supernet.parameters()}


def test_a_mixture_of_ones_and_zeros_is_the_path(supernet: CellSupernet) -> None:
    gates = torch.nn.functional.one_hot(torch.tensor(ARCH.choices), 5).float()
    with torch.no_grad():
        mixed = supernet.eval().mixture(IMAGES, gates)
    torch.testing.assert_close(mixed, logits_of(supernet, ARCH))


def test_equal_seeds_give_equal_weights_and_leave_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        torch.cat([p.flatten() for p in CellSupernet(SPACE, seed=seed).parameters()])
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_architecture_of_another_space_is_refused(supernet: CellSupernet) -> None:
    with pytest.raises(InvalidFile, match="space 'tiny' has"):
        supernet(IMAGES, Architecture((0, 1, 2)))


def test_a_child_without_operations_on_an_edge_mixes_what_is_left(supernet: CellSupernet) -> None:
    part = partition_from_texts(["0:0/1-4"], SPACE).parts[0]
    keep_part(supernet, part)
    arch = Architecture((0, 3, 0, 2, 0, 1))
    gates = torch.nn.functional.one_hot(torch.tensor(arch.choices), 5).float()
    with torch.no_grad():
        mixed = supernet.eval().mixture(IMAGES, gates)
    assert torch.allclose(mixed, logits_of(supernet, arch), atol=1e-5)
