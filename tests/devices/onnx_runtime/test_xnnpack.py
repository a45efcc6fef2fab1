"""XNNPACK's kernels in ONNX Runtime: the real ones where a build has them, else one clear line."""

from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, DeviceUnavailable, Graph, Transport, backend_for
from devices.host import allowed_cpus
from devices.spec import Optimization
from lut import Effort, fill_table, load_table, table_for
from profiler import Conv, Head, MBConv, Pace, in_context
from profiler.operators.builders import INPUT, chain_graph

CHAIN = (
    Conv(input_shape=(1, 3, 32, 32), channels=8, kernel=3, stride=2, activation="relu6"),
    MBConv(input_shape=(1, 8, 16, 16), channels=8, expand=3),
    Head(input_shape=(1, 8, 16, 16), channels=16, classes=10),
)


@pytest.fixture
def far(xnnpack_python: str, tmp_path: Path) -> Transport:
    return Transport(kind="local", python=xnnpack_python, folder=str(tmp_path / "there"))


def xnnpack(
    transport: Transport | None, *, threads: int = 1, optimization: Optimization = "all"
) -> DeviceSpec:
    return DeviceSpec(
        name="phone",
        backend="onnxruntime",
        provider="xnnpack",
        threads=threads,
        optimization=optimization,
        transport=transport,
    )


def logits(device: DeviceSpec, graph: Graph) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
    with backend_for(device).open(graph) as session:
        assert session.time(3) > 0.0
        (found,) = session.run({INPUT: x}).values()
    return found


def test_a_runtime_without_xnnpack_is_refused_with_the_cure() -> None:
    # Python's packages for x86 and Arm hold none.
    with pytest.raises(DeviceUnavailable) as raised:
        backend_for(xnnpack(None))
    assert "asks for XNNPACK, which onnxruntime " in str(raised.value)
    assert "CPUExecutionProvider). Leave out provider in a device file" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("threads", [1, 2])
def test_its_kernels_run_and_the_numbers_are_the_same(far: Transport, threads: int) -> None:
    if threads > len(allowed_cpus()):
        pytest.skip("fewer than 2 CPUs are allowed here")
    graph, device = chain_graph(CHAIN), xnnpack(far, threads=threads)
    assert backend_for(device).environment()["provider"] == "XnnpackExecutionProvider"
    names = [kernel.name for kernel in backend_for(device).trace(graph, runs=2).kernels]
    assert sum("XnnpackExecutionProvider_Conv" in name for name in names) >= 3
    here = logits(DeviceSpec(name="cpu", backend="onnxruntime"), graph)
    np.testing.assert_allclose(logits(device, graph), here, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("in_process")
def test_a_table_of_it_says_whose_kernels_it_timed(far: Transport, tmp_path: Path) -> None:
    op, path = CHAIN[1], tmp_path / "phone.lut"
    effort = Effort(processes=1, pace=Pace(slice_s=0.002, sample_s=0.001, warm_limit_s=0.01))
    with table_for(path, xnnpack(far)) as file:
        fill_table(file, {in_context(op): "operator"}, effort)
    conditions = load_table(path).conditions
    assert conditions.device.provider == "xnnpack"
    assert conditions.environment["provider"] == "XnnpackExecutionProvider"


def test_an_older_runtime_is_not_led_to_memory_that_is_gone(far: Transport) -> None:
    # Before 1.22 a binding does not keep what is bound; glibc then ends the process.
    head = Head(input_shape=(1, 8, 16, 16), channels=16, classes=1000)
    graph = chain_graph((*CHAIN[:2], head))
    device = DeviceSpec(name="old", backend="onnxruntime", transport=far)
    for _ in range(3):
        with backend_for(device).open(graph) as session:
            assert session.time(50) > 0.0


def test_a_level_that_an_older_runtime_lacks_is_named(far: Transport) -> None:
    device = xnnpack(far, optimization="layout")
    graph = chain_graph(CHAIN)
    with (
        pytest.raises(DeviceUnavailable, match=r"onnxruntime 1\.21 has no optimization: layout"),
        backend_for(device).open(graph),
    ):
        pass


def test_a_provider_is_for_one_backend_only() -> None:
    with pytest.raises(ValueError, match="a provider is for the backend onnxruntime, not simul"):
        DeviceSpec(name="sim", backend="simulated", provider="xnnpack")
