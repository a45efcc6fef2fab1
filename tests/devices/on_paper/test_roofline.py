import os
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from devices import (
    DeviceSpec,
    DeviceUnavailable,
    Roofline,
    Slowdown,
    SpecSheet,
    backend_for,
    device_named,
    fitted_slowdown,
    held_out_ratios,
    known_devices,
)
from devices.on_paper.workload import Workload

SHEET = SpecSheet(
    source="this file",
    matrix_fp32_ops_per_s=4e12,
    matrix_fp16_ops_per_s=8e12,
    matrix_int8_ops_per_s=16e12,
    vector_fp32_ops_per_s=1e12,
    vector_fp16_ops_per_s=2e12,
    bytes_per_s=1e9,
    launch_s=1e-6,
    compute_capability="8.6",
    memory_bytes=2**30,
    l2_bytes=2**20,
)
KERNELS = (
    Workload(matrix_ops=8e6, moved=1000),
    Workload(vector_ops=2e6, moved=500),
)


@pytest.mark.parametrize(
    ("precision", "parts_us"),
    [  # two launches; 8e6 operations; 2e6 operations; 1500 numbers
        ("fp32", [2, 2, 2, 6]),
        ("fp16", [2, 1, 1, 3]),
        ("int8", [2, 0.5, 2, 1.5]),
    ],
)
def test_launches_operations_and_bytes_of_all_kernels_are_added_up(
    precision: str, parts_us: list[float]
) -> None:
    device = DeviceSpec(name="x", backend="roofline", precision=precision, sheet=SHEET)  # type: ignore[arg-type]
    roofline = Roofline(sheet=SHEET, precision=device.precision)
    np.testing.assert_allclose(roofline.parts_s(KERNELS) * 1e6, parts_us)
    assert roofline.seconds(KERNELS) == pytest.approx(sum(parts_us) * 1e-6)


def test_a_slowdown_multiplies_each_part() -> None:
    slow = Slowdown(launch=3.0, matrix=2.0, vector=10.0, memory=0.5)
    roofline = Roofline(sheet=SHEET, precision="fp16", slowdown=slow)
    assert roofline.seconds(KERNELS) == pytest.approx((6 + 2 + 10 + 1.5) * 1e-6)


def test_no_kernels_take_no_time() -> None:
    assert Roofline(sheet=SHEET, precision="fp16").seconds(()) == 0.0


def test_no_part_takes_less_than_no_time() -> None:
    with pytest.raises(ValueError, match="no part of a kernel"):
        Slowdown(memory=-0.1)


def test_calibration_finds_the_factors_that_made_the_rows(rng: np.random.Generator) -> None:
    parts_s = rng.uniform(1e-6, 1e-4, (50, 4))
    made = (3.0, 2.0, 10.0, 0.5)
    found = astuple(fitted_slowdown(parts_s, parts_s @ np.array(made)))
    np.testing.assert_allclose(found, made, rtol=0.05)


def test_a_factor_that_would_be_negative_is_zero() -> None:
    parts_s = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0], [1.0, 3.0, 0.0, 0.0]]) * 1e-6
    measured_s = np.array([5.0, 3.0, 1.0]) * 1e-6  # the more operations the faster
    slowdown = fitted_slowdown(parts_s, measured_s)
    assert slowdown.matrix == 0.0
    assert slowdown.launch > 1.0


def test_a_part_that_no_row_has_is_as_slow_as_whole_kernels() -> None:
    parts_s = np.array([[1.0, 1.0, 0.0, 2.0], [1.0, 2.0, 0.0, 1.0], [1.0, 3.0, 0.0, 9.0]])
    assert fitted_slowdown(parts_s, 2.5 * parts_s.sum(axis=1)).vector == pytest.approx(2.5)


def test_one_odd_row_does_not_decide_a_factor_that_hardly_matters_in_it() -> None:
    parts_s = np.tile([1e-6, 1e-5, 0.0, 1e-5], (10, 1))
    parts_s[0, 2] = 1e-9
    measured_s = parts_s.sum(axis=1)
    measured_s[0] *= 1.5  # would make the vector units 10,000 times as slow as the sheet says
    assert fitted_slowdown(parts_s, measured_s).vector < 2.0


def test_held_out_rows_are_estimated_without_themselves(rng: np.random.Generator) -> None:
    parts_s = rng.uniform(1e-6, 1e-4, (50, 4))
    measured_s = parts_s @ np.array([3.0, 2.0, 10.0, 0.5])
    np.testing.assert_allclose(held_out_ratios(parts_s, measured_s), 1.0, rtol=0.02)
    measured_s[0] *= 7.0  # the others know nothing of it
    assert held_out_ratios(parts_s, measured_s)[0] == pytest.approx(7.0, rel=0.02)


def test_a_handful_of_rows_is_refused(rng: np.random.Generator) -> None:
    parts_s = rng.uniform(1e-6, 1e-4, (7, 4))
    with pytest.raises(ValueError, match="four factors take 8 rows or more, got 7"):
        held_out_ratios(parts_s, parts_s.sum(axis=1))


def test_every_spec_sheet_of_the_catalog_is_plausible() -> None:
    sheets = {name: device.sheet for name, device in known_devices().items() if device.sheet}
    gpus = ("a100", "gtx-1080-ti", "h100", "orin", "rtx-3090", "rtx-4090", "t4", "v100")
    assert sheets.keys() == {f"{gpu}-roofline" for gpu in gpus}
    for sheet in sheets.values():
        assert sheet.source
        assert sheet.matrix_fp16_ops_per_s >= sheet.vector_fp16_ops_per_s
        assert sheet.l2_bytes < sheet.memory_bytes
        balance = sheet.vector_fp32_ops_per_s / sheet.bytes_per_s  # operations a byte
        assert 10 < balance < 100


def test_a_spec_sheet_runs_nothing() -> None:
    with pytest.raises(DeviceUnavailable, match="'t4-roofline' is a spec sheet"):
        backend_for(device_named("t4-roofline"))


def test_a_sheet_and_its_backend_come_together() -> None:
    with pytest.raises(ValueError, match="a sheet goes with the backend roofline"):
        DeviceSpec(name="x", backend="simulated", sheet=SHEET)
    with pytest.raises(ValueError, match="a sheet goes with the backend roofline"):
        DeviceSpec(name="x", backend="roofline")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bytes_per_s": 0.0}, "positive rates"),
        ({"launch_s": -1.0}, "0 s or more"),
        ({"l2_bytes": -1}, "no negative memory"),
        ({"source": ""}, "names its source"),
    ],
)
def test_an_impossible_sheet_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SHEET, **wrong)  # type: ignore[arg-type]


@pytest.mark.skipif("LATKIT_DATA" not in os.environ, reason="LATKIT_DATA is unset: no V100 here")
def test_real_gpus_are_ranked_as_the_bench_says() -> None:
    from bench.roofline import judged
    from bench.roofline_data import read_blocks, read_convolutions

    folder = Path(os.environ["LATKIT_DATA"])
    for data, rows, rank in (
        (read_convolutions(folder, every=40), 2244, 0.90),
        (read_blocks(folder), 657, 0.94),
    ):
        assert len(data.measured_s) == rows
        found = {(row["estimate"], row["calibrated_on"]): row for row in judged(data, draws=3)}
        published, calibrated = found["roofline", 0], found["roofline", 30]
        assert published["spearman"] > rank
        assert published["spearman"] > found["operations", 0]["spearman"]
        assert published["spearman"] > found["bytes", 0]["spearman"]
        assert calibrated["mape"] < published["mape"]
