"""A relaxation moves alpha and weights on their own images, and ends within every limit."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from devices import UnknownName
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from profiler import total_macs
from search import Architecture, NoFeasibleArchitecture, space_named
from search.darts.alphas import AlphaPaths, DartsSettings
from search.darts.on_children import derived_by_children, train_darts_children
from search.darts.training import (
    NotRelaxed,
    check_relaxed,
    darts_from_toml,
    derived,
    halves,
    projected,
    train_darts,
)
from search.fewshot.settings import FewShotSettings, SplitRule
from search.fewshot.training import train_fewshot
from search.images.data import ImageData
from search.ledger import costs_of, run_cost
from search.load_supernet import load_supernet
from search.space import as_choices
from search.splits.routed import MissingChild, RoutedSupernet, child_dir, read_partition
from search.splits.split import Part, partition_from_texts, split_from_text
from search.supernets.supernet import Supernet
from search.training.loop import train_uniform
from search.training.runs import CHECKPOINT, read_checkpoint
from search.training.settings import TrainSettings
from tests.tiny_macro import few_digits, known, tiny

SPACE = tiny()
WHOLE = Part(space=SPACE)
SETTINGS = TrainSettings(
    epochs=2, batch=16, warmup_epochs=0.0, learning_rate=0.05, augment=False, threads=1
)
DARTS = DartsSettings()
COST_S = np.array([[total_macs((op,)) * 1e-6 for op in layer] for layer in SPACE.layers])


def budget_of(limit_s: float) -> LatencyBudget:
    """Return a limit on a device that takes a second for a million operations."""
    model = LatencyModel(
        device="counter",
        base_s=0.0,
        cost_s=COST_S,
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )
    return LatencyBudget(model=model, target=LatencyTarget(device="counter", limit_s=limit_s))


def share_of_range(share: float) -> LatencyBudget:
    low, high = COST_S.min(axis=1).sum(), COST_S.max(axis=1).sum()
    return budget_of(float(low + share * (high - low)))


TWO = (share_of_range(0.05), share_of_range(0.7))


def seconds(arch: Architecture) -> float:
    return float(budget_of(1.0).model.latency_s(as_choices([arch]))[0])


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    with known("tiny"):
        yield


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return few_digits()


@pytest.fixture(scope="module")
def run_dir(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished relaxation under two limits; tests read it only."""
    path = tmp_path_factory.mktemp("runs") / "darts"
    budgets = [share_of_range(0.3), share_of_range(0.8)]
    train_darts(WHOLE, digits, SETTINGS, DARTS, path, budgets=budgets)
    return path


def alphas_of(run: Path) -> list[torch.Tensor]:
    return list(read_checkpoint(run).sampler["alphas"])


def alpha_paths(part: Part, data: ImageData, settings: DartsSettings, limit: float) -> AlphaPaths:
    _, held_out = halves(data)
    return AlphaPaths(part, [share_of_range(limit)], held_out, settings, batch=16, seed=0)


def test_weights_and_alpha_learn_from_halves_that_share_no_image(digits: ImageData) -> None:
    fitted, held_out = halves(digits)
    assert (len(fitted.training), len(held_out)) == (64, 64)
    assert not set(fitted.training.rows) & set(held_out.rows)
    assert set(fitted.training.rows) | set(held_out.rows) == set(digits.training.rows)


def test_a_step_of_alpha_leaves_the_supernet_as_it_was(digits: ImageData) -> None:
    supernet = Supernet(SPACE).train()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    paths = alpha_paths(WHOLE, digits, DARTS, 0.5)
    start = paths.alphas[0].detach().clone()
    paths(supernet, np.random.default_rng(0))
    assert all(torch.equal(before[n], value) for n, value in supernet.state_dict().items())
    assert all(weight.grad is None for weight in supernet.parameters())
    assert not torch.equal(start, paths.alphas[0])


def test_a_heavy_latency_term_makes_the_mixture_faster_until_the_limit_holds(
    digits: ImageData,
) -> None:
    settings = DartsSettings(learning_rate=0.05, weight_decay=0.0, latency_weight=100.0)
    paths, supernet = alpha_paths(WHOLE, digits, settings, 0.2), Supernet(SPACE).train()
    limit_s = share_of_range(0.2).target.limit_s
    expected_s = []
    rng = np.random.default_rng(0)
    for _ in range(60):
        paths(supernet, rng)
        expected_s.append(float((paths.gates().detach().numpy() * COST_S).sum()))
    assert expected_s[0] > 1.5 * limit_s
    assert expected_s[-1] < 1.1 * limit_s


