from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from devices import InvalidFile
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from profiler import total_macs
from search import Architecture, space_named
from search.exact import NoFeasibleArchitecture
from search.greedynas.candidate_pool import CandidatePool
from search.greedynas.sampler import (
    GreedyPaths,
    GreedySettings,
    chance_of_good,
    cost_images,
    greedy_paths,
    read_pool,
    score,
    surrogate_images,
    train_greedynas,
)
from search.images.data import ImageData, InvalidData
from search.space import as_choices
from search.supernets.supernet import Supernet
from search.training.loop import train_uniform
from search.training.runs import RunMismatch
from search.training.settings import TrainSettings
from tests.tiny_macro import few_digits

SPACE = space_named("macro", resolution=8, classes=10)
SETTINGS = TrainSettings(epochs=3, batch=32, warmup_epochs=0.5, augment=False, threads=1)
GREEDY = GreedySettings(surrogate=20, pool=8, warmup=0.2, turnover=0.0)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return few_digits()


def mac_budget(limit: float) -> LatencyBudget:
    """Return a budget on a device that takes a second for a million operations."""
    cost = [[total_macs((op,)) * 1e-6 for op in layer] for layer in SPACE.layers]
    model = LatencyModel(
        device="counter",
        base_s=0.0,
        cost_s=np.array(cost),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )
    return LatencyBudget(model=model, target=LatencyTarget(device="counter", limit_s=limit))


def macs_of(path: Architecture) -> float:
    return float(mac_budget(1.0).model.latency_s(as_choices([path]))[0])


def sampler(digits: ImageData, **changes: Any) -> GreedyPaths:
    return greedy_paths(SPACE, digits, SETTINGS, replace(GREEDY, **changes))


def drawn(paths: GreedyPaths, count: int) -> list[Architecture]:
    supernet, rng = Supernet(SPACE), np.random.default_rng(0)
    return [path for _ in range(count) for path in paths(supernet, rng)]


def test_published_constants_give_the_published_chance_of_good_paths() -> None:
    figures = {q: round(chance_of_good(10, good=5, share=q), 4) for q in (0.3, 0.4, 0.5, 0.6, 0.7)}
    assert figures == {0.3: 0.1503, 0.4: 0.3669, 0.5: 0.6230, 0.6: 0.8338, 0.7: 0.9527}


def test_a_perfect_ranker_trains_paths_of_mean_quantile_8_of_11(rng: np.random.Generator) -> None:
    quantiles = rng.random((20_000, 10))
    kept = np.sort(quantiles, axis=1)[:, 5:]
    assert kept.mean() == pytest.approx(8 / 11, abs=0.003)


def test_the_published_cost_is_633_thousandths_of_uniform_training() -> None:
    images = 1_230_000
    greedy = cost_images(46 * images, scored=round(46 * images * 10_000 / 5_120), phi=1 / 3)
    assert greedy / (120 * images) == pytest.approx(0.633, abs=0.001)


def test_the_usual_surrogate_keeps_the_published_share_of_scoring() -> None:
    assert GreedySettings().surrogate_for(1024) == 1000
    assert GreedySettings().surrogate_for(64) == 62
    assert GreedySettings(surrogate=500).surrogate_for(64) == 500


def test_only_the_best_of_what_was_scored_is_trained(digits: ImageData) -> None:
    paths = sampler(digits, warmup=0.0, pool=1000, paths=6, kept=2)
    supernet = Supernet(SPACE)
    trained = drawn(paths, 2)
    scored = dict(paths.pool.losses)
    assert len(scored) == 6
    assert trained == sorted(scored, key=scored.__getitem__)[:2]
    assert scored[trained[0]] == score(supernet, trained[0], paths.surrogate)


def test_every_m_paths_are_scored_once_for_k_steps(digits: ImageData) -> None:
    paths = sampler(digits, warmup=0.0, paths=6, kept=3)
    drawn(paths, 7)  # two full groups and the first of a third
    assert paths.scored_images == 3 * 6 * 20


