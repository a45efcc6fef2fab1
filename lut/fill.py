"""Measure what a table lacks, straight into its file."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from time import monotonic

import numpy as np

from devices import DeviceSpec, backend_for
from lut.files.engines import note_engine
from lut.files.holder import held_table
from lut.files.storage import Role, TableFile, create_table, open_table
from lut.table import Conditions, conditions_from_meta
from lut.timing_cache import cache_condition, cache_for
from profiler import (
    METHOD,
    TRIES,
    Chain,
    Event,
    Judged,
    Pace,
    Refused,
    Taken,
    Task,
    campaign_stream,
    in_fresh_process,
    plan_tasks,
)
from profiler.campaigns.engines import Noted

NETWORK_ROUNDS = 2
"""Slices of a network for one of an operator. Errors of some twenty operators cancel in a sum,
those of the networks that calibrate it do not (docs/results.md)."""


CAMPAIGN = "campaign"
"""Label that names a table to devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        processes: Fresh processes; they differ by more than slices of one do.
        rounds: Slices of every operator in each process; a whole network gets `NETWORK_ROUNDS` as
            many, see there.
        pace: Time for each slice.
        first_process: Number of the first process; it seeds a simulated device's noise, so a
            check that is to be independent of the table starts elsewhere.
        seed: Of the order of the slices.
    """

    processes: int = 5
    rounds: int = 1
    pace: Pace = field(default_factory=Pace)
    first_process: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.processes, self.rounds) < 1:
            raise ValueError("an effort has 1 process and 1 round or more")

    def rounds_of(self, role: Role) -> int:
        """Return how many slices each process takes of what is measured for this purpose."""
        return self.rounds * (1 if role in ("operator", "context") else NETWORK_ROUNDS)


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a campaign is.

    Attributes:
        total: Slices to take.
        done: Slices that need not be taken again.
        redone: Slices that were taken again because something disturbed them.
        refused: Graphs that the device cannot run.
        device_s: Seconds of device time spent, in the processes that have ended or judged.
        remaining_s: Estimate of the seconds that are left; None before there is one.
    """

    total: int
    done: int = 0
    redone: int = 0
    refused: int = 0
    device_s: float = 0.0
    started_s: float = field(default_factory=monotonic)

    @property
    def remaining_s(self) -> float | None:
        """Estimate from the pace so far."""
        if not self.done:
            return None
        return (monotonic() - self.started_s) / self.done * max(0, self.total - self.done)


def current_conditions(device: DeviceSpec) -> Conditions:
    """Return what a latency measured on ``device`` here and now would depend on.

    Raises:
        DeviceUnavailable: The device is not usable here.
    """
    environment = {**backend_for(device).environment(), "method": METHOD}
    return Conditions(device=device, environment=environment)


@contextmanager
def table_for(path: Path, device: DeviceSpec) -> Iterator[TableFile]:
    """Open a device's table, or make it where there is none.

    Raises:
        InUse: Another process fills it.
        WrongConditions: The file was made under other conditions.
        DeviceUnavailable: The device is not usable here.
    """
    here = current_conditions(device)
    cache = {} if path.exists() else cache_condition(path, device)
    with file_for(path, replace(here, environment={**here.environment, **cache})) as file:
        yield file


@contextmanager
def file_for(path: Path, here: Conditions) -> Iterator[TableFile]:
    """Open the file of some conditions, or make it where there is none.

    Raises:
        InUse: Another process fills it.
        WrongConditions: The file was made under other conditions.
    """
    with held_table(path):
        if not path.exists():
            with create_table(path, here.as_meta()) as file:
                yield file
            return
        with open_table(path) as file:
            conditions_from_meta(file.meta()).require(here, str(path))
            yield file


