from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import DeviceSpec
from lut import Conditions, Effort, LatencyTable
from lut.explanations.counterfactuals import Case, Scene, counterfactuals, measure_scene
from lut.explanations.explain import Explanation, Part, explain, explain_network, explain_steps
from profiler import (
    Chain,
    Conv,
    Head,
    MBConv,
    Measurement,
    Skip,
    Slice,
    Unmeasurable,
    carrier,
    in_context,
)
from search import SearchSpace

SHAPE = (1, 8, 8, 8)
KERNELS = (3, 5, 7, 9)
OPS = tuple(MBConv(input_shape=SHAPE, channels=8, kernel=k) for k in KERNELS)
OP_MS = dict(zip(OPS, (10.0, 20.0, 30.0, 45.0), strict=True))
SPACE = SearchSpace(
    name="two layers",
    before=(Conv(input_shape=(1, 3, 8, 8), channels=8),),
    layers=(OPS, OPS),
    after=(),
)
CHOICES = (1, 2)  # 20 and 30 ms, with the base of 5 ms 55 ms
BASE_MS, CANARY_MS = 5.0, 1.0
CPU = DeviceSpec(name="mine", backend="onnxruntime")


def network(choices: tuple[int, int]) -> Chain:
    return (*SPACE.before, *(OPS[c] for c in choices))


def sum_ms(choices: tuple[int, int]) -> float:
    return sum(OP_MS[OPS[c]] for c in choices)


SUBJECT = network(CHOICES)
OTHERS = {
    network((a, b)): BASE_MS + sum_ms((a, b))
    for a in range(4)
    for b in range(4)
    if (a, b) != CHOICES
}


def took(*processes_ms: float, slower: float = 1.0, canary: bool = True) -> Measurement:
    """Return what processes measured on a device that is slower by a factor, canary included."""
    beside = (slower * CANARY_MS * 1e-3,) * 2 if canary else ()
    return Measurement(
        slices=tuple(
            Slice(
                process=process,
                round=0,
                repeats=1,
                samples_s=(slower * ms * 1e-3,) * 2,
                reference_s=beside,
                gate="clean",
            )
            for process, ms in enumerate(processes_ms)
        )
    )


def chains_ms(op_ms: Mapping[MBConv, float]) -> dict[Chain, float]:
    """Return carriers of 2 and 3 ms, and operators in context: 2 ms more than alone."""
    rows: dict[Chain, float] = {carrier(SHAPE, 1): 2.0, carrier(SHAPE, 2): 3.0}
    return rows | {in_context(op): ms + 2.0 for op, ms in op_ms.items()}


def case(device: DeviceSpec = CPU, *, canary: bool = True, off: float = 0.0) -> Case:
    """Return the subject by a table; networks of 40 to 60 ms may be off its other networks."""
    networks = {
        chain: took(*(ms * (1 + off * (40.0 < ms < 70.0)),) * 3, canary=canary)
        for chain, ms in OTHERS.items()
    }
    rows = {chain: took(ms, ms, ms, canary=canary) for chain, ms in chains_ms(OP_MS).items()}
    table = LatencyTable(
        name="mine.lut",
        conditions=Conditions(device=device, environment={}),
        chains=rows,
        networks=networks,
    )
    return Case(table=table, space=SPACE, choices=CHOICES)


def scene(
    *subject_ms: float,
    others: Callable[[float], float] = lambda ms: ms,
    op_ms: Mapping[MBConv, float] = OP_MS,
    cold_ms: Mapping[Chain, float] | None = None,
    slower: float = 1.0,
    canary: bool = True,
) -> Scene:
    """Return what is timed: the subject in each process, and all else the same in all of them."""

    def every(ms: float) -> Measurement:
        return took(*(ms,) * len(subject_ms), slower=slower, canary=canary)

    networks = (SUBJECT, *case().others)
    sums_ms = {net: sum(op_ms[op] for op in net[1:] if isinstance(op, MBConv)) for net in networks}
    return Scene(
        chains={chain: every(ms) for chain, ms in chains_ms(op_ms).items()},
        networks={
            SUBJECT: took(*subject_ms, slower=slower, canary=canary),
            **{chain: every(others(OTHERS[chain])) for chain in case().others},
        },
        cold={chain: every(ms) for chain, ms in (sums_ms | dict(cold_ms or {})).items()},
        cold_carriers={},
    )


