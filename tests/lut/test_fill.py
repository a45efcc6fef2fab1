from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices import DeviceSpec, Simulation
from lut import (
    Effort,
    Progress,
    Role,
    WrongConditions,
    fill_table,
    load_table,
    open_table,
    table_for,
)
from lut.fill import NETWORK_ROUNDS
from profiler import (
    TRIES,
    Chain,
    Event,
    MBConv,
    Pace,
    ProcessDied,
    carrier,
    contexts,
    in_context,
)

SHAPE = (1, 16, 14, 14)
OPS = [
    MBConv(input_shape=SHAPE, channels=16, kernel=kernel, expand=expand)
    for kernel in (5, 7)
    for expand in (3, 6)
]
WANTED: dict[Chain, Role] = {
    **{in_context(op): "operator" for op in OPS},
    **dict.fromkeys(contexts(OPS[0]), "context"),
}
EFFORT = Effort(processes=2, rounds=2, pace=Pace(slice_s=0.02))
PLANNED = 6 * 2 * 2
QUIET = Simulation(noise=0.01, process_noise=0.0)

pytestmark = pytest.mark.usefixtures("in_process")


def simulated(**trouble: float) -> DeviceSpec:
    simulation = replace(QUIET, **trouble)  # type: ignore[arg-type]
    return DeviceSpec(name="sim", backend="simulated", simulation=simulation)


def fill(
    path: Path,
    device: DeviceSpec,
    *,
    effort: Effort = EFFORT,
    wanted: dict[Chain, Role] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    with table_for(path, device) as file:
        return fill_table(file, wanted or WANTED, effort, on_progress=on_progress)


def rows(path: Path) -> Counter[tuple[Chain, Role, int, int]]:
    """Return how often each slice is in a file."""
    with open_table(path) as file:
        return Counter(
            (row.chain, row.role, row.slice.process, row.slice.round) for row in file.slices()
        )


def planned(effort: Effort = EFFORT, wanted: dict[Chain, Role] = WANTED) -> Counter[Any]:
    return Counter(
        (chain, role, process, turn)
        for chain, role in wanted.items()
        for process in range(effort.processes)
        for turn in range(effort.rounds_of(role))
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.lut"


def test_an_empty_table_gets_every_slice_once(path: Path) -> None:
    progress = fill(path, simulated())
    assert rows(path) == planned()
    assert (progress.total, progress.done, progress.redone) == (PLANNED, PLANNED, 0)


def test_every_slice_was_judged(path: Path) -> None:
    fill(path, simulated())
    with open_table(path) as file:
        assert {row.slice.gate for row in file.slices()} == {"clean"}


def test_the_table_prices_what_was_measured(path: Path) -> None:
    fill(path, simulated())
    table = load_table(path)
    assert set(table) >= set(OPS)
    assert 0.0 < table[OPS[0]] < table[OPS[1]] < table[OPS[3]]


def test_a_full_table_needs_nothing(path: Path) -> None:
    fill(path, simulated())
    before = path.read_bytes()
    events: list[Progress] = []
    again = fill(path, simulated(), on_progress=events.append)
    assert (again.total, again.done) == (0, 0)
    assert events == []
    assert path.read_bytes() == before


def test_only_what_is_lacking_is_measured(path: Path) -> None:
    some = dict(list(WANTED.items())[:4])
    fill(path, simulated(), wanted=some)
    before = rows(path)
    progress = fill(path, simulated())
    assert progress.total == PLANNED - before.total()
    assert rows(path) == planned()


def test_more_effort_adds_to_what_is_there(path: Path) -> None:
    fill(path, simulated(), effort=replace(EFFORT, processes=1))
    more = replace(EFFORT, processes=2, rounds=3)
    progress = fill(path, simulated(), effort=more)
    assert progress.total == 6 * (2 * 3 - 2)
    assert rows(path) == planned(more)


def test_a_chain_measured_for_the_table_is_measured_again_for_a_check(path: Path) -> None:
    chain = in_context(OPS[0])
    fill(path, simulated(), wanted={chain: "operator"})
    fill(path, simulated(), wanted={chain: "check"})
    slices = Counter(role for _, role, _, _ in rows(path).elements())
    assert slices == {"operator": 4, "check": 4 * NETWORK_ROUNDS}  # a check times networks
    table = load_table(path)
    assert list(table.chains) == list(table.checks) == [chain]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (replace(simulated(), threads=2), r"threads: 1 in the table, 2 here"),
        (replace(simulated(), precision="fp16"), r"precision: fp32 in the table, fp16 here"),
        (replace(simulated(), batch=8), r"batch: 1 in the table, 8 here"),
        (replace(simulated(), name="other"), r"name: sim in the table, other here"),
        (simulated(node_s=5e-6), r"node_s: 2e-06 in the table, 5e-06 here"),
        (DeviceSpec(name="sim", backend="onnxruntime"), r"backend: simulated in the table, onnx"),
    ],
    ids=["threads", "precision", "batch", "name", "environment", "backend"],
)
def test_a_table_of_other_conditions_is_refused_and_kept(
    path: Path, other: DeviceSpec, difference: str
) -> None:
    fill(path, simulated(), wanted={carrier(SHAPE, 1): "context"})
    before = path.read_bytes()
    with pytest.raises(WrongConditions, match=difference) as raised:
        fill(path, other)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == before


def test_a_description_is_no_condition(path: Path) -> None:
    fill(path, simulated())
    assert fill(path, replace(simulated(), description="the same")).total == 0


