"""One device, several number formats: which answer is taken, and what is said of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices import DeviceSpec, InvalidFile, Simulation, device_named
from devices.spec import TENSORRT_SCHEME
from export.precision.format_drop import FormatAsked, format_from_text
from lut import LatencyBudget, LatencyModel, LatencyTarget, latency_model, table_for
from search.exact import NoFeasibleArchitecture
from search.precisions import FormatCost, NumberFormat, check_formats, solve_formats
from search.pricing.tables import estimate_space
from search.score import Score, Scoring
from search.searcher import SearchResult, candidates_among, run_search
from search.solve import Limits, Search, Solver, budgets_of, models_of
from search.space import Architecture
from search.spaces import space_named

SLOW = DeviceSpec(
    name="sim-fp32", backend="simulated", simulation=Simulation(noise=0.0, process_noise=0.0)
)
FAST = DeviceSpec(
    name="sim-int8",
    backend="simulated",
    precision="int8",
    simulation=Simulation(
        noise=0.0,
        process_noise=0.0,
        dense_macs_per_s=160e9,
        depthwise_macs_per_s=24e9,
        bytes_per_s=40e9,
        node_s=5e-7,
    ),
)
SPACE = space_named("macro", resolution=8)


def by_size(archs: Sequence[Architecture]) -> list[float]:
    """Return 50 % and 2 points more for every digit's worth."""
    return [0.5 + 0.02 * sum(arch.choices) for arch in archs]


def solver(scoring: Scoring = by_size) -> Solver:
    return Solver(
        search=Search(method="evolution", rounds=8, population=30),
        space=SPACE,
        accuracy=scoring,
        accuracy_from="digits",
    )


@pytest.fixture(scope="module")
def models(request: pytest.FixtureRequest) -> tuple[LatencyModel, LatencyModel]:
    make = request.getfixturevalue("make_table")
    slow, fast = (latency_model(make(device, SPACE), SPACE) for device in (SLOW, FAST))
    return slow, fast


def formats(models: tuple[LatencyModel, LatencyModel], drop: float) -> list[NumberFormat]:
    slow, fast = models
    return [
        NumberFormat(models=(slow,)),
        NumberFormat(models=(fast,), cost=FormatCost(drop_points=drop, known_from="as given")),
    ]


def middle(model: LatencyModel) -> Limits:
    """Return a limit between the fastest and the slowest network of a model."""
    low, high = model.price(np.array([[0] * 8, [2] * 8])).latency_s.tolist()
    return Limits(limits_s=((low + high) / 2,))


