from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from devices import InvalidFile
from lut.sums import JointSums
from profiler import CellStack, check_chain, macs, total_macs, total_parameters
from profiler.operators.darts_code import edges_from_code, loose_ends
from profiler.operators.darts_genotype import (
    cell_of,
    choices_from_genotype,
    edges_of,
    genotype_text,
)
from profiler.operators.modules import build
from search import Architecture, architecture_from_text, space_named
from search.econas.hierarchy import EconasSettings, HierarchicalEvolution
from search.final.files import space_of_one
from search.images.data import load_data
from search.proxies.narrow import narrowed
from search.spaces.darts_cells import DartsSpace
from search.spaces.darts_prices import edges_counted, filled
from search.spaces.published import PUBLISHED, network_from_text
from search.supernets.supernet_for import NoSupernet
from search.training.loop import train
from search.training.path_samplers import uniform_paths
from search.training.settings import TrainSettings

SPACE = space_named("darts-3x8", resolution=8)
assert isinstance(SPACE, DartsSpace)
TINY: DartsSpace = SPACE
SUMS = JointSums(
    counts=np.array([len(layer) for layer in TINY.layers]),
    cost=TINY.totals(macs),
    groups=TINY.groups,
)

seeds = st.integers(0, 2**32)


def drawn(seed: int) -> Architecture:
    return TINY.sample(np.random.default_rng(seed))


def test_the_space_has_the_published_size() -> None:
    # Nodes read 1, 3, 6 and 10 pairs; two cells of eight operations each.
    assert space_named("darts").size == (1 * 3 * 6 * 10 * 7**8) ** 2
    assert [len(layer) for layer in TINY.layers] == [7, 7, 3, 7, 7, 6, 7, 7, 10, 7, 7] * 2


@pytest.mark.parametrize(("name", "parameters"), [("darts-v1", 3_169_414), ("darts-v2", 3_349_342)])
def test_published_networks_have_the_published_parameters(name: str, parameters: int) -> None:
    # 20 cells, 36 channels, all four nodes given, without the auxiliary head: "3.2 M", "3.3 M".
    space = space_named("darts-all")
    assert total_parameters(space.chain(PUBLISHED[name].arch)) == parameters


def test_the_largest_published_network_has_528_million_operations() -> None:
    space = space_named("darts-all")
    assert total_macs(space.chain(PUBLISHED["darts-v2"].arch)) == 528_359_040


@given(seed=seeds)
def test_a_network_is_a_chain_that_says_its_choices(seed: int) -> None:
    arch = drawn(seed)
    chain = TINY.chain(arch)
    check_chain(chain)
    assert TINY.choices_of(chain) == arch.choices
    assert space_named("darts-3x8", resolution=16).choices_of(chain) is None  # type: ignore[attr-defined]


@given(seed=seeds)
def test_a_network_costs_the_sum_over_its_groups(seed: int) -> None:
    # Operations are exactly additive, so what is measured here must price them all exactly.
    arch = drawn(seed)
    (stack,) = (op for op in TINY.chain(arch) if isinstance(op, CellStack))
    assert SUMS(np.array([arch.choices]))[0] == pytest.approx(macs(stack), abs=1e-6)


def test_a_network_of_another_size_costs_the_sum_too() -> None:
    space = space_named("darts-all-7x4", resolution=9)
    assert isinstance(space, DartsSpace)
    counts = np.array([len(layer) for layer in space.layers])
    sums = JointSums(counts=counts, cost=space.totals(macs), groups=space.groups)
    for seed in range(5):
        arch = space.sample(np.random.default_rng(seed))
        whole = total_macs(space.chain(arch)[1:2])
        assert sums(np.array([arch.choices]))[0] == pytest.approx(whole, abs=1e-6)


def test_the_ends_are_smaller_and_larger_than_any_draw() -> None:
    smallest, largest = (total_macs(TINY.chain(arch)) for arch in TINY.ends(macs))
    sizes = [total_macs(TINY.chain(drawn(seed))) for seed in range(200)]
    assert smallest < min(sizes)
    assert largest > max(sizes)
    stack = TINY.chain(TINY.ends(macs)[1])[1]
    assert isinstance(stack, CellStack)
    assert all(operation == 4 for operation, _ in edges_from_code(stack.normal))  # sep_conv_5x5
    assert loose_ends(edges_from_code(stack.normal)) == (2, 3, 4, 5)