def test_a_mixture_within_its_limit_feels_no_latency(digits: ImageData) -> None:
    heavy = DartsSettings(latency_weight=100.0)
    supernet = Supernet(SPACE).train()
    after = []
    for settings in (heavy, DartsSettings(latency_weight=0.0)):
        paths = alpha_paths(WHOLE, digits, settings, 0.99)
        paths(supernet, np.random.default_rng(0))
        after.append(paths.alphas[0].detach())
    assert torch.equal(*after)


def test_every_limit_has_an_alpha_of_its_own(run_dir: Path) -> None:
    tight, loose = alphas_of(run_dir)
    assert not torch.equal(tight, loose)


def test_what_is_derived_keeps_its_limit_and_is_canonical(run_dir: Path) -> None:
    budgets = [share_of_range(0.3), share_of_range(0.8)]
    found = derived(run_dir, WHOLE, budgets)
    for arch, budget in zip(found, budgets, strict=True):
        assert arch is not None
        assert SPACE.canonical(arch) == arch
        assert seconds(arch) <= budget.target.limit_s


@pytest.mark.parametrize("texts", [[], ["3:0,1/2"], ["3:0/1,2", "4"]])
def test_what_is_derived_is_the_best_of_its_part_by_enumeration(texts: list[str]) -> None:
    alpha = torch.randn(8, 3, generator=torch.Generator().manual_seed(4))
    scores = torch.log_softmax(alpha.double(), dim=1).numpy()
    budget = share_of_range(0.4)
    parts = partition_from_texts(texts, SPACE).parts
    forms = [Architecture(choices) for choices in product(range(3), repeat=8)]
    kept = budget.model.latency_s(as_choices(forms)) <= budget.target.limit_s
    totals = scores[np.arange(8), as_choices(forms)].sum(axis=1)
    order = [forms[i] for i in np.argsort(-totals) if kept[i]]
    for part in parts:
        # layers 3 and 4 were split: there the form must be the canonical one
        inside = (
            form
            for form in order
            if form in part
            and (not texts or SPACE.canonical(form).choices[3:5] == form.choices[3:5])
        )
        assert projected(alpha, part, budget) == SPACE.canonical(next(inside))


def test_a_relaxation_is_a_supernet_like_any_other(run_dir: Path, digits: ImageData) -> None:
    supernet = load_supernet(run_dir).supernet
    images, _ = next(digits.validation.batches(3))
    assert supernet(images, Architecture((2,) * 8)).shape == (3, 10)


def test_images_of_alpha_are_trained_on_and_operations_count_once(run_dir: Path) -> None:
    # 2 epochs of 4 steps; in each 16 images for the weights and 16 for alpha, through all blocks
    cost = run_cost(run_dir, what="child")
    assert (cost.images_trained, cost.images_scored) == (2 * 2 * 64, 0)
    blocks = sum(total_macs((op,)) for layer in SPACE.layers for op in layer)
    mixture = blocks + total_macs(SPACE.before) + total_macs(SPACE.after)
    assert cost.macs == pytest.approx(3 * 256 * mixture)


def test_a_smaller_half_of_alpha_costs_less(digits: ImageData) -> None:
    _, held_out = halves(digits)
    few = held_out.first(4)
    paths = AlphaPaths(WHOLE, [share_of_range(0.5)], few, DARTS, batch=16, seed=0)
    paths(Supernet(SPACE).train(), np.random.default_rng(0))
    assert paths.trained_images == 4
    assert paths.macs == pytest.approx(1.25 * paths.mixture_macs)


