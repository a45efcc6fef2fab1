from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from search.images.data import Split
from search.space import Architecture
from search.supernets.evaluation import batch_statistics
from search.supernets.supernet import Supernet
from search.training.loop import TrainingDiverged, train, train_uniform
from search.training.path_samplers import MemorylessPaths, fair_paths, sandwich_paths, uniform_paths
from search.training.runs import EpochMetrics, read_checkpoint, read_metrics
from search.training.settings import TrainSettings
from tests.tiny_training import DATA, SETTINGS, SPACE, STEPS, KillAt, Killed

SUPERNET = Supernet(SPACE)


def always(*archs: Architecture) -> MemorylessPaths:
    return MemorylessPaths(lambda _: archs)


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


def test_training_leaves_threads_and_random_state_of_the_process_alone(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    train_uniform(SPACE, DATA, replace(SETTINGS, epochs=2), tmp_path / "run")
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_num_threads(1)


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
