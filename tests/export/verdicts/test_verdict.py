"""Met or missed: how sure that is, however often a measurement was looked at while it grew."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from devices import device_named
from export.verdicts.shipped_views import verdict_view
from export.verdicts.verdict import Verdict, decision, repeated_interval_s
from export.verdicts.verify import Plan
from lut import Conditions
from profiler import Measurement, Slice

SPREAD = 0.01
"""Standard deviation of a process's speed."""


def processes(count: int, *, seed: int) -> list[Slice]:
    """Return two slices of each of some processes, whose speeds vary around 1 s."""
    rng = np.random.default_rng(seed)
    speeds = np.exp(rng.normal(0.0, SPREAD, count))
    return [
        Slice(
            process=process,
            round=round_,
            gate="clean",
            repeats=1,
            samples_s=(float(speed),) * 3,
            reference_s=(1.0,) * 3,
        )
        for process, speed in enumerate(speeds)
        for round_ in range(2)
    ]


def test_looks_are_few_and_the_last_one_is_at_the_cap() -> None:
    assert Plan().looks == (5, 10, 15)
    assert Plan(processes=4, most=5).looks == (4, 5)
    assert Plan(processes=3, most=3).looks == (3,)


def test_more_looks_share_what_one_look_may_be_wrong() -> None:
    measurement = Measurement(slices=tuple(processes(5, seed=0)))
    assert repeated_interval_s(measurement, 1) == measurement.median_interval_s(0.95)
    assert repeated_interval_s(measurement, 5) == measurement.median_interval_s(0.99)


def test_the_accuracy_that_was_measured_is_said() -> None:
    verdict = Verdict(
        limit_s=2.0,
        predicted_s=None,
        measurement=Measurement(slices=tuple(processes(5, seed=0))),
        conditions=Conditions(device=device_named("sim"), environment={}),
        parity_max_abs=0.0,
        test_accuracy=0.876,
    )
    out = Console(file=StringIO(), width=200)
    out.print(verdict_view(verdict))
    assert isinstance(out.file, StringIO)
    assert "accuracy on the test split as promised: 87.60%" in out.file.getvalue()


def spoken(seed: int) -> str:
    """Return the verdict on a limit that is the true latency: each word is wrong."""
    plan, slices = Plan(), processes(Plan().most, seed=seed)
    for look in plan.looks:
        measurement = Measurement(slices=tuple(each for each in slices if each.process < look))
        word = decision(1.0, measurement, looks=len(plan.looks))
        if word != "undecided":
            return word
    return "undecided"


@pytest.mark.slow
def test_measuring_on_until_it_is_met_is_not_wrong_oftener_than_said() -> None:
    words = [spoken(seed) for seed in range(200)]
    assert words.count("met") <= 10
    assert words.count("missed") <= 10