def test_cells_that_are_measured_do_one_operation() -> None:
    ladder, star = (filled(0, (1, 8, 4, 4), star=star) for star in (False, True))
    assert loose_ends(edges_from_code(ladder.normal)) == (5,)
    assert loose_ends(edges_from_code(star.normal)) == (2, 3, 4, 5)
    assert (edges_counted(0, star=False), edges_counted(0, star=True)) == (5, 2)  # poolings
    assert edges_counted(3, star=False) == 8
    assert all(isinstance(layer[0], CellStack) for layer in TINY.layers if len(layer) == 7)


@given(seed=seeds)
def test_the_canonical_form_is_its_own_and_costs_the_same(seed: int) -> None:
    arch = drawn(seed)
    canonical = TINY.canonical(arch)
    assert TINY.canonical(canonical) == canonical == TINY.alone(arch)
    chains = [TINY.chain(each) for each in (arch, canonical)]
    assert total_macs(chains[0]) == total_macs(chains[1])
    assert total_parameters(chains[0]) == total_parameters(chains[1])


# nodes 2 and 3 read the inputs only: they may change places
ONE = architecture_from_text(
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 0), "
    "('dil_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_5x5', 3), ('avg_pool_3x3', 1), "
    "('skip_connect', 4)], normal_concat=[2, 5], reduce=[('skip_connect', 0), ('dil_conv_3x3', 1), "
    "('sep_conv_5x5', 0), ('max_pool_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('skip_connect', 1)], reduce_concat=[2, 3, 4, 5])"
)
OTHER = architecture_from_text(
    "Genotype(normal=[('max_pool_3x3', 0), ('dil_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('skip_connect', 1), ('skip_connect', 0), ('dil_conv_5x5', 2), ('avg_pool_3x3', 1), "
    "('skip_connect', 4)], normal_concat=[3, 5], reduce=[('skip_connect', 0), ('dil_conv_3x3', 1), "
    "('sep_conv_5x5', 0), ('max_pool_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('skip_connect', 1)], reduce_concat=[2, 3, 4, 5])"
)


def test_networks_whose_nodes_changed_places_compute_the_same_with_the_same_weights() -> None:
    # what a normal cell gives are nodes 2, 5 of one and 3, 5 of the other: the same, in one order
    assert TINY.canonical(ONE) == TINY.canonical(OTHER)
    one, other = (torch.nn.Sequential(*map(build, TINY.chain(arch))) for arch in (ONE, OTHER))
    weights = one.state_dict()
    moved = {"node2": "node3", "node3": "node2"}

    def home(name: str) -> str:
        for node, place in moved.items():
            if "cell0_" in name and node in name:
                return name.replace(node, place)
        return name

    other.load_state_dict({home(name): value for name, value in weights.items()})
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(x), other.eval()(x))


def test_of_nodes_that_read_each_other_none_changes_places() -> None:
    ladder = cell_of(edges_from_code(filled(3, (1, 8, 4, 4)).normal))
    assert TINY.canonical(Architecture(ladder * 2)) == Architecture(ladder * 2)


@given(seed=seeds)
def test_a_mutant_differs_in_one_edge_and_its_mother_stays(seed: int) -> None:
    arch, rng = drawn(seed), np.random.default_rng(seed)
    before = arch.choices
    mutant = TINY.mutant(arch, rng)
    assert arch.choices == before
    pairs = [
        (set(edges_of(one)[i : i + 2]), set(edges_of(other)[i : i + 2]))
        for one, other in zip(TINY.cells_of(arch), TINY.cells_of(mutant), strict=True)
        for i in range(0, 8, 2)
    ]
    assert sum(len(one - other) for one, other in pairs) == 1


