"""From known devices to a new one: factors, probes, intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lut import ErrorBand
from lut.on_paper.transfer import Known, fit_transfer, most_telling


def known(rng: np.random.Generator, networks: int = 200) -> Known:
    """Return networks of two parts, which are the counts; the devices weigh them differently."""
    parts = rng.uniform(1.0, 5.0, (networks, 2))
    weights = np.array([[1.0, 2.0], [3.0, 1.0]]) * 1e-3
    return Known(latency_s=parts @ weights, counts=parts)


def test_a_device_that_is_twice_as_slow_as_a_known_one_is_found_from_four_networks() -> None:
    pool = known(np.random.default_rng(0))
    one = Known(latency_s=pool.latency_s[:, :1], counts=pool.counts)
    truth_s = 2.0 * one.latency_s[:, 0]
    probes = most_telling(one, 4)
    transfer = fit_transfer(one, probes, truth_s[probes])
    assert transfer.latency_s(one) == pytest.approx(truth_s, rel=0.005)


def test_a_mixture_of_known_devices_is_found_from_ten_networks() -> None:
    pool = known(np.random.default_rng(0))
    truth_s = pool.latency_s @ np.array([0.2, 1.5]) + 1e-3
    probes = most_telling(pool, 10)
    transfer = fit_transfer(pool, probes, truth_s[probes])
    assert transfer.latency_s(pool) == pytest.approx(truth_s, rel=0.02)


def test_counts_mend_what_no_known_device_shows() -> None:
    rng = np.random.default_rng(0)
    pool = known(rng)
    hidden = rng.uniform(0.0, 2.0, 200)  # say kernels, which cost the known devices nothing
    with_hidden = Known(
        latency_s=pool.latency_s, counts=np.concatenate([pool.counts, hidden[:, None]], axis=1)
    )
    truth_s = pool.latency_s[:, 0] + 1e-3 * hidden
    rows = np.arange(40)
    off = [
        np.abs(fit_transfer(each, rows, truth_s[rows]).latency_s(each) / truth_s - 1).mean()
        for each in (pool, with_hidden)
    ]
    assert off[1] < 0.1 * off[0]


def test_probes_are_apart_and_never_chosen_twice() -> None:
    pool = known(np.random.default_rng(0))
    probes = most_telling(pool, 20)
    assert len(set(probes.tolist())) == 20
    size = pool.counts.sum(axis=1)
    ratio = pool.counts[:, 0] / size  # what tells the devices apart
    assert np.ptp(ratio[probes]) > 0.95 * np.ptp(ratio)


def test_more_probes_begin_with_the_same_ones() -> None:
    pool = known(np.random.default_rng(0))
    assert most_telling(pool, 9)[:4].tolist() == most_telling(pool, 4).tolist()


def test_intervals_hold_for_networks_that_were_not_measured() -> None:
    rng = np.random.default_rng(0)
    pool = known(rng, 400)
    noise = np.exp(rng.normal(0.0, 0.03, 400))
    truth_s = pool.latency_s @ np.array([1.0, 0.5]) * noise
    probes = most_telling(pool, 20)
    transfer = fit_transfer(pool, probes, truth_s[probes])
    low, high = ErrorBand(ratios=transfer.ratios).around(0.9)
    ratio = np.delete(truth_s / transfer.latency_s(pool), probes)
    assert 0.85 <= ((ratio >= low) & (ratio <= high)).mean() <= 1.0
    assert high < 1.15


@given(unit=st.floats(1e-6, 1e3))
def test_the_unit_of_latencies_does_not_matter(unit: float) -> None:
    pool = known(np.random.default_rng(1), 50)
    truth_s = pool.latency_s[:, 0] * 3.0 + pool.counts[:, 1] * 1e-3
    rows = np.arange(8)
    usual = fit_transfer(pool, rows, truth_s[rows]).latency_s(pool)
    scaled = fit_transfer(pool, rows, truth_s[rows] * unit).latency_s(pool)
    assert scaled == pytest.approx(usual * unit, rel=1e-6)


def test_kinds_that_no_network_has_tell_nothing() -> None:
    pool = known(np.random.default_rng(0))
    wider = Known(
        latency_s=pool.latency_s, counts=np.concatenate([pool.counts, np.zeros((200, 1))], axis=1)
    )
    rows, truth_s = np.arange(10), pool.latency_s[:, 1]
    transfer = fit_transfer(wider, rows, truth_s[rows])
    assert transfer.per_count[2] == 0.0


def test_too_few_probes_are_refused() -> None:
    pool = known(np.random.default_rng(0))
    with pytest.raises(ValueError, match="4 probes or more, got 3"):
        fit_transfer(pool, np.arange(3), pool.latency_s[:3, 0])


def test_more_probes_than_networks_are_refused() -> None:
    pool = known(np.random.default_rng(0), 5)
    with pytest.raises(ValueError, match="of 5 networks 1 or more can be chosen, got 6"):
        most_telling(pool, 6)


def test_known_latencies_are_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Known(latency_s=np.array([[1.0], [0.0]]), counts=np.ones((2, 1)))
