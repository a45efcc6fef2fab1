from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from devices import InvalidFile
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget, within
from search import Architecture, SearchSpace, as_choices, run_search, space_named
from search.methods.evolution import Evolution
from search.predictor import fit_additive

MACRO = space_named("macro")
ADDED = np.random.default_rng(3).normal(0.0, 0.03, (8, 3))


def additive(archs: Sequence[Architecture]) -> list[float]:
    """Accuracy as a sum over the layers of a canonical network."""
    rows = as_choices([MACRO.canonical(arch) for arch in archs])
    accuracies: list[float] = (0.6 + ADDED[np.arange(8), rows].sum(axis=1)).tolist()
    return accuracies


def drawn(space: SearchSpace, count: int, *, seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [space.canonical(space.sample(rng)) for _ in range(count)]


def test_an_additive_truth_is_recovered_on_unseen_networks() -> None:
    seen, unseen = drawn(MACRO, 120, seed=0), drawn(MACRO, 50, seed=1)
    predictor = fit_additive(MACRO, seen, additive(seen))
    assert predictor(unseen) == pytest.approx(additive(unseen), abs=1e-4)


def test_noise_is_averaged_out() -> None:
    seen, unseen = drawn(MACRO, 150, seed=0), drawn(MACRO, 200, seed=1)
    noise = np.random.default_rng(0).normal(0.0, 0.02, 150)
    predictor = fit_additive(MACRO, seen, (np.array(additive(seen)) + noise).tolist())
    error = np.array(predictor(unseen)) - np.array(additive(unseen))
    assert np.sqrt(np.square(error).mean()) < 0.01  # 17 coefficients from 150: 0.02 / 3


def test_all_forms_of_a_network_are_predicted_alike() -> None:
    seen = drawn(MACRO, 60, seed=0)
    predictor = fit_additive(MACRO, seen, additive(seen))
    forms = [Architecture((0, 1, 0, 0, 2, 0, 0, 0)), Architecture((0, 1, 0, 2, 0, 0, 0, 0))]
    one, other = predictor(forms)
    assert one == other


def test_a_search_by_predictions_finds_the_optimum() -> None:
    model = LatencyModel(
        device="steps",
        base_s=0.0,
        cost_s=np.tile(np.array([1.0, 2.0, 3.0]), (8, 1)),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )
    budget = LatencyBudget(model=model, target=LatencyTarget(device="steps", limit_s=16.0))
    seen = drawn(MACRO, 120, seed=0)
    result = run_search(
        Evolution(space=MACRO, budgets=[budget], rng=np.random.default_rng(0)),
        space=MACRO,
        budgets=[budget],
        accuracy=fit_additive(MACRO, seen, additive(seen)),
        rounds=20,
    )
    every = {MACRO.canonical(Architecture(choices)) for choices in product(range(3), repeat=8)}
    archs = sorted(every)
    kept = within([budget], as_choices(archs))
    best = max(np.array(additive(archs))[kept])
    assert additive([result.best.arch])[0] == pytest.approx(best)


def test_predictions_stay_between_0_and_1() -> None:
    seen = drawn(MACRO, 60, seed=0)
    rows = as_choices(seen)
    predictor = fit_additive(MACRO, seen, ((rows == 2).mean(axis=1) > 0.3).astype(float).tolist())
    ends = [Architecture((2,) * 8), Architecture((0,) * 8)]
    assert all(0.0 <= value <= 1.0 for value in predictor(ends))


@pytest.mark.parametrize(("networks", "accuracies"), [(1, 1), (3, 2)])
def test_too_few_networks_are_refused(networks: int, accuracies: int) -> None:
    with pytest.raises(ValueError, match=f"got {networks} networks and {accuracies} accuracies"):
        fit_additive(MACRO, drawn(MACRO, networks, seed=0), [0.5] * accuracies)


def test_a_network_of_another_space_is_refused() -> None:
    seen = drawn(MACRO, 20, seed=0)
    predictor = fit_additive(MACRO, seen, additive(seen))
    with pytest.raises(InvalidFile, match="has 2 choices"):
        predictor([Architecture((0, 1))])
