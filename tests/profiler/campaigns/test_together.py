from collections.abc import Callable, Generator
from typing import Any

import pytest

from devices import DeviceSpec, Simulation
from profiler import Chain, Conv, Event, Pace, Pool, Unmeasurable, carrier, measure_together

SHAPE = (1, 8, 8, 8)
ONE: Chain = carrier(SHAPE, 1)
TWO: Chain = carrier(SHAPE, 2)
PACE = Pace(slice_s=0.004)


def device(**simulation: Any) -> DeviceSpec:
    return DeviceSpec(name="sim", backend="simulated", simulation=Simulation(**simulation))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process: starting one takes time."""

    def in_this_process(
        stream: Callable[..., Generator[Event, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Event, None, None]:
        return stream(*args, **kwargs)

    monkeypatch.setattr("profiler.campaigns.together.in_fresh_process", in_this_process)


def test_every_chain_gets_its_slices_in_every_fresh_process() -> None:
    told: list[int] = []
    found = measure_together(
        [ONE, TWO, ONE], device(), processes=2, rounds=3, pace=PACE, on_process=told.append
    )
    assert list(found.measured) == [ONE, TWO]
    for measurement in found.measured.values():
        turns = sorted((piece.process, piece.round) for piece in measurement.slices)
        assert turns == [(p, r) for p in range(2) for r in range(3)]
        assert all(piece.gate == "clean" for piece in measurement.slices)
    assert found.measured[TWO].latency_s > found.measured[ONE].latency_s
    assert found.device_s > 0.0
    assert told == [1, 2]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("decided_at", "processes"), [(1, 2), (3, 3), (9, 4)])
def test_there_are_as_many_processes_as_it_takes(decided_at: int, processes: int) -> None:
    found = measure_together(
        [ONE],
        device(),
        processes=2,
        most=4,
        rounds=1,
        pace=PACE,
        enough=lambda so_far: len(so_far.measured[ONE].by_process) >= decided_at,
    )
    assert len(found.measured[ONE].by_process) == processes


@pytest.mark.usefixtures("here")
def test_disturbed_slices_keep_their_verdict() -> None:
    troubled = device(load_period_s=1.0, load_share=0.9)
    found = measure_together([ONE], troubled, processes=1, rounds=4, pace=PACE)
    assert "load" in {piece.gate for piece in found.measured[ONE].slices}


@pytest.mark.usefixtures("here")
def test_what_the_device_refuses_is_left_out_and_said() -> None:
    refusing = device(fault_share=0.3)
    chains: list[Chain] = [
        (Conv(input_shape=SHAPE, channels=c), Pool(input_shape=(1, c, 8, 8))) for c in range(8, 40)
    ]
    found = measure_together(chains, refusing, processes=2, rounds=1, pace=PACE)
    assert found.refused.keys() | found.measured.keys() == set(chains)
    assert 0 < len(found.refused) < len(chains)
    assert all("as it was told to" in why for why in found.refused.values())
    assert all(len(m.by_process) == 2 for m in found.measured.values())
    with pytest.raises(Unmeasurable, match="'sim' can time none of them: the simulated device ref"):
        measure_together(list(found.refused), refusing, processes=1, rounds=1, pace=PACE)
