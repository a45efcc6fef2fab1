"""A limit on memory beside those on latency: real engines of a tiny space, built here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import InvalidFile, device_named
from lut import ErrorBand, LatencyModel
from lut.plans.memory import MemoryModel
from lut.plans.plan_table import chains_to_plan, fill_plans, plan_file_for
from profiler import Conv, Head, MBConv, OpSpec, Skip
from search.answers import read_answers, write_answers
from search.econas.hierarchy import PROXY_METHODS, RANDOM, EconasSettings
from search.econas.on_data import searcher_of
from search.exact import NoFeasibleArchitecture, megabytes
from search.memory import (
    MemoryAsked,
    MemoryLimit,
    MemoryPromise,
    lightened,
    promise_from_json,
)
from search.pricing.planning import plan_space
from search.searcher import Candidate, run_search, run_trials
from search.sgnas.projection import Proposals
from search.solve import Limits, Search, Solution, budgets_of, solve
from search.space import Architecture, SearchSpace, as_choices
from search.spaces import space_named

SHAPE = (1, 32, 8, 8)
STEM = Conv(input_shape=(1, 3, 16, 16), channels=32, kernel=3, stride=2)
CHOICES: tuple[OpSpec, ...] = (
    Skip(input_shape=SHAPE),
    *(MBConv(input_shape=SHAPE, channels=32, expand=expand) for expand in (3, 6)),
)
SPACE = SearchSpace(
    name="tiny",
    before=(STEM,),
    layers=(CHOICES,) * 3,
    after=(Head(input_shape=SHAPE, channels=64, classes=10),),
)
AOT = device_named("rtx-aot")
LATENCY = LatencyModel(
    device="phone",
    base_s=1e-3,
    cost_s=np.tile([1e-4, 2e-4, 3e-4], (len(SPACE.layers), 1)),
    band=ErrorBand(ratios=(0.99, 1.0, 1.01)),
    table_hash="",
)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "macro.plan"
    plan_space(path, SPACE, AOT, ["8.6"])
    return path


def limit_of(plans: Path, limit_mb: float) -> MemoryLimit:
    return MemoryAsked(plans=plans, limit_bytes=limit_mb * 1e6).limit(SPACE)


@pytest.fixture(scope="module")
def model(plans: Path) -> MemoryModel:
    return limit_of(plans, 1.0).budget.model


def larger_is_better(archs: Sequence[Architecture]) -> list[float]:
    return [sum(arch.choices) / 20 for arch in archs]


def solved(plans: Path, limit_mb: float, *, method: str = "evolution") -> Solution:
    (solution,) = solve(
        Search(method=method, rounds=6, population=12),
        space=SPACE,
        models=[LATENCY],
        limits=[Limits(limits_s=(1.0,))],
        accuracy=larger_is_better,
        accuracy_from="the sum of the choices",
        memory=limit_of(plans, limit_mb),
    )
    return solution


def test_predictions_are_near_what_engines_take(plans: Path, model: MemoryModel) -> None:
    limit, rng = limit_of(plans, 100.0), np.random.default_rng(7)
    for arch in [SPACE.canonical(SPACE.sample(rng)) for _ in range(2)]:
        _, promise = limit.kept([candidate(arch)], SPACE)
        assert promise.predicted_bytes == model.total_bytes(as_choices([arch]))[0]
        assert promise.predicted_bytes == pytest.approx(promise.built_bytes, rel=0.02)


def candidate(arch: Architecture) -> Candidate:
    return Candidate(arch=arch, latency_s=(1e-3,), interval_s=((1e-3, 1e-3),), accuracy=0.5)


def halfway_mb(model: MemoryModel) -> float:
    """Return a limit between the smallest and the largest network."""
    ends = np.array([model.smallest, [2] * len(SPACE.layers)])
    return float(model.total_bytes(ends).mean()) / 1e6


@pytest.mark.parametrize("method", ["evolution", "nsga2", "random"])
def test_no_answer_breaks_the_limit_and_its_engine_was_built(
    method: str, plans: Path, model: MemoryModel
) -> None:
    limit_mb = halfway_mb(model)
    solution = solved(plans, limit_mb, method=method)
    kept = as_choices([each.arch for each in solution.result.candidates])
    assert (model.total_bytes(kept) <= limit_mb * 1e6).all()
    promise = solution.answer.memory
    assert promise is not None
    assert promise.built_bytes <= limit_mb * 1e6
    assert "Its engine for compute capability 8.6 was built and takes" in solution.note


@pytest.mark.parametrize("method", [*PROXY_METHODS, RANDOM])
def test_methods_that_train_their_candidates_train_none_that_is_too_large(
    method: str, plans: Path, model: MemoryModel
) -> None:
    budget = limit_of(plans, halfway_mb(model)).budget
    (budgets,) = [budgets_of([LATENCY], Limits(limits_s=(1.0,)), 0.95)]
    found = run_trials(
        searcher_of(
            method,
            space=SPACE,
            budgets=budgets,
            rng=np.random.default_rng(0),
            sizes=EconasSettings(),
            memory=budget,
        ),
        space=SPACE,
        budgets=budgets,
        accuracy=lambda trials: larger_is_better([trial.arch for trial in trials]),
        rounds=4,
        memory=budget,
    )
    kept = as_choices([each.arch for each in found.judged])
    assert len(kept) > 1
    assert (budget.excess(kept) <= 0.0).all()


def test_proposals_that_are_too_large_are_not_evaluated(plans: Path, model: MemoryModel) -> None:
    small, large = (Architecture((c,) * len(SPACE.layers)) for c in (0, 2))
    (solution,) = solve(
        Search(method="sgnas"),
        space=SPACE,
        models=[LATENCY],
        limits=[Limits(limits_s=(1.0,))],
        accuracy=larger_is_better,
        accuracy_from="the sum of the choices",
        seeds=(large, small),
        memory=limit_of(plans, halfway_mb(model)),
    )
    assert [each.arch for each in solution.result.judged] == [small]
    assert solution.answer.memory is not None


def test_a_network_is_made_lighter_until_it_fits(plans: Path, model: MemoryModel) -> None:
    rows = np.array([[2] * len(SPACE.layers), model.smallest])
    most = float(model.total_bytes(rows).max())
    budget = limit_of(plans, (most - 1.0) / 1e6).budget  # one layer has to give way
    lighter = lightened(rows, budget, np.random.default_rng(0))
    assert (budget.excess(lighter) <= 0.0).all()
    assert (lighter[1] == rows[1]).all()
    assert sorted(lighter[0].tolist()) == [0, 2, 2]


def test_a_wide_limit_leaves_the_best_of_all(plans: Path) -> None:
    assert solved(plans, 1000.0).answer.arch == Architecture((2,) * len(SPACE.layers))


def test_a_limit_below_the_minimum_names_the_minimum(plans: Path, model: MemoryModel) -> None:
    least = model.total_bytes(np.array([model.smallest]))[0]
    with pytest.raises(NoFeasibleArchitecture, match="no network of space 'tiny' keeps 1 MB") as e:
        solved(plans, 1.0)
    assert f"is predicted to take {megabytes(least)}. Allow" in str(e.value)


def test_the_minimum_itself_is_enough(plans: Path, model: MemoryModel) -> None:
    least_mb = float(model.total_bytes(np.array([model.smallest]))[0]) / 1e6
    assert solved(plans, least_mb).answer.arch == SPACE.canonical(Architecture(model.smallest))


def test_a_winner_whose_engine_is_larger_than_predicted_is_passed_over(
    plans: Path, model: MemoryModel
) -> None:
    small, large = (Architecture((c,) * len(SPACE.layers)) for c in (0, 2))
    optimist = replace(model, spare_bytes=-5e6)
    honest = limit_of(plans, halfway_mb(model))
    limit = replace(honest, budget=replace(honest.budget, model=optimist))
    others, promise = limit.kept([candidate(large), candidate(small)], SPACE)
    assert [each.arch for each in others] == [small]
    assert promise.built_bytes <= promise.limit_bytes
    with pytest.raises(NoFeasibleArchitecture, match=r"none of the 1 best networks .* once it is"):
        limit.kept([candidate(large)], SPACE)


def test_an_answer_keeps_its_promise_in_the_file(
    plans: Path, model: MemoryModel, tmp_path: Path
) -> None:
    answer = replace(  # a file names its space, and this one has no name that anybody knows
        solved(plans, halfway_mb(model)).answer,
        space=space_named("macro", resolution=8),
        arch=Architecture((0,) * 8),
        runners_up=(),
        front=(),
    )
    write_answers(tmp_path / "arch.json", [answer])
    (read,) = read_answers(tmp_path / "arch.json")
    assert read.memory is not None
    assert answer.memory is not None
    assert read.memory.capability == "8.6"
    assert read.memory.built_bytes == pytest.approx(answer.memory.built_bytes)


def test_a_runner_up_promises_no_memory(plans: Path, model: MemoryModel) -> None:
    answer = solved(plans, halfway_mb(model)).answer
    following = answer.next_best()
    assert following is not None
    assert following.memory is None


def test_a_table_for_several_gpus_wants_one_named(tmp_path: Path) -> None:
    both = tmp_path / "both.plan"
    wanted = chains_to_plan([STEM], [])
    with plan_file_for(both, AOT) as file:
        fill_plans(file, wanted, ["7.5", "8.6"])
    with pytest.raises(InvalidFile, match=r"compute capabilities 7\.5, 8\.6: name one"):
        MemoryAsked(plans=both, limit_bytes=1.0).limit(SPACE)


def test_where_memory_alone_was_broken_the_refusal_says_so(plans: Path, model: MemoryModel) -> None:
    large, medium = (Architecture((c,) * len(SPACE.layers)) for c in (2, 1))
    needed, least = model.total_bytes(as_choices([medium, Architecture(model.smallest)]))
    limit_mb = float(needed + least) / 2e6
    with pytest.raises(NoFeasibleArchitecture) as caught:
        run_search(
            Proposals(archs=[large, medium]),
            space=SPACE,
            budgets=budgets_of([LATENCY], Limits(limits_s=(8e-3,)), 0.95),
            accuracy=larger_is_better,
            rounds=1,
            memory=limit_of(plans, limit_mb).budget,
        )
    limit = megabytes(limit_mb * 1e6)
    assert str(caught.value) == (
        f"none of 2 networks of space 'tiny' keeps 8 ms on 'phone' and {limit} on compute "
        f"capability 8.6; the nearest, {medium}, is predicted to take 1.6 ms on 'phone' (7.735 ms "
        f"allowed) and {megabytes(needed)} on compute capability 8.6 ({limit} allowed). Allow "
        "more memory, or search more rounds"
    )


def test_where_time_and_memory_were_broken_the_nearest_is_by_the_larger_excess(
    plans: Path, model: MemoryModel
) -> None:
    large, medium = (Architecture((c,) * len(SPACE.layers)) for c in (2, 1))
    fewer = replace(
        limit_of(plans, 1.0).budget,
        limit_bytes=0.5 * model.total_bytes(as_choices([Architecture(model.smallest)]))[0],
    )
    with pytest.raises(NoFeasibleArchitecture) as caught:
        run_search(
            Proposals(archs=[large, medium]),
            space=SPACE,
            budgets=budgets_of([LATENCY], Limits(limits_s=(1.5e-3,)), 0.95),
            accuracy=larger_is_better,
            rounds=1,
            memory=fewer,
        )
    assert f"the nearest, {medium}, is predicted to take 1.6 ms on 'phone'" in str(caught.value)
    assert str(caught.value).endswith(
        "Allow more time on 'phone' and more memory, or search more rounds"
    )


def test_megabytes_are_rounded_up_where_they_are_copied() -> None:
    assert megabytes(12_345_678) == "12.35 MB"
    assert megabytes(12_341_000, up=True) == "12.35 MB"


def test_many_megabytes_have_all_their_digits() -> None:
    assert megabytes(12_345.6e6) == "12346 MB"
    assert megabytes(12_345.6e6, up=True) == "12350 MB"


def test_a_promise_survives_json() -> None:
    promise = MemoryPromise(
        capability="8.6", limit_bytes=4e6, predicted_bytes=3e6, built_bytes=2.5e6
    )
    assert promise_from_json(promise.as_json()) == promise
