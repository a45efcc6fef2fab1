from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import InvalidFile
from profiler import Conv, Head, MBConv, OpSpec, Skip
from search import Architecture, SearchSpace, space_named
from search.proxies.narrow import narrowed
from search.splits.split import (
    InvalidSplit,
    Part,
    Partition,
    Split,
    partition_from_texts,
    ranges_text,
    split_from_text,
)
from search.supernets.supernet import Supernet
from search.training.path_samplers import uniform_paths

SHAPE = (1, 8, 8, 8)
MACRO = space_named("macro", resolution=8)


@st.composite
def partitions(draw: st.DrawFn) -> Partition:
    """Runs of equal layers with or without a skip, and some of the layers dealt to groups."""
    layers: list[tuple[OpSpec, ...]] = []
    for kernels in draw(st.lists(st.sampled_from([(3,), (3, 5), (5, 7)]), min_size=1, max_size=3)):
        ops: list[OpSpec] = [MBConv(input_shape=SHAPE, channels=8, kernel=k) for k in kernels]
        ops.insert(draw(st.integers(0, len(ops))), Skip(input_shape=SHAPE))
        layers += [tuple(ops)] * draw(st.integers(1, 2))
    space = SearchSpace(
        name="drawn",
        before=(Conv(input_shape=(1, 3, 8, 8), channels=8),),
        layers=tuple(layers),
        after=(Head(input_shape=SHAPE, channels=4, classes=2),),
    )
    chosen = draw(st.sets(st.integers(0, len(layers) - 1), max_size=3))
    splits = []
    for layer in sorted(chosen):
        order = draw(st.permutations(range(len(layers[layer]))))
        cut = draw(st.integers(1, len(order) - 1))
        groups = [order[:cut], *([choice] for choice in order[cut:])]
        splits.append(Split(layer=layer, groups=tuple(tuple(sorted(g)) for g in groups)))
    return Partition(space=space, splits=tuple(splits))


def all_of(space: SearchSpace) -> list[Architecture]:
    return [Architecture(choices) for choices in product(*(range(len(x)) for x in space.layers))]


@settings(max_examples=40)
@given(partition=partitions())
def test_every_code_is_in_exactly_one_part_and_no_part_is_empty(partition: Partition) -> None:
    met = set()
    for arch in all_of(partition.space):
        holding = [number for number, part in enumerate(partition.parts) if arch in part]
        assert holding == [partition.index(arch)]
        met.add(holding[0])
    assert met == set(range(len(partition.parts)))


@settings(max_examples=40)
@given(partition=partitions())
def test_all_forms_of_a_network_are_in_the_part_of_its_canonical_form(partition: Partition) -> None:
    for arch in all_of(partition.space):
        assert partition.index(arch) == partition.index(partition.space.canonical(arch))


@settings(max_examples=40)
@given(partition=partitions(), seed=st.integers(0, 100))
def test_a_drawn_path_is_canonical_and_of_its_part(partition: Partition, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number, part in enumerate(partition.parts):
        arch = part.sample(rng)
        assert partition.space.canonical(arch) == arch
        assert partition.index(arch) == number
        assert all(c in allowed for c, allowed in zip(arch.choices, part.allowed, strict=True))


def test_every_network_of_a_part_is_drawn() -> None:
    part = partition_from_texts(["3:0,1/2"], MACRO).parts[1]
    rng = np.random.default_rng(0)
    drawn = {part.sample(rng).choices[3:5] for _ in range(100)}
    assert drawn == {(2, 0), (2, 1), (2, 2)}  # nothing goes before a block, so a skip comes after


def test_the_whole_space_is_drawn_as_uniform_training_does() -> None:
    part, uniform = Part(space=MACRO), uniform_paths(MACRO)
    mine, theirs = (np.random.default_rng(5) for _ in range(2))
    supernet = Supernet(narrowed(MACRO, 8))
    for _ in range(20):
        assert (part.sample(mine),) == tuple(uniform(supernet, theirs))


def test_one_layer_of_three_choices_gives_three_parts() -> None:
    parts = partition_from_texts(["0"], MACRO).parts
    assert [part.name for part in parts] == ["0:0", "0:1", "0:2"]


def test_layers_of_two_stages_multiply() -> None:
    parts = partition_from_texts(["5:0,1/2", "2"], MACRO).parts
    assert [part.name for part in parts] == [
        *("2:0 5:0,1", "2:0 5:2", "2:1 5:0,1", "2:1 5:2", "2:2 5:0,1", "2:2 5:2")
    ]


def test_products_without_a_network_are_no_parts() -> None:
    # after a skip in layer 3, layer 4 of its stage can only skip: 1 + 3 + 3 of 9 are left
    assert len(partition_from_texts(["3", "4"], MACRO).parts) == 7


def test_splitting_everywhere_gives_a_part_for_every_distinct_network() -> None:
    space = SearchSpace(
        name="tiny",
        before=MACRO.before,
        layers=MACRO.layers[:2] + MACRO.layers[2:5],
        after=(Head(input_shape=MACRO.layers[4][0].output_shape, channels=4, classes=2),),
    )
    parts = partition_from_texts(list("01234"), space).parts
    assert len(parts) == len({space.canonical(arch) for arch in all_of(space)})


@pytest.mark.parametrize("text", ["3:0/1/2", "3:0,1/2", "0:0/1,2"])
def test_a_split_is_written_as_it_is_read(text: str) -> None:
    assert str(split_from_text(text, MACRO)) == text


def test_ranges_stand_for_all_between() -> None:
    space = space_named("greedynas")
    assert split_from_text("2:0-3/4-6", space).groups == ((0, 1, 2, 3), (4, 5, 6))
    assert ranges_text((0, 1, 3, 4, 5, 7)) == "0,1,3-5,7"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", "write a layer, as 3, or a layer and groups"),
        ("3:a/1", "write a layer, as 3"),
        ("8", "has layers 0 to 7"),
        ("-1", "has layers 0 to 7"),
        ("3:0,1//2", "a group is empty"),
        ("3:0,1/1,2", "choice 1 is in two groups"),
        ("3:0/1", "choices 2 are in no group"),
        ("3:0,1/2,3", "has choices 0 to 2, not 3"),
        ("3:0-2", "one group is no split"),
    ],
)
def test_a_wrong_split_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(InvalidSplit, match=complaint):
        partition_from_texts([text], MACRO)


