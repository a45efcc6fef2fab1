"""What is to be said of latencies that no real device showed, and of what they are worth."""

from devices.backend import EMULATED
from lut import Conditions
from lut.on_paper.transferred import RULE as TRANSFERRED
from lut.table import ESTIMATED, is_emulated, is_estimated

EMULATED_LINE = (
    f"{EMULATED.upper()}: measured where software pretends to be the device; no real latency."
)


def origin_line(conditions: Conditions) -> str:
    """Return what stands above latencies; empty where a real device showed them."""
    if is_emulated(conditions):
        return EMULATED_LINE
    if not is_estimated(conditions):
        return ""
    return f"{ESTIMATED.upper()} from {_source(conditions)}."


def _source(conditions: Conditions) -> str:
    measured = str(conditions.environment.get("calibrated on", "nothing"))
    if is_transferred(conditions):
        return (
            f"tables of other devices and {measured}: none of its operators was measured on "
            f"{conditions.device.name}"
        )
    if measured.startswith("nothing"):
        return "a spec sheet: nothing here was measured"
    return f"a spec sheet, calibrated on {measured}: nothing else here was measured"


def is_transferred(conditions: Conditions) -> bool:
    """Whether estimates are from tables of other devices, and not from a spec sheet."""
    return conditions.environment.get("rule") == TRANSFERRED


def ratios_of(conditions: Conditions) -> str:
    """Return what the ratios of a table of estimates were measured of, in the plural."""
    return "whole networks" if is_transferred(conditions) else "operators"
