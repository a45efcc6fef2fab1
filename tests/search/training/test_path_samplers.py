from collections import Counter

import numpy as np
import pytest

from devices import UnknownName
from profiler import Conv, Head, MBConv, Skip, total_macs
from search.space import Architecture, SearchSpace
from search.spaces import space_named
from search.supernets.supernet import Supernet
from search.training.path_samplers import (
    SAMPLERS,
    CountedPaths,
    MemorylessPaths,
    fair_paths,
    sampler_named,
    sandwich_paths,
    uniform_paths,
)

SKIP = Skip(input_shape=(1, 4, 8, 8))
BLOCK = MBConv(input_shape=(1, 4, 8, 8), channels=4, expand=2)
BIG = MBConv(input_shape=(1, 4, 8, 8), channels=4, expand=2, kernel=5)
SPACE = SearchSpace(
    name="tiny",
    before=(Conv(input_shape=(1, 3, 8, 8), channels=4, kernel=3, activation="relu"),),
    layers=((SKIP, BIG, BLOCK), (BLOCK, SKIP)),
    after=(Head(input_shape=(1, 4, 8, 8), channels=16, classes=2),),
)
SUPERNET = Supernet(SPACE)


def steps(sampler: MemorylessPaths, count: int) -> list[tuple[Architecture, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(sampler(SUPERNET, rng)) for _ in range(count)]


def test_uniform_paths_are_canonical_and_as_frequent_as_what_they_stand_for() -> None:
    layer = (SKIP, BLOCK)
    space = SearchSpace(name="twins", before=SPACE.before, layers=(layer, layer), after=SPACE.after)
    drawn = steps(uniform_paths(space), 4000)
    shares = {arch.choices: n / 4000 for (arch,), n in Counter(drawn).items()}
    # (0, 1) is (1, 0) with its skip in another place
    assert shares == pytest.approx({(0, 0): 0.25, (1, 0): 0.5, (1, 1): 0.25}, abs=0.03)


def test_a_fair_step_trains_every_choice_of_the_largest_layer_once() -> None:
    for paths in steps(fair_paths(SPACE), 50):
        assert sorted(path.choices[0] for path in paths) == [0, 1, 2]


def test_a_fair_step_deals_the_choices_of_a_smaller_layer_again() -> None:
    twice = [Counter(path.choices[1] for path in paths) for paths in steps(fair_paths(SPACE), 1000)]
    assert all(sorted(counts.values()) == [1, 2] for counts in twice)
    assert sum(counts[0] for counts in twice) == pytest.approx(1500, abs=50)


def test_fair_steps_combine_the_choices_of_two_layers_in_every_way() -> None:
    drawn = Counter(path.choices for paths in steps(fair_paths(SPACE), 1000) for path in paths)
    assert len(drawn) == 6
    assert max(drawn.values()) - min(drawn.values()) < 100  # of 500 each


def test_a_sandwich_has_the_largest_and_the_smallest_network_and_two_random_ones() -> None:
    drawn = steps(sandwich_paths(SPACE), 200)
    # the 5x5 kernel has more operations than the 3x3, a skip has none
    assert {(large.choices, small.choices) for large, small, _, _ in drawn} == {((1, 0), (0, 1))}
    random = Counter(path.choices for _, _, *others in drawn for path in others)
    assert len(random) == 6
    assert random.total() == 400


def test_the_ends_of_a_published_space_are_those_of_its_cost() -> None:
    ((large, small, *_),) = steps(sandwich_paths(space_named("macro", resolution=8)), 1)
    assert (str(large), str(small)) == ("22222222", "00000000")


@pytest.mark.parametrize("method", SAMPLERS)
def test_a_rule_that_only_draws_repeats_by_the_generator_alone(method: str) -> None:
    sampler, other = sampler_named(method, SPACE), sampler_named(method, SPACE)
    rng = np.random.default_rng(0)
    first = [sampler(SUPERNET, rng) for _ in range(5)]
    other.restore(sampler.state())
    rng = np.random.default_rng(0)
    assert [other(SUPERNET, rng) for _ in range(5)] == first
    assert (sampler.scored_images, sampler.done) == (0, False)


def test_a_method_that_nobody_knows_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="'sandwhich'; the nearest is 'sandwich'"):
        sampler_named("sandwhich", SPACE)


def test_counted_paths_know_the_operations_of_all_that_was_drawn_even_after_a_restart() -> None:
    rng = np.random.default_rng(0)
    paths = CountedPaths(fair_paths(SPACE), SPACE)
    drawn = [arch for _ in range(3) for arch in paths(SUPERNET, rng)]
    again = CountedPaths(fair_paths(SPACE), SPACE)
    again.restore(paths.state())
    assert again.macs == sum(total_macs(SPACE.chain(arch)) for arch in drawn)
    assert (paths.done, paths.scored_images) == (False, 0)
