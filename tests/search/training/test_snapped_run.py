"""A run of snapped widths: rebuilt from its directory, and never taken for a published one."""

from pathlib import Path

import pytest

from devices import InvalidFile, device_named
from export.deploy import deploy
from search.answers import Answer
from search.images.data import ImageData, load_data
from search.load_supernet import load_supernet
from search.space import Architecture, SearchSpace
from search.spaces import space_named
from search.supernets.supernet import Supernet
from search.training.runs import Checkpoint, RunMismatch, open_run, record_of, write_checkpoint
from search.training.settings import TrainSettings

SETTINGS = TrainSettings(epochs=1, warmup_epochs=0)
PUBLISHED = space_named("macro", resolution=8)
SNAPPED = space_named("macro", resolution=8, snap=48)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", resolution=8)


def run_of(space: SearchSpace, data: ImageData, run_dir: Path) -> Path:
    """Write a run with the weights that a supernet begins with."""
    open_run(run_dir, record_of("uniform", space, data, SETTINGS))
    weights = Supernet(space).state_dict()
    write_checkpoint(
        run_dir, Checkpoint(epoch=1, model=weights, optimizer={}, scheduler={}, rng={})
    )
    return run_dir


def test_a_run_comes_back_with_its_widths(digits: ImageData, tmp_path: Path) -> None:
    run = load_supernet(run_of(SNAPPED, digits, tmp_path / "run"))
    assert run.supernet.space == SNAPPED
    assert run.supernet.state_dict()["before.0.body.conv.0.weight"].shape[0] == 48


def test_a_run_of_published_widths_is_not_gone_on_with(digits: ImageData, tmp_path: Path) -> None:
    run_dir = run_of(PUBLISHED, digits, tmp_path / "run")
    with pytest.raises(RunMismatch, match="has space 'macro', not 'macro-snap48'"):
        open_run(run_dir, record_of("uniform", SNAPPED, digits, SETTINGS))


@pytest.mark.parametrize(("searched", "trained"), [(PUBLISHED, SNAPPED), (SNAPPED, PUBLISHED)])
def test_an_answer_of_other_widths_is_not_exported(
    digits: ImageData, tmp_path: Path, searched: SearchSpace, trained: SearchSpace
) -> None:
    answer = Answer(
        arch=Architecture((0,) * 8),
        space=searched,
        devices=("cpu",),
        limits_s=(1e-3,),
        confidence=0.95,
        predicted_s=(5e-4,),
        interval_s=((4e-4, 6e-4),),
        table_hashes=("a",),
        revisions=(0,),
        accuracy=0.5,
        accuracy_from="a test",
        method="random",
        seed=0,
    )
    run = load_supernet(run_of(trained, digits, tmp_path / "run"))
    says = f"is of space '{searched.name}' .*the run of .*'{trained.name}'.*: give the run it was"
    with pytest.raises(InvalidFile, match=says):
        deploy(answer, run, digits, tmp_path / "deploy", device=device_named("cpu"))
    assert not (tmp_path / "deploy").exists()
