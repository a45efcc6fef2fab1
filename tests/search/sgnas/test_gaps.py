"""Filling gaps between the answers to many limits: by hand, on a space with known costs."""

from collections.abc import Sequence

import numpy as np
import pytest

from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from search import Architecture, as_choices, run_search, space_named
from search.sgnas.gaps import Gap, GapFilling

SPACE = space_named("macro", resolution=8, classes=10)
MODEL = LatencyModel(  # a network takes as many seconds as its choices add up to, and one more
    device="sum",
    base_s=1.0,
    cost_s=np.tile([0.0, 1.0, 2.0], (8, 1)),
    band=ErrorBand(ratios=(1.0,) * 20),
    table_hash="sum",
)
NOTHING, ALL = Architecture((0,) * 8), Architecture((2,) * 8)


def budgets_of(*limits_s: float) -> list[LatencyBudget]:
    return [
        LatencyBudget(model=MODEL, target=LatencyTarget(device="sum", limit_s=limit_s))
        for limit_s in limits_s
    ]


def by_work(archs: Sequence[Architecture]) -> list[float]:
    return [sum(arch.choices) / 16 for arch in archs]


def filling(archs: list[Architecture], *, most: int, limits_s: Sequence[float]) -> GapFilling:
    return GapFilling(
        space=SPACE,
        budgets=budgets_of(*limits_s),
        archs=archs,
        opinion=lambda some: np.array([arch.choices[0] for arch in some], float),
        most=most,
        rng=np.random.default_rng(0),
    )


def searched(filler: GapFilling) -> list[Architecture]:
    """Run a search to its end; return what was evaluated, in order."""
    found = run_search(
        filler, space=SPACE, budgets=filler.budgets[-1:], accuracy=by_work, rounds=100
    )
    return [each.arch for each in found.judged]


def test_gaps_are_the_limits_that_share_an_answer_the_widest_first() -> None:
    half = Architecture((2, 2, 2, 2, 0, 0, 0, 0))  # 9 s
    filler = filling([NOTHING, half, ALL], most=3, limits_s=(1.5, 2, 3, 4, 10, 11, 18))
    assert searched(filler) == [NOTHING, half, ALL]
    assert [each.arch for each in filler.answers()] == [NOTHING] * 4 + [half] * 2 + [ALL]
    assert filler.gaps() == [
        Gap(width=4, over_s=1.0, within_s=4.0),
        Gap(width=2, over_s=9.0, within_s=11.0),
    ]


def test_each_gap_asks_for_the_most_promising_neighbour_inside_it() -> None:
    filler = filling([NOTHING, ALL], most=3, limits_s=(1.5, 2.5, 18))
    first, last, new = searched(filler)
    assert (first, last) == (NOTHING, ALL)
    assert new == Architecture((1, 0, 0, 0, 0, 0, 0, 0))  # 2 s, and its first choice is largest


def test_gaps_are_filled_until_none_is_left_and_nothing_is_asked_twice() -> None:
    limits_s = np.linspace(1.5, 17.5, 33).tolist()
    filler = filling([NOTHING, ALL], most=100, limits_s=limits_s)
    archs = searched(filler)
    assert sorted(sum(arch.choices) for arch in archs) == list(range(17))  # every latency once
    latency_s = MODEL.latency_s(as_choices([each.arch for each in filler.answers()]))
    assert latency_s.tolist() == np.floor(limits_s).tolist()


def test_no_more_is_evaluated_than_may_be() -> None:
    limits_s = np.linspace(1.5, 17.5, 33).tolist()
    assert len(searched(filling([NOTHING, ALL], most=9, limits_s=limits_s))) == 9


def test_one_limit_has_no_gap() -> None:
    filler = filling([NOTHING, ALL], most=25, limits_s=(18.0,))
    assert searched(filler) == [NOTHING, ALL]


@pytest.mark.parametrize("most", [0, 2])
def test_the_given_networks_are_asked_even_where_they_are_too_many(most: int) -> None:
    given = [NOTHING, ALL, Architecture((1, 0, 0, 0, 0, 0, 0, 0))]
    assert searched(filling(given, most=most, limits_s=(1.5, 2.5, 18))) == given