def sizes_ms(explanation: Explanation) -> dict[str, float]:
    """Return the parts that count, to six digits, once it is certain that they add up."""
    total_s = sum(part.seconds for part in explanation.parts)
    assert total_s == pytest.approx(explanation.gap_s, abs=1e-12)
    counted = (part for part in explanation.parts if abs(part.seconds) > 1e-12)
    return {part.cause: float(f"{part.seconds * 1e3:.6g}") for part in counted}


def part(explanation: Explanation, cause: str) -> Part:
    (found,) = (part for part in explanation.parts if part.cause == cause)
    return found


def test_where_nothing_has_changed_there_is_no_gap_and_no_cause() -> None:
    found = explain(case(), scene(55.0, 55.0, 55.0), {})
    assert found.sum_s == pytest.approx(50e-3)
    assert found.predicted_s == pytest.approx(55e-3)
    assert found.measured_s == pytest.approx(55e-3)
    assert sizes_ms(found) == {}
    assert found.within_noise
    assert found.as_promised


def test_a_device_that_is_slower_as_a_whole_has_another_speed_and_nothing_else() -> None:
    found = explain(case(), scene(55.0, 55.0, 55.0, slower=1.1), {})
    assert sizes_ms(found) == {"speed": 5.5}
    assert "+10.0% against the table's" in part(found, "speed").evidence


def test_what_other_networks_take_longer_now_is_the_state_of_the_device() -> None:
    found = explain(case(), scene(*(55.0 * 1.04,) * 3, others=lambda ms: 1.04 * ms), {})
    assert sizes_ms(found) == {"state": 2.2}
    assert "+4.0% against then" in part(found, "state").evidence


def test_where_neighbours_were_off_the_curve_the_calibration_is_to_blame() -> None:
    poor = case(off=0.05)
    off = float(np.mean(poor.neighbours_off))
    assert 0.0 < off < 0.05
    predicted_ms = explain(poor, scene(55.0, 55.0, 55.0), {}).predicted_s * 1e3
    now = scene(*(predicted_ms * (1 + off),) * 3, others=lambda ms: 1.05 * ms)
    assert sizes_ms(explain(poor, now, {})) == {
        "calibration": pytest.approx(predicted_ms * off, rel=1e-5)
    }


def test_operators_that_changed_where_those_of_others_did_not_are_told() -> None:
    # (2, 1) has the same two operators; the two other near networks have neither.
    op_ms = OP_MS | {OPS[1]: 22.0, OPS[2]: 33.0}
    found = explain(case(), scene(60.0, 60.0, 60.0, op_ms=op_ms), {})
    assert sizes_ms(found) == {"operators": 5.0}
    assert "its 2 in context again: +10.0%; those of the others: +0.0%" in (
        part(found, "operators").evidence
    )


def test_weights_that_are_colder_than_those_of_others_are_told() -> None:
    # Side by side all operators take a fifth more, and those of the subject 6 ms beside that.
    cold_ms = {chain: 1.2 * (ms - BASE_MS) for chain, ms in OTHERS.items()}
    cold_ms = {chain: cold_ms[chain] for chain in case().others} | {SUBJECT: 1.2 * 50.0 + 6.0}
    found = explain(case(), scene(60.0, 60.0, 60.0, cold_ms=cold_ms), {})
    assert sizes_ms(found) == {"cold weights": 5.0}


