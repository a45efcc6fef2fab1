"""Which steps are found: in numbers, on simulated devices, and in nothing but noise."""

from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

from devices import DeviceSpec, Simulation
from profiler import Event, HardwareSteps, Step, find_step, measure_steps, top_of_step, total_macs
from profiler.whole_models.steps import FEWEST_PROCESSES, KINDS, LAYERS, PATIENCE, WIDTHS, Kind

PROCESSES = 6


def everywhere(latency: Callable[[int], float]) -> dict[int, dict[int, float]]:
    """Return what processes find on a device without noise."""
    return {width: dict.fromkeys(range(PROCESSES), latency(width)) for width in WIDTHS}


def noisily(
    latency: Callable[[int], float],
    noise: float,
    rng: np.random.Generator,
    processes: int = PROCESSES,
) -> dict[int, dict[int, float]]:
    return {
        width: {
            process: latency(width) * (1 + noise * float(rng.standard_normal()))
            for process in range(processes)
        }
        for width in WIDTHS
    }


def stairs(step: int) -> Callable[[int], float]:
    return lambda width: 20.0 + top_of_step(width, step)


@pytest.fixture
def steps_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., HardwareSteps]:
    """Find the steps of simulated devices, in this process: starting one takes time."""

    def here(
        stream: Callable[..., Generator[Event, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Event, None, None]:
        return stream(*args, **kwargs)

    monkeypatch.setattr("profiler.campaigns.together.in_fresh_process", here)

    def measure(**simulation: Any) -> HardwareSteps:
        device = DeviceSpec(name="stairs", backend="simulated", simulation=Simulation(**simulation))
        return measure_steps(device, processes=PROCESSES)

    return measure


def periods(steps: HardwareSteps) -> dict[Kind, int]:
    return {sweep.kind: sweep.step.period for sweep in steps.sweeps}


def test_the_top_of_a_step_is_the_next_multiple() -> None:
    assert [top_of_step(width, 16) for width in (1, 16, 17, 40)] == [16, 16, 32, 48]
    assert [top_of_step(width, 1) for width in (1, 17)] == [1, 17]


@pytest.mark.parametrize("step", [2, 4, 8, 16, 32, 64])
def test_a_staircase_has_the_period_of_its_steps(step: int) -> None:
    assert find_step(everywhere(stairs(step))) == Step(period=step)


@pytest.mark.parametrize(
    "latency",
    [lambda c: 1.0 + c, lambda c: 100.0 + c, lambda c: 1e3 + c**2, lambda c: 1.0 + c**0.5],
    ids=["line", "line and overhead", "square", "root"],
)
def test_an_even_climb_has_no_steps_and_none_is_open(latency: Callable[[int], float]) -> None:
    assert find_step(everywhere(latency)) == Step(period=1)


def test_without_a_climb_nothing_is_proven_or_refuted() -> None:
    assert find_step(everywhere(lambda _: 1.0)) == Step(period=1, open=(2, 4, 8, 16, 32, 64))


def test_a_width_that_is_slower_than_the_top_is_no_objection() -> None:
    def odd_is_slow(width: int) -> float:
        return stairs(16)(width) * (1 if width % 4 == 0 else 5)

    assert find_step(everywhere(odd_is_slow)) == Step(period=16)


@pytest.mark.parametrize(("left", "period"), [(3.8, 16), (4.3, 8)])
def test_a_quarter_of_the_climb_may_be_left_in_the_lower_half_of_a_step(
    left: float, period: int
) -> None:
    # From 32 to 48 channels the staircase climbs by 16, as it does to 64; a quarter of it is 4.
    # Where more is left, 40 and 56 channels are tops themselves.
    seconds = everywhere(stairs(16))
    for width in (33, 34, 36, 40, 52, 56):
        seconds[width] = dict.fromkeys(range(PROCESSES), stairs(16)(width) - left)
    assert find_step(seconds).period == period


def test_most_processes_are_asked_to_see_a_step_through_much_noise(
    rng: np.random.Generator,
) -> None:
    found = [
        find_step(noisily(stairs(16), 0.08, rng, processes=PATIENCE * PROCESSES)).period
        for _ in range(100)
    ]
    assert found.count(16) > 90
    assert max(found) == 16


def test_few_processes_prove_nothing() -> None:
    few = {
        width: {p: s for p, s in seconds.items() if p < FEWEST_PROCESSES - 1}
        for width, seconds in everywhere(stairs(16)).items()
    }
    assert find_step(few) == Step(period=1, open=(2, 4, 8, 16, 32, 64))


def test_a_step_that_noise_hides_is_open(rng: np.random.Generator) -> None:
    found = [find_step(noisily(stairs(16), 0.12, rng)) for _ in range(50)]
    hidden = [step for step in found if step.period == 1]
    assert len(hidden) > 25
    assert sum(16 in step.open for step in hidden) > 0.9 * len(hidden)
    assert not any(step.period > 16 for step in found)


@pytest.mark.parametrize("noise", [0.005, 0.05, 0.2])
@pytest.mark.parametrize(
    "latency", [lambda _: 1.0, lambda c: 20.0 + c], ids=["flat", "an even climb"]
)
def test_noise_alone_shows_a_step_in_3_of_100_devices_at_most(
    latency: Callable[[int], float], noise: float, rng: np.random.Generator
) -> None:
    found = Counter(find_step(noisily(latency, noise, rng)).period for _ in range(500))
    assert found[1] >= 485


def test_looking_again_until_no_step_is_open_deceives_in_5_of_100_devices_at_most(
    rng: np.random.Generator,
) -> None:
    def looked_at_again() -> Step:
        seconds = noisily(lambda _: 1.0, 0.05, rng, processes=PATIENCE * PROCESSES)
        for processes in range(PROCESSES, PATIENCE * PROCESSES + 1):
            step = find_step(
                {c: {p: s for p, s in each.items() if p < processes} for c, each in seconds.items()}
            )
            if not step.open:
                break
        return step

    assert sum(looked_at_again().period > 1 for _ in range(100)) <= 5


def test_quiet_processes_find_a_step_through_noise(rng: np.random.Generator) -> None:
    found = [find_step(noisily(stairs(16), 0.01, rng)).period for _ in range(200)]
    assert found == [16] * 200


@pytest.mark.parametrize(("step", "noise"), [(8, 0.0), (8, 0.02), (16, 0.02), (32, 0.02)])
def test_the_steps_of_a_device_are_found(
    steps_of: Callable[..., HardwareSteps], step: int, noise: float
) -> None:
    found = steps_of(channel_step=step, noise=noise, process_noise=noise / 4)
    assert {kind: periods(found)[kind] for kind in LAYERS} == dict.fromkeys(LAYERS, step)
    assert found.common(LAYERS) == step
    assert found.device_s > 0.0


def test_a_block_with_six_times_as_many_channels_inside_has_shorter_steps(
    steps_of: Callable[..., HardwareSteps],
) -> None:
    # 40, 44 and 48 channels are 240, 264 and 288 inside: 15, 17 and 18 vectors of 16.
    found = steps_of(channel_step=16, noise=0.0, process_noise=0.0)
    assert periods(found)["mbconv"] == 4
    assert found.common() == 4


@pytest.mark.parametrize("seed", range(4))
def test_a_device_without_steps_has_none_whatever_its_noise(
    steps_of: Callable[..., HardwareSteps], seed: int
) -> None:
    found = steps_of(noise=0.03, process_noise=0.02, seed=seed)
    assert periods(found) == dict.fromkeys(KINDS, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_swept_has_neighbours_and_grows_with_its_channels(kind: Kind) -> None:
    chains = [KINDS[kind](width, batch=2) for width in (32, 64)]
    assert [len(chain) for chain in chains] == [3, 3]
    assert all(chain[0].input_shape[0] == 2 for chain in chains)
    assert 1.6 < total_macs(chains[1]) / total_macs(chains[0]) < 4.1
