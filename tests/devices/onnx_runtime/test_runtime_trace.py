"""Traces written by hand: what is counted for which kernel."""

from typing import Any

import pytest

from devices.onnx_runtime.runtime_trace import kernels_of

Event = dict[str, Any]


def run(start: int, took: int) -> Event:
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": took, "args": {}}


def node(name: str, start: int, took: int, *, op: str = "Conv", index: int = 0) -> Event:
    arguments = {"op_name": op, "node_index": str(index)}
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": took, "args": arguments
    }  # fmt: skip


def seconds(events: list[Event], *, skip: int = 0) -> dict[str, float]:
    return {k.name: round(k.latency_s * 1e6, 6) for k in kernels_of(events, skip=skip)}


def test_a_kernel_takes_what_it_took_in_the_middle_run() -> None:
    events = [
        event
        for i, took in enumerate((7, 90, 5))
        for event in (run(100 * i, 95), node("a", 100 * i, took), node("b", 100 * i + 92, 1))
    ]
    assert seconds(events) == {"a": 7, "b": 1}


def test_first_runs_do_not_count() -> None:
    events = [run(0, 50), node("a", 0, 40), run(60, 20), node("a", 61, 4)]
    assert seconds(events, skip=1) == {"a": 4}


def test_kernels_are_in_the_order_in_which_they_ran_not_in_which_they_were_written() -> None:
    events = [node("second", 5, 1), run(0, 10), node("first", 1, 2)]
    assert list(seconds(events)) == ["first", "second"]
    assert [k.op for k in kernels_of(events, skip=0)] == ["Conv", "Conv"]


def test_what_runs_inside_a_loop_does_not_count_for_the_loop() -> None:
    events = [
        run(0, 100),
        node("body", 10, 20, op="MatMul"),
        node("body", 40, 30, op="MatMul"),
        node("loop", 5, 80, op="Loop"),
        node("after", 85, 10, op="Relu"),
    ]
    assert seconds(events) == {"loop": 30, "body": 50, "after": 10}


def test_loops_within_loops_are_told_apart() -> None:
    events = [
        run(0, 100),
        node("outer", 0, 90, op="Loop"),
        node("inner", 10, 60, op="Loop", index=1),
        node("body", 20, 40, op="MatMul", index=2),
    ]
    assert seconds(events) == {"outer": 30, "inner": 20, "body": 40}


def test_a_branch_that_most_runs_do_not_take_costs_nothing_in_the_middle() -> None:
    events = [run(0, 50), node("a", 0, 9), run(60, 50), node("a", 60, 9), run(120, 50)]
    events += [node("a", 120, 9), node("rare", 140, 20)]
    assert seconds(events) == {"a": 9, "rare": 0}


def test_kernels_of_one_name_are_told_apart_by_operator_and_number() -> None:
    events = [run(0, 50), node("x", 0, 1), node("x", 10, 2, index=1), node("x", 20, 4, op="Relu")]
    kernels = kernels_of(events, skip=0)
    assert [(k.op, round(k.latency_s * 1e6)) for k in kernels] == [
        ("Conv", 1), ("Conv", 2), ("Relu", 4),
    ]  # fmt: skip


def test_a_run_that_was_cut_off_does_not_count() -> None:
    events = [run(0, 20), node("a", 0, 6), node("a", 30, 1_000)]
    assert seconds(events) == {"a": 6}


@pytest.mark.parametrize("skip", [0, 3])
def test_a_trace_without_a_whole_run_has_no_kernels(skip: int) -> None:
    events = [node("a", 0, 6)] if skip == 0 else [run(0, 20), node("a", 0, 6)]
    assert kernels_of(events, skip=skip) == ()
