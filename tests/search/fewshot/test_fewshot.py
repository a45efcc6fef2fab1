"""Children of a supernet: what they start from, what moves, how they resume, who answers."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from devices import InvalidFile, UnknownName
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from profiler import total_macs
from search import Architecture, RandomSearch, SearchSpace, run_search, space_named
from search.fewshot.settings import FewShotSettings, SplitRule, child_settings, fewshot_from_toml
from search.fewshot.training import train_fewshot
from search.images.data import ImageData
from search.ledger import costs_of, mean_macs
from search.load_supernet import load_supernet
from search.splits.routed import MissingChild, RoutedSupernet, child_dir
from search.splits.split import InvalidSplit, partition_from_texts, split_from_text
from search.supernets.evaluation import Evaluator, calibration_images, final_weights
from search.supernets.supernet import Supernet
from search.training.loop import train_uniform
from search.training.runs import CHECKPOINT, RunMismatch, read_checkpoint
from search.training.settings import TrainSettings, settings_from_toml
from tests.tiny_macro import few_digits, known, tiny

SPACE = tiny()
SETTINGS = TrainSettings(
    epochs=2, batch=32, warmup_epochs=0.5, augment=False, threads=1, weight_decay=0.1
)
CHILD = replace(SETTINGS, epochs=1, warmup_epochs=0.0)
RULE = SplitRule(splits=(split_from_text("3:0,1/2", SPACE),))
PLAIN = FewShotSettings()


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    with known("tiny"):
        yield


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return few_digits()


@pytest.fixture(scope="module")
def parent(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "parent"
    train_uniform(SPACE, digits, SETTINGS, path)
    return path


@pytest.fixture(scope="module")
def children(parent: Path, digits: ImageData) -> Path:
    """A finished few-shot run; tests read it only."""
    path = parent.parent / "children"
    train_fewshot(parent, digits, CHILD, PLAIN, path, rule=RULE)
    return path


def weights_of(run_dir: Path) -> dict[str, Any]:
    return read_checkpoint(run_dir).model


def of_layer(name: str, layer: int, choice: int) -> bool:
    return name.startswith(f"layers.{layer}.{choice}.")


def test_a_child_holds_the_blocks_of_its_part_and_no_others(children: Path) -> None:
    first, second = (weights_of(child_dir(children, number)) for number in range(2))
    assert any(of_layer(name, 3, 1) for name in first)
    assert not any(of_layer(name, 3, 2) for name in first)
    assert not any(of_layer(name, 3, 1) for name in second)
    assert any(of_layer(name, 3, 2) for name in second)
    assert {n for n in first if not n.startswith("layers.3.")} == {
        n for n in second if not n.startswith("layers.3.")
    }


def test_the_convolutions_of_the_split_layer_are_trained(parent: Path, children: Path) -> None:
    # the fault of the released code: weights that came after the optimizer were never its own
    before, after = weights_of(parent), weights_of(child_dir(children, 1))
    split = [name for name in after if of_layer(name, 3, 2) and after[name].ndim == 4]
    assert len(split) == 3
    assert not any(torch.equal(before[name], after[name]) for name in split)


def assert_same_weights(some: dict[str, Any], others: dict[str, Any]) -> None:
    """Compare what some have; statistics of batch norm are no weights."""
    for name, weight in some.items():
        if not name.rpartition(".")[2].startswith(("running", "num")):
            assert torch.allclose(others[name], weight), name


def test_a_child_starts_from_its_parents_weights(
    parent: Path, digits: ImageData, tmp_path: Path
) -> None:
    still = replace(CHILD, learning_rate=1e-30, weight_decay=0.0)
    train_fewshot(parent, digits, still, PLAIN, tmp_path / "run", rule=RULE)
    after = weights_of(child_dir(tmp_path / "run", 0))
    assert_same_weights(after, weights_of(parent))


def test_children_from_scratch_have_fresh_weights(
    parent: Path, digits: ImageData, tmp_path: Path
) -> None:
    still = replace(CHILD, learning_rate=1e-30, weight_decay=0.0)
    scratch = FewShotSettings(transfer=False)
    train_fewshot(parent, digits, still, scratch, tmp_path / "run", rule=RULE)
    fresh = Supernet(SPACE, seed=still.seed).state_dict()
    assert_same_weights(weights_of(child_dir(tmp_path / "run", 0)), fresh)


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(
    parent: Path, children: Path, digits: ImageData, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        assert total == 8  # two children of one epoch of four steps
        if done == 6:
            raise Killed

    run_dir = tmp_path / "run"
    with pytest.raises(Killed):
        train_fewshot(parent, digits, CHILD, PLAIN, run_dir, rule=RULE, on_step=kill)
    steps = []
    train_fewshot(
        parent, digits, CHILD, PLAIN, run_dir, rule=RULE, on_step=lambda done, _: steps.append(done)
    )
    assert steps == [5, 6, 7, 8]
    for number in range(2):
        mine, whole = (weights_of(child_dir(path, number)) for path in (run_dir, children))
        assert all(torch.equal(mine[name], whole[name]) for name in whole)


def test_children_side_by_side_are_those_one_after_another(
    parent: Path, children: Path, digits: ImageData, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    train_fewshot(parent, digits, CHILD, FewShotSettings(processes=2), run_dir, rule=RULE)
    mine, whole = (weights_of(child_dir(path, 1)) for path in (run_dir, children))
    assert all(torch.equal(mine[name], whole[name]) for name in whole)


def test_an_architecture_is_answered_by_its_child(children: Path, digits: ImageData) -> None:
    run = load_supernet(children)
    assert isinstance(run.supernet, RoutedSupernet)
    images, _ = next(digits.validation.batches(4))
    for text, number in ("22212220", 0), ("22222220", 1):
        arch = Architecture(tuple(map(int, text)))
        child = run.supernet.by_part[str(number)]
        assert run.supernet.child(arch) is child
        assert torch.equal(run.supernet(images, arch), child(images, arch))


def test_all_forms_of_a_network_have_one_child_and_equal_logits(
    children: Path, digits: ImageData
) -> None:
    supernet = load_supernet(children).supernet
    images, _ = next(digits.validation.batches(4))
    # layers 3 and 4: skip then block is block then skip, and layer 3's block 2 is in child 1 alone
    forms = [Architecture((2, 2, 2, *pair, 2, 2, 0)) for pair in ((0, 2), (2, 0))]
    first, second = (supernet(images, form) for form in forms)
    assert torch.equal(first, second)


def test_a_child_answers_as_its_exported_network(children: Path, digits: ImageData) -> None:
    run = load_supernet(children)
    arch = Architecture((2, 1, 2, 0, 2, 1, 0, 1))
    calibration = calibration_images(digits.training)
    network = final_weights(run.supernet, arch, calibration)
    assert isinstance(network, nn.Sequential)
    judge = Evaluator(run.supernet, digits.validation, calibration=calibration)
    images, labels = next(digits.validation.batches(len(digits.validation)))
    right = float((network(images).argmax(dim=1) == labels).float().mean())
    assert judge([arch]) == pytest.approx([right])


def mac_budget(limit: float) -> LatencyBudget:
    """Return a budget on a device that takes a second for a thousand operations."""
    cost = [[total_macs((op,)) * 1e-3 for op in layer] for layer in SPACE.layers]
    model = LatencyModel(
        device="counter",
        base_s=0.0,
        cost_s=np.array(cost),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    )
    return LatencyBudget(model=model, target=LatencyTarget(device="counter", limit_s=limit))


def test_a_searcher_works_on_children_as_on_any_supernet(children: Path, digits: ImageData) -> None:
    supernet = load_supernet(children).supernet
    assert isinstance(supernet, RoutedSupernet)
    budget = mac_budget(1e6)
    judge = Evaluator(supernet, digits.validation, calibration=calibration_images(digits.training))
    found = run_search(
        RandomSearch(space=SPACE, budgets=[budget], rng=np.random.default_rng(0), population=6),
        space=SPACE,
        budgets=[budget],
        accuracy=judge,
        rounds=2,
    )
    parts = {supernet.partition.index(c.arch) for c in found.candidates}
    assert parts == {0, 1}


def test_a_mixture_is_that_of_one_child_where_the_gates_are_certain(
    children: Path, digits: ImageData
) -> None:
    supernet = load_supernet(children).supernet
    images, _ = next(digits.validation.batches(4))
    arch = Architecture((2, 2, 2, 2, 1, 2, 2, 1))
    gates = torch.zeros(8, 3)
    gates[range(8), list(arch.choices)] = 1.0
    assert torch.allclose(supernet.mixture(images, gates), supernet(images, arch), atol=1e-5)


def test_a_mixture_of_children_is_differentiable_in_the_gates_of_the_split_layer(
    children: Path, digits: ImageData
) -> None:
    supernet = load_supernet(children).supernet
    images, _ = next(digits.validation.batches(4))
    gates = torch.full((8, 3), 1 / 3, requires_grad=True)
    (found,) = torch.autograd.grad(supernet.mixture(images, gates).square().sum(), [gates])
    assert (found[3] != 0).all()


def test_a_missing_child_is_named_with_the_command_that_trains_it(
    children: Path, digits: ImageData, tmp_path: Path
) -> None:
    import shutil

    run_dir = tmp_path / "run"
    shutil.copytree(children, run_dir)
    (child_dir(run_dir, 1) / CHECKPOINT).unlink()
    supernet = load_supernet(run_dir).supernet
    images, _ = next(digits.validation.batches(2))
    supernet(images, Architecture((2,) * 3 + (1,) * 5))  # the other child is there
    command = rf"latkit train fewshot --split 3:0,1/2 --from {run_dir}/parent --data 'digits'"
    with pytest.raises(MissingChild, match=rf"part 3:2: .* 0 of 1 epochs.*{command[:40]}"):
        supernet(images, Architecture((2,) * 8))
    (child_dir(run_dir, 0) / CHECKPOINT).unlink()
    with pytest.raises(InvalidFile, match="no child of the run"):
        load_supernet(run_dir)


def test_the_ledger_adds_up_parent_and_children(children: Path) -> None:
    parent, *each = costs_of(children)
    assert (parent.what, parent.images_trained, parent.counted) == ("parent", 2 * 128, False)
    assert parent.macs == pytest.approx(3 * 2 * 128 * mean_macs(SPACE))
    assert [(cost.part, cost.images_trained) for cost in each] == [("3:0,1", 128), ("3:2", 128)]
    # layer 3 has its largest block in one child, and never in the other
    assert each[0].macs < each[1].macs
    ledger = json.loads((children / "ledger.json").read_text())
    assert ledger["total"]["images_trained"] == 4 * 128
    assert ledger["total"]["macs"] == pytest.approx(sum(c.macs for c in (parent, *each)))


def test_the_mean_of_a_space_is_that_of_its_choices() -> None:
    rng = np.random.default_rng(0)
    drawn = [total_macs(SPACE.chain(SPACE.sample(rng))) for _ in range(2000)]
    assert mean_macs(SPACE) == pytest.approx(np.mean(drawn), rel=0.03)


def test_a_run_of_another_split_is_refused(parent: Path, children: Path, digits: ImageData) -> None:
    other = SplitRule(splits=(split_from_text("4", SPACE),))
    with pytest.raises(RunMismatch, match="option splits"):
        train_fewshot(parent, digits, CHILD, PLAIN, children, rule=other)


def test_a_parent_that_was_trained_on_is_refused(
    parent: Path, children: Path, digits: ImageData, tmp_path: Path
) -> None:
    train_uniform(SPACE, digits, replace(SETTINGS, epochs=3), tmp_path / "other")
    with pytest.raises(RunMismatch, match="option parent"):
        train_fewshot(tmp_path / "other", digits, CHILD, PLAIN, children, rule=RULE)


def test_a_parent_of_other_images_is_refused(
    parent: Path, digits: ImageData, tmp_path: Path
) -> None:
    others = replace(digits, fingerprint="of others")
    with pytest.raises(RunMismatch, match="train children on the same"):
        train_fewshot(parent, others, CHILD, PLAIN, tmp_path / "run", rule=RULE)
    assert not (tmp_path / "run").exists()


def test_children_are_not_split_again(children: Path, digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="a --split of its own"):
        train_fewshot(children, digits, CHILD, PLAIN, tmp_path / "run", rule=RULE)


def test_relaxed_children_are_not_split_again_and_nobody_is_told_to_train_them_first(
    children: Path, digits: ImageData, tmp_path: Path
) -> None:
    relaxed = json.loads((children / "settings.json").read_text()) | {"method": "fewshot darts"}
    (tmp_path / "relaxed").mkdir()  # it has no checkpoint of its own
    (tmp_path / "relaxed" / "settings.json").write_text(json.dumps(relaxed))
    with pytest.raises(InvalidFile, match="has trained children already, and only one supernet"):
        train_fewshot(tmp_path / "relaxed", digits, CHILD, PLAIN, tmp_path / "run", rule=RULE)


def test_a_split_of_another_space_is_refused_before_anything_is_written(
    parent: Path, digits: ImageData, tmp_path: Path
) -> None:
    wide: SearchSpace = space_named("greedynas")
    rule = SplitRule(splits=(split_from_text("3", wide),))
    with pytest.raises(InvalidSplit, match="has choices 0 to 2, not 3"):
        train_fewshot(parent, digits, CHILD, PLAIN, tmp_path / "run", rule=rule)
    assert not (tmp_path / "run").exists()


def test_children_train_half_as_long_as_their_parent_without_a_warm_up() -> None:
    assert child_settings(SETTINGS) == replace(SETTINGS, epochs=1, warmup_epochs=0.0)


def test_settings_of_children_change_what_they_have_from_the_parent(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("epochs = 7\n[fewshot]\ntransfer = false\nprocesses = 2\n")
    settings = settings_from_toml(path, base=child_settings(SETTINGS))
    assert (settings.epochs, settings.batch) == (7, SETTINGS.batch)
    assert fewshot_from_toml(path) == FewShotSettings(transfer=False, processes=2)
    path.write_text("[fewshot]\ntransfr = false\n")
    with pytest.raises(UnknownName, match="nearest is 'transfer'"):
        fewshot_from_toml(path)


def test_a_partition_without_splits_is_the_whole_space() -> None:
    (whole,) = partition_from_texts([], SPACE).parts
    assert whole.name == "all"
