import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from devices import DeviceSpec, InvalidFile, UnknownName, device_named
from devices.nvidia.engine_plan import EnginePlan, PlannedKernel
from lut import WrongConditions, load_table
from lut.plans.plan_file import PlanFile, PlanRow, create_plans, holds_plans, open_plans
from lut.plans.plan_table import (
    MissingPlan,
    capability_from_text,
    chains_to_plan,
    current_plan_conditions,
    fill_plans,
    load_plans,
    plan_file_for,
)
from lut.plans.views import plans_facts
from profiler import MBConv, Skip

AOT = device_named("rtx-aot")
SHAPE = (1, 16, 8, 8)
SMALL, LARGE = (MBConv(input_shape=SHAPE, channels=16, expand=e) for e in (2, 3))
WANTED = chains_to_plan([SMALL, LARGE, Skip(input_shape=SHAPE)], [(SMALL, LARGE)])
PLAN = EnginePlan(
    kernels=(PlannedKernel(name="k", kind="kgen", nodes=("a", "b"), formats=("Half NHWC",)),),
    activation_bytes=70,
    scratch_bytes=7,
    weight_bytes=700,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table with one row, which nobody had to build."""
    path = tmp_path / "mine.plan"
    with create_plans(path, current_plan_conditions(AOT).as_meta()) as file:
        file.add(PlanRow(chain=(SMALL,), role="operator", capability="8.6", plan=PLAN))
    return path


def test_a_row_is_read_as_it_was_written(path: Path) -> None:
    table = load_plans(path)
    assert table.plan(SMALL, "8.6") == PLAN
    assert table.operators("8.6") == {SMALL: PLAN}
    assert table.networks("8.6") == {}
    assert table.capabilities == ("8.6",)


def test_plans_are_never_read_as_latencies(path: Path) -> None:
    assert holds_plans(path)
    with pytest.raises(InvalidFile, match=r"mine\.plan is a table of plans, and no latency table"):
        load_table(path)


def test_latencies_are_never_read_as_plans(tmp_path: Path, exact: DeviceSpec) -> None:
    from lut import table_for

    with table_for(tmp_path / "mine.lut", exact):
        pass
    assert not holds_plans(tmp_path / "mine.lut")
    with pytest.raises(InvalidFile, match="is a latency table, and no table of plans"):
        load_plans(tmp_path / "mine.lut")


def test_a_file_that_is_not_there_holds_no_plans(tmp_path: Path) -> None:
    assert not holds_plans(tmp_path / "none.plan")


def test_what_was_refused_has_no_plan_and_says_why(path: Path) -> None:
    with open_plans(path) as file:
        file.add(
            PlanRow(
                chain=(LARGE,), role="operator", capability="8.6", plan=None, refusal="no kernel"
            )
        )
    with pytest.raises(MissingPlan, match="the builder refused it: no kernel"):
        load_plans(path).plan(LARGE, "8.6")
    (refusal,) = plans_facts(load_plans(path))["refused"].values()
    assert refusal == "no kernel"


def test_a_missing_plan_says_what_there_is_and_the_command(path: Path) -> None:
    with pytest.raises(MissingPlan, match=r"for compute capability 7\.5 .* has 8\.6\. Make it: la"):
        load_plans(path).plan(SMALL, "7.5")


def test_a_row_has_a_plan_or_a_reason() -> None:
    with pytest.raises(ValueError, match="a plan, or a reason why not"):
        PlanRow(chain=(SMALL,), role="operator", capability="8.6", plan=None)


def test_rows_of_another_precision_never_mix(path: Path) -> None:
    with (
        pytest.raises(WrongConditions, match="precision: fp16 in the table, fp32 here"),
        plan_file_for(path, device_named("rtx-aot-fp32")),
    ):
        pass


def test_a_plan_that_is_none_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE plans SET plan = '{}'")
        db.commit()
    with pytest.raises(InvalidFile, match="holds a plan that is none"):
        load_plans(path)


def test_operators_and_networks_are_planned_for_every_gpu(tmp_path: Path) -> None:
    path = tmp_path / "mine.plan"
    told: list[tuple[int, int]] = []
    with plan_file_for(path, AOT) as file:
        fill_plans(file, WANTED, ["7.5", "8.6"], on_plan=lambda *at: told.append(at))
    table = load_plans(path)
    assert told == [(done, 6) for done in range(7)]
    assert table.capabilities == ("7.5", "8.6")
    for capability in table.capabilities:
        assert set(table.operators(capability)) == {SMALL, LARGE}
        assert set(table.networks(capability)) == {(SMALL, LARGE)}
    assert table.plan(SMALL, "7.5") != table.plan(SMALL, "8.6")


class Killed(Exception):
    """Ends a campaign between two rows."""


def test_a_kill_loses_nothing_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path, kept = tmp_path / "mine.plan", 2

    def kill(done: int, _: int) -> None:
        if done == kept:
            raise Killed

    with pytest.raises(Killed), plan_file_for(path, AOT) as file:
        fill_plans(file, WANTED, ["8.6"], on_plan=kill)
    assert len(load_plans(path).rows) == kept
    again: list[int] = []
    with plan_file_for(path, AOT) as file:
        fill_plans(file, WANTED, ["8.6"], on_plan=lambda done, _: again.append(done))
    assert again == [2, 3]
    assert len(load_plans(path).rows) == len(WANTED)


@pytest.mark.parametrize("text", ["8.6", "86", "SM86", "sm86", " 8.6 "])
def test_a_compute_capability_is_taken_as_people_write_it(text: str) -> None:
    assert capability_from_text(text) == "8.6"
    assert capability_from_text("120") == "12.0"


@pytest.mark.parametrize("text", ["9.0", "RTX", ""])
def test_a_gpu_that_nobody_can_plan_for_is_named(text: str) -> None:
    with pytest.raises(UnknownName, match="no compute capability that can be planned for"):
        capability_from_text(text)


def test_the_figures_of_a_table_are_kernels_and_bytes(path: Path) -> None:
    facts = plans_facts(load_plans(path))
    assert facts["capabilities"]["8.6"]["operators"][str(SMALL)] == {
        "kernels": 1,
        "fused": [["a", "b"]],
        "formats": ["Half NHWC"],
        "weight_mb": pytest.approx(700e-6),
        "activation_mb": pytest.approx(70e-6),
        "scratch_mb": pytest.approx(7e-6),
    }
    assert "latency" not in str(facts)


def test_a_label_is_kept(path: Path) -> None:
    with open_plans(path) as file:
        assert isinstance(file, PlanFile)
        file.set_label("space x", {"name": "x"})
    assert load_plans(path).labels == {"space x": {"name": "x"}}
