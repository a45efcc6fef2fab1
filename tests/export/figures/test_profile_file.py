"""Model files profiled in this process: what is reported, and where the optimised graph goes."""

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from rich.console import Console

from devices import IR_VERSION, OPSET, DeviceSpec
from devices.files import CannotWrite
from export.figures.model_views import Facts, model_view
from export.figures.profile_file import profile_file

PROMISED = (
    "latency_ms interval_ms percentiles_ms kernels kernels_raw_sum_ms processes status doubts "
    "optimized"
)
CPU = DeviceSpec(name="cpu", backend="onnxruntime")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process takes a second."""

    def here(
        stream: Callable[..., Generator[Any, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Any, None, None]:
        return stream(*args, **kwargs)

    monkeypatch.setattr("profiler.campaigns.together.in_fresh_process", here)
    monkeypatch.setattr("profiler.whole_models.whole_model.in_fresh_process", here)


def model(
    *nodes: NodeProto, shape: Sequence[int | str] = (1, 8), kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """Return a model from ``x`` to ``y`` of the same shape, with an 8 x 8 weight ``w``."""
    x, y = (helper.make_tensor_value_info(name, kind, shape) for name in "xy")
    weight = np.eye(8, dtype=helper.tensor_dtype_to_np_dtype(kind))
    return helper.make_model(
        helper.make_graph(nodes, "a model", [x], [y], [numpy_helper.from_array(weight, "w")]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


PRODUCT = helper.make_node("MatMul", ["x", "w"], ["p"], name="[product]")
SIGMOID = helper.make_node("Sigmoid", ["p"], ["y"], name="sigmoid")


def saved(folder: Path, made: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def profiled(
    path: Path,
    device: DeviceSpec,
    *,
    shapes: Sequence[str] = (),
    processes: int = 2,
    save: Path | None = None,
) -> Facts:
    return profile_file(path, device, shapes=shapes, processes=processes, save=save, quiet=True)


def text(facts: Facts) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(model_view(facts))
    return capture.get()


def test_figures_are_plain_and_in_milliseconds(tmp_path: Path, exact: DeviceSpec) -> None:
    facts = profiled(saved(tmp_path, model(PRODUCT, SIGMOID)), exact)
    assert set(PROMISED.split()) <= set(facts)
    assert json.loads(json.dumps(facts)) == facts
    # 2 us a node; 8 + 64 + 8, 8 + 8 and 8 + 8 numbers of 4 bytes at 10 GB/s
    product_ms, sigmoid_ms, ends_ms = 0.002 + 32e-6, 0.002 + 6.4e-6, 6.4e-6
    total_ms = product_ms + sigmoid_ms + ends_ms
    assert facts["latency_ms"] == pytest.approx(total_ms)
    assert facts["percentiles_ms"]["p99"] == pytest.approx([total_ms] * 3)
    assert facts["kernels_raw_sum_ms"] == pytest.approx(total_ms)
    assert [(k["name"], k["op"]) for k in facts["kernels"]] == [
        ("[product]", "MatMul"),
        ("sigmoid", "Sigmoid"),
        ("ends", "Reorder"),
    ]
    assert [k["ms"] for k in facts["kernels"]] == pytest.approx([product_ms, sigmoid_ms, ends_ms])
    assert sum(k["share"] for k in facts["kernels"]) == pytest.approx(1.0)
    assert (facts["processes"], facts["status"], facts["doubts"]) == (2, "ok", [])
    assert facts["inputs"] == [{"name": "x", "shape": [1, 8], "dtype": "float32"}]


def test_a_percentile_without_enough_runs_is_null(tmp_path: Path, exact: DeviceSpec) -> None:
    wide = model(helper.make_node("Neg", ["x"], ["y"]), shape=(25_000, 5_000))
    facts = profiled(saved(tmp_path, wide), exact)
    assert facts["latency_ms"] == pytest.approx(200.002)  # half to compute, half for the ends
    assert facts["percentiles_ms"]["p99"] is None
    assert any("no p99: it needs 1,000 single runs" in doubt for doubt in facts["doubts"])
    assert "p99" not in text(facts).split("single runs:")[1].split("\n")[0]


def test_what_was_assumed_is_reported(tmp_path: Path, exact: DeviceSpec) -> None:
    path = saved(tmp_path, model(PRODUCT, SIGMOID, shape=("batch", 8)))
    facts = profiled(path, exact)
    assert facts["assumed"] == ["the batch (batch) is open in the file and was taken as 1"]
    assert facts["assumed"][0] in text(facts)
    larger = profiled(path, exact, shapes=["x=100,8"])
    assert larger["assumed"] == []
    assert larger["inputs"][0]["shape"] == [100, 8]
    assert larger["latency_ms"] > facts["latency_ms"]


def test_the_view_names_the_slowest_kernels_as_the_file_does(
    tmp_path: Path, exact: DeviceSpec
) -> None:
    chain = [helper.make_node("Neg", ["x"], ["t0"], name="n0")]
    chain += [
        helper.make_node("Neg", [f"t{i}"], [f"t{i + 1}"], name=f"n{i + 1}") for i in range(14)
    ]
    product = helper.make_node("MatMul", ["t14", "w"], ["y"], name="[product]")
    said = text(profiled(saved(tmp_path, model(*chain, product)), exact))
    assert "[product]" in said
    assert "5 others" in said  # of 15 + 1 + 1 kernels, 12 are listed
    assert "status ok" in said
    assert "nodes: 16 in the file, 16 as run (15 Neg, 1 MatMul)" in said


def test_the_optimised_graph_is_left_where_it_was_asked_for(
    tmp_path: Path, exact: DeviceSpec
) -> None:
    path = saved(tmp_path, model(PRODUCT, SIGMOID))
    save = tmp_path / "optimised.onnx"
    assert profiled(path, exact, save=save)["saved"] == str(save)
    assert [node.op_type for node in onnx.load(save).graph.node] == ["MatMul", "Sigmoid"]


def test_a_bad_place_is_refused_before_anything_is_measured(
    tmp_path: Path, exact: DeviceSpec
) -> None:
    path = saved(tmp_path, model(PRODUCT, SIGMOID))
    before = path.read_bytes()
    for place, says in (
        (tmp_path / "." / "model.onnx", "it is the model itself"),
        (tmp_path / "none" / "o.onnx", "in a folder that is there"),
        (tmp_path, "in a folder that is there"),
    ):
        with pytest.raises(CannotWrite, match=says):
            profiled(path, exact, save=place)
    assert path.read_bytes() == before


def test_a_graph_with_weights_outside_is_saved_beside_them_only(tmp_path: Path) -> None:
    path, away = tmp_path / "model.onnx", tmp_path / "away"
    away.mkdir()
    made = model(PRODUCT, SIGMOID)
    onnx.save(made, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(CannotWrite, match=r"Save it there: --save-optimized .*/o.onnx"):
        profiled(path, CPU, save=away / "o.onnx")
    facts = profiled(path, CPU, processes=1, save=tmp_path / "o.onnx")
    assert facts["optimized"]["nodes_after"] == 2
    again = profiled(tmp_path / "o.onnx", CPU, processes=1)
    assert [k["op"] for k in again["kernels"]] == ["MatMul", "Sigmoid"]


def test_fused_nodes_are_named_on_a_real_runtime(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["same"], name="same"),
        helper.make_node("MatMul", ["same", "w"], ["p"], name="product"),
        helper.make_node("Add", ["p", "w"], ["y"], name="bias"),
    ]
    facts = profiled(saved(tmp_path, model(*nodes, shape=(8, 8))), CPU, processes=1)
    assert facts["optimized"]["nodes_before"] == 3
    assert facts["optimized"]["nodes_after"] == len(facts["kernels"]) < 3
    assert "same" in facts["optimized"]["gone"]
    assert sum(k["share"] for k in facts["kernels"]) == pytest.approx(1.0)
    assert "fused with the next node, folded or dropped: same" in text(facts)


def test_conversions_that_the_runtime_adds_are_a_doubt(tmp_path: Path) -> None:
    made = model(PRODUCT, SIGMOID, kind=TensorProto.FLOAT16)
    facts = profiled(saved(tmp_path, made), CPU, processes=1)
    added = facts["optimized"]["operators_after"].get("Cast", 0)
    if not added:
        pytest.skip("this processor computes these in float16")
    assert any(f"added {added} conversions" in doubt for doubt in facts["doubts"])
