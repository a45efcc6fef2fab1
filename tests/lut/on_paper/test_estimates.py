from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, InvalidFile, device_named
from lut import (
    Effort,
    MissingLatency,
    WrongConditions,
    create_table,
    fill_table,
    import_table,
    load_foreign,
    load_table,
    table_for,
)
from lut.files.storage import ForeignRow
from lut.on_paper.estimates import (
    USUAL_RATIOS,
    any_model,
    any_table,
    estimated_model,
    load_estimates,
    roofline_of,
    worth_of,
)
from lut.table import NotMeasured
from profiler import Conv, Head, MBConv, Skip, contexts, in_context, kernels_of
from search.pricing.tables import estimate_space, spaces_of
from search.space import Architecture, SearchSpace, as_choices
from search.spaces.darts_cells import darts

GPU = device_named("t4-roofline")
SHAPE = (1, 16, 8, 8)
STEM = Conv(input_shape=(1, 3, 16, 16), channels=16, kernel=3, stride=2)
SMALL, LARGE = (MBConv(input_shape=SHAPE, channels=16, expand=e) for e in (3, 6))
HEAD = Head(input_shape=SHAPE, channels=32, classes=10)
SPACE = SearchSpace(
    name="macro",
    before=(STEM,),
    layers=((SMALL, LARGE, Skip(input_shape=SHAPE)),) * 2,
    after=(HEAD,),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    estimate_space(tmp_path / "t4.lut", SPACE, GPU)
    return tmp_path / "t4.lut"


def test_a_table_of_estimates_holds_what_the_sheet_says_of_every_operator(path: Path) -> None:
    table = load_estimates(path)
    assert set(table) == {STEM, SMALL, LARGE, HEAD}
    for op in table:
        assert table[op] == roofline_of(GPU).seconds(kernels_of((op,)))


def test_an_operator_by_hand(path: Path) -> None:
    pixels, sheet = 8 * 8, GPU.sheet
    assert sheet is not None
    operations = 2 * 27 * 16 * pixels  # 3x3 on 3 channels; no activation
    moved = 3 * 16 * 16 + 16 * pixels + (27 * 16 + 16)
    by_hand = (
        sheet.launch_s + operations / sheet.matrix_fp16_ops_per_s + 2 * moved / sheet.bytes_per_s
    )
    assert load_estimates(path)[STEM] == pytest.approx(by_hand)


def test_a_network_is_the_sum_of_its_operators(path: Path) -> None:
    table = load_estimates(path)
    model = estimated_model(table, SPACE)
    expected = table[STEM] + table[LARGE] + table[HEAD]
    assert model.latency_s(np.array([[1, 2]]))[0] == pytest.approx(expected)
    assert model.origin == "estimated"


def test_a_network_of_cells_is_the_sum_of_the_looked_up_prices_of_its_groups(
    tmp_path: Path,
) -> None:
    space = darts(cells=5, width=2, resolution=16)
    table = estimate_space(tmp_path / "t4.lut", space, GPU)
    model = any_model(table, space)
    arch = space.sample(np.random.default_rng(0))
    rows = space.totals(table.__getitem__)  # one a group of layers
    numbers = [
        np.ravel_multi_index(
            [arch.choices[layer] for layer in group], [len(space.layers[layer]) for layer in group]
        )
        for group in space.groups
    ]
    by_hand = sum(float(row[number]) for row, number in zip(rows, numbers, strict=True))
    ends = sum(table[op] for op in (*space.before, *space.after))
    assert model.latency_s(as_choices([arch]))[0] == pytest.approx(by_hand + ends)


def test_a_skip_takes_no_time(path: Path) -> None:
    assert load_estimates(path)[Skip(input_shape=SHAPE)] == 0.0


def test_an_operator_that_was_not_estimated_is_missing(path: Path) -> None:
    other = Conv(input_shape=SHAPE, channels=8)
    with pytest.raises(MissingLatency, match=r"no estimate for .*conv 1x16x8x8.*among 4 op"):
        load_estimates(path)[other]


def test_estimates_are_never_read_as_measured(path: Path) -> None:
    with pytest.raises(NotMeasured, match="holds estimates of 't4-roofline': none of its"):
        load_table(path)


def test_a_measured_table_is_never_filled_with_estimates(tmp_path: Path, exact: DeviceSpec) -> None:
    path = tmp_path / "exact.lut"
    with table_for(path, exact):
        pass
    with pytest.raises(WrongConditions):
        estimate_space(path, SPACE, GPU)
    assert not load_foreign(path)


def test_estimates_are_never_filled_with_measurements(path: Path, exact: DeviceSpec) -> None:
    with pytest.raises(WrongConditions), table_for(path, exact):
        pass


def test_a_measured_table_is_no_table_of_estimates(tmp_path: Path, exact: DeviceSpec) -> None:
    with table_for(tmp_path / "exact.lut", exact):
        pass
    with pytest.raises(InvalidFile, match="holds no estimates"):
        load_estimates(tmp_path / "exact.lut")


def test_another_space_joins_the_estimates(path: Path) -> None:
    larger = replace(SPACE, name="greedynas", layers=((replace(SMALL, kernel=5),),))
    estimate_space(path, larger, GPU)
    assert len(load_estimates(path)) == 5
    assert len(load_estimates(path).labels) == 2


def test_estimating_again_changes_nothing(path: Path) -> None:
    before = load_estimates(path)
    again = estimate_space(path, SPACE, GPU)
    assert again.hash == before.hash
    assert dict(again) == dict(before)


def test_the_table_knows_its_space(tmp_path: Path) -> None:
    from search.spaces import space_named

    space = space_named("macro", resolution=8)
    table = estimate_space(tmp_path / "t4.lut", space, GPU)
    assert [each.name for each in spaces_of(table)] == ["macro"]
    assert any_model(any_table(tmp_path / "t4.lut"), space).latency_s(
        np.array([Architecture((2,) * 8).choices])
    ) == pytest.approx([sum(table[op] for op in space.chain(Architecture((2,) * 8)))])


def test_the_interval_without_calibration_is_that_of_other_gpus(path: Path) -> None:
    table = load_estimates(path)
    assert table.ratios == USUAL_RATIOS
    prices = estimated_model(table, SPACE).price(np.array([[0, 1]]))
    assert prices.low_s[0] < prices.latency_s[0] < prices.high_s[0]
    assert prices.high_s[0] > 3 * prices.latency_s[0]


def measured_list(path: Path, *, factor: float, count: int = 10) -> Path:
    """Write a list in which every operator takes so many times what the sheet says."""
    ops = [
        MBConv(input_shape=(1, 8 * i, 14, 14), channels=16, expand=1 + i % 3)
        for i in range(1, count + 1)
    ]
    rows = [
        ForeignRow(
            key=str(op), op=op, latency_s=factor * roofline_of(GPU).seconds(kernels_of((op,)))
        )
        for op in ops
    ]
    device = DeviceSpec(name="real", backend="imported")
    meta = {"device": {"name": device.name, "backend": "imported"}, "environment": {}}
    with create_table(path, meta) as file:
        file.add_foreign(rows)
    return path


def test_calibration_corrects_estimates_by_what_was_measured(tmp_path: Path) -> None:
    source = measured_list(tmp_path / "real.lut", factor=3.0)
    worth = worth_of(GPU, source)
    np.testing.assert_allclose(astuple(worth.slowdown), 3.0, rtol=1e-6)
    np.testing.assert_allclose(worth.ratios, 1.0, rtol=1e-6)
    table = estimate_space(tmp_path / "t4.lut", SPACE, GPU, calibrate=source)
    assert table[LARGE] == pytest.approx(3.0 * roofline_of(GPU).seconds(kernels_of((LARGE,))))
    assert "10 operators of real.lut" in table.conditions.environment["calibrated on"]


def test_calibrated_and_plain_estimates_never_share_a_file(path: Path, tmp_path: Path) -> None:
    source = measured_list(tmp_path / "real.lut", factor=3.0)
    with pytest.raises(WrongConditions, match="calibrated on"):
        estimate_space(path, SPACE, GPU, calibrate=source)


def test_too_few_operators_calibrate_nothing(tmp_path: Path) -> None:
    source = measured_list(tmp_path / "real.lut", factor=3.0, count=7)
    with pytest.raises(InvalidFile, match=r"has 7 operators, and calibrating .* takes 8"):
        worth_of(GPU, source)


def test_estimates_calibrate_nothing(path: Path) -> None:
    with pytest.raises(NotMeasured):
        worth_of(GPU, path)


@pytest.mark.usefixtures("in_process")
def test_a_measured_table_calibrates(tmp_path: Path, exact: DeviceSpec) -> None:
    ops = [MBConv(input_shape=(1, 8 * i, 8, 8), channels=16, expand=2) for i in range(1, 9)]
    wanted = {chain: "operator" for op in ops for chain in (in_context(op), *contexts(op))}
    with table_for(tmp_path / "exact.lut", exact) as file:
        fill_table(file, wanted, Effort(processes=1))  # type: ignore[arg-type]
    worth = worth_of(GPU, tmp_path / "exact.lut")
    assert worth.measured.startswith("8 operators of exact.lut")
    assert len(worth.ratios) == 8


def test_estimates_survive_export_and_import(path: Path, tmp_path: Path) -> None:
    from lut import export_table

    export_table(path, tmp_path / "t4.json", to="json")
    import_table(tmp_path / "t4.json", tmp_path / "again.lut")
    assert load_estimates(tmp_path / "again.lut").hash == load_estimates(path).hash
