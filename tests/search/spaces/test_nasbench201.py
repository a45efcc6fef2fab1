import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import DeviceSpec, InvalidFile
from lut import LatencyTable, latency_model
from profiler import Cell, EqualCells, OpSpec, check_chain, macs, total_macs, total_parameters
from search import Architecture, architecture_from_text, as_choices, space_named
from search.pricing.coverage import chains_to_measure, ends_of, spread_sample, unseen_networks
from search.spaces import space_from_label, space_label
from search.spaces.nasbench201 import (
    CellSpace,
    cell_space,
    cell_text,
    class_text,
    every_cell,
    has_path,
    live_counts,
    nasbench201,
)
from search.supernets.supernet import Supernet
from search.training.path_samplers import SAMPLERS, sandwich_paths
from search.truths.nasbench201 import NasBench201, read_nas_bench_201

SPACE = nasbench201()
TINY = cell_space("tiny", widths=(4, 8), depth=1, image=(1, 3, 8, 8), classes=3)
IDENTITY = Architecture((0, 0, 0, 1, 0, 0))

archs = st.tuples(*[st.integers(0, 4)] * 6).map(Architecture)
seeds = st.integers(0, 2**32)


@given(arch=archs)
def test_a_network_is_fifteen_times_its_cell_between_stem_blocks_and_head(
    arch: Architecture,
) -> None:
    chain = SPACE.chain(arch)
    check_chain(chain)
    assert len(chain) == 1 + 5 + 1 + 5 + 1 + 5 + 1
    assert sum(isinstance(op, Cell) for op in chain) == 15


@given(seed=seeds)
def test_a_sample_belongs_to_the_space(seed: int) -> None:
    arch = SPACE.sample(np.random.default_rng(seed))
    SPACE.check(arch)
    assert len(arch.choices) == 6
    assert set(arch.choices) <= set(range(5))


@given(arch=archs)
def test_the_canonical_form_is_its_own_canonical_form(arch: Architecture) -> None:
    canonical = SPACE.canonical(arch)
    assert SPACE.canonical(canonical) == canonical
    assert class_text(canonical.choices) == class_text(arch.choices)


@given(arch=archs)
def test_the_canonical_form_is_the_cheapest_of_its_class(arch: Architecture) -> None:
    canonical = SPACE.canonical(arch)
    assert total_macs(SPACE.chain(canonical)) <= total_macs(SPACE.chain(arch))
    assert SPACE.computes(canonical) == SPACE.computes(arch)


@given(arch=archs)
def test_what_is_trained_alone_is_the_same_network(arch: Architecture) -> None:
    assert SPACE.chain(SPACE.alone(arch)) == SPACE.chain(arch)
    assert SPACE.alone(SPACE.alone(arch)) == SPACE.alone(arch)


@given(arch=archs)
def test_a_cell_is_read_as_it_is_printed(arch: Architecture) -> None:
    assert architecture_from_text(cell_text(arch)) == arch
    assert architecture_from_text(str(arch)) == arch


def test_a_cell_is_printed_as_the_benchmark_prints_it() -> None:
    text = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
    assert cell_text(Architecture((0, 1, 2, 3, 4, 0))) == text


def test_there_are_15625_cells_of_6466_classes() -> None:
    assert SPACE.size == 15_625
    canonical = {SPACE.canonical(Architecture(choices)) for choices in every_cell()}
    assert len(canonical) == 6_466


def test_341_cells_have_no_path() -> None:
    assert sum(not has_path(Architecture(choices)) for choices in every_cell()) == 341


def test_a_skip_before_an_operation_and_after_it_is_one_class() -> None:
    before, after = Architecture((1, 0, 0, 0, 3, 0)), Architecture((3, 0, 0, 0, 1, 0))
    assert SPACE.canonical(before) == SPACE.canonical(after)


def test_of_a_class_the_form_that_uses_a_convolution_twice_stands_for_two() -> None:
    # Two 1x1 of the input, a third behind one of them; or one that both are.
    three, two = Architecture((2, 2, 0, 0, 2, 1)), Architecture((2, 0, 1, 0, 2, 1))
    assert SPACE.canonical(three) == SPACE.canonical(two) == two


def test_the_ends_of_the_space_are_the_identity_and_all_convolutions() -> None:
    smallest, largest = ends_of(SPACE)
    assert smallest == IDENTITY
    assert set(largest.choices) == {3}


