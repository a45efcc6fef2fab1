import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from devices import InvalidFile, UnknownName
from search.final.files import FinalRun, Validation, load_final_run, read_validation, space_of_one
from search.final.settings import RECIPES, FinalSettings, final_settings
from search.final.training import train_final
from search.images.augmentation import StrongAugmentation
from search.images.data import ImageData, InvalidData, load_data
from search.space import Architecture, SearchSpace, architecture_from_text
from search.spaces import space_named
from search.supernets.evaluation import accuracy
from search.supernets.supernet import Supernet
from search.training.runs import RunMismatch, read_checkpoint, read_metrics, read_record
from search.training.settings import TrainSettings
from tests.tiny_training import KillAt, Killed

ARCH = architecture_from_text("10101100")
CANONICAL = architecture_from_text("10110100")
"""The same network: its third and fourth layers are exchangeable, so the skip goes last."""

SMALL = replace(RECIPES["small"], epochs=3, warmup_epochs=1.0, batch=64, threads=1, seed=5)
STEPS = 3  # an epoch of few images
ALL_OF_IT = replace(
    RECIPES["published"],
    epochs=2,
    warmup_epochs=1.0,
    batch=64,
    learning_rate_batch=64,
    ema_decay=0.9,
    threads=1,
)
"""The published recipe on digits: RandAugment, random erasing, dropout, RMSprop, step decay."""


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", resolution=16)


@pytest.fixture(scope="module")
def few(digits: ImageData) -> ImageData:
    """The digits with 192 images to train on and as many to validate: three batches."""
    training, validation = digits.training.first(192), digits.validation.first(192)
    return replace(digits, training=training, validation=validation)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return space_named("macro", resolution=16, classes=10)


