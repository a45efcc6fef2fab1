import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from devices import DeviceSpec
from lut import (
    CheckReport,
    Conditions,
    Effort,
    ErrorBand,
    LatencyModel,
    LatencyTable,
    check_report,
    fill_table,
    latency_model,
    macs_model,
    table_for,
    table_from_file,
)
from lut.check import accuracy_of, repeatability
from profiler import Chain, Conv, Gate, Measurement, Slice
from search import space_named
from search.pricing.coverage import unseen_networks

SHAPE = (1, 8, 7, 7)
# One layer with as many choices as there are networks: network i takes choice i.
NETS = 20
NETWORKS: dict[Chain, tuple[int, ...]] = {
    (Conv(input_shape=SHAPE, channels=i + 1),): (i,) for i in range(NETS)
}
TRUE_S = np.linspace(1.0, 2.0, NETS)


def took(*processes_s: float, gate: Gate = "clean") -> Measurement:
    """Return what processes measured that gave one sample each."""
    return Measurement(
        slices=tuple(
            Slice(process=process, round=0, repeats=1, samples_s=(seconds,), gate=gate)
            for process, seconds in enumerate(processes_s)
        )
    )


def differing(seconds: float) -> Measurement:
    """Return two processes that differ by 10 %, one to each side."""
    return took(0.95 * seconds, 1.05 * seconds)


def table(checks: Mapping[Chain, Measurement]) -> LatencyTable:
    return LatencyTable(
        name="mine.lut",
        conditions=Conditions(device=DeviceSpec(name="mine", backend="simulated"), environment={}),
        chains={(Conv(input_shape=SHAPE, channels=99),): took(1.0, 1.0)},
        checks=checks,
    )


def model(predicted_s: NDArray[np.float64], *, off: float = 0.03) -> LatencyModel:
    """Return a model that predicts just that, with intervals of so many percent."""
    return LatencyModel(
        device="mine",
        base_s=0.0,
        cost_s=predicted_s[None],
        band=ErrorBand(ratios=(1.0 + off,) * 20),
        table_hash="of no table",
    )


def report(
    predicted_s: NDArray[np.float64],
    *,
    baseline_s: NDArray[np.float64] | None = None,
    measure: Callable[[float], Measurement] = lambda s: took(s, s, 1.001 * s),
    off: float = 0.03,
    anew_s: NDArray[np.float64] | None = None,
) -> CheckReport:
    checks = {chain: measure(TRUE_S[i]) for chain, (i,) in NETWORKS.items()}
    baseline = model(TRUE_S * 1.2 if baseline_s is None else baseline_s)
    return check_report(
        table(checks),
        model(predicted_s, off=off),
        baseline,
        NETWORKS,
        anew=(model(predicted_s if anew_s is None else anew_s), baseline),
        device_s=12.5,
    )


ALTERNATING = np.where(np.arange(NETS) % 2, 1.0, -1.0)


def test_accuracy_is_what_one_computes_by_hand() -> None:
    measured_s = np.array([1.0, 2.0, 4.0, 8.0])
    predicted_s = np.array([1.08, 2.0, 3.88, 9.6])  # +8 %, 0, -3 %, +20 %
    accuracy = accuracy_of(predicted_s, measured_s)
    assert accuracy.mape == pytest.approx(0.0775)
    assert accuracy.bias == pytest.approx(0.0625)
    assert accuracy.within_5 == 0.5
    assert accuracy.within_10 == 0.75
    assert accuracy.spearman == pytest.approx(1.0)


def test_rank_correlation_sees_only_ranks() -> None:
    measured_s = np.array([1.0, 2.0, 3.0, 4.0])
    assert accuracy_of(np.array([2.0, 1.0, 3.0, 40.0]), measured_s).spearman == pytest.approx(0.8)
    assert accuracy_of(measured_s[::-1], measured_s).spearman == pytest.approx(-1.0)


def test_repeatability_is_the_usual_difference_between_two_processes() -> None:
    # Differences of 0.02, 0.02 and 0.04, median 1.02; of 0.3, median 2.85.
    assert repeatability([took(1.0, 1.02, 1.04)]) == pytest.approx(0.02 / 1.02)
    assert repeatability([took(3.0, 2.7)]) == pytest.approx(0.3 / 2.85)
    both = [took(1.0, 1.02, 1.04), took(3.0, 2.7)]
    assert repeatability(both) == pytest.approx((0.02 / 1.02 + 0.3 / 2.85) / 2)


def test_one_process_says_nothing_of_repeatability() -> None:
    assert repeatability([took(1.0), took(1.0, 1.1)]) == pytest.approx(0.1 / 1.05)
    assert repeatability([took(1.0)]) == 0.0