def fill_table(
    file: TableFile,
    wanted: Mapping[Chain, Role],
    effort: Effort,
    *,
    progress: Progress | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Measure those slices of chains that a file lacks, each committed as it is taken.

    May be killed at any moment and called again: it goes on where it stopped.

    Args:
        file: Open; conditions are those of here and now (see `table_for`).
        wanted: What to measure, and why.
        effort: How much of each.
        progress: Of an earlier call that this one continues; None of none.
        on_progress: Called after every event.

    Returns:
        What was done; ``refused`` chains are in the file with the reason.

    Raises:
        StorageFull: The disk is full; everything before is safe.
        ProcessDied: The measuring process crashed; everything before is safe.
        InvalidFile: The timing cache beside the table is missing, or another one.
    """
    file.add_chains(wanted)
    device = conditions_from_meta(file.meta()).device
    chains = list(wanted)
    cache = cache_for(file, wanted.values())
    tasks = lacking_slices(file, wanted, effort)
    progress = progress or Progress(total=0)
    progress.total += sum(map(len, tasks.values()))
    for process, planned in tasks.items():
        refused = file.refusals()  # by an earlier process, too
        todo = [task for task in planned if chains[task.number] not in refused]
        if todo:
            stream = in_fresh_process(
                campaign_stream,
                device,
                chains,
                todo,
                effort.pace,
                replicate=process,
                campaign=_campaign(file, device),
                timing_cache=cache,
            )
            with closing(stream):  # an interruption ends the process, too
                _store(file, chains, wanted, stream, progress, on_progress, process=process)
        refused = file.refusals()
        progress.total -= sum(1 for task in planned if chains[task.number] in refused)
    return progress


def _campaign(file: TableFile, device: DeviceSpec) -> str:
    """Return a name that only this table has, for a device that goes on without us; else none."""
    if device.transport is None:
        return ""
    if CAMPAIGN not in file.labels():
        file.set_label(CAMPAIGN, token_hex(8))
    return str(file.labels()[CAMPAIGN])


def lacking_slices(
    file: TableFile, wanted: Mapping[Chain, Role], effort: Effort
) -> dict[int, list[Task]]:
    """Return for each process the slices that are not in the file, in random order."""
    tries: Counter[tuple[Chain, Role, int, int]] = Counter()
    for row in file.slices():
        settled = TRIES if row.slice.trusted else 1
        tries[row.chain, row.role, row.slice.process, row.slice.round] += settled
    refused = file.refusals()
    chains = list(wanted)
    numbers = [i for i, chain in enumerate(chains) if chain not in refused]
    rng = np.random.default_rng(effort.seed)
    most = max(map(effort.rounds_of, wanted.values()), default=0)

    def counted(task: Task) -> Task:
        chain = chains[task.number]
        return replace(task, tries=tries[chain, wanted[chain], task.process, task.round])

    def lacks(task: Task) -> bool:
        return task.round < effort.rounds_of(wanted[chains[task.number]]) and task.tries < TRIES

    planned = {
        process: plan_tasks(numbers, process=process, rounds=most, rng=rng)
        for process in range(effort.first_process, effort.first_process + effort.processes)
    }
    return {process: list(filter(lacks, map(counted, tasks))) for process, tasks in planned.items()}


def _store(
    file: TableFile,
    chains: Sequence[Chain],
    wanted: Mapping[Chain, Role],
    stream: Iterator[Event],
    progress: Progress,
    on_progress: Callable[[Progress], None],
    *,
    process: int,
) -> None:
    """Commit the events of one process."""
    rows: dict[int, int] = {}
    before_s = progress.device_s
    for event in stream:
        match event:
            case Taken():
                chain = chains[event.number]
                rows[event.id] = file.add_slice(chain, wanted[chain], event.slice)
                progress.done += 1
            case Judged():
                file.judge([rows[id_] for id_ in event.ids], event.gate)
                progress.done -= event.redo
                progress.redone += event.redo
                progress.device_s = before_s + event.elapsed_s
            case Noted():
                note_engine(file, chains[event.number], event.facts, process=process)
            case Refused():
                file.refuse(chains[event.number], event.why)
                progress.refused += 1
        on_progress(progress)