def test_an_interrupted_relaxation_ends_as_one_that_was_not(
    run_dir: Path, digits: ImageData, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 6:
            raise Killed

    budgets = [share_of_range(0.3), share_of_range(0.8)]

    def run(**given: Any) -> None:
        train_darts(WHOLE, digits, SETTINGS, DARTS, tmp_path / "run", budgets=budgets, **given)

    with pytest.raises(Killed):
        run(on_step=kill)
    run()
    for mine, whole in zip(alphas_of(tmp_path / "run"), alphas_of(run_dir), strict=True):
        assert torch.equal(mine, whole)


def test_a_limit_below_the_space_is_refused_before_training(
    digits: ImageData, tmp_path: Path
) -> None:
    with pytest.raises(NoFeasibleArchitecture):
        train_darts(WHOLE, digits, SETTINGS, DARTS, tmp_path / "run", budgets=[budget_of(1e-9)])
    assert not (tmp_path / "run").exists()


def test_a_space_of_thousands_of_choices_is_not_relaxed() -> None:
    with pytest.raises(NotRelaxed, match="up to 3072 choices"):
        check_relaxed(space_named("unified-macro", resolution=16))


def test_the_gates_of_a_part_never_leave_it(digits: ImageData) -> None:
    part = partition_from_texts(["3:0,1/2"], SPACE).parts[0]
    gates = alpha_paths(part, digits, DARTS, 0.5).gates().detach()
    assert float(gates[3, 2]) == 0.0
    assert gates.sum(dim=1).tolist() == pytest.approx([1.0] * 8)


@pytest.fixture(scope="module")
def relaxed(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished relaxed children under two limits, ``few`` beside; tests read them only."""
    folder = tmp_path_factory.mktemp("children")
    train_uniform(SPACE, digits, SETTINGS, folder / "parent")
    rule = SplitRule(splits=(split_from_text("3:0,1/2", SPACE),))
    short, few = replace(SETTINGS, epochs=1), folder / "few"
    train_fewshot(folder / "parent", digits, short, FewShotSettings(), few, rule=rule)
    train_darts_children(few, digits, short, DARTS, folder / "relaxed", budgets=TWO)
    return folder / "relaxed"


def test_children_are_relaxed_on_their_parts_and_answer_as_one_supernet(relaxed: Path) -> None:
    assert isinstance(load_supernet(relaxed).supernet, RoutedSupernet)
    partition = read_partition(relaxed)
    tight, loose = derived_by_children(relaxed, partition, TWO)
    assert [partition.index(arch) for arch in loose] == [0, 1]
    assert all(seconds(arch) <= TWO[1].target.limit_s for arch in loose)
    # the largest block of layer 3 alone is over the tight limit
    assert [partition.index(arch) for arch in tight] == [0]
    weights = read_checkpoint(child_dir(relaxed, 1)).model
    assert not any(name.startswith("layers.3.1.") for name in weights)


def test_the_ledger_of_relaxed_children_counts_alphas_images_as_trained(relaxed: Path) -> None:
    costs = costs_of(relaxed)
    assert [(cost.images_trained, cost.images_scored) for cost in costs] == [(128, 0), (128, 0)]
    assert costs[0].macs < costs[1].macs  # a skip and a small block of layer 3, or the largest one


def test_a_missing_relaxed_child_is_trained_by_a_command_that_names_table_and_limits(
    relaxed: Path, digits: ImageData, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(relaxed, run)
    (child_dir(run, 1) / CHECKPOINT).unlink()
    images, _ = next(digits.validation.batches(1))
    with pytest.raises(MissingChild, match="0 of 1 epochs") as caught:
        load_supernet(run).supernet(images, Architecture((2,) * 8))
    said = str(caught.value)
    words = said[said.index("latkit train darts") :].split()
    options = list(zip(words[3::2], words[4::2], strict=True))
    limits_s = [float(value) * 1e-3 for option, value in options if option == "--limit-ms"]
    assert limits_s == pytest.approx([budget.target.limit_s for budget in TWO], rel=1e-9)
    assert [pair for pair in options if pair[0] != "--limit-ms"] == [
        ("--from", str(relaxed.parent / "few")),
        ("--table", "counter.lut"),  # of the device that the limits are for
        ("--confidence", "0.95"),
        ("--data", "digits"),
        ("-o", str(run)),
    ]


def test_a_setting_out_of_range_is_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("epochs = 3\n[darts]\nlatency_weight = 1.5\n")
    assert darts_from_toml(path) == DartsSettings(latency_weight=1.5)
    path.write_text("[darts]\nlatency = 1.5\n")
    with pytest.raises(UnknownName, match="nearest is 'latency_weight'"):
        darts_from_toml(path)
