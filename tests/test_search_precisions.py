"""One device, several number formats: which answer is taken, and what is said of it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, InvalidFile, Simulation
from export.precision.format_drop import FormatAsked, format_from_text
from lut import LatencyModel, latency_model, table_for
from search.exact import NoFeasibleArchitecture
from search.precisions import NumberFormat, check_formats, solve_formats
from search.solve import Limits, Search, Solution, solve
from search.space import Architecture, SearchSpace
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


def found(
    models: Sequence[LatencyModel], limits: Sequence[Limits], *, space: SearchSpace = SPACE
) -> list[Solution]:
    return solve(
        Search(method="evolution", rounds=8, population=30),
        space=space,
        models=models,
        limits=limits,
        accuracy=by_size,
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
        NumberFormat(models=(fast,), drop_points=drop, drop_from="as given"),
    ]


def middle(model: LatencyModel) -> Limits:
    """Return a limit between the fastest and the slowest network of a model."""
    low, high = model.price(np.array([[0] * 8, [2] * 8])).latency_s.tolist()
    return Limits(limits_s=((low + high) / 2,))


def test_a_format_that_fits_a_better_network_is_taken_with_what_it_costs(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    limits = middle(models[0])
    (floats,) = found(models[:1], [limits])
    (best,) = solve_formats(formats(models, 0.5), [limits], found)
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
    (best,) = solve_formats(formats(models, 30.0), [limits], found)
    (floats,) = found(models[:1], [limits])
    assert best.answer == floats.answer
    assert "else " in best.note
    assert "on 'sim-int8'" in best.note


def test_a_limit_that_one_format_alone_keeps_has_its_answer(
    models: tuple[LatencyModel, LatencyModel],
) -> None:
    limits = middle(models[1])
    with pytest.raises(NoFeasibleArchitecture):
        found(models[:1], [limits])
    (best,) = solve_formats(formats(models, 30.0), [limits], found)
    assert best.answer.devices == ("sim-int8",)
    with pytest.raises(NoFeasibleArchitecture, match="sim-fp32"):
        solve_formats(formats(models, 30.0), [Limits(limits_s=(1e-9,))], found)


def test_one_format_alone_is_a_search_as_ever(models: tuple[LatencyModel, LatencyModel]) -> None:
    limits = [middle(models[0])]
    alone = solve_formats([NumberFormat(models=models[:1])], limits, partial(found))
    assert [each.answer for each in alone] == [each.answer for each in found(models[:1], limits)]


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


def test_points_may_stand_behind_a_table() -> None:
    assert format_from_text("a.lut") == FormatAsked(table=Path("a.lut"))
    assert format_from_text("a.lut:0.4") == FormatAsked(table=Path("a.lut"), drop_points=0.4)
    with pytest.raises(InvalidFile, match="write TABLE, or TABLE:POINTS"):
        format_from_text("a.lut:few")
    with pytest.raises(InvalidFile, match="0 or more"):
        format_from_text("a.lut:-1")
