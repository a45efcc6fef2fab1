from collections.abc import Callable

import numpy as np
import pytest

from devices import DeviceSpec, backend_for, device_named
from lut import LatencyTable
from profiler import Chain, Conv, MBConv, OpSpec, Skip, in_context
from profiler.operators.builders import INPUT, OUTPUT, chain_graph
from profiler.operators.medley import medley, pieces
from search import SearchSpace, space_named

SPACE: SearchSpace = space_named("macro", resolution=16)
SHAPE = (1, 8, 6, 6)
SAME = MBConv(input_shape=SHAPE, channels=8, kernel=3, expand=3)
SHRINKING = Conv(input_shape=SHAPE, channels=16, stride=2)


def took_s(chains: tuple[Chain, ...], device: DeviceSpec) -> float:
    with backend_for(device).open(medley(chains, device)) as session:
        return session.time(1)


@pytest.mark.parametrize("op", SPACE.operators, ids=str)
def test_pieces_make_up_what_a_table_says_of_an_operator(
    op: OpSpec, exact: DeviceSpec, make_table: Callable[..., LatencyTable]
) -> None:
    table = make_table(exact, SPACE)
    plus, minus = pieces([op])
    total_s = sum(table.chains[chain].latency_s for chain in plus)
    total_s -= sum(table.chains[chain].latency_s for chain in minus)
    assert total_s == pytest.approx(table[op])


def test_what_would_be_added_and_subtracted_is_in_neither() -> None:
    plus, minus = pieces([SAME])
    assert plus == (in_context(SAME),)
    assert len(minus) == 1
    plus, minus = pieces([SHRINKING])
    assert (len(plus), len(minus)) == (3, 3)


def test_what_occurs_twice_counts_twice_and_a_skip_not_at_all() -> None:
    plus, minus = pieces([SAME, Skip(input_shape=SHAPE), SAME])
    assert plus == (in_context(SAME),) * 2
    assert len(minus) == 2


def test_side_by_side_takes_what_each_takes_alone_where_there_is_no_cache(
    exact: DeviceSpec,
) -> None:
    chains = (in_context(SAME), in_context(SHRINKING), in_context(SAME))
    alone_s = 0.0
    for chain in chains:
        with backend_for(exact).open(chain_graph(chain)) as session:
            alone_s += session.time(1)
    assert took_s(chains, exact) == pytest.approx(alone_s)


@pytest.mark.parametrize("name", ["cpu", "cpu-int8"])
def test_a_real_runtime_computes_every_chain_by_itself(name: str) -> None:
    device = device_named(name)
    backend = backend_for(device)
    chains = (in_context(SAME), in_context(SHRINKING))
    graph = medley(chains, device)
    rng = np.random.default_rng(0)
    inputs = {n: rng.standard_normal(shape).astype(np.float32) for n, shape in graph.inputs}
    with backend.open(graph) as session:
        together = session.run(inputs)
    for i, chain in enumerate(chains):
        with backend.open(medley([chain], device)) as session:
            alone = session.run({f"0/{INPUT}": inputs[f"{i}/{INPUT}"]})
        assert together[f"{i}/{OUTPUT}"] == pytest.approx(alone[f"0/{OUTPUT}"], abs=1e-6)