def test_what_goes_away_with_a_level_of_optimisation_is_counted_for_it() -> None:
    # A sixth of 66 ms is more than others have; then a twelfth of 60 ms, then nothing.
    scenes = {"layout": scene(60.0, 60.0, 60.0), "fusion": scene(55.0, 55.0, 55.0)}
    found = explain(case(), scene(66.0, 66.0, 66.0), scenes)
    assert sizes_ms(found) == {"layout": 5.5, "fusion": 5.5}


@pytest.mark.parametrize(
    ("slow_ms", "sizes"),
    [(165.0, {"layout": 11.0}), (198.0, {"rest": 11.0}), (231.0, {"layout": -7.857143})],
)
def test_where_all_takes_thrice_the_time_shares_are_compared(
    slow_ms: float, sizes: dict[str, float]
) -> None:
    thrice = {op: 3 * ms for op, ms in OP_MS.items()}
    slow = scene(*(slow_ms,) * 3, others=lambda ms: 3 * ms, op_ms=thrice)
    found = explain(case(), scene(66.0, 66.0, 66.0), {"layout": slow, "fusion": slow})
    assert {k: v for k, v in sizes_ms(found).items() if k in sizes} == {
        cause: pytest.approx(ms, rel=1e-5) for cause, ms in sizes.items()
    }


def test_the_speed_of_the_moment_does_not_matter_to_a_counterfactual() -> None:
    scenes = {"threads": scene(55.0, 55.0, 55.0, slower=1.5)}
    found = explain(case(replace(CPU, threads=2)), scene(58.0, 58.0, 58.0), scenes)
    assert sizes_ms(found) == {"threads": 3.0}


def test_what_nothing_explains_is_a_rest() -> None:
    scenes = {"layout": scene(59.0, 59.0, 59.0), "fusion": scene(59.0, 59.0, 59.0)}
    found = explain(case(), scene(59.0, 59.0, 59.0), scenes)
    assert sizes_ms(found) == {"rest": 4.0}
    assert found.largest == part(found, "rest")


def test_what_cannot_be_told_from_nothing_is_noise() -> None:
    # 3 ms more, with a standard error of 1.73 ms and 2 degrees of freedom: 7.45 ms to either side.
    found = explain(case(), scene(55.0, 58.0, 61.0), {})
    assert sizes_ms(found) == {"noise": 3.0}
    assert found.noise_s == pytest.approx(3e-3)
    assert found.largest is None
    assert part(found, "noise").interval_s == pytest.approx((-7.452e-3, 7.452e-3), rel=1e-3)
    assert part(found, "rest").interval_s == pytest.approx((-4.452e-3, 10.452e-3), rel=1e-3)


def test_a_cause_that_cannot_be_told_from_nothing_stays_in_what_is_left() -> None:
    shaky = scene(52.0, 55.0, 58.0)
    found = explain(case(), scene(59.0, 59.0, 59.0), {"layout": shaky, "fusion": shaky})
    assert sizes_ms(found) == {"rest": 4.0}
    low_s, high_s = part(found, "layout").interval_s or (0.0, 0.0)
    assert low_s < 0.0 < high_s
    assert low_s + high_s == pytest.approx(2 * 4e-3)  # what was found, all the same


def test_one_process_says_nothing_of_noise_so_nothing_is_told_from_it() -> None:
    found = explain(case(), scene(59.0), {})
    assert sizes_ms(found) == {"noise": 4.0}
    assert part(found, "noise").interval_s is None


def test_a_counterfactual_that_could_not_be_run_says_why() -> None:
    scenes: dict[str, Scene | str]
    scenes = {"layout": "the device refuses it", "fusion": scene(55.0, 55.0, 55.0)}
    found = explain(case(), scene(59.0, 59.0, 59.0), scenes)
    assert sizes_ms(found) == {"rest": 4.0}  # fusion alone was not taken away
    assert part(found, "layout").evidence == "not run: the device refuses it"
    assert part(found, "fusion").evidence == "not known, since layout is not"


