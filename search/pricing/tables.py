"""A space and its table: measure what is lacking, check it, and price by it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from devices import DeviceSpec, InvalidFile
from lut import (
    CheckReport,
    Effort,
    LatencyTable,
    Progress,
    Role,
    check_report,
    current_conditions,
    fill_table,
    latency_model,
    load_table,
    macs_model,
    table_for,
    table_from_file,
)
from lut.on_paper.estimates import AnyTable, EstimatedTable, Worth, fill_estimates, worth_of
from lut.outlook import Outlook, outlook_of, outlook_on
from lut.rows import rows_of
from lut.timing_cache import keeps_cache, learn_cache, rebuilt_sample
from profiler import Chain
from search.pricing.coverage import chains_to_measure, unseen_networks
from search.space import SearchSpace
from search.spaces import space_from_label, space_label

CHECK_EFFORT = Effort(processes=6, first_process=100)
"""A network's true latency takes five fresh processes or more, none of them the table's."""

SECOND_LOOKS = 3
"""Processes in which rows are measured again that came out noisy: what scatters by a third from
process to process needs more of them than what scatters by a twentieth."""

REBUILDS = 4
"""Processes that build a sample of rows anew."""

OnProgress = Callable[[Progress], None]


def space_outlook(path: Path, space: SearchSpace, device: DeviceSpec, effort: Effort) -> Outlook:
    """Return what `profile_space` is about to do, with the effort that it should be given.

    Rows that come out noisy take longer than this says.

    Args:
        path: The table.
        space: What to cover.
        device: Where to measure.
        effort: How much of each is asked for; a GPU may get less, see `lut.outlook`.

    Raises:
        WrongConditions: The file was made under other conditions.
        DeviceUnavailable: The device is not usable here.
    """
    wanted = chains_to_measure(space)
    if not path.exists():
        current_conditions(device)  # whether it is usable
        return outlook_on(device, wanted, effort)
    with table_for(path, device) as file:
        return outlook_of(file, wanted, effort)


def profile_space(
    path: Path,
    space: SearchSpace,
    device: DeviceSpec,
    *,
    effort: Effort,
    on_progress: OnProgress = lambda _: None,
) -> tuple[LatencyTable, Progress]:
    """Measure what a table lacks of a space; go on where an earlier call was cut off.

    Rows that come out noisy are then measured again in `SECOND_LOOKS` more processes, on a GPU only
    if its time is not up. Where engines are built by a timing cache, a new table begins with that,
    and ends with a sample of rows that are built anew, see `lut.timing_cache`.

    Args:
        path: The table; made where there is none.
        space: What to cover. Its batch is the device's.
        device: Where to measure.
        effort: How much of each.
        on_progress: Called after every event.

    Raises:
        WrongConditions: The file was made under other conditions.
        DeviceUnavailable: The device is not usable here.
        StorageFull: The disk is full; everything before is safe.
    """
    wanted = chains_to_measure(space)
    learn_cache(
        path,
        device,
        wanted,
        on_built=lambda done: on_progress(Progress(total=len(wanted), done=done)),
    )
    with table_for(path, device) as file:
        for key, label in label_space(space).items():
            file.set_label(key, label)
        progress = fill_table(file, wanted, effort, on_progress=on_progress)
        first = effort.first_process + effort.processes
        if keeps_cache(device):
            anew = replace(effort, processes=REBUILDS, first_process=first + SECOND_LOOKS)
            sample = rebuilt_sample(wanted)
            fill_table(file, sample, anew, progress=progress, on_progress=on_progress)
        wide = rows_of(table_from_file(file)).wide  # maybe of another space, too
        noisy = {chain: wanted[chain] for chain in wide if chain in wanted}
        again = replace(effort, processes=SECOND_LOOKS, first_process=first)
        more = outlook_of(file, noisy, again)
        if more.limit_s is None or progress.device_s + more.forecast.seconds <= more.limit_s:
            fill_table(file, noisy, again, progress=progress, on_progress=on_progress)
        return table_from_file(file), progress


def check_space(
    path: Path,
    space: SearchSpace,
    *,
    nets: int,
    seed: int,
    effort: Effort = CHECK_EFFORT,
    on_progress: OnProgress = lambda _: None,
) -> CheckReport:
    """Measure whole networks that a table has not seen, and compare.

    The networks stay in the file as checks. They are never calibrated on, and a later check draws
    others. The calibration networks are measured again beside them, to tell operators that are
    wrong from a device that is in another state.

    Args:
        path: The table.
        space: Whose networks to draw.
        nets: How many.
        seed: Of the draws.
        effort: How much of each network.
        on_progress: Called after every event.

    Raises:
        WrongConditions: The device is in another state than when the table was made.
        MissingLatency: The table lacks operators of the space.
        NotCalibrated: It lacks whole networks of the space.
        TooFewNetworks: The space has not so many that were not measured.
    """
    table = load_table(path)
    latency_model(table, space)  # complain of a poor table before minutes are spent
    finished = {c: m for c, m in table.checks.items() if len(m.by_process) >= effort.processes}
    # A check that was cut off is taken up again.
    known = {**table.networks, **table.verified, **finished}
    archs = unseen_networks(space, nets, known=known, seed=seed)
    networks = {space.chain(arch): arch.choices for arch in archs}
    with table_for(path, table.conditions.device) as file:
        wanted: dict[Chain, Role] = dict.fromkeys((*networks, *table.networks), "check")
        progress = fill_table(file, wanted, effort, on_progress=on_progress)
        table = table_from_file(file)
    return report_on(table, space, networks, device_s=progress.device_s)


def report_on(
    table: LatencyTable,
    space: SearchSpace,
    networks: Mapping[Chain, tuple[int, ...]],
    *,
    device_s: float,
) -> CheckReport:
    """Compare predictions with networks that a check has measured.

    Args:
        table: Holds them among its checks, and its calibration networks, too.
        space: Their space.
        networks: What to judge by, with the choices.
        device_s: Device time that it took.
    """
    again = calibrated_anew(table)
    return check_report(
        table,
        latency_model(table, space),
        macs_model(table, space),
        networks,
        anew=(latency_model(again, space), macs_model(again, space)),
        device_s=device_s,
    )


def calibrated_anew(table: LatencyTable) -> LatencyTable:
    """Return a table whose calibration networks are as its last check measured them."""
    networks = {c: measured for c, measured in table.checks.items() if c in table.networks}
    return replace(table, networks=networks, verified={})


def estimate_space(
    path: Path, space: SearchSpace, device: DeviceSpec, *, calibrate: Path | None = None
) -> EstimatedTable:
    """Estimate what a file lacks of a space by a spec sheet.

    Args:
        path: The table of estimates; made where there is none.
        space: What to cover. Its batch is the device's.
        device: Of the backend ``roofline``.
        calibrate: A table with measured operators of the same GPU; None to trust the sheet.

    Raises:
        WrongConditions: The file was made under other conditions, or is a measured table.
        InvalidFile: There are too few operators to calibrate on.
        StorageFull: The disk is full.
    """
    return fill_estimates(
        path,
        (*space.before, *space.operators, *space.after),
        device,
        worth=Worth() if calibrate is None else worth_of(device, calibrate),
        labels=label_space(space),
    )


def spaces_of(table: AnyTable) -> list[SearchSpace]:
    """Return the spaces that a table was profiled for."""
    labels = (value for key, value in table.labels.items() if key.startswith("space "))
    return [space_from_label(label) for label in labels]


def space_of(table: AnyTable, name: str | None = None) -> SearchSpace:
    """Return the one space that a table is for.

    Args:
        table: The table.
        name: Which, where it is for several.

    Raises:
        InvalidFile: It is for none, or for several and none of them is named.
    """
    found = [space for space in spaces_of(table) if name in (None, space.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(key for each in spaces_of(table) for key in label_space(each)) or "none"
    raise InvalidFile(
        f"{table.name} is for {names}; name one that it holds once: --space, or profile it: "
        "latkit profile"
    )


def label_space(space: SearchSpace) -> dict[str, dict[str, object]]:
    """Return what a table notes of a space that it was profiled for, under its name for people."""
    label = space_label(space)
    return {
        "space {name} at {resolution} px, batch {batch}, {classes} classes".format(**label): label
    }
