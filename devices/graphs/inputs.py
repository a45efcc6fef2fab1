"""Values to time a graph with, where only its shapes and types are known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.graph import Graph, Shape

INPUT_TYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
"""NumPy names of the types that values can be made of."""


def example_inputs(graph: Graph) -> dict[str, NDArray[Any]]:
    """Return one value for every input, the same ones each time.

    Floats are drawn from a normal distribution. Integers are 0 or 1: they may be indices, and those
    are within every table of two rows or more. Where values decide what is computed (a condition, a
    trip count, the non-zeros of a mask), the latency is that of these values.
    """
    rng = np.random.default_rng(0)
    return {name: _value(shape, dtype, rng) for name, shape, dtype in graph.typed_inputs}


def _value(shape: Shape, dtype: str, rng: np.random.Generator) -> NDArray[Any]:
    if dtype.startswith("float"):
        normal = np.asarray(rng.standard_normal(shape, np.float32))
        return normal.astype(dtype, copy=False)
    return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