def test_half_of_the_mutants_are_wired_anew() -> None:
    arch, rng = drawn(0), np.random.default_rng(0)
    sources = [[source for cell in TINY.cells_of(arch) for _, source in edges_of(cell)]]
    for _ in range(1000):
        cells = TINY.cells_of(TINY.mutant(arch, rng))
        sources.append([source for cell in cells for _, source in edges_of(cell)])
    assert sum(each != sources[0] for each in sources[1:]) == pytest.approx(500, abs=60)


def test_the_search_draws_one_form_of_networks_that_are_equal() -> None:
    settings = EconasSettings(initial=9, cycles=1, epochs=(1,), promoted=(), mothers=(1,))
    search = HierarchicalEvolution(
        space=TINY, budgets=(), rng=np.random.default_rng(0), settings=settings
    )
    assert all(TINY.alone(trial.arch) == trial.arch for trial in search.ask())


@given(seed=seeds, ends=st.sampled_from(["loose", "all"]))
def test_a_genotype_reads_back_from_its_published_text(seed: int, ends: str) -> None:
    arch = drawn(seed)
    text = genotype_text(arch.choices, ends=ends)  # type: ignore[arg-type]
    choices, given_ends = choices_from_genotype(text)
    assert choices == arch.choices
    assert ends in given_ends
    assert architecture_from_text(text) == arch


GOOD = genotype_text(drawn(0).choices, ends="loose")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Genotype(", "is no genotype"),
        ("Genotype(normal=[])", "is no genotype"),
        (GOOD.replace("reduce_concat=[", "reduce_concat=[0, "), "neither their loose ends nor"),
        (GOOD.replace("normal=[(", "normal=[('none', 0), (", 1), "'none' computes nothing"),
        ("Genotype(normal=f(), normal_concat=1, reduce=2, reduce_concat=3)", "is no genotype"),
    ],
)
def test_a_text_that_is_no_genotype_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(InvalidFile, match=why) as caught:
        architecture_from_text(text)
    assert "\n" not in str(caught.value)


def test_a_genotype_that_gives_all_nodes_is_of_another_space() -> None:
    text = genotype_text(ONE.choices, ends="all")
    assert network_from_text(text, among=["darts-all-8x16"])[0] == ONE
    with pytest.raises(
        InvalidFile, match=r"all four nodes .* of space 'darts-all', not of 'darts'"
    ):
        network_from_text(text, among=["darts"])


def test_sizes_are_part_of_the_name() -> None:
    space = space_named("darts-8x16-snap16", resolution=16, classes=7)
    assert isinstance(space, DartsSpace)
    assert (space.name, space.cells, space.width) == ("darts-8x16-snap16", 8, 16)
    assert space.ends_of_cell == "loose"
    assert space.before[0].output_shape == (1, 48, 16, 16)
    assert space_named("darts-20x36").name == "darts"
    with pytest.raises(InvalidFile, match="has 3 cells or more, of 2 channels or more, not 2 of 8"):
        space_named("darts-2x8")


def test_a_network_alone_has_a_head_of_its_own_width_and_narrow_twins() -> None:
    # One loose end or four: 32 or 128 channels come out of the last cell.
    ladder = Architecture(cell_of(edges_from_code(filled(3, (1, 8, 4, 4)).normal)) * 2)
    for arch, channels in ((ladder, 32), (ONE, 128)):
        (head,) = space_of_one(TINY, arch).after
        assert head.input_shape == (1, channels, 2, 2)
    wide = space_of_one(space_named("darts-3x32", resolution=16), ONE)
    twin = narrowed(wide, 4, resolution=8)
    chain = twin.chain(Architecture((0,)))
    check_chain(chain)
    assert isinstance(chain[1], CellStack)
    assert (chain[1].channels, chain[0].output_shape) == (8, (1, 24, 8, 8))


def test_a_supernet_is_refused_before_a_directory_is_made(tmp_path: Path) -> None:
    data = load_data("digits", resolution=8)
    settings = TrainSettings(epochs=1, warmup_epochs=0.0)
    with pytest.raises(NoSupernet, match="trained alone: latkit search econas --space darts-3x8"):
        train(TINY, data, settings, tmp_path / "run", method="uniform", paths=uniform_paths(TINY))
    assert not (tmp_path / "run").exists()
