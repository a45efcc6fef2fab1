"""What people read of a number format."""

from typing import Any

from export.precision.views import precision_lines

FACTS: dict[str, Any] = {
    "against_fp32": {
        "images": 360,
        "accuracy_fp32": 0.975,
        "accuracy": 0.97,
        "drop_points": 0.5,
        "drop_interval_points": [-0.1, 1.1],
        "agreement": 0.99,
        "size_bytes_fp32": 2_000_000,
        "size_bytes": 600_000,
    },
    "calibration": {"source": "the training split of digits", "images": 256, "ranges": "mse"},
    "validation_drop": {"images": 359, "drop_points": 0.28, "max_drop_points": 0.5},
    "kept_float": [],
    "float_operators": {},
}
BESIDE = {
    "device": "cpu-int8",
    "ratio": 0.5,
    "ratio_interval": [0.45, 0.55],
    "fp32_ms": 2.0,
    "ms": 1.0,
    "processes": 5,
    "status": "ok",
}


def test_a_network_in_fp32_has_nothing_to_say() -> None:
    assert precision_lines("fp32", {"test_accuracy": 0.9}) == []


def test_accuracy_ranges_size_and_latency_are_a_line_each() -> None:
    accuracy, ranges, size, latency = precision_lines("int8", FACTS, BESIDE)
    assert accuracy == (
        "int8 on 360 test images: 97.00%, fp32 97.50%; drop 0.50 points (-0.10 to 1.10), the same "
        "class for 99.00%"
    )
    assert ranges.startswith("ranges by mse, of 256 images of the training split of digits")
    assert size == "size 0.6 MB, fp32 2 MB"
    assert latency.startswith("latency 0.5 x that of fp32 (0.45 to 0.55), 1 and 2 ms on cpu-int8")


def test_layers_and_operators_in_floats_are_named() -> None:
    facts = FACTS | {"kept_float": ["0", "3"], "float_operators": {"HardSwish": 4}}
    said = "\n".join(precision_lines("int8", facts))
    assert "kept in floats for accuracy: 0, 3; no table priced that" in said
    assert "for want of an int8 kernel: 4 HardSwish" in said


def test_why_a_latency_was_not_measured_is_said() -> None:
    lines = precision_lines("fp16", {"against_fp32": FACTS["against_fp32"]}, {"not_measured": "X"})
    assert lines[0].startswith("fp16 on 360 test images")
    assert lines[-1] == "latency beside fp32 was not measured: X"
