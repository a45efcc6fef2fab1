from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from devices import Backend, DeviceSpec, Graph, Host, Session, Simulation, Tensors, Trace
from devices.errors import OutOfMemory
from devices.simulated import Simulated, SimulatedHost
from profiler import (
    TRIES,
    Chain,
    Event,
    Judged,
    MBConv,
    Measurement,
    Pace,
    Refused,
    Slice,
    Taken,
    Task,
    carrier,
    in_context,
    plan_tasks,
    run_campaign,
)
from profiler.campaigns.campaign import FIRST_CANARIES, REST_LIMIT_S, REST_S
from profiler.operators.builders import chain_graph

SHAPE = (1, 16, 14, 14)
CHAINS: list[Chain] = [
    carrier(SHAPE, 1),
    *(
        in_context(MBConv(input_shape=SHAPE, channels=16, kernel=kernel, expand=expand))
        for kernel in (3, 5)
        for expand in (3, 6)
    ),
]
WARM = [chain_graph(chain) for chain in CHAINS]  # slices of a graph last longer than cold ones
PACE = Pace(slice_s=0.03, warm_window_s=0.005)
QUIET = Simulation(noise=0.01, process_noise=0.0)


def simulated(simulation: Simulation) -> Simulated:
    return Simulated(DeviceSpec(name="sim", backend="simulated", simulation=simulation))


def tasks_of(count: int, rounds: int) -> list[Task]:
    return plan_tasks(range(count), process=0, rounds=rounds, rng=np.random.default_rng(0))


def campaign(
    backend: Backend, *, rounds: int = 3, graphs: Sequence[Chain | Graph] = CHAINS
) -> Iterator[Event]:
    return run_campaign(backend, graphs, tasks_of(len(graphs), rounds), PACE, cold=True)


def measured(events: list[Event]) -> dict[int, Measurement]:
    """Return what was measured of every graph, each slice with its verdict."""
    verdicts = {id_: e.gate for e in events if isinstance(e, Judged) for id_ in e.ids}
    slices: dict[int, list[Slice]] = {}
    for event in events:
        if isinstance(event, Taken):
            slices.setdefault(event.number, []).append(event.slice.judged(verdicts[event.id]))
    return {number: Measurement(slices=tuple(pieces)) for number, pieces in slices.items()}


def gates(events: list[Event]) -> Counter[str]:
    return Counter(event.gate for event in events if isinstance(event, Judged))


@pytest.fixture(scope="module")
def truth_s() -> dict[int, float]:
    """Seconds of every graph on the device without noise."""
    seconds = {}
    for number, chain in enumerate(CHAINS):
        with simulated(replace(QUIET, noise=0.0)).open(chain_graph(chain)) as session:
            seconds[number] = session.time(1)
    return seconds


def test_every_round_has_every_graph_once_in_an_order_of_its_own() -> None:
    tasks = tasks_of(10, rounds=6)
    orders = [[t.number for t in tasks if t.round == turn] for turn in range(6)]
    assert [t.round for t in tasks] == sorted(t.round for t in tasks)
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len(set(map(tuple, orders))) == 6


def test_the_order_follows_from_the_seed() -> None:
    assert tasks_of(10, rounds=2) == tasks_of(10, rounds=2)


def test_a_quiet_device_gives_every_slice_once_in_the_order_of_the_plan() -> None:
    taken = [event for event in campaign(simulated(QUIET)) if isinstance(event, Taken)]
    assert [e.id for e in taken] == list(range(15))
    places = [(e.number, e.slice.round) for e in taken]
    assert places == [(task.number, task.round) for task in tasks_of(5, rounds=3)]


def test_every_slice_is_judged_once_and_after_it_was_taken() -> None:
    seen: list[int] = []
    judged: list[int] = []
    for event in campaign(simulated(replace(QUIET, load_period_s=2.0)), rounds=6):
        match event:
            case Taken():
                seen.append(event.id)
            case Judged():
                judged += event.ids
                assert judged == seen  # a group ends before the next one begins
    assert judged == sorted(set(judged))
    assert len(judged) > 30  # some of them were redone


