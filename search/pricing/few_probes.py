"""A new device from tables of others: measure a few telling networks there, estimate the rest."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from devices import DeviceSpec, InvalidFile
from lut import (
    Effort,
    LatencyTable,
    Progress,
    Role,
    calibration_networks,
    fill_table,
    load_table,
    table_for,
    table_from_file,
)
from lut.on_paper.estimates import EstimatedTable, require_replaceable
from lut.on_paper.transfer import fit_transfer, most_telling
from lut.on_paper.transferred import known_of, write_transferred
from profiler import Chain
from search.pricing.coverage import ends_of, spread_sample
from search.pricing.tables import OnProgress, label_space, space_of
from search.space import SearchSpace, as_choices

CANDIDATES = 300
"""Networks, from small to large, that the probes are chosen among."""


def transfer_space(
    path: Path,
    known: Sequence[Path],
    device: DeviceSpec,
    *,
    measured: Path,
    probes: int,
    space: str | None = None,
    effort: Effort,
    on_progress: OnProgress = lambda _: None,
) -> tuple[EstimatedTable, Progress]:
    """Estimate a device's table from others and from a few whole networks measured on it.

    Networks that the file of measurements already holds count, too, so asking for more probes
    refines the table, and ``latkit profile`` on that file makes it a measured one.

    Args:
        path: The table of estimates; replaced where there is one, and nothing else is.
        known: Tables of other devices, all of one space; one or more.
        device: The new one.
        measured: The file that what is measured goes to; made where there is none.
        probes: Networks to measure, the most telling first.
        space: Which, where the tables are for several.
        effort: How much of each network.
        on_progress: Called after every event.

    Raises:
        InvalidFile: The known tables are not of one space, or of another batch than the device's;
            or what stands at ``path`` are no estimates.
        MissingLatency: A known table lacks operators.
        NotCalibrated: A known table lacks whole networks.
        WrongConditions: The file of measurements was made under other conditions.
        StorageFull: The disk is full; everything before is safe.
    """
    require_replaceable(path)  # before minutes are spent
    if measured.resolve() == path.resolve():
        raise InvalidFile(f"{path} cannot hold both estimates and what is measured; name two files")
    tables = [load_table(each) for each in known]
    covered = _one_space(tables, space, device)
    rng = np.random.default_rng(effort.seed)
    archs = [*ends_of(covered), *spread_sample(covered, CANDIDATES, rng)]
    pool = known_of(tables, covered, as_choices(archs))
    chosen = [covered.chain(archs[row]) for row in most_telling(pool, min(probes, len(archs)))]
    probed, progress = _measured(measured, chosen, covered, device, effort, on_progress)
    choices, measured_s = calibration_networks(probed, covered)
    everything = known_of(tables, covered, np.concatenate([choices, as_choices(archs)]))
    transfer = fit_transfer(everything, np.arange(len(choices)), measured_s)
    table = write_transferred(
        path, tables, covered, transfer=transfer, probed=probed, labels=label_space(covered)
    )
    return table, progress


def _one_space(tables: Sequence[LatencyTable], name: str | None, device: DeviceSpec) -> SearchSpace:
    """Return the space that all tables are for."""
    spaces = [space_of(table, name) for table in tables]
    labels = [label_space(space) for space in spaces]
    for table, label in zip(tables, labels, strict=True):
        if label != labels[0]:
            raise InvalidFile(
                f"{table.name} is for {', '.join(label)}, and {tables[0].name} for "
                f"{', '.join(labels[0])}: a device is transferred within one space"
            )
    batch = spaces[0].input_shape[0]
    if batch != device.batch:
        raise InvalidFile(
            f"{tables[0].name} is of batch {batch}, and device {device.name!r} of {device.batch}: "
            "name a device, or tables, of the same batch"
        )
    return spaces[0]


def _measured(
    path: Path,
    networks: Sequence[Chain],
    space: SearchSpace,
    device: DeviceSpec,
    effort: Effort,
    on_progress: OnProgress,
) -> tuple[LatencyTable, Progress]:
    """Measure what a file lacks of some networks."""
    with table_for(path, device) as file:
        for key, label in label_space(space).items():
            file.set_label(key, label)
        wanted: dict[Chain, Role] = dict.fromkeys(networks, "calibration")
        progress = fill_table(file, wanted, effort, on_progress=on_progress)
        return table_from_file(file), progress