@pytest.fixture(scope="module")
def run_dir(
    tmp_path_factory: pytest.TempPathFactory, space: SearchSpace, digits: ImageData
) -> Path:
    """A finished run; tests read it only."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    train_final(space, ARCH, digits, SMALL, path)
    return path


def weights(module: nn.Module) -> Tensor:
    return torch.cat([value.flatten().float() for value in module.state_dict().values()])


def test_the_published_recipe_is_the_published_one() -> None:
    published = RECIPES["published"]
    assert (published.optimizer, published.schedule) == ("rmsproptf", "step")
    assert (published.learning_rate, published.batch, published.epochs) == (0.048, 768, 450)
    assert (published.momentum, published.epsilon, published.weight_decay) == (0.9, 1e-3, 1e-5)
    assert (published.warmup_epochs, published.warmup_learning_rate) == (3, 1e-6)
    assert (published.decay_rate, published.decay_epochs) == (0.97, 2.4)
    assert (published.dropout, published.ema_decay, published.label_smoothing) == (0.2, 0.9999, 0.1)
    assert (published.rand_augment, published.random_erasing) == ("rand-m9-mstd0.5", 0.2)


def test_the_learning_rate_is_scaled_linearly_with_the_batch() -> None:
    assert RECIPES["published"].peak_learning_rate == 0.048
    assert replace(RECIPES["published"], batch=96).peak_learning_rate == pytest.approx(0.006)


def test_settings_are_those_of_a_recipe_but_for_what_a_file_names(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('recipe = "published"\nbatch = 96\n')
    assert final_settings(path) == replace(RECIPES["published"], batch=96)
    path.write_text("epochs = 7\n")
    assert final_settings(path) == replace(RECIPES["small"], epochs=7)
    assert final_settings() == RECIPES["small"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('recipe = "publisht"', "no recipe is called 'publisht'; the nearest is 'published'"),
        ("recip = 1", "no training setting is called 'recip'; the nearest is 'recipe'"),
        ("dropout = 1.0", "dropout: Input should be less than 1; got 1.0"),
        ('rand_augment = "m9"', "rand_augment: String should match pattern"),
        ('optimizer = "adam"', "optimizer: Input should be 'rmsproptf' or 'sgd'; got 'adam'"),
        ("epochs = 2", "warmup_epochs must be less than epochs, got 2 and 2"),
        ("epochs 2", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_file(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises((InvalidFile, UnknownName)) as caught:
        final_settings(path)
    message = str(caught.value)
    assert complaint in message
    assert str(path) in message
    assert "\n" not in message


def test_what_is_trained_is_the_chain_of_the_architecture_and_no_more(space: SearchSpace) -> None:
    alone = Supernet(space_of_one(space, ARCH))
    network = Supernet(space).subnetwork(CANONICAL)
    shapes = [[value.shape for value in each.state_dict().values()] for each in (alone, network)]
    assert shapes[0] == shapes[1]
    assert space_of_one(space, ARCH).chain(Architecture((0,) * 8)) == space.chain(CANONICAL)


def test_a_small_network_learns_the_digits_within_a_few_epochs(run_dir: Path) -> None:
    """Ten classes: chance is 10 %."""
    rows = read_validation(run_dir)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert rows[-1].raw > 0.5
    assert rows[-1].averaged > 0.5
    losses = [row.loss for row in read_metrics(run_dir)]
    assert losses[-1] < losses[0]


def test_what_is_loaded_is_the_average_that_was_validated_and_tested(
    run_dir: Path, digits: ImageData, space: SearchSpace
) -> None:
    run = load_final_run(run_dir)
    assert (run.space, run.arch, run.epoch) == (space, CANONICAL, 3)
    assert run.validation == read_validation(run_dir)[-1]
    assert accuracy(run.network, digits.validation.batches(256)) == run.validation.averaged
    assert accuracy(run.network, digits.test.batches(256)) == run.test_accuracy
    raw = read_checkpoint(run_dir).model
    assert not torch.equal(
        weights(run.network), torch.cat([v.flatten().float() for v in raw.values()])
    )
    assert not any(isinstance(module, nn.Dropout) for module in run.network.modules())


def test_the_average_follows_the_weights_by_its_decay(
    tmp_path: Path, few: ImageData, space: SearchSpace
) -> None:
    """Without any memory it is the weights themselves."""
    settings = replace(SMALL, epochs=1, warmup_epochs=0.0, batch=192, ema_decay=0.0)
    train_final(space, ARCH, few, settings, tmp_path / "run")
    checkpoint = read_checkpoint(tmp_path / "run")
    averaged = checkpoint.sampler["averaged"]
    assert averaged.keys() == checkpoint.model.keys()
    for name, value in checkpoint.model.items():
        torch.testing.assert_close(averaged[name], value)


def test_the_test_split_is_looked_at_once_and_after_the_last_epoch(
    tmp_path: Path, few: ImageData, space: SearchSpace
) -> None:
    run, settings = tmp_path / "run", replace(SMALL, epochs=2)
    with pytest.raises(Killed):
        train_final(space, ARCH, few, settings, run, on_step=KillAt(STEPS + 1))
    assert load_final_run(run).test_accuracy is None
    assert load_final_run(run).epoch == 1
    done = train_final(space, ARCH, few, settings, run)
    assert json.loads((run / "test.json").read_text()) == {
        "accuracy": done.test_accuracy,
        "images": len(few.test),
    }
    (run / "test.json").write_text('{"accuracy": 0.125}')
    assert train_final(space, ARCH, few, settings, run).test_accuracy == 0.125


@pytest.mark.parametrize("settings", [replace(SMALL, epochs=2), ALL_OF_IT], ids=["small", "all"])
def test_a_run_that_was_killed_and_resumed_ends_bit_by_bit_as_one_that_was_not(
    tmp_path: Path, few: ImageData, space: SearchSpace, settings: FinalSettings
) -> None:
    steps = len(few.training) // settings.batch
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unbroken = train_final(space, ARCH, few, settings, whole)
    with pytest.raises(Killed):
        train_final(space, ARCH, few, settings, killed, on_step=KillAt(steps + 2))
    torch.manual_seed(99)  # another process has other generators
    resumed = train_final(space, ARCH, few, settings, killed)
    assert torch.equal(weights(resumed.network), weights(unbroken.network))
    ends = read_checkpoint(whole), read_checkpoint(killed)
    assert all(torch.equal(ends[0].model[name], ends[1].model[name]) for name in ends[0].model)
    assert read_validation(whole) == read_validation(killed)
    assert resumed.test_accuracy == unbroken.test_accuracy


def test_the_step_schedule_warms_up_and_then_decays(
    tmp_path: Path, few: ImageData, space: SearchSpace
) -> None:
    settings = replace(ALL_OF_IT, epochs=3, decay_epochs=1.0)
    train_final(space, ARCH, few, settings, tmp_path / "run")
    rates = [row.learning_rate for row in read_metrics(tmp_path / "run")]
    # after the warm-up of an epoch a decay an epoch, counted from the start
    assert rates == pytest.approx([0.048 * 0.97, 0.048 * 0.97**2, 0.048 * 0.97**3])


def test_the_record_holds_the_recipe_and_another_is_not_resumed(
    run_dir: Path, digits: ImageData, space: SearchSpace
) -> None:
    record = read_record(run_dir)
    assert (record.method, record.options["arch"]) == ("final", str(CANONICAL))
    assert record.settings == SMALL.shared()
    assert record.settings.epochs == 3
    assert record.options["ema_decay"] == 0.99
    another = replace(SMALL, ema_decay=0.5)
    with pytest.raises(RunMismatch, match=r"has option ema_decay 0\.99, not 0\.5: give the same"):
        train_final(space, ARCH, digits, another, run_dir)
    with pytest.raises(RunMismatch, match="option arch '10110100', not '22222222'"):
        train_final(space, architecture_from_text("22222222"), digits, SMALL, run_dir)


def test_a_batch_larger_than_the_data_is_refused_before_the_run_is_claimed(
    tmp_path: Path, digits: ImageData, space: SearchSpace
) -> None:
    settings = replace(RECIPES["published"], batch=2048)
    with pytest.raises(InvalidData, match="a batch of 2048 is more than the"):
        train_final(space, ARCH, digits, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_architecture_of_another_space_is_refused(
    tmp_path: Path, digits: ImageData, space: SearchSpace
) -> None:
    with pytest.raises(InvalidFile, match="has 2 choices; space 'macro' has 8 layers"):
        train_final(space, Architecture((0, 1)), digits, SMALL, tmp_path / "run")


@pytest.fixture
def strengthen(digits: ImageData) -> StrongAugmentation:
    return StrongAugmentation(digits.training, rand_augment="rand-m9-mstd0.5", random_erasing=0.2)


def batch_of(digits: ImageData) -> Tensor:
    images, _ = next(digits.training.batches(64))
    return images


def test_augmentation_repeats_by_its_generator(
    strengthen: StrongAugmentation, digits: ImageData
) -> None:
    images = batch_of(digits)
    before = images.clone()
    once, again, other = (strengthen(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(images, before)
    assert once.is_contiguous(memory_format=torch.channels_last)
    changed = (once != images).flatten(1).any(dim=1).float().mean().item()
    # two operations of probability a half, some of which leave a digit as it is; erasing
    assert 0.4 < changed < 0.95


def test_augmentation_disturbs_no_other_draw(
    strengthen: StrongAugmentation, digits: ImageData
) -> None:
    import random

    torch.manual_seed(3)
    random.seed(3)
    expected = torch.rand(1), random.random()
    torch.manual_seed(3)
    random.seed(3)
    strengthen(batch_of(digits), np.random.default_rng(0))
    assert (torch.rand(1), random.random()) == expected


def test_without_policy_and_erasing_images_stay_as_they_are(digits: ImageData) -> None:
    images = batch_of(digits)
    none = StrongAugmentation(digits.training, rand_augment="", random_erasing=0.0)
    assert torch.equal(none(images, np.random.default_rng(0)), images)


def test_a_policy_that_does_nothing_gives_back_the_images_to_the_last_bit(
    digits: ImageData,
) -> None:
    """Bytes that were normalised are the same bytes again."""
    images = batch_of(digits)
    idle = StrongAugmentation(digits.training, rand_augment="rand-m9-n0", random_erasing=0.0)
    assert torch.equal(idle(images, np.random.default_rng(0)), images)


def test_erasing_fills_a_rectangle_with_noise(digits: ImageData) -> None:
    images = batch_of(digits)
    erase = StrongAugmentation(digits.training, rand_augment="", random_erasing=1.0)
    changed = (erase(images, np.random.default_rng(0)) != images).any(dim=1)  # (images, side, side)
    shares = changed.float().mean(dim=(1, 2))
    assert float(shares.min()) > 0.0
    assert float(shares.max()) < 0.4  # timm erases 2 to 33 % of an image


@pytest.mark.parametrize("name", ["validation.jsonl", "test.json", "checkpoint.pt"])
def test_damaged_files_of_a_run_are_one_line(tmp_path: Path, run_dir: Path, name: str) -> None:
    for path in run_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(InvalidFile, match=name) as caught:
        load_final_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_callback_sees_every_epoch(tmp_path: Path, few: ImageData, space: SearchSpace) -> None:
    seen: list[Validation] = []
    settings = replace(SMALL, epochs=2)
    run: FinalRun = train_final(
        space,
        ARCH,
        few,
        settings,
        tmp_path / "run",
        on_epoch=lambda _, found: seen.append(found),
    )
    assert seen == list(read_validation(tmp_path / "run"))
    assert run.validation == seen[-1]


def test_shared_settings_are_those_of_every_training() -> None:
    assert RECIPES["published"].shared() == TrainSettings(
        epochs=450, batch=768, learning_rate=0.048, weight_decay=1e-5, warmup_epochs=3.0,
        gradient_clip=1e9,
    )  # fmt: skip
    assert "epochs" not in RECIPES["published"].options()
