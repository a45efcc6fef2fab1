"""What is said before a table begins, and how a GPU's is made to fit into half an hour."""

from collections.abc import Callable
from pathlib import Path

import pytest

from devices import DeviceSpec
from lut import Effort, Role, fill_table, table_for
from lut.outlook import Outlook, affordable, limit_of, minutes, outlook_of, smaller
from profiler import Chain, MBConv, contexts, in_context
from profiler.campaigns.forecast import Forecast

OP = MBConv(input_shape=(1, 16, 14, 14), channels=16)
WANTED: dict[Chain, Role] = {in_context(OP): "operator"}
WANTED |= {chain: "context" for chain in contexts(OP)}


def costing(process_s: float) -> Callable[[Effort], Forecast]:
    """Return what foretells so many seconds for a round of a process, half of them builds."""

    def foretell(effort: Effort) -> Forecast:
        rounds = effort.rounds * effort.processes
        return Forecast(
            rows=1,
            slices=rounds,
            processes=effort.processes,
            builds=effort.processes,
            measuring_s=process_s * rounds,
            building_s=0.0,
        )

    return foretell


def test_first_rounds_are_given_up_then_processes() -> None:
    found = [(each.rounds, each.processes) for each in smaller(Effort(processes=5, rounds=3))]
    assert found == [(3, 5), (2, 5), (1, 5), (1, 4), (1, 3)]
    assert len(list(smaller(Effort(processes=2)))) == 1


@pytest.mark.parametrize(
    ("process_s", "rounds", "processes"), [(100.0, 3, 5), (130.0, 2, 5), (400.0, 1, 4)]
)
def test_the_largest_effort_that_fits_is_taken(
    process_s: float, rounds: int, processes: int
) -> None:
    asked = Effort(processes=5, rounds=3)
    effort, found = affordable(asked, costing(process_s), limit_s=1800.0)
    assert (effort.rounds, effort.processes) == (rounds, processes)
    assert found.seconds <= 1800.0


def test_without_a_limit_nothing_is_given_up() -> None:
    asked = Effort(processes=5, rounds=3)
    assert affordable(asked, costing(1e6), limit_s=None)[0] == asked


def test_what_does_not_fit_at_all_is_said_with_the_cure() -> None:
    asked = Effort(processes=5)
    effort, found = affordable(asked, costing(1200.0), limit_s=1800.0)
    outlook = Outlook(asked=asked, effort=effort, forecast=found, limit_s=1800.0)
    assert not outlook.fits
    assert str(outlook) == (
        "1 rows, 3 slices in 3 processes, 3 engines: about 60 minutes (5 processes of 1 round "
        "would take more than the 30 minutes of a GPU). That is more than 30 minutes even so: take "
        "a smaller space or resolution, or stop it when you must; the same command goes on"
    )


def test_only_gpus_are_limited(exact: DeviceSpec) -> None:
    assert limit_of(exact) is None
    assert limit_of(DeviceSpec(name="gpu", backend="tensorrt")) == 1800.0


def test_a_table_is_foretold_and_then_lacks_nothing(
    tmp_path: Path, exact: DeviceSpec, in_process: None
) -> None:
    effort = Effort(processes=2, rounds=3)
    with table_for(tmp_path / "t.lut", exact) as file:
        before = outlook_of(file, WANTED, effort)
        assert (before.forecast.rows, before.forecast.slices) == (len(WANTED), 6 * len(WANTED))
        assert before.effort == effort
        progress = fill_table(file, WANTED, effort)
        assert before.forecast.seconds == pytest.approx(progress.device_s, rel=0.5)
        after = outlook_of(file, WANTED, effort)
    assert str(after) == after.beside(0.0) == "nothing is lacking"
    assert before.beside(130.0).startswith("2 minutes of device time, about ")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (7.4, "7 s"), (43.0, "40 s"), (58.0, "1 minute"), (4e3, "67")],
)
def test_seconds_are_said_as_far_as_an_estimate_is_worth(seconds: float, said: str) -> None:
    assert minutes(seconds).startswith(said)