def test_a_group_is_long_enough_to_be_judged() -> None:
    backend = simulated(QUIET)
    ends_s = [0.0, *(e.elapsed_s for e in campaign(backend) if isinstance(e, Judged))]
    assert np.diff(ends_s).min() >= 0.4
    assert ends_s[-1] == backend.host.clock()  # all device time counts, the canaries' too


def test_latencies_are_those_of_the_device(truth_s: dict[int, float]) -> None:
    for number, measurement in measured(list(campaign(simulated(QUIET)))).items():
        assert measurement.latency_s == pytest.approx(truth_s[number], rel=0.01)
        assert measurement.median_s == pytest.approx(truth_s[number], rel=0.01)
        assert measurement.status == "ok"


def test_a_campaign_takes_finished_graphs_too() -> None:
    graphs = [chain_graph(chain) for chain in CHAINS]
    from_graphs = measured(list(campaign(simulated(QUIET), graphs=graphs)))
    from_chains = measured(list(campaign(simulated(QUIET))))
    assert from_graphs.keys() == from_chains.keys()
    for number, measurement in from_graphs.items():
        # Finished graphs are timed warm, operators cold: on this device there is no difference.
        assert measurement.latency_s == pytest.approx(from_chains[number].latency_s, rel=0.01)
        assert measurement.slices[0].repeats > from_chains[number].slices[0].repeats == 1


def test_disturbed_slices_are_redone_until_the_table_is_right(truth_s: dict[int, float]) -> None:
    bursts = replace(QUIET, load_period_s=2.0, load_share=0.2, load_factor=2.0)
    events = list(campaign(simulated(bursts), rounds=10))
    assert gates(events)["load"] >= 2
    assert sum(e.redo for e in events if isinstance(e, Judged)) > 5
    for number, measurement in measured(events).items():
        assert sum(piece.trusted for piece in measurement.slices) == 10
        assert measurement.latency_s == pytest.approx(truth_s[number], rel=0.01)
        assert measurement.median_s == pytest.approx(truth_s[number], rel=0.02)
        assert measurement.status == "ok"


def test_only_what_was_disturbed_is_redone() -> None:
    bursts = replace(QUIET, load_period_s=2.0)
    events = list(campaign(simulated(bursts), rounds=10))
    for measurement in measured(events).values():
        tries = Counter(piece.round for piece in measurement.slices)
        trusted = Counter(piece.round for piece in measurement.slices if piece.trusted)
        assert trusted == dict.fromkeys(range(10), 1)
        assert max(tries.values()) > 1


def test_a_device_that_is_never_quiet_is_published_as_noisy_in_bounded_time() -> None:
    busy = replace(QUIET, load_period_s=1.0, load_share=1.0)
    events = list(campaign(simulated(busy)))
    assert gates(events).keys() == {"load"}
    for measurement in measured(events).values():
        assert len(measurement.slices) == 3 * TRIES
        assert measurement.status == "noisy"


def test_nobody_waits_for_calm_when_there_is_nothing_left_to_take() -> None:
    busy = simulated(replace(QUIET, load_period_s=1.0, load_share=1.0))
    *_, last = campaign(busy)
    assert isinstance(last, Judged)
    assert last.gate == "load"
    assert busy.host.clock() == last.elapsed_s


def test_a_canary_notices_throttling_which_the_counters_do_not_see(
    truth_s: dict[int, float],
) -> None:
    hot = simulated(replace(QUIET, throttle_after_s=3.0, throttle_factor=1.5))
    events = list(campaign(hot, rounds=10, graphs=WARM))
    assert gates(events).keys() == {"clean", "drift"}
    assert hot.host.clock() > hot.host.own_s + 1.0  # it was given rests to cool down in
    for number, measurement in measured(events).items():
        assert measurement.latency_s == pytest.approx(truth_s[number], rel=0.01)
        assert measurement.median_s == pytest.approx(truth_s[number], rel=0.02)


class Hidden(SimulatedHost):
    """A device whose other work no counter shows."""

    def load(self) -> None:  # type: ignore[override]
        return None


def shared_half_the_time(*, free_at_first: bool) -> Simulated:
    """Return a device without counters that somebody slows down in turns of 1.5 s."""
    others = replace(QUIET, load_period_s=3.0, load_share=0.5, load_factor=1.3)
    device = simulated(others)
    device.host = Hidden(others, np.random.default_rng(0), now_s=1.5 * free_at_first)
    return device


