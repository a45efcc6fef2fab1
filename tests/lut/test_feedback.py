import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices import DeviceSpec
from lut import (
    LatencyTable,
    WrongConditions,
    calibration_networks,
    current_conditions,
    feed_back,
    latency_model,
    load_table,
)
from lut.agreement import agreement
from lut.files.storage import TableFile
from profiler import Measurement, Slice
from search import Architecture, SearchSpace, as_choices, space_named

SPACE: SearchSpace = space_named("macro", resolution=16)
ARCH = Architecture((2, 2, 2, 2, 2, 2, 1, 2))  # no calibration network


@pytest.fixture
def path(exact: DeviceSpec, make_table: Callable[..., LatencyTable], tmp_path: Path) -> Path:
    return Path(shutil.copy(make_table(exact, SPACE).name, tmp_path / "mine.lut"))


def verdict(seconds: float, *, processes: int = 3) -> Measurement:
    return Measurement(
        slices=tuple(
            Slice(process=process, round=0, repeats=1, samples_s=(seconds,) * 4, gate="clean")
            for process in range(processes)
        )
    )


def test_a_verdict_moves_the_calibration_and_not_the_rows(path: Path, exact: DeviceSpec) -> None:
    before = load_table(path)
    model = latency_model(before, SPACE)
    choices = as_choices([ARCH])
    slower_s = 1.1 * float(model.latency_s(choices)[0])
    revision = feed_back(path, SPACE.chain(ARCH), verdict(slower_s), current_conditions(exact))
    after = load_table(path)
    learnt = latency_model(after, SPACE)
    assert revision == after.revision == learnt.revision == 1
    assert after.hash == before.hash
    assert dict(after) == dict(before)
    assert learnt.latency_s(choices)[0] > model.latency_s(choices)[0]
    assert learnt.band.upper(0.95) > model.band.upper(0.95)  # it was surprised, and says so
    assert len(learnt.band.ratios) == len(model.band.ratios) + 1


def test_every_verdict_counts_and_none_is_mixed_with_another(path: Path, exact: DeviceSpec) -> None:
    for seconds in (1.0, 2.0):
        feed_back(path, SPACE.chain(ARCH), verdict(seconds), current_conditions(exact))
    table = load_table(path)
    assert table.revision == 2
    measurement = table.verified[SPACE.chain(ARCH)]
    assert measurement.by_process == {0: 1.0, 1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0, 5: 2.0}


def test_a_verdict_that_is_cut_off_leaves_the_calibration_as_it_was(
    path: Path, exact: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_table(path)
    add, taken = TableFile.add_slice, iter(range(2))

    def cut_off(*args: Any) -> int:
        if next(taken, None) is None:
            raise KeyboardInterrupt
        return add(*args)

    monkeypatch.setattr(TableFile, "add_slice", cut_off)
    with pytest.raises(KeyboardInterrupt):  # at the third of three slices
        feed_back(path, SPACE.chain(ARCH), verdict(1.0), current_conditions(exact))
    after = load_table(path)
    assert (after.revision, after.verified) == (before.revision, {}) == (0, {})


def test_a_calibration_network_that_is_verified_counts_once(path: Path, exact: DeviceSpec) -> None:
    before = load_table(path)
    choices, measured_s = calibration_networks(before, SPACE)
    verified = Architecture(tuple(choices[7].tolist()))
    feed_back(path, SPACE.chain(verified), verdict(1.0, processes=3), current_conditions(exact))
    table = load_table(path)
    again, united_s = calibration_networks(table, SPACE)
    assert again.tolist() == choices.tolist()
    expected = measured_s.copy()
    expected[7] = (measured_s[7] + 3 * 1.0) / 4  # one process of the campaign, three of the verdict
    assert united_s == pytest.approx(expected)
    agreed = agreement(table, SPACE, latency_model(table, SPACE))
    assert [each.why for each in agreed].count("verified") == 1
    assert agreed[7].why == "verified"


def test_a_verdict_of_another_device_teaches_nothing(path: Path, exact: DeviceSpec) -> None:
    before = path.read_bytes()
    elsewhere = current_conditions(replace(exact, threads=2))
    with pytest.raises(WrongConditions, match="threads: 1 in the table, 2 here"):
        feed_back(path, SPACE.chain(ARCH), verdict(1.0), elsewhere)
    assert path.read_bytes() == before


def test_what_was_verified_is_not_drawn_to_check_the_table(path: Path, exact: DeviceSpec) -> None:
    from search.pricing.coverage import unseen_networks

    drawn = unseen_networks(SPACE, 8, known=load_table(path).networks, seed=1)
    feed_back(path, SPACE.chain(drawn[0]), verdict(1.0), current_conditions(exact))
    table = load_table(path)
    again = unseen_networks(SPACE, 8, known={**table.networks, **table.verified}, seed=1)
    assert drawn[0] not in again
    assert np.isfinite(latency_model(table, SPACE).latency_s(as_choices(again))).all()