def test_networks_to_measure_all_have_a_path() -> None:
    drawn = spread_sample(SPACE, 60, np.random.default_rng(0))
    assert len(drawn) == 60
    assert all(map(has_path, drawn))
    unseen = unseen_networks(SPACE, 10, known={}, seed=0)
    assert len({SPACE.chain(arch) for arch in unseen}) == 10


def test_a_table_measures_six_cells_a_stage_and_the_blocks_between() -> None:
    assert len(SPACE.operators) == 3 * 6 + 2
    roles = list(chains_to_measure(SPACE).values())
    assert roles.count("operator") == 20
    assert roles.count("calibration") == 20


def test_what_is_timed_is_as_many_cells_in_a_row_as_a_stage_has() -> None:
    cells = [op for op in SPACE.operators if isinstance(op, EqualCells)]
    assert {op.count for op in cells} == {5}
    assert len(cells) == 3 * 6


@given(arch=archs)
def test_operations_of_all_cells_are_those_of_their_chains(arch: Architecture) -> None:
    index = np.ravel_multi_index(arch.choices, (5,) * 6)
    total = TOTALS[index]
    if has_path(arch):
        cells = total_macs(SPACE.chain(arch)[1:-1])
        assert total == cells
    else:
        assert np.isinf(total)


TOTALS = SPACE.totals(macs)


@pytest.mark.parametrize(
    ("choices", "counts"),
    [
        ((0, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 0)),  # the identity
        ((3, 0, 0, 1, 0, 4), (0, 0, 0, 0, 0, 0)),  # the same, and dead edges
        ((0, 0, 0, 3, 0, 0), (0, 1, 0, 0, 0, 0)),  # a ReLU within the convolution before it
        ((3, 0, 2, 1, 0, 4), (1, 1, 1, 0, 1, 1)),  # x + pool(conv(conv(x))); x is read twice
        ((3, 0, 0, 1, 1, 0), (0, 1, 0, 1, 0, 1)),  # x + conv(x), the sum within the convolution
        ((3, 0, 4, 1, 1, 0), (0, 1, 0, 1, 0, 1)),  # the same, and a dead pooling
        ((4, 0, 0, 4, 1, 0), (0, 0, 1, 0, 1, 0)),  # pool(x) + pool(x), one pooling
        ((3, 3, 3, 3, 3, 3), (0, 6, 0, 3, 0, 0)),
        ((4, 4, 4, 4, 4, 4), (0, 0, 3, 0, 3, 0)),  # each node is pooled once
        ((3, 3, 0, 1, 0, 3), (0, 2, 0, 1, 0, 1)),  # one ReLU for two; its dead twin is gone
        ((4, 0, 0, 0, 2, 0), (1, 0, 1, 0, 0, 1)),  # nothing before the ReLU takes it up
    ],
)
def test_what_a_cell_computes_is_counted_without_dead_edges(
    choices: tuple[int, ...], counts: tuple[int, ...]
) -> None:
    found = live_counts()[np.ravel_multi_index(choices, (5,) * 6)]
    assert tuple(found) == counts


@given(arch=archs)
def test_a_chain_gives_its_cell_back_without_dead_edges(arch: Architecture) -> None:
    found = SPACE.choices_of(SPACE.chain(arch))
    assert found is not None
    assert SPACE.chain(Architecture(found)) == SPACE.chain(arch)
    assert TINY.choices_of(SPACE.chain(arch)) is None


@pytest.mark.parametrize("resolution", [32, 16, 15, 11])
def test_any_resolution_fits(resolution: int) -> None:
    chain = nasbench201(resolution=resolution).chain(IDENTITY)
    check_chain(chain)
    assert chain[0].input_shape == (1, 3, resolution, resolution)
    assert chain[-1].output_shape == (1, 10)


def test_the_space_is_built_again_from_its_label() -> None:
    space = space_named("nasbench201", resolution=16, batch=2, classes=120, snap=16)
    assert space_from_label(space_label(space)) == space
    assert isinstance(space, CellSpace)


@pytest.mark.parametrize("choices", [(0, 1), (0, 0, 0, 0, 0, 5)])
def test_what_is_no_cell_of_the_space_is_refused(choices: tuple[int, ...]) -> None:
    for ask in (SPACE.chain, SPACE.canonical, SPACE.alone, SPACE.check):
        with pytest.raises(InvalidFile, match="nasbench201"):
            ask(Architecture(choices))


