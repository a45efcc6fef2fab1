from collections import Counter

import numpy as np
import pytest

from devices import DeviceSpec
from lut import Conditions, LatencyTable
from profiler import Measurement, Skip, Slice, contexts, in_context, total_macs
from search import Architecture, SearchSpace, space_named
from search.pricing.coverage import (
    CALIBRATION_NETWORKS,
    TooFewNetworks,
    chains_to_measure,
    spread_sample,
    unseen_networks,
)

GREEDYNAS = space_named("greedynas")
MACRO = space_named("macro")
TINY = SearchSpace(name="tiny", before=MACRO.before, layers=MACRO.layers[:2], after=MACRO.after)


def macs_of(space: SearchSpace, archs: list[Architecture]) -> list[int]:
    return [total_macs(space.chain(arch)) for arch in archs]


def test_the_greedynas_space_has_72_operators_to_measure() -> None:
    roles = Counter(chains_to_measure(GREEDYNAS).values())
    assert roles["operator"] == 72
    assert roles["calibration"] == CALIBRATION_NETWORKS == 20


def test_no_identity_that_computes_nothing_is_measured() -> None:
    for chain, role in chains_to_measure(MACRO).items():
        assert role == "calibration" or not any(isinstance(op, Skip) for op in chain)


@pytest.mark.parametrize("space", [GREEDYNAS, MACRO], ids=lambda space: space.name)
def test_a_table_of_all_that_prices_every_operator(space: SearchSpace) -> None:
    piece = Slice(process=0, round=0, repeats=1, samples_s=(1.0,))
    device = DeviceSpec(name="sim", backend="simulated")
    table = LatencyTable(
        name="full.lut",
        conditions=Conditions(device=device, environment={}),
        chains={
            chain: Measurement(slices=(piece,))
            for chain, role in chains_to_measure(space).items()
            if role in ("operator", "context")
        },
    )
    assert all(op in table for layer in space.layers for op in layer)
    assert len(table) >= len(space.operators)


def test_nothing_is_measured_that_no_operator_needs() -> None:
    needed = {chain for op in MACRO.operators for chain in (in_context(op), *contexts(op))}
    wanted = chains_to_measure(MACRO, networks=0)
    assert wanted.keys() == needed


def test_the_networks_follow_from_the_seed() -> None:
    assert chains_to_measure(MACRO, seed=1) == chains_to_measure(MACRO, seed=1)
    assert chains_to_measure(MACRO, seed=1).keys() != chains_to_measure(MACRO, seed=2).keys()


def test_a_sample_is_distinct_canonical_and_reproducible() -> None:
    drawn = spread_sample(MACRO, 200, np.random.default_rng(3))
    assert len(set(drawn)) == 200
    assert all(MACRO.canonical(arch) == arch for arch in drawn)
    assert drawn == spread_sample(MACRO, 200, np.random.default_rng(3))


def test_a_sample_avoids_what_is_known() -> None:
    known = {MACRO.chain(arch): None for arch in spread_sample(MACRO, 50, np.random.default_rng(0))}
    drawn = spread_sample(MACRO, 50, np.random.default_rng(0), avoid=known)
    assert len(drawn) == 50
    assert not any(MACRO.chain(arch) in known for arch in drawn)


@pytest.mark.parametrize("space", [GREEDYNAS, MACRO], ids=lambda space: space.name)
def test_a_sample_reaches_further_than_uniform_draws(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    spread = macs_of(space, spread_sample(space, 60, rng))
    uniform = macs_of(space, [space.sample(rng) for _ in range(60)])
    assert np.ptp(spread) > 1.2 * np.ptp(uniform)
    assert np.std(spread) > 1.3 * np.std(uniform)


def test_a_small_space_gives_all_it_has() -> None:
    drawn = spread_sample(TINY, 100, np.random.default_rng(0))
    assert set(drawn) == {TINY.canonical(Architecture((i, j))) for i in range(3) for j in range(3)}


def test_unseen_networks_are_not_the_ones_of_the_table() -> None:
    table = chains_to_measure(MACRO)
    unseen = unseen_networks(MACRO, 32, known=table, seed=0)
    assert len(set(unseen)) == 32
    assert not any(MACRO.chain(arch) in table for arch in unseen)


def test_a_space_that_has_been_seen_whole_says_so() -> None:
    known = {TINY.chain(arch): None for arch in spread_sample(TINY, 8, np.random.default_rng(0))}
    assert len(unseen_networks(TINY, 1, known=known, seed=0)) == 1
    with pytest.raises(TooFewNetworks) as caught:
        unseen_networks(TINY, 2, known=known, seed=0)
    assert str(caught.value) == (  # 20 draws for each of the 8 that are known and the 2 asked for
        "space 'tiny' gave 1 networks that were not measured yet in 200 draws, not 2: ask for fewer"
    )


def test_the_smallest_and_the_largest_network_are_calibrated_on() -> None:
    wanted = chains_to_measure(TINY, networks=5)
    networks = [chain for chain, role in wanted.items() if role == "calibration"]
    first, second = (range(len(layer)) for layer in TINY.layers)
    sizes = [total_macs(TINY.chain(Architecture((i, j)))) for i in first for j in second]
    assert len(networks) == 5
    assert total_macs(networks[0]) == min(sizes)
    assert total_macs(networks[1]) == max(sizes)
