"""Searches under budgets, one that nothing keeps among them."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.budget_compliance import ASKED, RUNS, TRUTH, Pool, search
from devices import device_named
from tests.measurements import measured


def test_a_promise_that_no_network_keeps_is_a_broken_promise() -> None:
    pool = Pool(
        choices=np.zeros((2, 1), int),
        macs=np.array([10.0, 20.0]),
        measured=(measured(*[1.0] * (TRUTH + RUNS * ASKED)),) * 2,
    )
    model: Any = SimpleNamespace(
        device=device_named("sim").name,
        latency_s=lambda choices: np.array([0.4, 0.5]),
        allowed_s=lambda target: target.limit_s,
    )
    outcome = search(
        model,
        pool,
        limit_s=0.6,
        margin=0.0,
        confidence=0.95,
        rng=np.random.default_rng(0),
        asks=False,
    )
    assert outcome is not None
    assert (outcome.claimed, outcome.met, outcome.loss, outcome.beyond) == (True, False, 0.0, 0.0)
