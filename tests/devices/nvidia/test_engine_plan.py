"""Plans of real engines, built by TensorRT for RTX without a GPU; texts that are no plan."""

from dataclasses import replace

import pytest

from devices import DeviceUnavailable, device_named
from devices.nvidia.engine_plan import (
    EnginePlan,
    UnreadablePlan,
    plan_engine,
    plan_from_json,
    read_plan,
)
from devices.nvidia.tensorrt_build import Built, Message, build_engine
from profiler import Chain, Conv, MBConv
from profiler.operators.builders import chain_graph, graph_for

OP = MBConv(input_shape=(1, 16, 14, 14), channels=16, expand=3)
LINE = (
    "Name: {name}, LayerType: {kind}, Inputs: [ {{ Name: x, Datatype: Half, Format: (Linear) Row "
    "major }}], Constants: [], Outputs: [ {{ Name: y, Dimensions: [1,2], Datatype: Half, "
    "Format: (NHWC) Channel major format }}], TacticName: t, StreamId: 0, Metadata: {nodes}"
)
GOOD = Built(
    engine=b"",
    messages=(
        Message(severity="info", text="Max Scratch Memory: 7 bytes"),
        Message(severity="info", text="Total Activation Memory: 70 bytes"),
        Message(severity="info", text="Total Weights Memory: 700 bytes"),
        Message(
            severity="verbose",
            text="Layers:\n"
            + LINE.format(name="first", kind="kgen", nodes="")
            + "\n"
            + LINE.format(name="a+b", kind="correlation", nodes="[ONNX Layer: a][ONNX Layer: b]")
            + "\n\nBindings:\nx\ny",
        ),
    ),
    elapsed_s=0.0,
)


def without(text: str) -> Built:
    """Return what was said, but for the messages that hold a text."""
    return replace(GOOD, messages=tuple(m for m in GOOD.messages if text not in m.text))


def with_layers(text: str) -> Built:
    said = Message(severity="verbose", text=text)
    return replace(GOOD, messages=(*without("Layers:").messages, said))


def planned(chain: Chain, device: str = "rtx-aot", capability: str = "8.6") -> EnginePlan:
    return plan_engine(graph_for(chain, device_named(device)), capability=capability)


def test_kernels_nodes_formats_and_bytes_are_read_from_the_log() -> None:
    plan = read_plan(GOOD)
    assert [(kernel.name, kernel.kind, kernel.nodes) for kernel in plan.kernels] == [
        ("first", "kgen", ()),
        ("a+b", "correlation", ("a", "b")),
    ]
    assert {kernel.formats for kernel in plan.kernels} == {("Half NHWC",)}
    assert (plan.scratch_bytes, plan.activation_bytes, plan.weight_bytes) == (7, 70, 700)
    assert plan.total_bytes == 770


@pytest.mark.parametrize(
    ("built", "said"),
    [
        (without("Layers:"), "0 lists of layers"),
        (with_layers("Layers:\n"), "a list of layers without a layer"),
        (with_layers("Layers:\nLayer 1, LayerType: kgen"), "a layer that reads 'Layer 1"),
        (with_layers(LINE.format(name="x", kind="k", nodes="")), "0 lists of layers"),
        (without("Weights"), "0 lines like 'Total Weights Memory"),
        (replace(GOOD, messages=GOOD.messages * 2), "2 lists of layers"),
    ],
)
def test_a_log_of_another_version_is_refused_whole(built: Built, said: str) -> None:
    with pytest.raises(UnreadablePlan, match=said) as raised:
        read_plan(built)
    assert "pip install 'tensorrt-rtx==1.7.1.116'" in str(raised.value)


def test_a_plan_survives_json() -> None:
    plan = read_plan(GOOD)
    assert plan_from_json(plan.as_json()) == plan


def test_a_real_engine_fuses_activation_and_shortcut() -> None:
    kernels = [set(kernel.nodes) for kernel in planned((OP,)).kernels]
    assert {"0.expand", "0.expand.act"} in kernels
    assert {"0.project", "0.add"} in kernels


@pytest.mark.parametrize(("device", "size"), [("rtx-aot", 2), ("rtx-aot-fp32", 4)])
def test_weights_take_the_bytes_of_their_precision(device: str, size: int) -> None:
    conv = Conv(input_shape=(1, 64, 8, 8), channels=256)
    plan = planned((conv,), device)
    weights = 64 * 256 * size
    assert weights <= plan.weight_bytes <= weights + 256 * 4 + 2048  # biases, and alignment


def test_half_precision_is_what_the_engine_writes() -> None:
    formats = {each for kernel in planned((OP,)).kernels for each in kernel.formats}
    assert "Half NHWC" in formats
    fp32 = planned((OP,), "rtx-aot-fp32")
    assert not any("Half" in each for kernel in fp32.kernels for each in kernel.formats)


def test_a_turing_gpu_has_another_plan_than_an_ampere_one() -> None:
    turing, ampere = (planned((OP,), capability=each) for each in ("7.5", "8.6"))
    assert turing != ampere


def test_a_gpu_that_nobody_can_plan_for_is_named() -> None:
    with pytest.raises(DeviceUnavailable, match=r"not for compute capability 9\.0"):
        planned((OP,), capability="9.0")


def test_the_seam_gives_the_log_that_is_read() -> None:
    built = build_engine(chain_graph((OP,)), compute_capabilities=("8.6",))
    assert read_plan(built) == plan_engine(chain_graph((OP,)), capability="8.6")