def test_what_no_counter_shows_the_canary_keeps_out(truth_s: dict[int, float]) -> None:
    device = shared_half_the_time(free_at_first=True)
    events = list(campaign(device, rounds=10))
    assert gates(events).keys() == {"open", "drift"}
    assert device.host.clock() > device.host.own_s + 2.0  # it waited for the others to be done
    for number, measurement in measured(events).items():
        assert sum(piece.trusted for piece in measurement.slices) == 10
        assert measurement.latency_s == pytest.approx(truth_s[number], rel=0.01)
        assert measurement.median_s == pytest.approx(truth_s[number], rel=0.01)
        assert measurement.status == "ok"


def test_a_slow_start_is_forgiven(truth_s: dict[int, float]) -> None:
    device = shared_half_the_time(free_at_first=False)  # all first canaries are slow
    for number, measurement in measured(list(campaign(device, rounds=30))).items():
        assert measurement.latency_s == pytest.approx(truth_s[number], rel=0.01)
        assert measurement.status == "ok"


def two_threads(simulation: Simulation) -> Simulated:
    return Simulated(DeviceSpec(name="sim", backend="simulated", threads=2, simulation=simulation))


def on_two_threads(device: Simulated, *, rounds: int) -> list[Event]:
    tasks = tasks_of(len(CHAINS), rounds)
    return list(run_campaign(device, CHAINS, tasks, PACE, cold=False, threads=2))


@pytest.mark.parametrize("period_s", [0.7, 5.0])
def test_threads_that_share_a_core_for_a_while_are_found_out(
    period_s: float, truth_s: dict[int, float]
) -> None:
    device = two_threads(replace(QUIET, shared_period_s=period_s, shared_share=0.3))
    events = on_two_threads(device, rounds=30)
    assert gates(events)["shared"] >= 1
    assert gates(events).keys() <= {"clean", "shared", "drift"}
    for number, measurement in measured(events).items():
        assert sum(piece.trusted for piece in measurement.slices) >= 27  # of 30, in four tries
        assert measurement.median_s == pytest.approx(truth_s[number] / 2, rel=0.02)
        assert measurement.latency_s == pytest.approx(truth_s[number] / 2, rel=0.02)
    verdicts = Counter(s.gate for m in measured(events).values() for s in m.slices)
    assert 0 < verdicts["shared"] < 2 * verdicts["clean"]  # each is tried again, four times at most


def test_a_device_whose_threads_gain_nothing_is_measured_once_and_every_row_says_so(
    truth_s: dict[int, float],
) -> None:
    device = two_threads(replace(QUIET, shared_period_s=1.0, shared_share=1.0))
    events = on_two_threads(device, rounds=3)
    judged = [event for event in events if isinstance(event, Judged) and event.ids]
    assert {(event.gate, event.redo) for event in judged} == {("together", 0)}
    for number, measurement in measured(events).items():
        assert measurement.median_s == pytest.approx(truth_s[number], rel=0.02)
        assert measurement.disturbed
        assert measurement.status == "noisy"
        doubt = "in 3 of 3 slices the device's threads gained nothing over one"
        assert any(said.startswith(doubt) for said in measurement.doubts())


class SharedAtFirst(SimulatedHost):
    """A device whose threads share a core until some second, and never again."""

    until_s = 26.0

    def spend(self, latency_s: float, *, threads: int = 1) -> float:
        return super().spend(latency_s * (threads if self.now_s < self.until_s else 1))


def test_threads_that_get_a_core_each_later_are_measured_well_from_then_on(
    truth_s: dict[int, float],
) -> None:
    device = two_threads(QUIET)
    device.host = SharedAtFirst(QUIET, np.random.default_rng(0))
    events = on_two_threads(device, rounds=40)
    verdicts = Counter(s.gate for m in measured(events).values() for s in m.slices)
    assert verdicts.keys() == {"together", "clean"}
    assert sum(verdicts.values()) == 40 * len(CHAINS)
    for number, measurement in measured(events).items():
        assert measurement.median_s == pytest.approx(truth_s[number] / 2, rel=0.02)