def test_a_format_that_fits_a_better_network_is_taken_with_what_it_costs(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    limits = middle(models[0])
    (floats,) = solver().solve(models[:1], [limits])
    (best,) = solve_formats(formats(models, 0.5), [limits], solver())
    answer = best.answer
    assert answer.devices == ("sim-int8",)
    assert str(answer.arch) == "22222222"
    assert answer.accuracy is not None
    assert answer.accuracy == pytest.approx(0.5 + 0.02 * 16 - 0.005)
    assert floats.answer.accuracy is not None
    assert answer.accuracy > floats.answer.accuracy
    assert "less 0.50 points, which this format is assumed to cost every network" in (
        answer.accuracy_from
    )
    assert "Of its formats 'sim-int8' is best; else" in best.note
    front = [each.accuracy for each in answer.front]
    assert front[0] == answer.accuracy


def test_a_format_that_costs_more_than_it_buys_is_not(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    limits = middle(models[0])
    (best,) = solve_formats(formats(models, 30.0), [limits], solver())
    (floats,) = solver().solve(models[:1], [limits])
    assert best.answer == floats.answer
    assert "else " in best.note
    assert "on 'sim-int8'" in best.note


def test_a_limit_that_one_format_alone_keeps_has_its_answer(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    limits = middle(models[1])
    with pytest.raises(NoFeasibleArchitecture):
        solver().solve(models[:1], [limits])
    (best,) = solve_formats(formats(models, 30.0), [limits], solver())
    assert best.answer.devices == ("sim-int8",)
    with pytest.raises(NoFeasibleArchitecture, match="sim-fp32"):
        solve_formats(formats(models, 30.0), [Limits(limits_s=(1e-9,))], solver())


def by_both(archs: Sequence[Architecture]) -> list[Score]:
    """Return as many right for all, and a loss that falls with every digit's worth."""
    return [Score(accuracy=0.5, loss=2.0 - 0.1 * sum(arch.choices)) for arch in archs]


@pytest.mark.parametrize(
    ("cost", "best", "loss"),
    [
        (FormatCost(loss_rise=0.01, known_from="measured"), "sim-int8", 2.0 - 1.6 + 0.01),
        (FormatCost(loss_rise=2.0, known_from="measured"), "sim-fp32", None),
        (FormatCost(drop_points=1.0, loss_rise=0.01, known_from="both"), "sim-int8", None),
        (FormatCost(drop_points=1.0, known_from="as given"), "sim-fp32", None),
        (FormatCost(drop_points=0.0, known_from="as given"), "sim-fp32", None),
    ],
)
def test_formats_are_compared_by_the_loss_where_it_is_known_in_all_and_else_by_accuracy(
    models: tuple[LatencyModel, LatencyModel], cost: FormatCost, best: str, loss: float | None
) -> None:
    slow, fast = models
    both = [NumberFormat(models=(slow,)), NumberFormat(models=(fast,), cost=cost)]
    limits = [middle(slow)]
    (found_,) = solve_formats(both, limits, solver(by_both))
    assert found_.answer.devices == (best,)
    if loss is not None:
        assert found_.answer.loss == pytest.approx(loss)
        assert found_.answer.front[0].loss == pytest.approx(loss)
        assert "(loss " in found_.note


def at_odds(archs: Sequence[Architecture]) -> list[Score]:
    """Return accuracies that rise with every digit's worth, and losses that do, too."""
    sizes = [sum(arch.choices) for arch in archs]
    return [Score(accuracy=0.5 + 0.02 * size, loss=1.0 + 0.1 * size) for size in sizes]


@pytest.mark.parametrize("limited_by", [0, 1])
def test_where_points_were_given_accuracy_ranks_within_a_format_as_between_them(
    models: tuple[LatencyModel, LatencyModel], limited_by: int
) -> None:
    known, limits = solver(at_odds), middle(models[limited_by])
    (found,) = solve_formats(formats(models, 0.5), [limits], known)
    answer = found.answer
    assert answer.devices == ("sim-int8",)
    pool = candidates_among(known.known, budgets_of(models[1:], limits, 0.95))
    most = max(each.accuracy or 0.0 for each in pool)
    assert answer.accuracy == pytest.approx(most - 0.005)
    for line in ((answer.chosen, *answer.runners_up), answer.front):
        assert all(each.loss is None for each in line)
        falling = [each.accuracy or 0.0 for each in line]
        assert falling == sorted(set(falling), reverse=True)
        (latencies,) = zip(*(each.latency_s for each in line), strict=True)
        assert list(latencies) == sorted(set(latencies), reverse=True)
    following = answer.next_best()
    assert following is not None
    assert following.accuracy == answer.runners_up[0].accuracy
    assert "digits in the search and by accuracy in the answer, in fp32" in answer.accuracy_from


def test_where_all_is_known_in_loss_it_ranks_within_a_format_as_between_them(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    cost = FormatCost(drop_points=0.5, loss_rise=0.01, known_from="measured")
    both = [NumberFormat(models=models[:1]), NumberFormat(models=models[1:], cost=cost)]
    (found,) = solve_formats(both, [middle(models[0])], solver(at_odds))
    assert str(found.answer.arch) == "00000000"  # the least loss, though the least accurate
    assert found.answer.loss == pytest.approx(1.0)
    assert found.answer.devices == ("sim-fp32",)


def test_what_a_format_costs_in_nats_is_not_guessed(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    limits = [middle(models[1])]  # which fp32 cannot keep
    (best,) = solve_formats(formats(models, 1.0), limits, solver(by_both))
    assert best.answer.loss is None
    assert best.answer.accuracy == pytest.approx(0.49)


def test_what_one_format_evaluates_answers_the_others_and_nothing_is_judged_twice(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    asked: list[Architecture] = []

    def counted(archs: Sequence[Architecture]) -> list[float]:
        asked.extend(archs)
        return by_size(archs)

    slow, fast = models
    limits = [middle(slow), middle(fast), Limits(limits_s=(1.0,))]
    known = solver(counted)
    first, _, loose = solve_formats(formats(models, 0.5), limits, known)
    assert len(set(asked)) == len(asked) == len(known.known)
    assert str(first.answer.arch) == str(loose.answer.arch) == "22222222"
    assert loose.answer.devices == ("sim-fp32",)  # as good, and nothing lost
    (fp32, *_) = candidates_among(known.known, budgets_of((slow,), limits[0], 0.95))
    assert f"else {fp32.accuracy:.1%} on 'sim-fp32'" in first.note


def test_a_limit_that_no_format_keeps_is_refused_before_anything_is_searched(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    def never(archs: Sequence[Architecture]) -> list[float]:
        raise AssertionError("something was evaluated")

    limits = [middle(models[0]), Limits(limits_s=(1e-9,))]
    with pytest.raises(NoFeasibleArchitecture, match="sim-fp32"):
        solve_formats(formats(models, 0.5), limits, solver(never))


def test_rounds_come_with_the_number_of_their_limit_in_every_format(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    numbers: list[int] = []
    known = replace(solver(), on_round=lambda number, _: numbers.append(number))
    limits = [middle(models[1]), middle(models[0])]  # fp32 cannot keep the first
    solve_formats(formats(models, 0.5), limits, known)
    assert list(dict.fromkeys(numbers)) == [1, 0]  # fp32's, then int8's first
    assert numbers[-1] == 1


def test_a_limit_that_a_search_alone_finds_too_tight_costs_the_others_nothing(
    models: tuple[LatencyModel, LatencyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight, loose = middle(models[0]), Limits(limits_s=(1.0,))

    def refusing(*args: Any, budgets: Sequence[LatencyBudget], **kwargs: Any) -> SearchResult:
        if budgets[0].target == LatencyTarget(device="sim-fp32", limit_s=tight.limits_s[0]):
            raise NoFeasibleArchitecture("none was found")
        return run_search(*args, budgets=budgets, **kwargs)

    monkeypatch.setattr("search.solve.run_search", refusing)
    first, second = solve_formats(formats(models, 0.5), [tight, loose], solver())
    assert first.answer.devices == ("sim-int8",)
    assert "none was found" in first.note
    assert second.answer.devices == ("sim-fp32",)


def test_one_format_alone_is_a_search_as_ever(models: tuple[LatencyModel, LatencyModel]) -> None:
    limits = [middle(models[0])]
    alone = solve_formats([NumberFormat(models=models[:1])], limits, solver())
    assert [each.answer for each in alone] == [
        each.answer for each in solver().solve(models[:1], limits)
    ]


def test_tables_of_other_devices_or_of_one_format_twice_are_refused(tmp_path: Path) -> None:
    paths = {}
    for name, device in {
        "fp32": SLOW,
        "again": replace(SLOW, name="again"),
        "int8": replace(SLOW, name="int8", precision="int8"),
        "threads": replace(SLOW, name="threads", precision="int8", threads=2),
    }.items():
        paths[name] = tmp_path / f"{name}.lut"
        with table_for(paths[name], device):
            pass
    check_formats(paths["fp32"], [paths["int8"]])
    with pytest.raises(InvalidFile, match="in fp32, as another table is"):
        check_formats(paths["fp32"], [paths["again"]])
    with pytest.raises(InvalidFile, match=r"'threads', which is not 'sim-fp32' .* --also TABLE:MS"):
        check_formats(paths["fp32"], [paths["threads"]])


def test_tables_of_estimates_may_be_of_several_formats_too(tmp_path: Path) -> None:
    floats = device_named("t4-roofline")
    whole = replace(floats, name="t4-int8", precision="int8", quantization=TENSORRT_SCHEME)
    for device in (floats, whole):
        estimate_space(tmp_path / f"{device.name}.lut", SPACE, device)
    paths = [tmp_path / f"{device.name}.lut" for device in (floats, whole)]
    check_formats(paths[0], paths[1:])
    formats = [
        NumberFormat(models=(model,), cost=cost)
        for model, cost in zip(
            models_of(paths, SPACE, origins=["estimated"]),
            (FormatCost(), FormatCost(drop_points=1.0, known_from="as given")),
            strict=True,
        )
    ]
    (found,) = solve_formats(formats, [Limits(limits_s=(1.0,))], solver())
    assert found.answer.devices == ("t4-roofline",)
    assert "Estimated, not measured: every latency on 't4-roofline'" in found.note
    assert "else 81.0% on 't4-int8'" in found.note


def test_points_may_stand_behind_a_table() -> None:
    assert format_from_text("a.lut") == FormatAsked(table=Path("a.lut"))
    assert format_from_text("a.lut:0.4") == FormatAsked(table=Path("a.lut"), drop_points=0.4)
    with pytest.raises(InvalidFile, match="write TABLE, or TABLE:POINTS"):
        format_from_text("a.lut:few")
    with pytest.raises(InvalidFile, match="0 or more"):
        format_from_text("a.lut:-1")


def test_a_table_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "int8:2.lut"
    path.touch()
    assert format_from_text(str(path)) == FormatAsked(table=path)
    assert format_from_text(f"{path}:1") == FormatAsked(table=path, drop_points=1.0)