@pytest.mark.parametrize(("table", "now"), [(True, False), (False, True), (False, False)])
def test_without_a_canary_speed_shows_as_the_state_of_the_device(table: bool, now: bool) -> None:
    slow = scene(*(60.5,) * 3, others=lambda ms: 1.1 * ms, canary=now)
    found = explain(case(canary=table), slow, {})
    assert sizes_ms(found) == {"state": 5.5}


def test_other_conditions_are_said_first() -> None:
    found = explain(case(), scene(55.0, 55.0, 55.0), {}, differences=["threads: 1, 2 here"])
    assert found.doubts()[0] == "other conditions than the table's: threads: 1, 2 here"


def test_the_subject_is_never_compared_with_itself() -> None:
    known = case()
    table = replace(known.table, networks={**known.table.networks, SUBJECT: took(55.0, 55.0)})
    again = Case(table=table, space=SPACE, choices=CHOICES)
    assert SUBJECT not in again.others
    assert len(again.neighbours_off) == 7
    assert set(again.near) == {network((2, 1)), network((0, 3)), network((3, 0))}
    assert again.others == (*again.near, network((3, 3)))  # 90 ms, the farthest from 50


@settings(max_examples=30)
@given(
    subject=st.lists(st.floats(5.0, 500.0), min_size=1, max_size=4),
    away=st.lists(st.floats(5.0, 500.0), min_size=1, max_size=4),
    stretch=st.floats(0.5, 2.0),
    slower=st.floats(0.5, 2.0),
    op_ms=st.floats(5.0, 50.0),
    cold_ms=st.floats(30.0, 300.0),
)
def test_the_parts_always_add_up_to_the_gap(
    subject: list[float],
    away: list[float],
    stretch: float,
    slower: float,
    op_ms: float,
    cold_ms: float,
) -> None:
    now = scene(
        *subject,
        others=lambda ms: stretch * ms,
        op_ms=OP_MS | {OPS[1]: op_ms},
        cold_ms=dict.fromkeys((SUBJECT, *case().others), 50.0) | {SUBJECT: cold_ms},
        slower=slower,
    )
    found = explain(case(), now, {"layout": scene(*away), "fusion": scene(*away, op_ms=OP_MS)})
    sizes_ms(found)
    assert [part.cause for part in found.parts][-2:] == ["noise", "rest"]
    assert 0.0 in (part(found, "noise").seconds, part(found, "rest").seconds)


