"""Memory of networks from plans of operators, by hand: weights add, the peak is a maximum."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from devices import device_named
from devices.nvidia.engine_plan import EnginePlan, PlannedKernel
from lut.plans.memory import MemoryBudget, MemoryModel, NoSuchMemory, memory_model
from lut.plans.plan_file import PlanRow
from lut.plans.plan_table import MissingPlan, PlanTable, current_plan_conditions
from profiler import Chain, Conv, Head, MBConv, OpSpec, Skip
from search.space import Architecture, SearchSpace
from search.spaces import space_named

SHAPE = (1, 16, 8, 8)
STEM = Conv(input_shape=(1, 3, 16, 16), channels=16, kernel=3, stride=2)
SMALL, LARGE = (MBConv(input_shape=SHAPE, channels=16, expand=e) for e in (3, 6))
SKIP = Skip(input_shape=SHAPE)
HEAD = Head(input_shape=SHAPE, channels=32, classes=10)
SPACE = SearchSpace(name="mine", before=(STEM,), layers=((SMALL, LARGE, SKIP),) * 2, after=(HEAD,))
BYTES: dict[OpSpec, tuple[int, int]] = {
    STEM: (10, 500),
    SMALL: (100, 400),
    LARGE: (200, 900),
    HEAD: (1000, 300),
}


def plan(weight_bytes: int, activation_bytes: int) -> EnginePlan:
    kernel = PlannedKernel(name="k", kind="kgen", nodes=(), formats=("Half NHWC",))
    return EnginePlan(
        kernels=(kernel,),
        weight_bytes=weight_bytes,
        activation_bytes=activation_bytes,
        scratch_bytes=0,
    )


def table(networks: Mapping[Chain, EnginePlan] | None = None) -> PlanTable:
    rows = [
        PlanRow(chain=(op,), role="operator", capability="8.6", plan=plan(*of))
        for op, of in BYTES.items()
    ]
    rows += [
        PlanRow(chain=chain, role="calibration", capability="8.6", plan=of)
        for chain, of in (networks or {}).items()
    ]
    return PlanTable(
        name="mine.plan",
        conditions=current_plan_conditions(device_named("rtx-aot")),
        rows=tuple(rows),
        labels={},
    )


@pytest.fixture(scope="module")
def model() -> MemoryModel:
    return memory_model(table(), SPACE, "8.6")


def total(model: MemoryModel, *choices: int) -> float:
    return float(model.total_bytes(np.array([choices]))[0])


@pytest.mark.parametrize(
    ("choices", "weights", "peak"),
    [((0, 0), 1010 + 200, 500), ((0, 1), 1010 + 300, 900), ((2, 2), 1010, 500)],
)
def test_weights_add_and_the_peak_is_the_largest_of_the_chain(
    model: MemoryModel, choices: tuple[int, ...], weights: int, peak: int
) -> None:
    assert total(model, *choices) == weights + peak


def test_a_skip_takes_nothing(model: MemoryModel) -> None:
    assert total(model, 0, 2) == 1010 + 100 + 500


def test_what_whole_networks_took_beyond_is_spared() -> None:
    chains = [SPACE.chain(Architecture(choices)) for choices in ((0, 0), (1, 1))]
    took = (plan(1215, 505), plan(1400, 910))  # 10 beyond the sum, and 10 below it
    corrected = memory_model(table(dict(zip(chains, took, strict=True))), SPACE, "8.6")
    assert (corrected.spare_bytes, corrected.networks) == (10, 2)
    assert total(corrected, 2, 2) == 1510 + 10


def test_networks_of_another_space_teach_nothing() -> None:
    assert memory_model(table({(SMALL, LARGE): plan(9, 9)}), SPACE, "8.6").networks == 0


def test_the_smallest_is_found_exactly(rng: np.random.Generator) -> None:
    for _ in range(20):
        model = MemoryModel(
            device="rtx-aot",
            capability="8.6",
            weight_bytes=rng.integers(0, 50, (4, 3)).astype(float),
            peak_bytes=rng.integers(0, 50, (4, 3)).astype(float),
            fixed_weight_bytes=5.0,
            fixed_peak_bytes=float(rng.integers(0, 30)),
        )
        all_of_them = np.array(list(product(range(3), repeat=4)))
        assert total(model, *model.smallest) == model.total_bytes(all_of_them).min()


def test_layers_of_fewer_choices_keep_to_theirs() -> None:
    space = SearchSpace(
        name="mine", before=(STEM,), layers=((SMALL, LARGE), (SMALL,)), after=(HEAD,)
    )
    model = memory_model(table(), space, "8.6")
    assert model.smallest == (0, 0)
    with pytest.raises(ValueError, match="out of range"):
        total(model, 0, 1)


def test_a_budget_says_by_how_much_it_is_exceeded(model: MemoryModel) -> None:
    budget = MemoryBudget(model=model, limit_bytes=1510.0)
    np.testing.assert_allclose(
        budget.excess(np.array([[2, 2], [0, 2], [1, 2]])), [0.0, 100 / 1510, 600 / 1510]
    )


def test_a_limit_is_positive(model: MemoryModel) -> None:
    with pytest.raises(ValueError, match="a limit must be positive"):
        MemoryBudget(model=model, limit_bytes=0.0)


def test_a_gpu_that_was_not_planned_for_is_missing() -> None:
    with pytest.raises(MissingPlan, match=r"for compute capability 7\.5"):
        memory_model(table(), SPACE, "7.5")


def test_cells_do_not_add_up() -> None:
    with pytest.raises(NoSuchMemory, match="networks of this space are cells"):
        memory_model(table(), space_named("nasbench201"), "8.6")