def test_sessions_with_threads_are_never_loaded_beside_each_other() -> None:
    loaded: list[int] = []

    @dataclass(slots=True)
    class Exclusive(Counting):
        @contextmanager
        def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
            if threads == 1:
                with self.device.open(graph, threads=1) as session:
                    yield session
                return
            assert not loaded
            loaded.append(1)
            try:
                with self.device.open(graph, threads=threads) as session:
                    yield session
            finally:
                loaded.pop()

    backend = Exclusive(device=two_threads(QUIET))
    tasks = tasks_of(len(CHAINS), 2)
    events = list(run_campaign(backend, CHAINS, tasks, PACE, cold=False, threads=2))
    assert all(len(measurement.slices) == 2 for measurement in measured(events).values())


class Restless(SimulatedHost):
    """A device that no rest cools down."""

    def rest(self, seconds: float) -> None:
        self.now_s += seconds


def never_cooling(*, throttle_after_s: float) -> Simulated:
    slower = replace(QUIET, throttle_after_s=throttle_after_s, throttle_factor=1.5)
    device = simulated(slower)
    device.host = Restless(slower, np.random.default_rng(0))
    return device


def test_a_device_that_stays_slower_is_measured_by_its_first_speed(
    truth_s: dict[int, float],
) -> None:
    events = list(campaign(never_cooling(throttle_after_s=2.4), rounds=6, graphs=WARM))
    verdicts = [event.gate for event in events if isinstance(event, Judged)]
    assert verdicts == sorted(verdicts)  # clean, and from some group on drift
    assert sum(isinstance(event, Taken) for event in events) <= TRIES * 30
    for number, measurement in measured(events).items():
        assert 0 < sum(piece.trusted for piece in measurement.slices) < 6
        assert measurement.latency_s == pytest.approx(truth_s[number], rel=0.01)


def test_a_device_that_stays_slower_for_long_has_a_new_usual_speed() -> None:
    events = list(campaign(never_cooling(throttle_after_s=1.2), rounds=20, graphs=WARM))
    verdicts = [event.gate for event in events if isinstance(event, Judged)]
    assert verdicts.count("drift") > 5
    assert set(verdicts[-10:]) == {"clean"}


def test_a_refused_graph_does_not_stop_the_others() -> None:
    strange = Graph(onnx=b"not a graph", inputs=(("x", SHAPE),))
    graphs: list[Chain | Graph] = [CHAINS[0], strange, CHAINS[1]]
    events = list(campaign(simulated(QUIET), graphs=graphs))
    (refused,) = (event for event in events if isinstance(event, Refused))  # once, not per round
    assert refused.number == 1
    assert "refuses the graph" in refused.why
    assert {n: len(m.slices) for n, m in measured(events).items()} == {0: 3, 2: 3}


def test_a_campaign_of_refused_graphs_ends() -> None:
    strange = Graph(onnx=b"not a graph", inputs=(("x", SHAPE),))
    events = list(campaign(simulated(QUIET), graphs=[strange]))
    assert [type(event) for event in events] == [Refused, Judged]


def test_a_campaign_without_tasks_has_no_events() -> None:
    assert list(run_campaign(simulated(QUIET), CHAINS, [], PACE, cold=True)) == []


@dataclass(slots=True)
class Instant:
    """A session whose runs take no time at all."""

    def run(self, inputs: Tensors) -> Tensors:
        return inputs

    def time(self, repeats: int) -> float:
        return 0.0

    def time_each(self, runs: int) -> tuple[float, ...]:
        return tuple(self.time(1) for _ in range(runs))


@dataclass(slots=True)
class Counting:
    """A simulated device that notes which graphs are opened; empty ones take no time."""

    device: Simulated = field(default_factory=lambda: simulated(QUIET))
    opened: list[Graph] = field(default_factory=list)

    @property
    def host(self) -> Host:
        return self.device.host

    def environment(self) -> dict[str, str]:
        return dict(self.device.environment())

    def trace(self, graph: Graph, *, runs: int) -> Trace:
        return self.device.trace(graph, runs=runs)

    @contextmanager
    def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
        self.opened.append(graph)
        if not graph.onnx:
            yield Instant()
            return
        with self.device.open(graph, threads=threads) as session:
            yield session


