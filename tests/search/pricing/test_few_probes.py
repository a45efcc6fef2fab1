"""A new device from the table of another one, and ten networks."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from devices import DeviceSpec, InvalidFile, Simulation
from lut import Effort, LatencyTable, latency_model, load_table
from lut.files.storage import TableFile
from lut.on_paper.estimates import EstimatedTable, any_model
from profiler import Pace
from search.pricing.coverage import spread_sample
from search.pricing.few_probes import transfer_space
from search.pricing.tables import profile_space, space_of
from search.space import as_choices
from search.spaces import space_named
from search.spaces.darts_cells import darts

SPACE = space_named("macro", resolution=16)
EFFORT = Effort(processes=2, pace=Pace(slice_s=0.01))
OTHER = DeviceSpec(  # computes five times as fast, and copies half as fast
    name="other",
    backend="simulated",
    simulation=Simulation(dense_macs_per_s=200e9, depthwise_macs_per_s=30e9, bytes_per_s=5e9),
)


@pytest.fixture
def known(make_table: Callable[..., LatencyTable], noisy: DeviceSpec, in_process: None) -> Path:
    return Path(make_table(noisy, SPACE, effort=EFFORT).name)


def transferred(
    known: Path, folder: Path, *, probes: int = 10, device: DeviceSpec = OTHER
) -> EstimatedTable:
    table, _ = transfer_space(
        folder / "other.lut",
        [known],
        device,
        measured=folder / "measured.lut",
        probes=probes,
        effort=EFFORT,
    )
    return table


def test_ten_networks_give_a_table_within_ten_per_cent(known: Path, tmp_path: Path) -> None:
    table = transferred(known, tmp_path)
    truth, _ = profile_space(tmp_path / "truth.lut", SPACE, OTHER, effort=EFFORT)
    archs = as_choices(spread_sample(SPACE, 100, np.random.default_rng(5)))
    ratio = any_model(table, SPACE).latency_s(archs) / latency_model(truth, SPACE).latency_s(archs)
    assert (abs(ratio - 1) < 0.1).mean() >= 0.95
    as_known = latency_model(load_table(known), SPACE).latency_s(archs)
    assert np.ptp(as_known / latency_model(truth, SPACE).latency_s(archs)) > 1.0  # else too easy


def test_a_table_of_cells_is_transferred_too(
    make_table: Callable[..., LatencyTable], noisy: DeviceSpec, tmp_path: Path, in_process: None
) -> None:
    space = darts(cells=3, width=2, resolution=8)
    known = make_table(noisy, space)
    model = any_model(transferred(Path(known.name), tmp_path, device=noisy), space)
    archs = as_choices([space.sample(np.random.default_rng(seed)) for seed in range(20)])
    ratio = model.latency_s(archs) / latency_model(known, space).latency_s(archs)
    assert ratio == pytest.approx(np.ones(20), abs=0.2)  # its own device, of ten networks


def test_what_comes_out_are_estimates_and_says_from_what(known: Path, tmp_path: Path) -> None:
    table = transferred(known, tmp_path)
    assert any_model(table, SPACE).origin == "estimated"
    said = table.conditions.environment
    assert said["transferred from"] == f"noisy {load_table(known).hash}"
    assert said["calibrated on"] == "10 whole networks of measured.lut"
    assert space_of(table).name == "macro"


def test_more_probes_measure_only_what_is_new(known: Path, tmp_path: Path) -> None:
    first = transferred(known, tmp_path, probes=6)
    before = dict(load_table(tmp_path / "measured.lut").networks)
    second = transferred(known, tmp_path, probes=9)
    after = load_table(tmp_path / "measured.lut").networks
    assert (len(before), len(after)) == (6, 9)
    assert {chain: after[chain] for chain in before} == before
    assert (len(first.ratios), len(second.ratios)) == (6, 9)


def test_profiling_the_measured_file_makes_a_measured_table_of_it(
    known: Path, tmp_path: Path
) -> None:
    transferred(known, tmp_path, probes=6)
    probes = set(load_table(tmp_path / "measured.lut").networks)
    table, _ = profile_space(tmp_path / "measured.lut", SPACE, OTHER, effort=EFFORT)
    assert probes < set(table.networks)
    assert latency_model(table, SPACE).origin == "measured"


def test_a_device_of_another_batch_is_refused(known: Path, tmp_path: Path) -> None:
    four = DeviceSpec(name="four", backend="simulated", simulation=Simulation(), batch=4)
    with pytest.raises(InvalidFile, match="is of batch 1, and device 'four' of 4: name"):
        transferred(known, tmp_path, device=four)


def test_tables_of_different_resolutions_are_refused(
    known: Path, tmp_path: Path, make_table: Callable[..., LatencyTable], noisy: DeviceSpec
) -> None:
    second = Path(make_table(noisy, space_named("macro", resolution=24)).name)
    with pytest.raises(InvalidFile, match=r"24 px.* and .*16 px.*: a device is transferred within"):
        transfer_space(
            tmp_path / "other.lut",
            [known, second],
            OTHER,
            measured=tmp_path / "measured.lut",
            probes=10,
            effort=EFFORT,
        )


def test_a_table_that_was_there_is_replaced_whole(known: Path, tmp_path: Path) -> None:
    first = transferred(known, tmp_path, probes=6)
    second = transferred(known, tmp_path, probes=6)
    assert second.hash == first.hash
    assert sorted(path.name for path in tmp_path.glob("other*")) == ["other.lut"]


def test_a_transfer_that_is_cut_off_leaves_the_old_estimates_and_no_litter(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transferred(known, tmp_path, probes=6)
    before = (tmp_path / "other.lut").read_bytes()
    monkeypatch.setattr(TableFile, "add_foreign", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        transferred(known, tmp_path, probes=6)
    assert (tmp_path / "other.lut").read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("*.lut*")) == ["measured.lut", "other.lut"]


@pytest.mark.parametrize("there", ["measured table", "text"])
def test_what_is_no_estimate_is_never_replaced_and_nothing_is_measured(
    known: Path, tmp_path: Path, there: str
) -> None:
    output = tmp_path / "other.lut"
    output.write_bytes(known.read_bytes() if there == "measured table" else b"notes " * 50)
    before = output.read_bytes()
    with pytest.raises(InvalidFile, match=r"other\.lut (holds latencies of 'noisy'|is damaged)"):
        transferred(known, tmp_path)
    assert output.read_bytes() == before
    assert not (tmp_path / "measured.lut").exists()


def test_one_file_is_not_both_estimates_and_measurements(known: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.lut"
    with pytest.raises(InvalidFile, match="name two files"):
        transfer_space(both, [known], OTHER, measured=both, probes=6, effort=EFFORT)
    assert not both.exists()
