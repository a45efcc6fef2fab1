"""What the driver promises, and the contract that every searcher passes."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from devices import InvalidFile
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, within
from profiler import Conv, Head, MBConv, Skip
from search import (
    Accuracy,
    Architecture,
    Candidate,
    NoFeasibleArchitecture,
    RandomSearch,
    Round,
    Searcher,
    SearchResult,
    SearchSpace,
    Trial,
    as_choices,
    run_search,
    space_named,
)
from search.econas.hierarchy import EconasSettings, HierarchicalEvolution
from search.methods.evolution import Evolution
from search.methods.nsga2 import NSGA2Search
from search.score import Score
from search.searcher import non_dominated

SHAPE = (1, 8, 8, 8)
LAYER = (
    Skip(input_shape=SHAPE),
    MBConv(input_shape=SHAPE, channels=8, kernel=3),
    MBConv(input_shape=SHAPE, channels=8, kernel=5),
)
SPACE = SearchSpace(
    name="tiny",
    before=(Conv(input_shape=(1, 3, 8, 8), channels=8),),
    layers=(LAYER,) * 4,
    after=(Head(input_shape=SHAPE, channels=4, classes=2),),
)
CANONICAL = sorted({SPACE.canonical(Architecture(c)) for c in product(range(3), repeat=4)})
ACCURACY = dict(
    zip(CANONICAL, np.random.default_rng(1).permutation(len(CANONICAL)) / 100, strict=True)
)
"""No two accuracies are equal, and none follows from the choices."""

ONE_LEVEL = EconasSettings(initial=20, cycles=30, epochs=(1,), promoted=(), mothers=(20,))

Make: TypeAlias = Callable[[SearchSpace, Sequence[LatencyBudget], int], Searcher]
SEARCHERS: dict[str, Make] = {
    "random": lambda space, budgets, seed: RandomSearch(
        space=space, budgets=budgets, rng=np.random.default_rng(seed), population=40
    ),
    "evolution": lambda space, budgets, seed: Evolution(
        space=space, budgets=budgets, rng=np.random.default_rng(seed), population=10
    ),
    "nsga2": lambda space, budgets, seed: NSGA2Search(
        space=space, budgets=budgets, rng=np.random.default_rng(seed), population=20
    ),
    "nsga2 with seeds": lambda space, budgets, seed: NSGA2Search(
        space=space,
        budgets=budgets,
        rng=np.random.default_rng(seed),
        population=20,
        seeds=[space.sample(np.random.default_rng(i)) for i in range(5)],
    ),
    "ageing evolution": lambda space, budgets, seed: HierarchicalEvolution(
        space=space, budgets=budgets, rng=np.random.default_rng(seed), settings=ONE_LEVEL
    ),
}
every_searcher = pytest.mark.parametrize("make", SEARCHERS.values(), ids=SEARCHERS)


def budget_of(
    limit_s: float,
    costs: Sequence[float] = (1.0, 2.0, 3.0),
    *,
    device: str = "sim",
    layers: int = 4,
) -> LatencyBudget:
    """So many seconds may pass, where each layer costs so much by its choice."""
    model = LatencyModel(
        device=device,
        base_s=0.0,
        cost_s=np.tile(np.array(costs), (layers, 1)),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )
    return LatencyBudget(model=model, target=LatencyTarget(device=device, limit_s=limit_s))


def accuracy(archs: Sequence[Architecture]) -> list[float]:
    return [float(ACCURACY[arch]) for arch in archs]


def search_tiny(
    searcher: Searcher,
    budgets: Sequence[LatencyBudget],
    *,
    rounds: int,
    accuracy: Accuracy = accuracy,
    on_round: Callable[[Round], None] | None = None,
) -> SearchResult:
    return run_search(
        searcher,
        space=SPACE,
        budgets=budgets,
        accuracy=accuracy,
        rounds=rounds,
        on_round=on_round,
    )


@dataclass
class Recorder:
    """Passes everything on and remembers it."""

    inner: Searcher
    asked: list[Sequence[Architecture]] = field(default_factory=list)
    told: list[Sequence[Candidate]] = field(default_factory=list)

    def ask(self) -> Sequence[Architecture]:
        proposed = self.inner.ask()
        self.asked.append([each.arch if isinstance(each, Trial) else each for each in proposed])
        return self.asked[-1]

    def tell(self, judged: Sequence[Candidate]) -> None:
        self.told.append(judged)
        self.inner.tell(judged)


@dataclass
class Scripted:
    """Proposes what it was told to, round by round, then nothing."""

    script: list[list[Architecture]]
    told: list[Sequence[Candidate]] = field(default_factory=list)

    def ask(self) -> Sequence[Architecture]:
        return self.script[len(self.told)] if len(self.told) < len(self.script) else []

    def tell(self, judged: Sequence[Candidate]) -> None:
        self.told.append(judged)


def archs(*texts: str) -> list[Architecture]:
    return [Architecture(tuple(map(int, text))) for text in texts]


# The contract of every searcher


@every_searcher
@pytest.mark.parametrize("name", ["macro", "greedynas"])
def test_proposals_belong_to_the_space(make: Make, name: str) -> None:
    space = space_named(name)
    count = len(space.layers[0])
    budget = budget_of(
        1.6 * len(space.layers), [1.0 + i / 2 for i in range(count)], layers=len(space.layers)
    )
    searcher = Recorder(make(space, [budget], 0))
    run_search(
        searcher,
        space=space,
        budgets=[budget],
        accuracy=lambda given: [sum(arch.choices) / 200 for arch in given],
        rounds=5,
    )
    assert len(searcher.asked) == 5
    for arch in (arch for proposals in searcher.asked for arch in proposals):
        space.check(arch)


@every_searcher
def test_the_same_seed_proposes_the_same_and_another_does_not(make: Make) -> None:
    def proposals(seed: int) -> list[Sequence[Architecture]]:
        searcher = Recorder(make(SPACE, [budget_of(8.0)], seed))
        search_tiny(searcher, [budget_of(8.0)], rounds=4)
        return searcher.asked

    assert proposals(3) == proposals(3)
    assert proposals(3) != proposals(4)


@every_searcher
def test_only_what_keeps_every_budget_is_evaluated_and_never_twice(make: Make) -> None:
    budgets = [budget_of(8.0), budget_of(9.0, (3.0, 2.0, 1.0), device="phone")]
    evaluated: list[Architecture] = []

    def recorded(given: Sequence[Architecture]) -> list[float]:
        evaluated.extend(given)
        return accuracy(given)

    result = search_tiny(make(SPACE, budgets, 0), budgets, accuracy=recorded, rounds=10)
    assert within(budgets, as_choices(evaluated)).all()
    assert len(set(evaluated)) == len(evaluated) == result.evaluations
    assert all(SPACE.canonical(arch) == arch for arch in evaluated)


@every_searcher
def test_where_the_loss_is_known_it_ranks_and_not_the_accuracy(make: Make) -> None:
    def scores(given: Sequence[Architecture]) -> list[Score]:
        """Return losses that say the opposite of accuracies."""
        return [Score(accuracy=top1, loss=3.0 + top1) for top1 in accuracy(given)]

    budgets = [budget_of(12.0)]
    searcher = make(SPACE, budgets, 0)
    result = run_search(searcher, space=SPACE, budgets=budgets, accuracy=scores, rounds=15)
    assert result.best.arch == min(CANONICAL, key=ACCURACY.__getitem__)
    assert result.best.accuracy == 0.0
    losses = [each.loss for each in result.candidates]
    assert losses == sorted(losses, key=lambda loss: loss or 0.0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_refused(loss: float) -> None:
    with pytest.raises(ValueError, match="a loss is finite; architecture 1111 got"):
        run_search(
            Scripted([archs("1111")]),
            space=SPACE,
            budgets=[budget_of(12.0)],
            accuracy=lambda given: [Score(accuracy=0.5, loss=loss) for _ in given],
            rounds=1,
        )


@every_searcher
@pytest.mark.parametrize("limit_s", [4.0, 5.0, 7.0, 12.0])
def test_the_optimum_of_a_tiny_space_is_found(make: Make, limit_s: float) -> None:
    feasible = [arch for arch in CANONICAL if sum(arch.choices) + 4 <= limit_s]
    best = search_tiny(make(SPACE, [budget_of(limit_s)], 0), [budget_of(limit_s)], rounds=15).best
    assert best.arch == max(feasible, key=ACCURACY.__getitem__)


@every_searcher
def test_an_impossible_budget_fails_before_the_first_question(make: Make) -> None:
    searcher = Recorder(make(SPACE, [budget_of(3.9)], 0))
    with pytest.raises(NoFeasibleArchitecture, match="0000, is predicted to take 4000 ms"):
        search_tiny(searcher, [budget_of(3.9)], rounds=3)
    assert not searcher.asked


@every_searcher
def test_a_budget_that_one_network_keeps_is_met_at_once(make: Make) -> None:
    result = search_tiny(make(SPACE, [budget_of(4.0)], 0), [budget_of(4.0)], rounds=1)
    assert [candidate.arch for candidate in result.candidates] == archs("0000")


@every_searcher
def test_budgets_of_two_devices_hold_at_once(make: Make) -> None:
    # What is fast on one is slow on the other; together they leave a band in the middle.
    budgets = [budget_of(8.0), budget_of(8.0, (3.0, 2.0, 1.0), device="phone")]
    result = search_tiny(make(SPACE, budgets, 0), budgets, rounds=30)
    feasible = [arch for arch in CANONICAL if sum(arch.choices) == 4]
    assert result.best.arch == max(feasible, key=ACCURACY.__getitem__)
    assert result.best.latency_s == (8.0, 8.0)


@every_searcher
def test_budgets_that_exclude_each_other_end_with_the_nearest_miss(make: Make) -> None:
    budgets = [budget_of(7.0), budget_of(8.0, (3.0, 2.0, 1.0), device="phone")]
    with pytest.raises(NoFeasibleArchitecture) as caught:
        search_tiny(make(SPACE, budgets, 0), budgets, rounds=10)
    message = str(caught.value)
    assert "networks of space 'tiny' keeps 7000 ms on 'sim' and 8000 ms on 'phone'" in message
    assert "7000 ms on 'sim' (7000 ms allowed) and 9000 ms on 'phone' (8000 ms allowed)" in message
    assert "\n" not in message


@every_searcher
def test_what_becomes_of_the_proposals_may_be_all_the_same(make: Make) -> None:
    result = search_tiny(
        make(SPACE, [budget_of(12.0)], 0),
        [budget_of(12.0)],
        accuracy=lambda given: [0.0] * len(given),
        rounds=10,
    )
    assert result.best.arch == Architecture((0, 0, 0, 0))  # of equals the fastest


# The driver


def test_equal_accuracies_are_ranked_by_latency_and_then_by_choices() -> None:
    searcher = Scripted([archs("2000", "1100", "1000", "1200", "2100")])
    result = search_tiny(
        searcher,
        [budget_of(12.0)],
        accuracy=lambda given: [0.9 if arch in archs("1200") else 0.5 for arch in given],
        rounds=1,
    )
    ranked = [str(candidate.arch) for candidate in result.candidates]
    assert ranked == ["1200", "1000", "1100", "2000", "2100"]


def test_equal_networks_are_judged_once_in_canonical_form() -> None:
    searcher = Scripted([archs("0012", "1020", "1200"), archs("0102", "0000")])
    asked: list[list[Architecture]] = []

    def recorded(given: Sequence[Architecture]) -> list[float]:
        asked.append(list(given))
        return accuracy(given)

    result = search_tiny(searcher, [budget_of(12.0)], accuracy=recorded, rounds=5)
    assert asked == [archs("1200"), archs("0000")]
    assert (result.evaluations, result.priced) == (2, 2)
    assert [[str(c.arch) for c in told] for told in searcher.told] == [
        ["1200"] * 3,
        ["1200", "0000"],
    ]


def test_a_round_without_news_asks_for_no_accuracy() -> None:
    searcher = Scripted([archs("0000"), archs("0000"), archs("2222")])
    calls: list[int] = []

    def counted(given: Sequence[Architecture]) -> list[float]:
        calls.append(len(given))
        return accuracy(given)

    search_tiny(searcher, [budget_of(11.0)], accuracy=counted, rounds=3)
    assert calls == [1]  # 0000 is known in round 2, and 2222 is too slow


def test_candidates_carry_latency_and_interval_of_every_budget() -> None:
    budgets = [budget_of(12.0), budget_of(12.0, (3.0, 2.0, 1.0), device="phone")]
    searcher = Scripted([archs("1111", "2200")])
    search_tiny(searcher, budgets, rounds=1)
    (told,) = searcher.told
    assert [candidate.latency_s for candidate in told] == [(8.0, 8.0), (8.0, 8.0)]
    assert told[0].interval_s == ((8.0, 8.0), (8.0, 8.0))


def test_the_too_slow_are_told_without_an_accuracy() -> None:
    searcher = Scripted([archs("2222", "0000")])
    search_tiny(searcher, [budget_of(8.0)], rounds=1)
    assert [candidate.accuracy is None for candidate in searcher.told[0]] == [True, False]


def test_a_search_ends_after_its_rounds() -> None:
    searcher = Scripted([archs("0000"), archs("1000"), archs("1100")])
    search_tiny(searcher, [budget_of(12.0)], rounds=2)
    assert len(searcher.told) == 2


def test_a_search_ends_when_nothing_is_proposed() -> None:
    searcher = Scripted([archs("0000")])
    result = search_tiny(searcher, [budget_of(12.0)], rounds=99)
    assert len(searcher.told) == 1
    assert result.best.arch == Architecture((0, 0, 0, 0))


def test_every_round_is_reported_with_the_best_so_far() -> None:
    seen: list[Round] = []
    search_tiny(
        Scripted([archs("2222"), archs("1111"), archs("0000", "2000")]),
        [budget_of(8.0)],
        accuracy=lambda given: [(8 - sum(arch.choices)) / 8 for arch in given],
        rounds=9,
        on_round=seen.append,
    )
    assert [(at.number, at.evaluations) for at in seen] == [(1, 0), (2, 1), (3, 3)]
    assert [at.best and str(at.best.arch) for at in seen] == [None, "1111", "0000"]


def test_a_search_that_proposes_nothing_at_all_says_so() -> None:
    with pytest.raises(NoFeasibleArchitecture, match="nothing was proposed for 8000 ms on 'sim'"):
        search_tiny(Scripted([]), [budget_of(8.0)], rounds=1)


def test_the_nearest_miss_is_named() -> None:
    with pytest.raises(NoFeasibleArchitecture) as caught:
        search_tiny(Scripted([archs("2222", "1111", "2220")]), [budget_of(7.5)], rounds=1)
    assert str(caught.value) == (
        "none of 3 networks of space 'tiny' keeps 7500 ms on 'sim'; the nearest, 1111, is "
        "predicted to take 8000 ms on 'sim' (7500 ms allowed). Allow more, or search more rounds"
    )


def test_a_proposal_from_elsewhere_is_refused() -> None:
    with pytest.raises(InvalidFile, match="layer 3 of space 'tiny' has choices 0 to 2, not 7"):
        search_tiny(Scripted([archs("0007")]), [budget_of(8.0)], rounds=1)


def test_no_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="a search needs a round or more, got 0"):
        search_tiny(Scripted([]), [budget_of(8.0)], rounds=0)


@pytest.mark.parametrize("value", [float("nan"), 1.5, -0.1])
def test_an_accuracy_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"is in \[0, 1\]; architecture 0000 got"):
        search_tiny(
            Scripted([archs("0000")]), [budget_of(8.0)], accuracy=lambda given: [value], rounds=1
        )


def test_every_architecture_needs_its_own_accuracy() -> None:
    with pytest.raises(ValueError, match="shorter"):
        search_tiny(
            Scripted([archs("0000", "1000")]),
            [budget_of(8.0)],
            accuracy=lambda given: [0.5],
            rounds=1,
        )


def test_importing_search_loads_neither_torch_nor_pymoo() -> None:
    code = "import sys, lut, search; print({'torch', 'pymoo', 'pandas'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


# The front


def told(arch: str, latency_s: tuple[float, ...], accuracy: float) -> Candidate:
    return Candidate(
        arch=archs(arch)[0],
        latency_s=latency_s,
        interval_s=tuple((each, each) for each in latency_s),
        accuracy=accuracy,
    )


def test_the_front_holds_what_no_other_beats_in_accuracy_and_latency() -> None:
    candidates = [
        told("2222", (9.0,), 0.9),
        told("2221", (9.5,), 0.8),  # slower than one that is more accurate
        told("2220", (7.0,), 0.7),
        told("2210", (7.0,), 0.7),  # equal to the one before
        told("2200", (6.0,), 0.7),  # as accurate and faster, but ranked by another
        told("1000", (2.0,), 0.1),
    ]
    ranked = sorted(candidates, key=lambda candidate: candidate.rank)
    assert [str(each.arch) for each in non_dominated(ranked)] == ["2222", "2200", "1000"]


def test_on_two_devices_it_is_enough_to_be_faster_on_one() -> None:
    candidates = [
        told("2222", (9.0, 5.0), 0.9),
        told("2221", (8.0, 6.0), 0.8),
        told("2220", (9.0, 4.0), 0.7),
        told("2210", (8.5, 6.0), 0.6),  # the second one is faster here and as fast there
    ]
    front = [str(each.arch) for each in non_dominated(candidates)]
    assert front == ["2222", "2221", "2220"]


# Random draws that keep the budgets


def rows_of(searcher: RandomSearch) -> NDArray[np.uint16]:
    return as_choices(searcher.ask())


def test_random_draws_keep_a_tight_budget() -> None:
    space = space_named("greedynas")
    budget = budget_of(23.0, range(7, 0, -1), layers=21)  # the minimum is 21
    rng = np.random.default_rng(0)
    rows = rows_of(RandomSearch(space=space, budgets=[budget], rng=rng, population=200))
    assert within([budget], rows).all()
    assert len(np.unique(rows, axis=0)) > 100


def test_random_draws_that_keep_the_budget_stay_as_they_are() -> None:
    budget = budget_of(12.0)
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    rows = rows_of(RandomSearch(space=SPACE, budgets=[budget], rng=rng, population=50))
    assert rows.tolist() == SPACE.sample_batch(50, same).tolist()
