"""What a number format costs and gains, for people."""

from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]


def precision_lines(precision: str, facts: Facts, beside: Facts | None = None) -> list[str]:
    """Return lines on accuracy, ranges, layers, size and latency; none of a network in fp32.

    Args:
        precision: Of the model.
        facts: Of its deployment.
        beside: Its latency beside fp32, see `export.beside_floats.time_beside`; None: not timed.
    """
    if "against_fp32" not in facts:
        return []
    found = facts["against_fp32"]
    low, high = found["drop_interval_points"]
    lines = [
        f"{precision} on {found['images']} test images: {found['accuracy']:.2%}, fp32 "
        f"{found['accuracy_fp32']:.2%}; drop {found['drop_points']:.2f} points "
        f"({low:.2f} to {high:.2f}), the same class for {found['agreement']:.2%}",
        *_integer_lines(facts),
        f"size {found['size_bytes'] / 1e6:.3g} MB, fp32 {found['size_bytes_fp32'] / 1e6:.3g} MB",
    ]
    return lines if beside is None else [*lines, _latency_line(beside)]


def _integer_lines(facts: Facts) -> list[str]:
    if "calibration" not in facts:
        return []
    calibration, drop = facts["calibration"], facts["validation_drop"]
    lines = [
        f"ranges by {calibration['ranges']}, of {calibration['images']} images of "
        f"{calibration['source']}; on {drop['images']} validation images they cost "
        f"{drop['drop_points']:.2f} points, {drop['max_drop_points']:g} are allowed"
    ]
    if facts["kept_float"]:
        lines.append(
            f"kept in floats for accuracy: {', '.join(facts['kept_float'])}; no table priced that, "
            "so no latency is predicted"
        )
    if facts["float_operators"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in facts["float_operators"].items())
        lines.append(f"kept in floats for want of an int8 kernel: {kinds}")
    return lines


def _latency_line(beside: Facts) -> str:
    if "not_measured" in beside:
        return f"latency beside fp32 was not measured: {beside['not_measured']}"
    low, high = beside["ratio_interval"]
    return (
        f"latency {beside['ratio']:.3g} x that of fp32 ({low:.3g} to {high:.3g}), "
        f"{beside['ms']:.3g} and {beside['fp32_ms']:.3g} ms on {beside['device']}, side by side in "
        f"{beside['processes']} fresh processes, status {beside['status']}"
    )
