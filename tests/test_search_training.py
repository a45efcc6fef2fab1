import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from devices import DeviceUnavailable, InvalidFile, UnknownName
from profiler import Conv, Head, MBConv, Skip
from search.images.data import ImageData, InvalidData, Split, load_data
from search.images.decoding import ArrayImages
from search.load_supernet import load_supernet
from search.space import Architecture, SearchSpace
from search.spaces import space_named
from search.supernets.evaluation import batch_statistics
from search.supernets.supernet import Supernet
from search.training.loop import TrainingDiverged, train, train_uniform
from search.training.path_samplers import MemorylessPaths, fair_paths, sandwich_paths, uniform_paths
from search.training.runs import (
    EpochMetrics,
    RunMismatch,
    read_checkpoint,
    read_metrics,
    read_record,
    record_of,
)
from search.training.settings import TrainSettings, settings_from_toml
from search.training.trained import load_run_data
from search.training.workers import UnevenShares

SKIP = Skip(input_shape=(1, 4, 8, 8))
BLOCK = MBConv(input_shape=(1, 4, 8, 8), channels=4, expand=2)
SPACE = SearchSpace(
    name="tiny",
    before=(Conv(input_shape=(1, 3, 8, 8), channels=4, kernel=3, activation="relu"),),
    layers=((SKIP, BLOCK), (SKIP, BLOCK)),
    after=(Head(input_shape=(1, 4, 8, 8), channels=16, classes=2),),
)
SETTINGS = TrainSettings(epochs=3, batch=8, warmup_epochs=1, learning_rate=0.1, seed=7, threads=1)
STEPS = 4  # an epoch: 32 training images


