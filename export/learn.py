"""What a verdict teaches the table that made the promise. Needs no torch."""

from pathlib import Path

from export.deployment import read_deployment
from export.verify import Verdict
from lut import feed_back
from search.space import architecture_from_text
from search.spaces import space_from_label


def learn(table: Path, folder: Path, verdict: Verdict) -> int:
    """Feed a verdict back to the table of its device; return the calibration's revision.

    Args:
        table: The table.
        folder: The deployment that was measured.
        verdict: What was measured.

    Raises:
        WrongConditions: The table is of another device.
    """
    deployment = read_deployment(folder)
    space = space_from_label(deployment.space)
    chain = space.chain(architecture_from_text(deployment.arch))
    return feed_back(table, chain, verdict.measurement, verdict.conditions)
