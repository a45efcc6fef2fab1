"""The hierarchical search and its rivals: what they share, and what each does."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from devices import InvalidFile, UnknownName
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, within
from profiler import Conv, Head, MBConv, Skip
from search import (
    Architecture,
    Candidate,
    NoFeasibleArchitecture,
    Searcher,
    SearchResult,
    SearchSpace,
    Trial,
    TrialAccuracy,
    as_choices,
    run_trials,
)
from search.econas.halving import SuccessiveHalving
from search.econas.hierarchy import (
    ASHA,
    FLAT,
    METHOD,
    PRESETS,
    RANDOM,
    TRAINING,
    EconasSettings,
    HierarchicalEvolution,
    econas_settings,
    flat,
)
from search.econas.on_data import searcher_of, sizes_of
from search.truths.table_trials import TableTrials

SHAPE = (1, 8, 8, 8)
LAYER = (
    Skip(input_shape=SHAPE),
    MBConv(input_shape=SHAPE, channels=8, kernel=3),
    MBConv(input_shape=SHAPE, channels=8, kernel=5),
)
SPACE = SearchSpace(
    name="tiny",
    before=(Conv(input_shape=(1, 3, 8, 8), channels=8),),
    layers=(LAYER,) * 5,
    after=(Head(input_shape=SHAPE, channels=4, classes=2),),
)
CANONICAL = sorted({SPACE.canonical(Architecture(c)) for c in product(range(3), repeat=5)})
TRUTH = dict(
    zip(CANONICAL, np.random.default_rng(1).permutation(len(CANONICAL)) / 100, strict=True)
)
SIZES = EconasSettings(
    initial=6, cycles=12, epochs=(2, 4, 6), promoted=(3, 2), mothers=(3, 2, 1), lifetime=4
)
METHODS = (METHOD, FLAT, ASHA, RANDOM)
every_method = pytest.mark.parametrize("method", METHODS)


def budget_of(limit_s: float, costs: Sequence[float] = (1.0, 2.0, 3.0)) -> LatencyBudget:
    model = LatencyModel(
        device="sim",
        base_s=0.0,
        cost_s=np.tile(np.array(costs), (5, 1)),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )
    return LatencyBudget(model=model, target=LatencyTarget(device="sim", limit_s=limit_s))


ALL = budget_of(15.0)
TIGHT = budget_of(9.0)


def true_accuracy(trials: Sequence[Trial]) -> list[float]:
    return [float(TRUTH[trial.arch]) for trial in trials]


@dataclass
class Recorder:
    """Passes everything on and remembers it."""

    inner: Searcher
    asked: list[list[Trial]] = field(default_factory=list)
    told: list[Sequence[Candidate]] = field(default_factory=list)

    def ask(self) -> list[Trial]:
        trials = [each for each in self.inner.ask() if isinstance(each, Trial)]
        self.asked.append(trials)
        return trials

    def tell(self, judged: Sequence[Candidate]) -> None:
        self.told.append(judged)
        self.inner.tell(judged)

    @property
    def trials(self) -> list[Trial]:
        return [trial for round_ in self.asked for trial in round_]


def made(
    method: str, budget: LatencyBudget = ALL, *, seed: int = 0, sizes: EconasSettings = SIZES
) -> Recorder:
    return Recorder(
        searcher_of(
            method,
            space=SPACE,
            budgets=[budget],
            rng=np.random.default_rng(seed),
            sizes=sizes_of(method, sizes),
        )
    )


def searched(
    searcher: Searcher,
    budget: LatencyBudget = ALL,
    *,
    accuracy: TrialAccuracy = true_accuracy,
    rounds: int = 13,
) -> SearchResult:
    return run_trials(searcher, space=SPACE, budgets=[budget], accuracy=accuracy, rounds=rounds)


# What all of them keep


@every_method
def test_the_same_seed_proposes_the_same_and_another_does_not(method: str) -> None:
    def asked(seed: int) -> list[list[Trial]]:
        searcher = made(method, seed=seed)
        searched(searcher)
        return searcher.asked

    assert asked(3) == asked(3)
    assert asked(3) != asked(4)


@every_method
def test_nothing_is_trained_twice_and_nothing_beyond_the_budget(method: str) -> None:
    seen: list[Trial] = []

    def recorded(trials: Sequence[Trial]) -> list[float]:
        seen.extend(trials)
        return true_accuracy(trials)

    searcher = made(method, TIGHT)
    searched(searcher, TIGHT, accuracy=recorded)
    assert len(set(seen)) == len(seen) == len(searcher.trials)  # what is asked is news
    assert all(SPACE.alone(trial.arch) == trial.arch for trial in seen)
    assert within([TIGHT], as_choices([trial.arch for trial in seen])).all()


@every_method
def test_an_impossible_budget_fails_before_anything_is_trained(method: str) -> None:
    searcher = made(method, budget_of(4.9))
    with pytest.raises(NoFeasibleArchitecture, match="keeps 4900 ms on 'sim'"):
        searched(searcher, budget_of(4.9))
    assert not searcher.asked


@every_method
def test_a_budget_that_one_network_keeps_ends_with_it(method: str) -> None:
    found = searched(made(method, budget_of(5.0)), budget_of(5.0))
    assert [each.arch for each in found.candidates] == [Architecture((0,) * 5)]


@every_method
def test_epochs_do_not_exceed_those_of_the_hierarchical_search(method: str) -> None:
    sizes = sizes_of(method, SIZES)
    searcher = made(method)
    searched(searcher)
    steps = np.diff(sizes.epochs, prepend=0)
    highest: dict[Architecture, int] = {}
    for trial in searcher.trials:
        highest[trial.arch] = max(highest.get(trial.arch, 0), trial.effort)
    spent = sum(int(steps[:effort].sum()) for effort in highest.values())
    assert 0.4 * SIZES.total_epochs < spent <= sizes.total_epochs


@every_method
def test_the_answer_is_the_best_of_the_highest_effort(method: str) -> None:
    found = searched(made(method))
    levels = sizes_of(method, SIZES).levels
    finalists = [each for each in found.judged if each.effort == levels]
    assert found.best == min(finalists, key=lambda each: each.rank)
    assert {each.effort for each in found.candidates} == {levels}
    assert found.evaluations == len(found.judged)


# The hierarchical search


def test_the_published_sizes_are_1616_candidates_and_56320_epochs() -> None:
    published = PRESETS["published"]
    assert (published.candidates, published.total_epochs) == (1616, 56_320)
    assert published.cycle_epochs == 560
    assert sum(published.mothers) + sum(published.promoted) == 28  # stages of a cycle
    assert str(published.proxy) == "c4r4s0e60"
    training = TRAINING["published"]
    assert (training.batch, training.learning_rate, training.momentum) == (384, 0.1, 0.9)
    assert (training.weight_decay, training.gradient_clip, training.warmup_epochs) == (3e-4, 5, 0)


def test_the_flat_ablation_of_the_paper_is_16_children_of_35_epochs() -> None:
    single = flat(PRESETS["published"])
    assert (single.mothers, single.epochs, single.promoted) == ((16,), (35,), ())
    assert single.cycle_epochs == 560


def test_the_small_preset_is_what_the_experiments_say() -> None:
    small = PRESETS["small"]
    assert (small.initial, small.cycles, sum(small.mothers)) == (8, 10, 8)
    assert (small.promoted, small.epochs, small.images) == ((4, 2), (2, 4, 6), 2000)
    assert flat(small).cycle_epochs == small.cycle_epochs == 28


def test_only_the_best_of_a_level_go_on() -> None:
    searcher = made(METHOD)
    searched(searcher, rounds=2)
    first, second = searcher.asked
    ranked = sorted((trial.arch for trial in first), key=TRUTH.__getitem__, reverse=True)
    assert [trial.effort for trial in first] == [1] * 6
    assert [trial.arch for trial in second if trial.effort == 2] == ranked[:3]
    assert Counter(trial.effort for trial in second) == {2: 3, 1: 3}  # one level has mothers yet


def test_all_levels_are_reached_and_each_by_what_was_on_the_one_below() -> None:
    searcher = made(METHOD)
    searched(searcher)
    reached: set[Trial] = set()
    for asked in searcher.asked:
        assert all(
            Trial(each.arch, each.effort - 1) in reached for each in asked if each.effort > 1
        )
        reached |= set(asked)
    assert {trial.effort for trial in reached} == {1, 2, 3}


def test_networks_that_do_not_move_up_are_dropped() -> None:
    sizes = replace(SIZES, promoted=(0, 0), mothers=(1, 0, 0), lifetime=1, tournament=1.0)
    falling = iter(range(99, 0, -1))

    def ever_worse(trials: Sequence[Trial]) -> list[float]:
        return [next(falling) / 100 for _ in trials]

    searcher = made(METHOD, sizes=sizes)
    searched(searcher, accuracy=ever_worse, rounds=2)
    # all of the first are a cycle old now, and their only child is the mother of the next one
    assert searcher.inner.ask() == []


def test_a_network_lives_for_its_lifetime_from_where_it_moved() -> None:
    sizes = replace(SIZES, initial=2, promoted=(0, 0), mothers=(1, 0, 0), lifetime=3)
    searcher = HierarchicalEvolution(
        space=SPACE, budgets=[ALL], rng=np.random.default_rng(0), settings=sizes
    )
    recorded = Recorder(searcher)
    searched(recorded, rounds=3)
    alive = [{trial.arch for trial in asked} for asked in recorded.asked]
    assert set(searcher._population) == alive[0] | alive[1] | alive[2]
    searcher.ask()
    assert set(searcher._population) == alive[1] | alive[2]


def test_a_child_differs_and_its_mother_stays_as_it_was() -> None:
    searcher = made(METHOD)
    searched(searcher, rounds=2)
    first, second = searcher.asked
    children = [trial.arch for trial in second if trial.effort == 1]
    assert set(children).isdisjoint({trial.arch for trial in first})
    going_on = {trial.arch for trial in second if trial.effort == 2}
    assert going_on <= {trial.arch for trial in first}


def test_a_space_that_is_used_up_ends_the_search() -> None:
    searcher = made(METHOD, sizes=replace(SIZES, initial=40, cycles=99, mothers=(4, 4, 4)))
    found = searched(searcher, rounds=100)
    assert len({each.arch for each in found.judged}) <= len(CANONICAL)
    assert searcher.asked[-1] == []


def test_it_finds_better_networks_than_chance_with_as_many_epochs() -> None:
    smooth = {arch: sum(arch.choices) / 10 for arch in CANONICAL}

    def best(method: str, seed: int) -> float:
        found = searched(
            made(method, seed=seed, sizes=replace(SIZES, cycles=6)),
            accuracy=lambda trials: [smooth[trial.arch] for trial in trials],
            rounds=7,
        )
        return smooth[found.best.arch]

    seeds = range(5)
    evolved, drawn = (np.mean([best(m, s) for s in seeds]) for m in (METHOD, RANDOM))
    assert evolved > drawn


# Successive halving


def test_the_best_of_a_level_goes_on_one_in_four() -> None:
    searcher = made(ASHA)
    searched(searcher)
    count = Counter(trial.effort for trial in searcher.trials)
    assert count[1] > count[2] > count[3] > 0
    first = [trial.arch for trial in searcher.asked[0]]
    promoted = next(trial.arch for trial in searcher.trials if trial.effort == 2)
    assert promoted == max(first, key=TRUTH.__getitem__)  # 6 judged: one in four is the best


def test_what_a_round_cannot_afford_is_for_the_next() -> None:
    searcher = SuccessiveHalving(
        space=SPACE, budgets=[ALL], rng=np.random.default_rng(0), settings=SIZES
    )
    asked = Recorder(searcher)
    searched(asked, rounds=2)
    assert [len(round_) for round_ in asked.asked] == [6, 11]  # 12 and 22 epochs, at 2 each


# Tables with levels of effort


def test_every_level_of_a_table_has_its_own_accuracies_and_cost() -> None:
    table = TableTrials(
        levels=(lambda archs: [0.1] * len(archs), lambda archs: [0.9] * len(archs)),
        epochs=(12, 200),
    )
    arch = CANONICAL[0]
    assert table([Trial(arch, 2), Trial(arch, 1)]) == [0.9, 0.1]
    assert table.cost(Trial(arch, 1)) == 12
    assert table.cost(Trial(arch, 2)) == 200
    with pytest.raises(ValueError, match=r"1 levels of effort with costs \(12, 200\)"):
        TableTrials(levels=table.levels[:1], epochs=(12, 200))


def test_what_the_cheap_level_gets_wrong_the_dear_one_corrects() -> None:
    noise = dict(zip(CANONICAL, np.random.default_rng(2).random(len(CANONICAL)) / 3, strict=True))
    table = TableTrials(
        levels=(
            lambda archs: [TRUTH[arch] / 2 + noise[arch] for arch in archs],
            lambda archs: [TRUTH[arch] for arch in archs],
        ),
        epochs=(12, 200),
    )
    sizes = replace(SIZES, epochs=(12, 212), promoted=(3,), mothers=(4, 2))
    found = searched(made(METHOD, sizes=sizes), accuracy=table)
    assert found.best.effort == 2
    assert found.best.accuracy == TRUTH[found.best.arch]


# Settings


def test_settings_are_those_of_a_preset_but_for_what_a_file_names(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(
        'preset = "published"\nbatch = 64\n[econas]\ncycles = 3\nepochs = [10, 20, 30]\n'
    )
    settings, training = econas_settings(path)
    assert settings == replace(PRESETS["published"], cycles=3, epochs=(10, 20, 30))
    assert training == replace(TRAINING["published"], batch=64, epochs=30)
    assert econas_settings() == (PRESETS["small"], TRAINING["small"])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('preset = "smal"', UnknownName, "no preset is called 'smal'; the nearest is 'small'"),
        ("epochs = 9", InvalidFile, r"the epochs of a search stand in its table \[econas\]"),
        ("econas = 3", InvalidFile, r"econas is a table: write \[econas\]"),
        ("[econas]\ncycle = 3", UnknownName, "the nearest is 'cycles'"),
        ("[econas]\nepochs = [4, 2, 6]", InvalidFile, r"increasing, got \(4, 2, 6\)"),
        ("[econas]\nepochs = [2, 4]", InvalidFile, "2 levels of effort need as many mothers"),
        ("[econas]\nepochs = [0, 4, 6]", InvalidFile, "epochs.0: Input should be greater"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        econas_settings(path)


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["small"].cycles = 3  # type: ignore[misc]
