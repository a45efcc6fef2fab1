"""What the kernels of operators have to do, for whoever estimates them."""

from typing import TYPE_CHECKING

from profiler.operators.ops import Chain

if TYPE_CHECKING:
    from devices.on_paper.workload import Workload


def kernels_of(chain: Chain) -> "tuple[Workload, ...]":
    """Return the kernels of operators, each fed by the one before, as a GPU runs them.

    Raises:
        ValueError: The operators do not fit.
    """
    from devices.on_paper.workload import workloads  # onnx is slow to import, and tables do without
    from profiler.operators.builders import chain_graph

    return workloads(chain_graph(chain))