def test_the_warm_up_scores_nothing(digits: ImageData) -> None:
    paths = sampler(digits, warmup=0.5)
    drawn(paths, paths.steps // 2)
    assert (paths.scored_images, len(paths.pool.losses)) == (0, 0)


def test_epsilon_rises_from_zero_after_the_warm_up_to_its_end(digits: ImageData) -> None:
    paths = sampler(digits, warmup=0.5)
    seen = []
    for step in (0, paths.steps // 2, 3 * paths.steps // 4, paths.steps):
        paths.restore(paths.state() | {"step": step})
        seen.append(paths.epsilon)
    assert seen == pytest.approx([0.0, 0.0, 0.4, 0.8], abs=0.05)


def test_scoring_leaves_the_supernet_as_it_was(digits: ImageData) -> None:
    supernet = Supernet(SPACE).eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    first = score(supernet, SPACE.sample(np.random.default_rng(0)), surrogate_images(digits, 20))
    assert np.isfinite(first)
    assert not supernet.training
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_scores_are_normalised_by_the_surrogate_itself(digits: ImageData) -> None:
    supernet, arch = Supernet(SPACE), SPACE.sample(np.random.default_rng(0))
    surrogate = surrogate_images(digits, 20)
    once = score(supernet, arch, surrogate)
    for norm in supernet.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.fill_(5.0)  # type: ignore[union-attr]
    assert score(supernet, arch, surrogate) == once


def test_a_surrogate_is_cut_into_equal_batches(digits: ImageData) -> None:
    (images, labels), *more = surrogate_images(digits, 33)
    assert not more
    assert (len(images), len(labels)) == (33, 33)


def path(number: int) -> Architecture:
    """Return the canonical path that takes choice 2 in so many first layers."""
    return Architecture(tuple(2 if i < number else 1 for i in range(len(SPACE.layers))))


def test_a_pool_keeps_the_best_distinct_paths() -> None:
    pool = CandidatePool(capacity=2)
    pool.add([path(1), path(2), path(3)], [0.3, 0.1, 0.2])
    assert pool.entries == ((path(2), 0.1), (path(3), 0.2))
    pool.add([path(2)], [0.9])  # its loss went stale
    assert pool.entries == ((path(3), 0.2), (path(2), 0.9))
    pool.add([path(4)], [0.5])
    assert pool.entries == ((path(3), 0.2), (path(4), 0.5))


def test_a_tight_limit_has_a_share_of_the_pool_of_its_own() -> None:
    ends = sorted(macs_of(path(n)) for n in range(9))
    tight, loose = mac_budget(ends[2]), mac_budget(ends[-1])
    pool = CandidatePool(capacity=4, limits=(tight, loose))
    order = sorted(range(9), key=lambda n: macs_of(path(n)))
    pool.add([path(n) for n in order], [1.0 - 0.1 * i for i in range(9)])  # larger is better
    kept = [macs_of(each) for each, _ in pool.entries]
    assert sum(cost <= ends[2] for cost in kept) == 2
    assert pool.full


def test_training_stops_when_the_pool_has_settled(digits: ImageData) -> None:
    paths = sampler(digits, warmup=0.0, pool=2, turnover=0.99)
    assert not paths.done
    drawn(paths, 2 * paths.epoch_steps)
    assert len(paths.turnovers) == 1
    assert paths.done == (paths.turnovers[0] <= 0.99)


def test_a_state_is_all_that_goes_on(digits: ImageData) -> None:
    one, other = sampler(digits), sampler(digits)
    supernet, rng = Supernet(SPACE), np.random.default_rng(1)
    for _ in range(9):
        one(supernet, rng)
    other.restore(one.state())
    again = np.random.default_rng(1)
    again.bit_generator.state = rng.bit_generator.state
    assert [one(supernet, rng) for _ in range(7)] == [other(supernet, again) for _ in range(7)]
    assert one.state() == other.state()


def test_paths_are_drawn_within_the_loosest_limit(digits: ImageData) -> None:
    tight, loose = mac_budget(0.9), mac_budget(1.2)
    paths = greedy_paths(SPACE, digits, SETTINGS, GREEDY, budgets=[loose, tight])
    costs = [macs_of(each) for each in drawn(paths, 25)]
    assert 0.9 < max(costs) <= 1.2
    assert min(costs) <= 0.9


def test_a_limit_that_rejects_everything_stops_with_the_minimum(digits: ImageData) -> None:
    with pytest.raises(NoFeasibleArchitecture, match="the fastest, 0"):
        greedy_paths(SPACE, digits, SETTINGS, GREEDY, budgets=[mac_budget(1e-4)])


def test_a_surrogate_set_larger_than_the_validation_split_is_refused(digits: ImageData) -> None:
    with pytest.raises(InvalidData, match=r"surrogate set of 5000 images .* lower surrogate"):
        sampler(digits, surrogate=5000)


Train = Callable[..., Any]


def test_a_killed_run_ends_as_an_unbroken_one(digits: ImageData, tmp_path: Path) -> None:
    greedy = replace(GREEDY, warmup=0.1)

    def stop(metrics: Any) -> None:
        raise KeyboardInterrupt

    whole = train_greedynas(SPACE, digits, SETTINGS, greedy, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_greedynas(SPACE, digits, SETTINGS, greedy, tmp_path / "cut", on_epoch=stop)
    resumed = train_greedynas(SPACE, digits, SETTINGS, greedy, tmp_path / "cut")
    ends = (run.supernet.state_dict() for run in (whole, resumed))
    for mine, theirs in zip(*(state.values() for state in ends), strict=True):
        assert torch.equal(mine, theirs)
    pools = [read_pool(tmp_path / name) for name in ("whole", "cut")]
    assert pools[0].entries == pools[1].entries
    assert len(pools[0].entries) == 8


def test_a_run_of_other_constants_is_not_resumed(digits: ImageData, tmp_path: Path) -> None:
    short = replace(SETTINGS, epochs=1)
    train_greedynas(SPACE, digits, short, GREEDY, tmp_path)
    with pytest.raises(RunMismatch, match="greedynas"):
        train_greedynas(SPACE, digits, short, replace(GREEDY, paths=7), tmp_path)


def test_a_run_without_a_pool_says_so(digits: ImageData, tmp_path: Path) -> None:
    train_uniform(SPACE, digits, replace(SETTINGS, epochs=1), tmp_path)
    with pytest.raises(InvalidFile, match=r"trained by 'uniform', which keeps no pool"):
        read_pool(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"paths": 4, "kept": 5}, {"epsilon": 1.5}, {"pool": 0}, {"surrogate": 1}]
)
def test_constants_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot be kept|epsilon|pool|surrogate"):
        GreedySettings(**wrong)