def test_refused_graphs_are_recorded_and_not_tried_again(path: Path) -> None:
    device = simulated(fault_share=0.3)
    progress = fill(path, device)
    with open_table(path) as file:
        refused = file.refusals()
    assert 0 < len(refused) < len(WANTED)
    assert set(refused.values()) == {"the simulated device refuses this graph, as it was told to"}
    others = {chain: role for chain, role in WANTED.items() if chain not in refused}
    assert rows(path) == planned(wanted=others)
    assert progress.refused == len(refused)  # once, not once a process
    assert progress.done == progress.total == 4 * len(others)
    assert fill(path, device).total == 0


def test_disturbed_slices_are_redone_and_counted(path: Path) -> None:
    effort = replace(EFFORT, rounds=8)
    progress = fill(path, simulated(load_period_s=2.0, load_share=0.2), effort=effort)
    assert progress.redone > 0
    assert progress.done == progress.total == 6 * 2 * 8
    assert rows(path).total() == progress.total + progress.redone
    with open_table(path) as file:
        trusted = Counter(
            (row.chain, row.role, row.slice.process, row.slice.round)
            for row in file.slices()
            if row.slice.trusted
        )
    assert trusted == planned(effort)


def test_slices_that_could_not_be_had_undisturbed_are_not_tried_for_ever(path: Path) -> None:
    busy = simulated(load_period_s=1.0, load_share=1.0)
    fill(path, busy)
    assert set(rows(path).values()) == {TRIES}
    assert fill(path, busy).total == 0
    assert {m.status for m in load_table(path).chains.values()} == {"noisy"}


def test_progress_knows_time_spent_and_time_left(path: Path) -> None:
    seen: list[tuple[int, float, float | None]] = []
    fill(
        path,
        simulated(),
        on_progress=lambda p: seen.append((p.done, p.device_s, p.remaining_s)),
    )
    done, device_s, remaining_s = zip(*seen, strict=True)
    assert list(device_s) == sorted(device_s)
    assert device_s[-1] >= PLANNED * EFFORT.pace.slice_s
    assert done[-1] == PLANNED
    assert remaining_s[-1] == 0.0


def test_time_left_is_unknown_before_anything_was_done() -> None:
    assert Progress(total=5).remaining_s is None


@pytest.mark.parametrize("events", [1, 3, 7, 12, 20])
def test_an_interrupted_campaign_goes_on_where_it_stopped(path: Path, events: int) -> None:
    left = iter(range(events))

    def interrupt(_: Progress) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(path, simulated(), on_progress=interrupt)
    before = rows(path)
    assert before.total() >= events // 2  # some events are verdicts
    assert before <= planned()
    progress = fill(path, simulated())
    assert progress.total == PLANNED - before.total()
    assert rows(path) == planned()


def test_an_interruption_is_possible_any_number_of_times(path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    interruptions = 0
    while interruptions < PLANNED:
        try:
            fill(path, simulated(), on_progress=interrupt)
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions == PLANNED // 2
    assert rows(path) == planned()


def test_a_process_that_dies_loses_nothing_that_was_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(
        stream: Callable[..., Generator[Event, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Event, None, None]:
        for count, event in enumerate(stream(*args, **kwargs)):
            if count == 5:
                raise ProcessDied("the measuring process ended with exit code 3")
            yield event

    with monkeypatch.context() as patch:
        patch.setattr("lut.fill.in_fresh_process", dying)
        with pytest.raises(ProcessDied):
            fill(path, simulated())
    assert rows(path).total() == 5
    fill(path, simulated())
    assert rows(path) == planned()


def test_an_interruption_leaves_the_measuring_process_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []

    def noting(
        stream: Callable[..., Generator[Event, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Event, None, None]:
        try:
            yield from stream(*args, **kwargs)
        finally:
            closed.append(kwargs["replicate"])

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lut.fill.in_fresh_process", noting)
    with pytest.raises(KeyboardInterrupt) as raised:
        fill(path, simulated(), on_progress=interrupt)
    assert raised.traceback  # still held, as a debugger or a notebook would
    assert closed == [0]


def test_processes_differ_in_order_and_in_noise(path: Path) -> None:
    effort = replace(EFFORT, processes=3, rounds=1)
    fill(path, simulated(process_noise=0.05), effort=effort)
    order: dict[int, list[Chain]] = {0: [], 1: [], 2: []}
    with open_table(path) as file:
        for row in file.slices():
            order[row.slice.process].append(row.chain)
    assert set(order[0]) == set(order[1]) == set(order[2])
    assert order[0] != order[1] != order[2]
    table = load_table(path)
    assert max(table.speeds_s.values()) / min(table.speeds_s.values()) > 1.02
    latencies_s = table.chains[in_context(OPS[0])].by_process.values()
    assert max(latencies_s) / min(latencies_s) < 1.02  # a slow process has a slow canary, too


def test_an_effort_that_starts_at_another_process_draws_other_noise(path: Path) -> None:
    elsewhere = replace(EFFORT, first_process=100)
    wanted: dict[Chain, Role] = {in_context(OPS[0]): "operator"}
    fill(path, simulated(process_noise=0.05), wanted=wanted)
    progress = fill(path, simulated(process_noise=0.05), effort=elsewhere, wanted=wanted)
    assert progress.done == progress.total == 2 * 2  # what the others took does not count
    by_process = load_table(path).chains[in_context(OPS[0])].by_process
    assert by_process.keys() == {0, 1, 100, 101}
    assert len(set(by_process.values())) == 4
    assert fill(path, simulated(process_noise=0.05), effort=elsewhere, wanted=wanted).total == 0


@pytest.mark.parametrize(("processes", "rounds"), [(0, 1), (1, 0)])
def test_an_effort_has_a_process_and_a_round(processes: int, rounds: int) -> None:
    with pytest.raises(ValueError, match="1 process and 1 round or more"):
        Effort(processes=processes, rounds=rounds)
