"""cuda-python as it is where there is no driver; and what errors of CUDA are called here."""

import inspect

import numpy as np
import pytest
from cuda.bindings import runtime  # type: ignore[import-untyped]

from devices import DeviceUnavailable, LatkitError, UnsupportedGraph
from devices.errors import OutOfMemory
from devices.nvidia.cuda_memory import (
    BINDINGS,
    REFUSALS,
    SITUATIONS,
    Cuda,
    cuda_error,
    cuda_for,
)
from devices.nvidia.cuda_python import CudaPython, check_driver

DRIVERLESS = runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaErrorInsufficientDriver
without_a_driver = pytest.mark.skipif(
    not DRIVERLESS,
    reason="there is an NVIDIA driver on this machine",
)


@without_a_driver
def test_a_machine_without_a_driver_says_so_in_one_line() -> None:
    for ask in (lambda: check_driver(0), lambda: CudaPython(0), lambda: cuda_for(0)):
        with pytest.raises(DeviceUnavailable, match=r"^there is no NVIDIA driver on this machine"):
            ask()


def answering(monkeypatch: pytest.MonkeyPatch, code: str, count: int, driver: int) -> None:
    """Let CUDA answer something else to the first question."""
    answer = (getattr(runtime.cudaError_t, code), count)
    monkeypatch.setattr(runtime, "cudaGetDeviceCount", lambda: answer)
    monkeypatch.setattr(runtime, "cudaDriverGetVersion", lambda: (runtime.cudaError_t(0), driver))


def test_a_driver_that_is_too_old_names_both_versions_and_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering(monkeypatch, "cudaErrorInsufficientDriver", 0, 12_020)
    with pytest.raises(DeviceUnavailable, match=r"knows CUDA 12\.2, and 13\.\d .*bindings==12\.\*"):
        check_driver(0)


@pytest.mark.parametrize(
    ("code", "count", "said"),
    [
        ("cudaSuccess", 1, r"GPU 1 was asked for, and here are 1, counted from 0"),
        ("cudaErrorNoDevice", 0, r"GPU 1: cannot count the GPUs: .*CUDA_VISIBLE_DEVICES"),
        ("cudaErrorSystemDriverMismatch", 0, r"differ in version: reboot"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, code: str, count: int, said: str
) -> None:
    answering(monkeypatch, code, count, 13_000)
    with pytest.raises(DeviceUnavailable, match=said) as raised:
        check_driver(1)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_situation_is_an_error_of_cuda_and_has_a_cure(name: str) -> None:
    assert name in runtime.cudaError_t.__members__
    error = cuda_error(name, doing="allocate 64 bytes", index=2)
    assert isinstance(error, LatkitError)
    assert str(error).startswith("GPU 2: cannot allocate 64 bytes: ")
    assert str(error).endswith(f"({name})")
    assert "\n" not in str(error)


def test_a_full_gpu_and_an_unfit_engine_are_of_one_graph_and_the_rest_of_the_device() -> None:
    assert set(REFUSALS) < set(SITUATIONS)
    kinds = {name: type(cuda_error(name, doing="x", index=0)) for name in SITUATIONS}
    assert kinds.pop("cudaErrorMemoryAllocation") is OutOfMemory
    assert not issubclass(OutOfMemory, UnsupportedGraph)  # it may pass
    for name, kind in kinds.items():
        assert kind is (UnsupportedGraph if name in REFUSALS else DeviceUnavailable)


def test_an_error_that_nobody_foresaw_is_told_in_cudas_words() -> None:
    error = cuda_error("cudaErrorTimeout", doing="wait", index=0, text="it timed out")
    assert str(error) == "GPU 0: cannot wait: it timed out (cudaErrorTimeout)"


@without_a_driver
def test_every_call_fails_by_a_code_that_becomes_an_error_and_none_by_a_wrong_argument() -> None:
    gpu = object.__new__(CudaPython)  # past the first question, which would end it here
    gpu._index = 0
    array = np.zeros(4, np.float32)
    calls = (
        lambda: gpu.facts(),
        lambda: gpu.allocate(64),
        lambda: gpu.free(4096),
        lambda: gpu.upload(array, 4096),
        lambda: gpu.download(4096, array),
        lambda: gpu.overwrite(4096, 64, 1),
        lambda: gpu.new_stream(),
        lambda: gpu.close_stream(1),
        lambda: gpu.wait(1),
        lambda: gpu.new_event(),
        lambda: gpu.close_event(1),
        lambda: gpu.record(1, 1),
        lambda: gpu.elapsed_s(1, 1),
        lambda: gpu.capture(1, lambda: None),
        lambda: gpu.launch(1, 1),
        lambda: gpu.close_graph(1),
    )
    for call in calls:
        with pytest.raises(DeviceUnavailable, match="cudaErrorInsufficientDriver"):
            call()


def test_both_bindings_offer_what_the_seam_asks_for() -> None:
    asked = {
        name: list(inspect.signature(member).parameters)
        for name, member in vars(Cuda).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    assert len(asked) == 17
    for name, parameters in asked.items():
        assert list(inspect.signature(getattr(CudaPython, name)).parameters) == parameters
    assert set(BINDINGS) == {"cuda.bindings", "pycuda"}


def test_without_any_binding_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "devices.nvidia.cuda_memory.BINDINGS", {"no.such_binding": "a:B", "nor_this": "c:D"}
    )
    with pytest.raises(
        DeviceUnavailable, match=r"needs cuda-python, .*: pip install 'latkit\[cuda\]'"
    ):
        cuda_for(0)