def test_a_layer_is_split_once() -> None:
    with pytest.raises(InvalidSplit, match=r"got \[3, 3\].*in one --split"):
        partition_from_texts(["3", "3:0/1,2"], MACRO)


def test_more_parts_than_can_be_trained_are_refused() -> None:
    with pytest.raises(InvalidSplit, match="16,807 children are too many"):
        partition_from_texts(list("01234"), space_named("greedynas"))


def test_an_architecture_of_another_space_is_in_no_part() -> None:
    with pytest.raises(InvalidFile, match="has 2 choices"):
        partition_from_texts(["3"], MACRO).index(Architecture((0, 0)))


CELLS = space_named("nasbench201", resolution=8)


@st.composite
def cell_partitions(draw: st.DrawFn) -> Partition:
    """One to three edges of the cell, their five choices dealt to two groups or more."""
    splits = []
    for edge in sorted(draw(st.sets(st.integers(0, 5), min_size=1, max_size=3))):
        order = draw(st.permutations(range(5)))
        cut = draw(st.integers(1, 4))
        groups = [order[:cut], *([choice] for choice in order[cut:])]
        splits.append(Split(layer=edge, groups=tuple(tuple(sorted(g)) for g in groups)))
    return Partition(space=CELLS, splits=tuple(splits))


@settings(max_examples=10, deadline=None)
@given(partition=cell_partitions(), seed=st.integers(0, 100))
def test_every_class_of_cells_is_in_exactly_one_part_with_all_its_forms(
    partition: Partition, seed: int
) -> None:
    part_of: dict[Architecture, int] = {}
    for arch in all_of(CELLS):
        assert part_of.setdefault(CELLS.canonical(arch), partition.index(arch)) == (
            partition.index(arch)
        )
    assert len(part_of) == 6466
    assert set(part_of.values()) == set(range(len(partition.parts)))
    rng = np.random.default_rng(seed)
    for arch in (CELLS.sample(rng) for _ in range(100)):
        holding = [number for number, part in enumerate(partition.parts) if arch in part]
        assert holding == [part_of[CELLS.canonical(arch)]]
    for number, part in enumerate(partition.parts):
        assert part_of[part.sample(rng)] == number  # which is canonical: the key of its class


def test_a_part_of_cells_draws_every_class_that_it_holds() -> None:
    partition = partition_from_texts(["5:0/1-4", "3:0/1-4"], CELLS)
    held = {CELLS.canonical(arch) for arch in all_of(CELLS) if partition.index(arch) == 0}
    rng = np.random.default_rng(0)
    drawn = {partition.parts[0].sample(rng) for _ in range(2000)}
    assert drawn == held


def test_unified_blocks_are_split_by_ranges_of_codes() -> None:
    space = space_named("unified-macro", resolution=16)
    partition = partition_from_texts(["3:0-1535/1536-3071", "5:0-99/100-3071"], space)
    rng = np.random.default_rng(0)
    drawn = [part.sample(rng) for part in partition.parts]
    assert [partition.index(arch) for arch in drawn] == [0, 1, 2, 3]
