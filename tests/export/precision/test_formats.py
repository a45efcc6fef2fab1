"""Number formats of a device, timed side by side, and which integers are the ones to take."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import latkit
from devices import DeviceSpec, Simulation, device_named
from export.precision.formats import (
    SCHEMES,
    Comparison,
    MeasuredFormat,
    compare_formats,
    in_every_format,
)
from export.precision.formats_views import formats_view
from profiler import Conv, Head, Pace
from profiler.whole_models.side_by_side import SideBySide
from tests.measurements import measured

CPU = device_named("cpu")
CHAIN = (
    Conv(input_shape=(3, 3, 8, 8), channels=8, kernel=3, activation="relu"),
    Head(input_shape=(3, 8, 8, 8), channels=8, classes=10),
)


def integers(name: str, *seconds: float, error: float | None = 0.02) -> MeasuredFormat:
    """Return a scheme that takes so long in each process, where fp32 takes a second."""
    beside = SideBySide(floats=measured(*(1.0,) * len(seconds)), other=measured(*seconds))
    return MeasuredFormat(
        name=name, device=in_every_format(CPU)["int8 u8s8"], beside=beside, error=error
    )


def best(*formats: MeasuredFormat) -> str | None:
    found = Comparison(formats=formats, device="cpu", environment={}, network="any").integers
    return None if found is None else found.name


def test_the_fastest_integers_are_taken() -> None:
    assert best(integers("a", 0.9, 0.91, 0.9), integers("b", 0.5, 0.51, 0.5)) == "b"


def test_the_more_exact_is_taken_where_it_is_not_surely_a_tenth_slower() -> None:
    assert best(integers("a", 0.45, 0.6, 0.5), integers("b", 0.49, 0.5, 0.51)) == "a"
    assert best(integers("a", 0.54, 0.54, 0.54), integers("b", 0.5, 0.5, 0.5)) == "a"
    assert best(integers("a", 0.56, 0.56, 0.56), integers("b", 0.5, 0.5, 0.5)) == "b"


def test_integers_with_wrong_outputs_are_never_taken() -> None:
    wrong = integers("fast", 0.3, 0.3, 0.3, error=0.4)
    assert best(wrong, integers("right", 0.9, 0.9, 0.9)) == "right"
    coarse = integers("coarse", 0.3, 0.3, 0.3, error=0.04)
    assert best(coarse, integers("right", 0.9, 0.9, 0.9)) == "coarse"


def test_outputs_that_a_device_does_not_show_speak_against_nothing() -> None:
    hidden = [integers(name, 0.5, 0.5, error=None) for name in "ab"]
    assert best(*hidden) == "a"


def test_floats_are_no_integers_and_nothing_is_taken_where_none_can_be_timed() -> None:
    half = replace(integers("fp16", 0.1, 0.1), device=in_every_format(CPU)["fp16"])
    refused = MeasuredFormat(
        name="int8 u8s8", device=in_every_format(CPU)["int8 u8s8"], why_not="no"
    )
    assert best(half, refused) is None
    found = Comparison(formats=[half, refused], device="cpu", environment={}, network="any")
    text = StringIO()
    Console(width=120, file=text).print(formats_view(found, None))
    assert "no kind of int8 can be timed with right numbers here: no device file" in text.getvalue()
    assert "wrong outputs" not in text.getvalue()


def test_a_cpu_is_tried_in_every_scheme_and_tensorrt_in_the_one_that_it_takes() -> None:
    schemes = {
        name: device.quantization
        for name, device in in_every_format(CPU).items()
        if device.precision == "int8"
    }
    assert schemes == dict(SCHEMES)
    assert len(set(SCHEMES.values())) == len(SCHEMES)
    gpu = in_every_format(device_named("rtx-4090"))
    assert set(gpu) == {"fp16", "int8 symmetric"}
    assert gpu["int8 symmetric"] == device_named("rtx-4090-int8")


def test_every_format_is_timed_in_the_same_processes_and_its_outputs_are_compared() -> None:
    device = DeviceSpec(name="mine", backend="simulated", simulation=Simulation(), batch=3)
    found = compare_formats(CHAIN, device, network="small", processes=2, rounds=1, pace=Pace())
    assert [each.name for each in found.formats] == ["fp16", *SCHEMES]
    for each in found.formats:
        assert each.beside is not None
        assert each.beside.floats.by_process.keys() == each.beside.other.by_process.keys() == {0, 1}
        assert each.error is not None
        assert 0.0 < each.error < 0.2
        assert each.device.name == f"mine-{each.device.precision}"


def test_integers_are_right_on_the_real_runtime_and_fp16_says_why_it_is_not_timed() -> None:
    pace = Pace(slice_s=0.005, sample_s=0.001, warm_limit_s=0.01)
    found = compare_formats(CHAIN, CPU, network="small", processes=1, rounds=1, pace=pace)
    half, *schemes = found.formats
    assert half.beside is not None or "fp16" in half.why_not
    assert all(each.error is not None for each in schemes)
    right = {each.name for each in schemes if not found.too_coarse(each)}
    assert "int8 u8s8 7 bits" in right  # of the others sums may overflow, on x86 without VNNI
    assert all(each.error < 0.1 for each in schemes if each.name in right and each.error)


def test_the_fastest_integers_become_a_device_file_that_a_table_can_be_made_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    asked = f"devices sim --formats --space macro --resolution 8 -o {path} --json"
    assert latkit.main(asked.split()) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["network"].endswith(" of macro")
    assert facts["environment"]
    assert {each["format"] for each in facts["formats"]} == {"fp16", *SCHEMES}
    assert all(np.isfinite(each["ratio"]) for each in facts["formats"])
    device = device_named(str(path))
    assert device.quantization == SCHEMES[facts["integers"]]
    assert (device.name, device.precision) == ("mine", "int8")
    assert latkit.main(["devices", str(path)]) == 0
    assert "mine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("devices --formats", "latkit devices NAME --formats"),
        ("devices sim -o x.yaml", "--output does not go with devices without --formats"),
        ("devices sim --formats -o x.txt", "a device file ends in .yaml, and x.txt does not"),
        ("devices sim --formats -o cpu-int8.yaml", "called 'cpu-int8', as a known one is: choose"),
        ("devices sim --formats --space macrp", "the nearest is 'macro'"),
        ("devices t4-roofline --formats", "'t4-roofline' is a spec sheet"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(
    asked: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert latkit.main(asked.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [line for line in captured.err.splitlines() if line.startswith("latkit: ")]
    assert said in line
