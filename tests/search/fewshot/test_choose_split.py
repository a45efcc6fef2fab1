import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from devices import UnknownName
from search import Architecture, space_named
from search.fewshot.choose_split import (
    Ranked,
    by_conflict,
    check_choosing,
    conflict,
    cosines,
    grouped,
    pick,
)
from search.fewshot.settings import FewShotSettings, SplitRule
from search.fewshot.training import train_fewshot
from search.images.data import ImageData
from search.ledger import Cost, costs_of
from search.splits.routed import read_partition
from search.splits.split import InvalidSplit
from search.supernets.supernet import Supernet
from search.training.loop import train_uniform
from search.training.settings import TrainSettings
from tests.tiny_macro import few_digits, known, shallow, tiny

SPACE, SHALLOW = tiny(), shallow()
SETTINGS = TrainSettings(epochs=2, batch=32, warmup_epochs=0.5, augment=False, threads=1)
CHILD = replace(SETTINGS, epochs=1, warmup_epochs=0.0)
NOTHING = Cost(what="choosing", images_trained=0, images_scored=0, macs=0.0, counted=True)


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    with known("tiny", "shallow"):
        yield


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return few_digits()


@pytest.fixture(scope="module")
def parent(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "parent"
    train_uniform(SPACE, digits, SETTINGS, path)
    return path


def ranked(*merit: float) -> Ranked:
    alike = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    return Ranked(merit=merit, similarity=(alike,) * len(merit), cost=NOTHING)


def test_choices_that_agree_are_merged_first() -> None:
    alike = np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    assert grouped(alike, 3) == ((0,), (1,), (2,))
    assert grouped(alike, 2) == ((0, 2), (1,))
    assert grouped(alike, 1) == ((0, 1, 2),)


def test_conflict_is_the_mean_disagreement_of_pairs() -> None:
    alike = np.array([[1.0, 0.5, -1.0], [0.5, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    assert conflict(alike) == pytest.approx((0.5 + 2.0 + 1.0) / 3)
    assert conflict(np.ones((1, 1))) == 0.0


def test_the_layers_of_most_merit_are_split() -> None:
    splits = pick(SPACE, ranked(0, 5, 0, 1, 0, 0, 4, 0), children=6)
    assert [str(split) for split in splits] == ["1:0/1/2", "6:0,1/2"]


def test_a_layer_whose_products_hold_nothing_is_passed_over() -> None:
    # layers 6 and 7 share a stage: a skip before a block is in no canonical form
    splits = pick(SPACE, ranked(0, 0, 0, 1, 0, 0, 5, 4), children=9)
    assert [split.layer for split in splits] == [3, 6]


def test_a_number_of_children_that_is_no_product_is_refused() -> None:
    with pytest.raises(InvalidSplit, match="5 children are no product"):
        pick(SPACE, ranked(*range(8)), children=5)


def test_gradients_of_equal_paths_agree_and_only_shared_weights_count(digits: ImageData) -> None:
    supernet = Supernet(SPACE).train()
    for block in supernet.modules():
        if isinstance(block, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(block.weight)  # so that fresh blocks pass gradients
    images, labels = next(digits.training.batches(16))
    forms = [Architecture((2, 2, 2, choice, 0, 2, 2, 0)) for choice in (1, 1, 2)]
    found = cosines(supernet, images, labels, forms)
    assert found.diagonal() == pytest.approx(1.0)
    assert found[0, 1] == pytest.approx(1.0, abs=1e-5)
    assert -1.0 < found[0, 2] < 1.0 - 1e-3
    assert all(weight.grad is None for weight in supernet.parameters())


def test_comparing_gradients_leaves_the_parent_alone_and_counts_its_images(
    digits: ImageData,
) -> None:
    supernet = Supernet(SPACE)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    found = by_conflict(supernet, digits, SETTINGS, images=2 * 32 * 24)
    assert all(torch.equal(before[n], value) for n, value in supernet.state_dict().items())
    assert found.cost.images_trained == 2 * 32 * 24  # two batches, eight layers of three choices
    assert len(found.merit) == 8
    assert all(0.0 <= merit <= 2.0 for merit in found.merit)


def test_a_budget_of_more_than_a_pass_compares_whole_batches_and_counts_what_it_saw(
    digits: ImageData,
) -> None:
    data = replace(digits, training=digits.training.first(30))
    found = by_conflict(Supernet(SPACE), data, replace(SETTINGS, batch=8), images=1e9)
    for similarity in found.similarity:
        assert similarity.diagonal() == pytest.approx(1.0)  # of a path with itself
    assert all(0.0 <= merit <= 2.0 for merit in found.merit)
    assert found.cost.images_trained == 3 * 8 * 24  # three whole batches, 24 choices


def test_a_batch_larger_than_the_split_is_the_split_and_counts_as_that(digits: ImageData) -> None:
    data = replace(digits, training=digits.training.first(30))
    found = by_conflict(Supernet(SPACE), data, replace(SETTINGS, batch=64), images=1e9)
    assert found.cost.images_trained == 30 * 24
    assert found.similarity[0].diagonal() == pytest.approx(1.0)


def test_too_many_choices_to_compare_are_refused(digits: ImageData) -> None:
    wide = space_named("unified-macro", resolution=8)
    supernet = Supernet(SPACE)
    supernet.space = wide
    with pytest.raises(InvalidSplit, match="up to 3072 choices"):
        by_conflict(supernet, digits, SETTINGS, images=1.0)
    with pytest.raises(InvalidSplit, match="up to 3072 choices"):
        check_choosing(SplitRule(choose="exhaustive", children=3), wide)


@pytest.mark.parametrize("how", ["conflict", "exhaustive"])
def test_a_rule_chooses_once_and_its_cost_is_in_the_ledger(
    how: str, digits: ImageData, tmp_path: Path
) -> None:
    train_uniform(SHALLOW, digits, SETTINGS, tmp_path / "parent")
    run_dir = tmp_path / "run"
    rule = SplitRule(choose=how, children=3)
    few = FewShotSettings(choosing=0.1)
    train_fewshot(tmp_path / "parent", digits, CHILD, few, run_dir, rule=rule)
    chosen = json.loads((run_dir / "choice.json").read_text())
    assert len(read_partition(run_dir).parts) == 3
    choosing = costs_of(run_dir)[1]
    assert choosing.what == "choosing"
    assert choosing.images_trained == 32 * 6  # a batch for each choice at least
    judging = 0 if how == "conflict" else 2 * 24 * len(digits.validation)
    assert choosing.images_scored == judging
    best = max(range(2), key=lambda layer: chosen["merit"][layer])
    assert chosen["splits"] == [f"{best}:0/1/2"]
    (run_dir / "trials").mkdir(exist_ok=True)
    shutil.rmtree(run_dir / "trials")
    train_fewshot(tmp_path / "parent", digits, CHILD, few, run_dir, rule=rule)
    assert not (run_dir / "trials").exists()  # nothing is chosen again


def test_more_children_than_the_space_has_parts_are_refused(
    parent: Path, digits: ImageData, tmp_path: Path
) -> None:
    rule = SplitRule(choose="conflict", children=10_000)
    with pytest.raises(InvalidSplit, match="into 2 to 6,561 parts, not 10000"):
        train_fewshot(parent, digits, CHILD, FewShotSettings(), tmp_path / "run", rule=rule)
    assert not (tmp_path / "run").exists()


def test_an_unknown_rule_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="nearest is 'conflict'"):
        check_choosing(SplitRule(choose="conflicts", children=3), SPACE)
