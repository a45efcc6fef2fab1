"""Two processes of torchrun on the CPU; they run this file as a program, once for all tests."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from devices import LatkitError
from search.space import Architecture
from search.supernets.supernet import Supernet
from search.training.loop import OnEpoch, train
from search.training.path_samplers import MemorylessPaths, PathSampler, sandwich_paths
from search.training.runs import read_checkpoint, read_metrics
from search.training.settings import TrainSettings
from search.training.trained import TrainedRun
from tests import tiny_training
from tests.tiny_training import BLOCK, SKIP, blobs

SPACE = replace(tiny_training.SPACE, layers=((SKIP, BLOCK),) * 3)
SETTINGS = TrainSettings(
    epochs=2, batch=8, warmup_epochs=1, weight_decay=0.1, seed=7, threads=1, device="cpu"
)
STEPS = 4
DATA = blobs(4 * STEPS * 2)


def first_layers_skipped() -> PathSampler:
    """Draw networks that never use the block of layer 0."""
    return MemorylessPaths(
        lambda rng: (Architecture((0, int(rng.integers(2)), int(rng.integers(2)))),)
    )


@dataclass
class DoneAtOnce:
    """Has enough after an epoch, as the first process alone can know."""

    scored_images: int = 0

    def __call__(self, supernet: Supernet, rng: np.random.Generator) -> Sequence[Architecture]:
        self.scored_images += 5
        return (Architecture((1, 1, 1)),)

    @property
    def done(self) -> bool:
        return self.scored_images > 0

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def train_here(
    run_dir: Path,
    paths: PathSampler,
    *,
    settings: TrainSettings = SETTINGS,
    on_epoch: OnEpoch | None = None,
) -> TrainedRun:
    return train(SPACE, DATA, settings, run_dir, method="x", paths=paths, on_epoch=on_epoch)


def facts_of(start: Callable[[], TrainedRun]) -> dict[str, Any]:
    """Return what a process saw of a training: paths, weights, gradients of the last step."""
    drawn: list[tuple[int, ...]] = []

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, Supernet):
            drawn.append(args[1].choices)

    hook = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        run = start()
    except LatkitError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        hook.remove()
    parameters = dict(run.supernet.named_parameters())
    return {
        "drawn": drawn,
        "epoch": run.epoch,
        "weights": {name: weight.detach() for name, weight in parameters.items()},
        "with gradient": sorted(n for n, w in parameters.items() if w.grad is not None),
    }


def main(folder: Path) -> None:
    """Go through all situations as one of the processes; leave what was seen in a file."""

    def copy(_: object) -> None:
        if not (folder / "killed").exists():
            shutil.copytree(folder / "halves", folder / "killed")

    seen = {
        "halves": facts_of(
            lambda: train_here(folder / "halves", first_layers_skipped(), on_epoch=copy)
        ),
        "resumed": facts_of(lambda: train_here(folder / "killed", first_layers_skipped())),
        "sandwich": facts_of(lambda: train_here(folder / "sandwich", sandwich_paths(SPACE))),
        "other seed": facts_of(
            lambda: train_here(
                folder / "halves", first_layers_skipped(), settings=replace(SETTINGS, seed=8)
            )
        ),
        "done": facts_of(lambda: train_here(folder / "done", DoneAtOnce())),
        "uneven": facts_of(
            lambda: train_here(
                folder / "uneven", first_layers_skipped(), settings=replace(SETTINGS, batch=9)
            )
        ),
    }
    torch.save(seen, folder / f"rank{os.environ['RANK']}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left; tests read it only."""
    path = tmp_path_factory.mktemp("two")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *launch, __file__, str(path)],
        check=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return path


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"rank{i}.pt", weights_only=True) for i in range(2)]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], **how: Any) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], **how)


def test_the_same_paths_are_trained_in_every_process(ranks: list[dict[str, Any]]) -> None:
    drawn = [seen["halves"]["drawn"] for seen in ranks]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 2 * STEPS
    assert len(set(drawn[0])) > 1


@pytest.mark.parametrize("situation", ["halves", "sandwich"])
def test_all_processes_end_with_the_same_weights(
    ranks: list[dict[str, Any]], situation: str
) -> None:
    assert_equal(*(seen[situation]["weights"] for seen in ranks), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("situation", "paths"),
    [("halves", first_layers_skipped()), ("sandwich", sandwich_paths(SPACE))],
)
def test_two_processes_are_one_that_accumulates_over_the_same_halves(
    folder: Path, ranks: list[dict[str, Any]], tmp_path: Path, situation: str, paths: PathSampler
) -> None:
    alone = replace(SETTINGS, accumulate=2)
    one = facts_of(lambda: train_here(tmp_path / "run", paths, settings=alone))
    assert one["drawn"][::2] == ranks[0][situation]["drawn"]  # a path is run twice for two halves
    assert_equal(ranks[0][situation]["weights"], one["weights"], rtol=1e-4, atol=1e-6)
    for apart, whole in zip(
        read_metrics(folder / situation), read_metrics(tmp_path / "run"), strict=True
    ):
        assert apart.loss == pytest.approx(whole.loss, rel=1e-4)
        assert (apart.accuracy, apart.images) == (whole.accuracy, whole.images)


def test_a_block_that_was_not_drawn_has_no_gradient_and_is_not_moved(
    ranks: list[dict[str, Any]],
) -> None:
    fresh = dict(Supernet(SPACE, seed=SETTINGS.seed).named_parameters())
    for seen in ranks:
        facts = seen["halves"]
        blocks = {name[:10] for name in facts["with gradient"] if name.startswith("layers")}
        last = facts["drawn"][-1]
        assert blocks == {f"layers.{i}.1" for i, choice in enumerate(last) if choice}
        never = [name for name in fresh if name.startswith("layers.0.")]
        assert never
        assert all(torch.equal(facts["weights"][name], fresh[name]) for name in never)


def test_the_first_process_alone_writes_the_run(folder: Path, ranks: list[dict[str, Any]]) -> None:
    assert [metrics.epoch for metrics in read_metrics(folder / "halves")] == [1, 2]
    model = read_checkpoint(folder / "halves").model
    for name, weight in ranks[1]["halves"]["weights"].items():
        assert torch.equal(model[name], weight)


def test_two_processes_resume_as_if_they_had_never_stopped(
    folder: Path, ranks: list[dict[str, Any]]
) -> None:
    assert len(ranks[0]["resumed"]["drawn"]) == STEPS  # the second epoch only
    whole = read_checkpoint(folder / "halves").model
    assert_equal(read_checkpoint(folder / "killed").model, whole, rtol=0, atol=0)


def test_every_process_stops_when_the_sampler_of_the_first_is_done(
    ranks: list[dict[str, Any]],
) -> None:
    assert [seen["done"]["epoch"] for seen in ranks] == [1, 1]


def test_every_process_refuses_another_run_in_the_same_words(
    ranks: list[dict[str, Any]],
) -> None:
    errors = [seen["other seed"]["error"] for seen in ranks]
    assert errors[0] == errors[1]
    assert "RunMismatch" in errors[0]
    assert "seed 7, not 8" in errors[0]


def test_a_batch_that_two_processes_cannot_share_is_refused(
    folder: Path, ranks: list[dict[str, Any]]
) -> None:
    for seen in ranks:
        assert seen["uneven"]["error"].startswith(
            "UnevenShares: a batch of 9 cannot be cut into 2 equal parts"
        )
    assert not (folder / "uneven").exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
