"""Verdicts that flow back into a table: its calibration learns from what was shipped."""

from dataclasses import replace
from pathlib import Path

from lut.files.storage import open_table
from lut.table import REVISION, Conditions, conditions_from_meta
from profiler import Chain, Measurement


def feed_back(path: Path, chain: Chain, measurement: Measurement, conditions: Conditions) -> int:
    """Add a network that was measured for a verdict to the calibration of a table.

    Operators and hash of the table stay; base, slope and intervals learn. Networks that a search
    picked are those that predictions flatter most, so they teach more than random ones.

    Args:
        path: The table.
        chain: What the network is made of.
        measurement: From fresh processes.
        conditions: Under which it was measured.

    Returns:
        The revision of the calibration, from 1.

    Raises:
        WrongConditions: The table holds for other conditions.
        StorageFull: The disk is full; the calibration is what it was.
    """
    with open_table(path) as file, file.at_once():
        conditions_from_meta(file.meta()).require(conditions, str(path))
        file.add_chains({chain: "verified"})  # from here on no other process writes
        revision = int(file.labels().get(REVISION, 0)) + 1
        taken = [row.slice.process for row in file.slices() if row.role == "verified"]
        first = max(taken, default=-1) + 1  # the processes of every verdict are others
        for piece in measurement.slices:
            file.add_slice(chain, "verified", replace(piece, process=first + piece.process))
        file.set_label(REVISION, revision)
    return revision