def test_a_table_that_predicts_well_is_in_order() -> None:
    checked = report(TRUE_S * (1 + 0.01 * ALTERNATING))
    assert checked.status == "ok"
    assert checked.doubts == ()
    assert checked.table.mape == pytest.approx(0.01)
    assert checked.macs.bias == pytest.approx(0.2)
    assert checked.floor == pytest.approx(0.001)
    assert checked.device_s == 12.5
    np.testing.assert_allclose(checked.measured_s, TRUE_S)


def test_coverage_counts_the_intervals_that_held() -> None:
    errors = np.where(np.arange(NETS) < 5, 0.04, 0.01)  # intervals are 3 % wide to each side
    assert report(TRUE_S * (1 + errors)).coverage_90 == 0.75
    assert report(TRUE_S * (1 + errors), off=0.05).coverage_90 == 1.0


def test_a_table_that_operations_beat_is_refused() -> None:
    checked = report(TRUE_S * (1 + 0.015 * ALTERNATING), baseline_s=TRUE_S * 1.001)
    assert checked.status == "refused"
    assert checked.doubts[0] == "operations predict better than the table does: measure it again"


def test_a_tie_with_operations_is_not_refused() -> None:
    errors = 0.01 * ALTERNATING
    checked = report(TRUE_S * (1 + errors), baseline_s=TRUE_S * (1 - errors))
    assert checked.status == "ok"


def test_a_table_that_is_far_off_is_doubtful_and_says_in_which_direction() -> None:
    checked = report(TRUE_S * 1.08)
    assert checked.status == "doubtful"
    assert "off by +8.0% on average" in checked.doubts[0]


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        (0.019 * ALTERNATING, "ok"),
        (0.021 * ALTERNATING, "doubtful"),  # the mean error
        (np.where(np.arange(NETS) < 2, 0.06, 0.0), "ok"),
        (np.where(np.arange(NETS) < 3, 0.06, 0.0), "doubtful"),  # the share within 5 %
        (np.where(np.arange(NETS) < 1, 0.11, 0.0), "doubtful"),  # one beyond 10 %
    ],
)
def test_the_bar_for_a_table_in_order(errors: NDArray[np.float64], status: str) -> None:
    assert report(TRUE_S * (1 + errors)).status == status


def test_a_machine_that_repeats_badly_is_named_first() -> None:
    checked = report(TRUE_S * (1 + 0.03 * ALTERNATING), measure=differing)
    assert checked.status == "doubtful"
    assert "two processes that time the same network differ by 10.0%" in checked.doubts[0]
    assert "20 of 20 checked networks are noisy" in checked.doubts[1]


def test_disturbed_measurements_are_counted() -> None:
    checked = report(TRUE_S * 1.03, measure=lambda s: took(s, s, gate="load"))
    assert "20 of 20 checked networks are noisy, bimodal or throttled" in checked.doubts
    assert not any("operators" in doubt for doubt in checked.doubts)


def test_a_device_in_another_state_is_told_from_operators_that_are_wrong() -> None:
    checked = report(TRUE_S * np.linspace(0.95, 1.05, NETS), anew_s=TRUE_S * 1.001)
    assert checked.status == "doubtful"
    assert checked.anew.mape == pytest.approx(0.001)
    assert "calibrated anew the operators are right" in checked.doubts[0]


def test_a_failure_without_a_cause_says_so() -> None:
    checked = report(TRUE_S * (1 + 0.04 * ALTERNATING))
    (doubt,) = checked.doubts
    assert "no single cause: measure the table again" in doubt


def test_doubts_are_for_failures_only() -> None:
    fine = report(TRUE_S, measure=differing)
    assert fine.status == "ok"
    assert fine.doubts == ()


@pytest.mark.usefixtures("in_process")
def test_a_table_of_a_simulated_device_stands_up_to_unseen_networks(
    noisy: DeviceSpec, make_table: Callable[..., LatencyTable], tmp_path: Path
) -> None:
    space = space_named("macro", resolution=16)
    effort = Effort(processes=3, rounds=1)
    made = make_table(noisy, space, effort=effort)
    path = Path(shutil.copy(made.name, tmp_path / "mine.lut"))
    unseen = unseen_networks(space, 16, known=made.networks, seed=1)
    networks = {space.chain(arch): arch.choices for arch in unseen}
    with table_for(path, noisy) as file:
        progress = fill_table(file, dict.fromkeys(networks, "check"), effort)
        table = table_from_file(file)
    checked = check_report(
        table,
        latency_model(table, space),
        macs_model(table, space),
        networks,
        anew=(latency_model(table, space), macs_model(table, space)),
        device_s=progress.device_s,
    )
    assert table.hash == made.hash
    assert checked.status == "ok"
    assert checked.table.mape < 0.01 < checked.macs.mape
    assert checked.table.spearman > 0.99
    assert 0.0 < checked.floor < 0.02
    assert checked.coverage_90 >= 0.75
    assert checked.device_s > 16 * 3 * 0.05
