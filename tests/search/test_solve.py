"""From limits to answers: one search a set of limits, and what the searches share."""

from collections.abc import Sequence

import numpy as np
import pytest

from lut import ErrorBand, LatencyModel
from search.score import Score
from search.solve import Limits, Search, Solution, solve
from search.space import Architecture
from search.spaces import space_named

SPACE = space_named("macro", resolution=8)
MODEL = LatencyModel(
    device="sim",
    base_s=0.0,
    cost_s=np.tile(np.array((1.0, 2.0, 3.0)), (8, 1)),
    band=ErrorBand(ratios=(1.0,) * 20),
    table_hash="of no table",
)
LIMITS = [Limits(limits_s=(seconds,)) for seconds in (12.0, 16.0, 20.0, 24.0)]


def noise(archs: Sequence[Architecture]) -> list[Score]:
    """Return losses that nothing explains: a search of few networks ends anywhere."""
    return [
        Score(accuracy=0.5, loss=float(np.random.default_rng(arch.choices).random()))
        for arch in archs
    ]


def solved(method: str, limits: Sequence[Limits]) -> list[Solution]:
    return solve(
        Search(method=method, rounds=2, population=6),
        space=SPACE,
        models=[MODEL],
        limits=limits,
        accuracy=noise,
        accuracy_from="noise",
    )


@pytest.mark.parametrize("method", ["random", "evolution", "nsga2"])
def test_a_looser_limit_never_has_a_worse_answer(method: str) -> None:
    alone = [solved(method, [each])[0].answer for each in LIMITS]
    together = [each.answer for each in solved(method, LIMITS)]
    losses = [answer.loss or 0.0 for answer in together]
    assert losses == sorted(losses, reverse=True)
    assert [answer.loss or 0.0 for answer in alone] != losses  # by itself, no method does that
    for answer, limits in zip(together, LIMITS, strict=True):
        assert answer.predicted_s <= limits.limits_s
        assert all(each.latency_s <= limits.limits_s for each in answer.front)
    assert all(mine.loss <= its.loss for mine, its in zip(together, alone, strict=True))  # type: ignore[operator]