def blobs(count: int, classes: int = 2) -> ImageData:
    """Return images whose brightness tells their class; training, validation, test alike."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = rng.normal(60.0 + 90.0 * labels[:, None, None, None], 10.0, (count, 8, 8, 3))
    split = Split(
        images=ArrayImages(pixels.clip(0, 255).astype(np.uint8)),
        rows=np.arange(count),
        labels=labels.astype(np.int64),
        resolution=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        flip=False,
    )
    return ImageData(
        name="blobs",
        class_names=tuple(f"class {i}" for i in range(classes)),
        resolution=8,
        training=split,
        validation=split,
        test=split,
        mean=split.mean,
        std=split.std,
        skipped=(),
        fingerprint=f"blobs of {count}",
    )


DATA = blobs(32)
SUPERNET = Supernet(SPACE)


class Killed(Exception):
    """Stands for the power cut."""


@dataclass
class KillAt:
    step: int

    def __call__(self, done: int, total: int) -> None:
        if done == self.step:
            raise Killed


def always(*archs: Architecture) -> MemorylessPaths:
    return MemorylessPaths(lambda _: archs)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests read it only."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    train_uniform(SPACE, DATA, SETTINGS, path)
    return path


def test_settings_that_a_file_does_not_name_keep_their_default(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("epochs = 7\nlearning_rate = 1\n")
    assert settings_from_toml(path) == TrainSettings(epochs=7, learning_rate=1.0)


def test_a_misspelt_setting_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("learning_rat = 0.1\n")
    with pytest.raises(UnknownName, match=r"'learning_rat'; the nearest is 'learning_rate'.*toml"):
        settings_from_toml(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("epochs = 0", "epochs: Input should be greater than or equal to 1; got 0"),
        ("batch = 1", "batch: Input should be greater than or equal to 2; got 1"),
        ("learning_rate = -0.1", "learning_rate: Input should be greater than 0; got -0.1"),
        ("learning_rate = inf", "learning_rate: Input should be a finite number; got inf"),
        ("momentum = 1.0", "momentum: Input should be less than 1; got 1.0"),
        ('epochs = "9"', "epochs: Input should be a valid integer; got '9'"),
        ("augment = 1", "augment: Input should be a valid boolean; got 1"),
        ("batch = 8\naccumulate = 3", "equal parts of 2 images or more, got 3 and 8"),
        ("batch = 8\naccumulate = 8", "equal parts of 2 images or more, got 8 and 8"),
        ('precision = "int8"', "precision: Input should be 'fp32', 'bf16' or 'fp16'; got 'int8'"),
        ('device = "gpu"', "device: String should match pattern"),
        ("epochs = 2\nwarmup_epochs = 2", "warmup_epochs must be less than epochs, got 2 and 2"),
        ("epochs 3", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_file(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(InvalidFile) as caught:
        settings_from_toml(path)
    message = str(caught.value)
    assert complaint in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_settings_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"cannot read the settings .*no\.toml: No such file"):
        settings_from_toml(tmp_path / "no.toml")


def test_momentum_and_weight_decay_do_not_move_a_block_that_is_not_drawn(tmp_path: Path) -> None:
    """The block of layer 0 is drawn in the first epoch, so it has momentum, and never again."""
    drawn = iter([Architecture((1, 1))] * STEPS + [Architecture((0, 1))] * 2 * STEPS)
    blocks: list[dict[str, Tensor]] = []

    def remember(_: EpochMetrics) -> None:
        model = read_checkpoint(tmp_path / "run").model
        blocks.append({name: value for name, value in model.items() if "layers.0.1." in name})

    train(
        SPACE,
        DATA,
        replace(SETTINGS, weight_decay=0.1),
        tmp_path / "run",
        method="by hand",
        paths=MemorylessPaths(lambda _: (next(drawn),)),
        on_epoch=remember,
    )
    first, _, last = blocks
    fresh = Supernet(SPACE, seed=SETTINGS.seed).state_dict()
    assert any(not torch.equal(value, fresh[name]) for name, value in first.items())
    assert all(torch.equal(value, last[name]) for name, value in first.items())


def test_a_step_over_one_path_twice_is_a_step_over_it_once(tmp_path: Path) -> None:
    """Gradients of several paths are averaged; only the statistics of batch norm move twice."""
    arch = Architecture((1, 1))
    settings = replace(SETTINGS, batch=32, epochs=1, warmup_epochs=0)  # a single step
    once, twice = (
        train(SPACE, DATA, settings, tmp_path / str(len(archs)), method="x", paths=always(*archs))
        for archs in ([arch], [arch, arch])
    )
    for one, two in zip(once.supernet.parameters(), twice.supernet.parameters(), strict=True):
        torch.testing.assert_close(one, two)


@dataclass
class RecordedSplit:
    """Keeps the batches that it gave."""

    seen: list[tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return len(DATA.training)

    def batches(self, batch: int, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
        for pair in DATA.training.batches(batch, **options):
            self.seen.append(pair)
            yield pair


def test_micro_batches_are_normalised_alone_and_their_gradients_averaged(tmp_path: Path) -> None:
    """A step by hand: two halves, each with batch norm of its own."""
    arch, split = Architecture((1, 1)), RecordedSplit([])
    settings = TrainSettings(
        epochs=1, warmup_epochs=0, batch=32, accumulate=2, momentum=0.0, weight_decay=0.0,
        label_smoothing=0.0, gradient_clip=1e6, seed=7, threads=1,
    )  # fmt: skip
    run = train(
        SPACE,
        replace(DATA, training=cast("Split", split)),
        settings,
        tmp_path / "run",
        method="x",
        paths=always(arch),
    )
    by_hand = Supernet(SPACE, seed=7).to(memory_format=torch.channels_last)
    ((images, labels),) = split.seen
    for half in (slice(0, 16), slice(16, 32)):
        torch.autograd.backward(0.5 * cross_entropy(by_hand(images[half], arch), labels[half]))
    for weight, trained in zip(by_hand.parameters(), run.supernet.parameters(), strict=True):
        moved = weight if weight.grad is None else weight - settings.learning_rate * weight.grad
        torch.testing.assert_close(trained, moved)


def test_training_learns_to_tell_dark_from_bright(tmp_path: Path) -> None:
    trained: list[EpochMetrics] = []
    settings = replace(SETTINGS, epochs=8, augment=False)
    train_uniform(SPACE, DATA, settings, tmp_path / "run", on_epoch=trained.append)
    assert [metrics.epoch for metrics in trained] == list(range(1, 9))
    assert trained[-1].accuracy > 0.9
    assert trained[-1].loss < trained[0].loss
    assert trained[-1].images == 32


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(run_dir: Path) -> None:
    rates = [metrics.learning_rate for metrics in read_metrics(run_dir)]
    # a cosine over 12 steps, seen after 4, 8 and 12; the warm-up ends at step 4
    assert rates == pytest.approx([0.1 * 0.75, 0.1 * 0.25, 0.0])


def test_progress_counts_every_step_of_the_run(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run", on_step=lambda *step: steps.append(step))
    assert steps == [(i, 3 * STEPS) for i in range(1, 3 * STEPS + 1)]


def test_a_run_that_was_killed_and_resumed_ends_bit_by_bit_as_one_that_was_not(
    tmp_path: Path, run_dir: Path
) -> None:
    whole = read_checkpoint(run_dir)
    with pytest.raises(Killed):  # in the second epoch, after one was saved
        train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run", on_step=KillAt(STEPS + 2))
    with pytest.raises(Killed):  # and again in the third
        train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run", on_step=KillAt(2 * STEPS + 3))
    torch.manual_seed(99)  # another process has other generators
    train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run")
    resumed = read_checkpoint(tmp_path / "run")
    assert resumed.model.keys() == whole.model.keys()
    assert all(torch.equal(resumed.model[name], whole.model[name]) for name in whole.model)
    assert resumed.rng["paths"] == whole.rng["paths"]
    losses = [[metrics.loss for metrics in read_metrics(d)] for d in (run_dir, tmp_path / "run")]
    assert losses[0] == losses[1]


@dataclass
class Counting:
    """A sampler that remembers: the path follows from how many were drawn, as does the end."""

    stop_after: int
    drawn: int = 0

    def __call__(self, supernet: Supernet, rng: np.random.Generator) -> Sequence[Architecture]:
        self.drawn += 1
        return (Architecture((1, self.drawn % 3 % 2)),)

    @property
    def scored_images(self) -> int:
        return 10 * self.drawn

    @property
    def done(self) -> bool:
        return self.drawn >= self.stop_after

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def restore(self, state: dict[str, Any]) -> None:
        self.drawn = state["drawn"]


def test_what_a_sampler_remembers_is_resumed_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    # a file has no tuples
    ways: dict[str, Any] = {"method": "counting", "options": {"sizes": (1, 2)}}
    whole = train(SPACE, DATA, SETTINGS, tmp_path / "whole", paths=Counting(99), **ways)
    with pytest.raises(Killed):
        train(SPACE, DATA, SETTINGS, run, paths=Counting(99), on_step=KillAt(2 * STEPS + 3), **ways)
    resumed = train(SPACE, DATA, SETTINGS, run, paths=Counting(99), **ways)
    assert_equal_weights(resumed.supernet, whole.supernet)
    assert read_checkpoint(run).sampler == {"drawn": 3 * STEPS}


def test_training_stops_after_the_epoch_in_which_the_sampler_is_done(tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped = train(SPACE, DATA, SETTINGS, run, method="x", paths=Counting(STEPS + 1))
    assert stopped.epoch == 2
    assert [metrics.scored_images for metrics in read_metrics(run)] == [10 * STEPS, 10 * STEPS]
    again = train(
        SPACE, DATA, SETTINGS, run, method="x", paths=Counting(STEPS + 1), on_step=KillAt(2 * STEPS)
    )
    assert again.epoch == 2
    assert_equal_weights(again.supernet, stopped.supernet)


def test_a_sampler_that_has_enough_from_the_start_is_trained_for_an_epoch(tmp_path: Path) -> None:
    run = train(SPACE, DATA, SETTINGS, tmp_path / "run", method="x", paths=Counting(0))
    assert run.epoch == 1


def assert_equal_weights(one: Supernet, other: Supernet) -> None:
    expected = other.state_dict()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("sampler", [fair_paths, sandwich_paths])
def test_several_paths_in_micro_batches_of_bfloat16_are_resumed_bit_by_bit(
    tmp_path: Path, sampler: Any
) -> None:
    settings = replace(SETTINGS, accumulate=2, precision="bf16")
    whole = train(SPACE, DATA, settings, tmp_path / "whole", method="x", paths=sampler(SPACE))
    run, killed = tmp_path / "run", KillAt(STEPS + 2)
    with pytest.raises(Killed):
        train(SPACE, DATA, settings, run, method="x", paths=sampler(SPACE), on_step=killed)
    resumed = train(SPACE, DATA, settings, run, method="x", paths=sampler(SPACE))
    assert_equal_weights(resumed.supernet, whole.supernet)


def test_bfloat16_trains_float32_weights_otherwise_and_scores_alike(
    tmp_path: Path, run_dir: Path
) -> None:
    types: list[torch.dtype] = []

    @torch.no_grad()
    def look(supernet: Supernet) -> None:
        with batch_statistics(supernet):
            types.append(supernet(torch.zeros(2, 3, 8, 8), Architecture((1, 1))).dtype)

    class Looking(MemorylessPaths):
        def __call__(self, supernet: Supernet, rng: np.random.Generator) -> Sequence[Architecture]:
            look(supernet)
            return super().__call__(supernet, rng)

    settings = replace(SETTINGS, precision="bf16")
    paths = Looking(lambda rng: uniform_paths(SPACE)(SUPERNET, rng))
    run = train(SPACE, DATA, settings, tmp_path / "run", method="uniform", paths=paths)
    assert set(types) == {torch.bfloat16}
    full, half = read_checkpoint(run_dir).model, run.supernet.state_dict()
    floats = {name for name, value in full.items() if value.is_floating_point()}
    assert all(half[name].dtype == torch.float32 for name in floats)
    assert any(not torch.equal(half[name], full[name]) for name in floats)
    losses = [read_metrics(path)[-1].loss for path in (run_dir, tmp_path / "run")]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            replace(SETTINGS, precision="fp16", device="cpu"),
            'precision "fp16" needs a GPU, and this training would run on the CPU: set precision',
        ),
        (replace(SETTINGS, device="cuda:99"), r"training on 'cuda:99' needs 100 GPUs that torch"),
    ],
)
def test_hardware_that_is_not_here_is_said_before_the_run_is_claimed(
    tmp_path: Path, settings: TrainSettings, complaint: str
) -> None:
    with pytest.raises(DeviceUnavailable, match=complaint) as caught:
        train_uniform(SPACE, DATA, settings, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_moves_to_a_gpu_and_back_with_nothing_changed_but_the_device(
    tmp_path: Path, precision: Any
) -> None:
    run = tmp_path / "run"
    settings = replace(SETTINGS, epochs=8, augment=False, precision=precision, device="cuda")
    with pytest.raises(Killed):
        train_uniform(SPACE, DATA, settings, run, on_step=KillAt(2 * STEPS + 1))
    train_uniform(SPACE, DATA, settings, run)
    assert read_metrics(run)[-1].accuracy > 0.9
    moved = train_uniform(SPACE, DATA, replace(settings, device="cuda:0"), run)
    assert {weight.device.type for weight in moved.supernet.parameters()} == {"cpu"}


def test_a_run_that_was_written_before_there_were_samplers_with_a_state_goes_on(
    tmp_path: Path, run_dir: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train_uniform(SPACE, DATA, SETTINGS, run, on_step=KillAt(STEPS + 1))
    record = json.loads((run / "settings.json").read_text())
    del record["options"]
    for name in ("accumulate", "precision", "device"):
        del record["settings"][name]
    (run / "settings.json").write_text(json.dumps(record))
    checkpoint = torch.load(run / "checkpoint.pt", weights_only=True)
    del checkpoint["sampler"], checkpoint["scaler"]
    torch.save(checkpoint, run / "checkpoint.pt")
    line = json.loads((run / "metrics.jsonl").read_text())
    del line["scored_images"]
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    resumed = train_uniform(SPACE, DATA, SETTINGS, run)
    whole = read_checkpoint(run_dir).model
    assert all(torch.equal(v, whole[name]) for name, v in resumed.supernet.state_dict().items())
    assert [metrics.scored_images for metrics in read_metrics(run)] == [0, 0, 0]


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    tmp_path: Path, run_dir: Path
) -> None:
    with pytest.raises(Killed):
        train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run", on_step=KillAt(2))
    resumed = train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run")
    whole = read_checkpoint(run_dir).model
    assert all(torch.equal(v, whole[name]) for name, v in resumed.supernet.state_dict().items())


def test_a_finished_run_is_returned_as_it_is(run_dir: Path) -> None:
    again = train_uniform(SPACE, DATA, SETTINGS, run_dir, on_step=KillAt(1))
    assert again.epoch == 3
    assert not again.supernet.training


def test_a_line_of_metrics_without_its_checkpoint_is_trained_and_written_again(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train_uniform(SPACE, DATA, SETTINGS, run, on_step=KillAt(STEPS + 1))
    with (run / "metrics.jsonl").open("a") as file:
        file.write((run / "metrics.jsonl").read_text().replace('"epoch": 1', '"epoch": 2'))
        file.write('{"epoch": 3, "lo')
    train_uniform(SPACE, DATA, SETTINGS, run)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_training_leaves_threads_and_random_state_of_the_process_alone(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    train_uniform(SPACE, DATA, replace(SETTINGS, epochs=2), tmp_path / "run")
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (blobs(33, classes=3), "3 classes for a space of 2"),
        (replace(DATA, resolution=16), "16-pixel images for a space of"),
    ],
)
def test_images_of_another_space_are_refused(
    tmp_path: Path, data: ImageData, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        train_uniform(SPACE, data, SETTINGS, tmp_path / "run")


def test_fewer_images_than_a_batch_are_refused_before_the_run_is_claimed(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="a batch of 8 is more than the 6 training images"):
        train_uniform(SPACE, blobs(6), SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("size", ["3", "8"])  # unequal shares; shares of a single image
def test_processes_that_cannot_share_a_batch_evenly_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UnevenShares) as caught:
        train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run")
    assert str(caught.value) == (
        f"a batch of 8 cannot be cut into {size} equal parts of 2 images or more, for {size} "
        f"processes times 1 accumulated: make batch a multiple of {size} that is {2 * int(size)} "
        f"or more"
    )
    assert not (tmp_path / "run").exists()


@dataclass
class PoisonedSplit:
    """Gives images of NaN from the second pass on."""

    passes: int = 0

    def __len__(self) -> int:
        return len(DATA.training)

    def batches(
        self, batch: int, *, rng: np.random.Generator, augment: bool, drop_last: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        poison = 0.0 if self.passes == 1 else float("nan")
        for images, labels in DATA.training.batches(batch, rng=rng, drop_last=drop_last):
            yield images + poison, labels


def test_a_loss_that_is_no_number_stops_at_the_last_good_checkpoint(tmp_path: Path) -> None:
    run, data = tmp_path / "run", replace(DATA, training=cast("Split", PoisonedSplit()))
    with pytest.raises(TrainingDiverged) as caught:
        train_uniform(SPACE, data, SETTINGS, run)
    assert str(caught.value) == (
        f"training diverged in epoch 2, step 1 of 4: the loss is nan; the weights after epoch 1 "
        f"are safe in {run / 'checkpoint.pt'}; lower learning_rate, it is 0.1, and train into "
        f"another directory"
    )
    good = read_checkpoint(run)
    assert good.epoch == 1
    assert all(value.isfinite().all() for value in good.model.values())


def test_a_learning_rate_that_is_far_too_high_is_caught(tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(TrainingDiverged, match=r"no epoch was finished; .* it is 1e\+30"):
        train_uniform(SPACE, DATA, settings, tmp_path / "run")


def test_the_record_says_what_was_trained_on_what_with_what(run_dir: Path) -> None:
    record = read_record(run_dir)
    assert (record.method, record.space, record.data) == ("uniform", "tiny", "blobs")
    assert (record.resolution, record.batch, record.classes) == (8, 1, 2)
    assert record.settings == SETTINGS
    assert record.fingerprint == DATA.fingerprint
    assert record.versions.keys() == {"latkit", "torch", "python"}


@pytest.mark.parametrize(
    ("settings", "data", "difference"),
    [
        (replace(SETTINGS, learning_rate=0.2), DATA, "learning_rate 0.1, not 0.2"),
        (replace(SETTINGS, seed=8), DATA, "seed 7, not 8"),
        (SETTINGS, blobs(34), "data fingerprint 'blobs of 32', not 'blobs of 34'"),
    ],
)
def test_another_run_is_not_resumed_and_the_difference_is_named(
    run_dir: Path, settings: TrainSettings, data: ImageData, difference: str
) -> None:
    with pytest.raises(RunMismatch, match=f"has {difference}: give the same again, or another"):
        train_uniform(SPACE, data, settings, run_dir)


def test_a_run_moves_to_another_device(run_dir: Path) -> None:
    there = replace(SETTINGS, device="cpu")
    assert read_record(run_dir).settings.device == "auto"
    assert train_uniform(SPACE, DATA, there, run_dir).epoch == 3


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"paths": 10, "kept": 4}, "option kept 5, not 4"),
        ({"paths": 10}, "option kept 5, not None"),
        ({"paths": 10, "kept": 5, "pool": 100}, "option pool None, not 100"),
    ],
)
def test_a_run_with_other_options_of_its_method_is_not_resumed(
    tmp_path: Path, options: dict[str, int], difference: str
) -> None:
    def start(options: dict[str, int]) -> None:
        paths = uniform_paths(SPACE)
        settings = replace(SETTINGS, epochs=1, warmup_epochs=0)
        train(SPACE, DATA, settings, tmp_path / "run", method="x", paths=paths, options=options)

    start({"paths": 10, "kept": 5})
    with pytest.raises(RunMismatch, match=f"has {difference}: give the same again"):
        start(options)


def test_a_run_of_another_space_and_method_is_not_resumed(run_dir: Path) -> None:
    other = replace(SPACE, name="other")
    with pytest.raises(RunMismatch, match="method 'uniform', not 'fair'; space 'tiny', not"):
        train(other, DATA, SETTINGS, run_dir, method="fair", paths=uniform_paths(other))


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InvalidFile, match=r"it holds 'thesis.tex' and no settings\.json; name a"):
        train_uniform(SPACE, DATA, SETTINGS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InvalidFile, match="is a file; a run needs a directory"):
        train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run")


def test_damaged_settings_are_one_line_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"method": "uniform",\n')
    with pytest.raises(InvalidFile, match=r"settings\.json is not the record of a run") as caught:
        train_uniform(SPACE, DATA, SETTINGS, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 10, 5000])
def test_a_truncated_checkpoint_is_one_line_with_a_cure(
    tmp_path: Path, run_dir: Path, kept: int
) -> None:
    for name in ("settings.json", "checkpoint.pt"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    content = (run_dir / "checkpoint.pt").read_bytes()
    assert len(content) > 5000
    (tmp_path / "checkpoint.pt").write_bytes(content[:kept])
    with pytest.raises(InvalidFile, match=r"truncated or no checkpoint.*train again") as caught:
        train_uniform(SPACE, DATA, SETTINGS, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "checkpoint.pt")
    with pytest.raises(InvalidFile, match="no checkpoint of a run"):
        read_checkpoint(tmp_path)


def test_what_a_kill_leaves_of_an_unfinished_write_is_in_nobodys_way(
    tmp_path: Path, run_dir: Path
) -> None:
    (tmp_path / "settings.json.partial").write_text("{")
    train_uniform(SPACE, DATA, SETTINGS, tmp_path)
    (tmp_path / "checkpoint.pt.partial").write_bytes(b"half of one")
    assert read_checkpoint(tmp_path).epoch == 3


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", resolution=8)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory, digits: ImageData) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    settings = replace(SETTINGS, epochs=1, warmup_epochs=0, batch=512)
    train_uniform(space_named("macro", resolution=8, batch=2), digits, settings, path)
    return path


def test_a_supernet_is_loaded_with_its_space_and_its_weights(digits_run: Path) -> None:
    run = load_supernet(digits_run)
    assert run.epoch == 1
    assert run.supernet.space == space_named("macro", resolution=8, batch=2)
    assert not run.supernet.training
    model = read_checkpoint(digits_run).model
    assert all(torch.equal(v, model[name]) for name, v in run.supernet.state_dict().items())


def test_the_images_of_a_run_are_loaded_again(digits_run: Path, digits: ImageData) -> None:
    record = read_record(digits_run)
    assert record.data == "digits"
    assert load_run_data(record).fingerprint == digits.fingerprint


def test_images_that_have_changed_since_the_run_are_refused(digits_run: Path) -> None:
    record = replace(read_record(digits_run), fingerprint="another")
    with pytest.raises(RunMismatch, match="'digits' have changed since the run"):
        load_run_data(record)


def test_the_record_keeps_the_path_that_the_images_came_from() -> None:
    assert record_of("uniform", SPACE, DATA, SETTINGS, source="some/path").data == "some/path"


def test_loading_from_no_run_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"holds no run.*latkit train uniform"):
        load_supernet(tmp_path)


def test_loading_an_unfinished_run_says_that_it_can_go_on(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train_uniform(SPACE, DATA, SETTINGS, tmp_path / "run", on_step=KillAt(1))
    with pytest.raises(InvalidFile, match="has not finished an epoch; start it again"):
        load_supernet(tmp_path / "run")


def test_weights_that_do_not_fit_the_space_are_refused(tmp_path: Path, digits_run: Path) -> None:
    for path in digits_run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / "settings.json").read_text()
    (tmp_path / "settings.json").write_text(text.replace('"classes": 10', '"classes": 11'))
    with pytest.raises(InvalidFile, match="do not fit space 'macro'") as caught:
        load_supernet(tmp_path)
    assert "\n" not in str(caught.value)