@pytest.mark.parametrize(
    ("device", "causes"),
    [
        (CPU, ["layout", "fusion"]),
        (replace(CPU, optimization="layout"), ["layout", "fusion"]),
        (replace(CPU, optimization="extended"), ["fusion"]),
        (replace(CPU, optimization="basic"), []),
        (replace(CPU, threads=2, affinity=(2, 3)), ["layout", "fusion", "threads"]),
        (DeviceSpec(name="sim", backend="simulated", threads=4), ["threads"]),
        (DeviceSpec(name="sim", backend="simulated"), []),
    ],
)
def test_only_what_a_device_has_is_taken_away(device: DeviceSpec, causes: list[str]) -> None:
    found = counterfactuals(device)
    assert [each.cause for each in found] == causes
    for each in found:
        threads = 1 if each.cause == "threads" else device.threads
        assert each.device.threads == threads
        assert each.device.affinity == device.affinity[:threads]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process: starting one takes a second."""

    def here(
        stream: Callable[..., Generator[Any, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Any, None, None]:
        return stream(*args, **kwargs)

    monkeypatch.setattr("profiler.campaigns.together.in_fresh_process", here)


def small_space() -> SearchSpace:
    """Return three layers that are slow enough for the simulated clock to need few runs."""
    stem = Conv(input_shape=(1, 3, 28, 28), channels=32, kernel=3, activation="relu")
    layers = []
    shape = stem.output_shape
    for channels, stride in ((32, 1), (64, 2), (64, 1)):
        blocks = tuple(
            MBConv(input_shape=shape, channels=channels, stride=stride, kernel=k, expand=e)
            for k, e in ((3, 3), (5, 6))
        )
        skip = Conv(input_shape=shape, channels=channels, stride=stride)
        layers.append((skip if stride > 1 else Skip(input_shape=shape), *blocks))
        shape = blocks[0].output_shape
    head = Head(input_shape=shape, channels=128, classes=10)
    return SearchSpace(name="small", before=(stem,), layers=tuple(layers), after=(head,))


SMALL = small_space()


def small_case(make_table: Callable[..., LatencyTable], device: DeviceSpec) -> Case:
    table = make_table(device, SMALL, effort=Effort(processes=2))
    return Case(table=table, space=SMALL, choices=(1, 2, 0))


@pytest.mark.usefixtures("in_this_process")
def test_an_exact_device_leaves_nothing_to_explain(
    exact: DeviceSpec, make_table: Callable[..., LatencyTable]
) -> None:
    subject = small_case(make_table, exact)
    found = explain(subject, measure_scene(subject, exact, processes=2), {})
    assert sizes_ms(found) == {}
    assert abs(found.gap_s) < 1e-9
    assert part(found, "cold weights").interval_s == pytest.approx((0.0, 0.0), abs=1e-12)


@pytest.mark.usefixtures("in_this_process")
def test_a_device_at_nine_tenths_of_its_speed_is_found_to_be_just_that(
    exact: DeviceSpec, make_table: Callable[..., LatencyTable]
) -> None:
    subject = small_case(make_table, exact)
    assert exact.simulation is not None
    slower = replace(
        exact.simulation,
        dense_macs_per_s=exact.simulation.dense_macs_per_s * 0.9,
        depthwise_macs_per_s=exact.simulation.depthwise_macs_per_s * 0.9,
        bytes_per_s=exact.simulation.bytes_per_s * 0.9,
        node_s=exact.simulation.node_s / 0.9,
    )
    now = measure_scene(subject, replace(exact, simulation=slower), processes=2)
    found = explain(subject, now, {})
    assert sizes_ms(found) == {"speed": pytest.approx(found.predicted_s * 1e3 / 9, rel=1e-5)}


@pytest.mark.usefixtures("in_this_process")
def test_a_device_that_refuses_an_operator_is_said_to(
    exact: DeviceSpec, make_table: Callable[..., LatencyTable]
) -> None:
    assert exact.simulation is not None
    faulty = replace(exact, simulation=replace(exact.simulation, fault_share=0.3))
    with pytest.raises(Unmeasurable, match="'exact' cannot time a part of the network: the simul"):
        measure_scene(small_case(make_table, exact), faulty, processes=1)


@pytest.mark.usefixtures("in_this_process")
def test_a_device_of_two_threads_is_run_on_one_as_well(
    exact: DeviceSpec, make_table: Callable[..., LatencyTable]
) -> None:
    steps: list[int] = []
    subject = small_case(make_table, replace(exact, name="exact-2t", threads=2))
    found = explain_network(subject, on_step=steps.append)
    assert steps == list(range(1, explain_steps(subject) + 1))
    assert part(found, "threads").interval_s == pytest.approx((0.0, 0.0), abs=1e-12)
    assert sizes_ms(found) == {}


@pytest.mark.usefixtures("in_this_process")
def test_a_quiet_device_has_nothing_but_noise(
    noisy: DeviceSpec, make_table: Callable[..., LatencyTable]
) -> None:
    found = explain_network(small_case(make_table, noisy))
    assert max(map(abs, sizes_ms(found).values())) < 0.02 * found.measured_s * 1e3
    assert abs(found.gap_s) < 0.02 * found.measured_s
    assert found.measurement.status == "ok"
    assert found.doubts() == []
