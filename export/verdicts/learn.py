"""What a verdict teaches the table that made the promise. Needs no torch."""

from pathlib import Path

from devices import DeviceSpec, LatkitError
from export.bundle.deployment import read_deployment
from export.verdicts.verdict import Verdict
from lut import current_conditions, feed_back, load_table
from search.space import architecture_from_text
from search.spaces import space_from_label


class NotAsPriced(LatkitError):
    """A network is not wholly in the number format of the table that it should teach."""


def check_table(table: Path, device: DeviceSpec) -> None:
    """Refuse a table that cannot learn from a device, before anything is measured for it.

    Raises:
        InvalidFile: There is no such table.
        WrongConditions: It is of another device.
    """
    load_table(table).conditions.require(current_conditions(device), str(table))


def learn(table: Path, folder: Path, verdict: Verdict) -> int:
    """Feed a verdict back to the table of its device; return the calibration's revision.

    Args:
        table: The table.
        folder: The deployment that was measured.
        verdict: What was measured.

    Raises:
        WrongConditions: The table is of another device.
        NotAsPriced: Layers of the network were left in floats.
    """
    deployment = read_deployment(folder)
    if kept := deployment.facts.get("kept_float"):
        raise NotAsPriced(
            f"{folder} keeps {len(kept)} layers in floats for accuracy, which no table of "
            f"{deployment.precision} prices, so its latency teaches none: verify without --table"
        )
    space = space_from_label(deployment.space)
    chain = space.chain(architecture_from_text(deployment.arch))
    return feed_back(table, chain, verdict.measurement, verdict.conditions)