def test_a_graph_that_takes_no_time_is_refused_too() -> None:
    events = list(campaign(Counting(), graphs=[Graph(onnx=b"", inputs=()), CHAINS[0]]))
    (refused,) = (event for event in events if isinstance(event, Refused))
    assert refused.number == 0
    assert "nothing is computed" in refused.why
    assert len(measured(events)[1].slices) == 3


class Lacking(Counting):
    """A device whose memory is full when its second graph is loaded, some times or always."""

    def __init__(self, *, times: float) -> None:
        super().__init__()
        self.times = times
        self.tried_s: list[float] = []

    @contextmanager
    def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
        if graph == WARM[1] and len(self.tried_s) < self.times:
            self.tried_s.append(self.host.clock())
            raise OutOfMemory("GPU 0: its memory is full: stop other programs")
        with super().open(graph, threads=threads) as session:
            yield session


@pytest.mark.parametrize("times", [1, TRIES - 1])
def test_a_slice_that_found_no_memory_is_taken_later(times: int) -> None:
    device = Lacking(times=times)
    events = list(campaign(device, rounds=1))
    assert not any(isinstance(event, Refused) for event in events)
    assert {n: len(m.slices) for n, m in measured(events).items()} == dict.fromkeys(range(5), 1)
    assert all(np.diff(device.tried_s) >= REST_S)  # whoever has the memory gets time to go


def test_memory_that_stays_lacking_ends_in_one_line_after_all_else_was_measured() -> None:
    events: list[Event] = []
    device = Lacking(times=np.inf)
    with pytest.raises(OutOfMemory) as raised:
        events.extend(campaign(device, rounds=2))  # what came before the error stays
    assert not any(isinstance(event, Refused) for event in events)
    found = measured(events)
    assert {n: len(m.slices) for n, m in found.items()} == {0: 2, 2: 2, 3: 2, 4: 2}
    assert all(piece.gate == "clean" for m in found.values() for piece in m.slices)
    said = str(raised.value)
    assert said.count("\n") == 0
    assert "mbconv 1x16x14x14 -> 16 k3 s1 e3" in said
    assert "was given up: GPU 0: its memory is full: stop other programs" in said
    assert "run the same command again" in said


def test_nothing_is_measured_before_it_is_asked_for() -> None:
    backend = Counting()
    stream = campaign(backend)
    assert backend.opened == []
    for asked in range(1, 6):
        assert isinstance(next(stream), Taken)
        # The canary, again for the group, and one graph for each event.
        assert len(backend.opened) == 2 + asked


def test_the_usual_speed_is_known_before_the_first_slice() -> None:
    backend = Counting()
    next(campaign(backend))
    assert backend.host.clock() > (FIRST_CANARIES + 1) * PACE.slice_s


def rested_s(device: Simulated) -> float:
    return device.host.clock() - device.host.own_s


def test_a_device_that_only_gets_slower_is_not_waited_for_forever() -> None:
    slower = simulated(replace(QUIET, drift_per_s=1.0))  # a rest only makes it worse
    events = list(campaign(slower, rounds=2, graphs=WARM))
    assert 1.0 < rested_s(slower) <= slower.host.own_s + REST_S  # no longer than it measured
    assert {measurement.status for measurement in measured(events).values()} == {"throttled"}


class Occupied(SimulatedHost):
    """A device on which others work even while it is left alone."""

    def rest(self, seconds: float) -> None:
        self.now_s += seconds
        self._other_s += seconds


@pytest.mark.parametrize("rounds", [2, 20])
def test_rests_are_bounded_however_long_a_busy_campaign_is(rounds: int) -> None:
    busy = replace(QUIET, load_period_s=1.0, load_share=1.0, load_factor=1.25)
    device = simulated(busy)
    device.host = Occupied(busy, np.random.default_rng(0))
    events = list(campaign(device, rounds=rounds))
    assert gates(events).keys() == {"load"}
    assert sum(isinstance(event, Taken) for event in events) == TRIES * 5 * rounds
    measured_s = device.host.own_s / 0.8  # a fifth of what it runs is booked to the others
    resting_s = device.host.clock() - measured_s
    assert resting_s == pytest.approx(min(REST_LIMIT_S, measured_s), abs=2 * REST_S)
