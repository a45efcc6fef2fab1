import numpy as np
import pytest

from devices import Graph
from devices.graphs.inputs import INPUT_TYPES, example_inputs


def graph(*inputs: tuple[str, tuple[int, ...], str]) -> Graph:
    return Graph(
        onnx=b"",
        inputs=tuple((name, shape) for name, shape, _ in inputs),
        dtypes=tuple(dtype for *_, dtype in inputs),
    )


@pytest.mark.parametrize("dtype", INPUT_TYPES)
@pytest.mark.parametrize("shape", [(), (0, 2), (3, 4)])
def test_values_have_the_shape_and_the_type(dtype: str, shape: tuple[int, ...]) -> None:
    value = example_inputs(graph(("x", shape, dtype)))["x"]
    assert value.shape == shape
    assert value.dtype == dtype


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_are_zeros_and_ones(dtype: str) -> None:
    value = example_inputs(graph(("x", (100,), dtype)))["x"]
    assert set(value.tolist()) == {0, 1}


def test_floats_are_normal_and_no_two_inputs_are_alike() -> None:
    a, b = example_inputs(graph(("a", (10_000,), "float32"), ("b", (10_000,), "float32"))).values()
    assert float(np.std(a)) == pytest.approx(1.0, abs=0.05)
    assert not np.array_equal(a, b)


def test_the_same_graph_gets_the_same_values() -> None:
    asked = graph(("a", (5,), "float32"), ("b", (5,), "int64"))
    first, again = (example_inputs(asked) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in "ab")