@pytest.mark.parametrize("method", ["uniform", "fair", "sandwich"])
def test_every_way_to_draw_paths_draws_cells(method: str) -> None:
    draw = SAMPLERS[method](SPACE)
    paths = draw(cast("Supernet", None), np.random.default_rng(0))
    assert paths
    for arch in paths:
        SPACE.check(arch)
        assert SPACE.computes(arch)


def test_a_sandwich_has_a_smallest_network_that_computes_something() -> None:
    paths = sandwich_paths(SPACE)(cast("Supernet", None), np.random.default_rng(0))
    assert IDENTITY in paths


# Prices


MakeTable = Callable[..., LatencyTable]


@pytest.fixture(scope="module")
def table(exact: DeviceSpec, make_table: MakeTable) -> LatencyTable:
    return make_table(exact, TINY)


def test_a_table_prices_live_operations_and_additions_of_each_stage(table: LatencyTable) -> None:
    model = latency_model(table, TINY)
    chosen = [Architecture(c) for c in [(0, 0, 0, 3, 0, 0), (0, 0, 0, 1, 0, 0), (3, 0, 0, 1, 1, 0)]]
    conv, identity, around = model.latency_s(as_choices(chosen))
    assert identity < conv < around


def test_dead_edges_cost_nothing_and_cells_without_a_path_cannot_be_had(
    table: LatencyTable,
) -> None:
    model = latency_model(table, TINY)
    dead = [Architecture(choices) for choices in [(0, 0, 0, 1, 0, 0), (3, 3, 3, 1, 0, 0)]]
    first, second = model.latency_s(as_choices(dead))
    assert first == second
    assert np.isinf(model.latency_s(np.zeros((1, 6), int)))[0]


def test_networks_that_were_not_calibrated_on_are_predicted(
    table: LatencyTable, exact: DeviceSpec, make_table: MakeTable
) -> None:
    model = latency_model(table, TINY)
    more = make_table(exact, TINY, networks=40)
    for chain, measurement in more.networks.items():
        choices = TINY.choices_of(chain)
        assert choices is not None
        predicted = model.latency_s(np.array([choices]))[0]
        assert predicted == pytest.approx(table.seconds(measurement), rel=0.01)


# The published tables


@pytest.fixture(scope="module")
def bench() -> NasBench201:
    if "LATKIT_DATA" not in os.environ:
        pytest.skip("LATKIT_DATA is unset: no NAS-Bench-201 here")
    return read_nas_bench_201(Path(os.environ["LATKIT_DATA"]) / "nas_bench_201/accuracy.csv.gz")


def test_the_classes_are_those_of_the_benchmark(bench: NasBench201) -> None:
    ours = [SPACE.canonical(arch) for arch in bench.archs]
    pairs = set(zip(ours, bench.classes.tolist(), strict=True))
    assert len(pairs) == len(set(ours)) == len(set(bench.classes.tolist())) == 6_466


def test_operations_and_parameters_are_the_published_ones(bench: NasBench201) -> None:
    some = np.random.default_rng(0).choice(len(bench.archs), size=150, replace=False)
    for i in [*some.tolist(), 0, 1, 2, 3]:
        arch = bench.archs[i]
        chain = SPACE.chain(arch)
        dead = dead_convolutions(arch)
        # The benchmark runs dead edges, too; of the three stages each has as many operations.
        dead_macs = sum(macs(op) for op in dead)
        assert (total_macs(chain) + dead_macs) * 1e-6 == pytest.approx(
            bench.columns["mflops_c10"][i], abs=1e-9
        )
        assert total_parameters(chain) + total_parameters(dead) == bench.columns["params_c10"][i]


def dead_convolutions(arch: Architecture) -> list[OpSpec]:
    """Return the dead edges of a network, each as a cell of its own; most have none."""
    chain = SPACE.chain(arch)
    live = next(op for op in chain if isinstance(op, Cell))
    left = architecture_from_text(live.code).choices
    gone = [c for c, kept in zip(arch.choices, left, strict=True) if c != kept]
    codes = [cell_text(Architecture((0, 0, 0, choice, 0, 0))) for choice in gone]
    return [
        Cell(input_shape=op.input_shape, code=code)
        for op, code in product(chain, codes)
        if isinstance(op, Cell)
    ]
