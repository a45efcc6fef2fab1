import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from devices import InvalidFile
from search.images.data import ImageData, load_data
from search.load_supernet import load_supernet
from search.spaces import space_named
from search.training.loop import train, train_uniform
from search.training.path_samplers import uniform_paths
from search.training.runs import (
    RunMismatch,
    read_checkpoint,
    read_metrics,
    read_record,
    record_of,
)
from search.training.settings import TrainSettings
from search.training.trained import load_run_data
from tests.tiny_training import DATA, SETTINGS, SPACE, STEPS, KillAt, Killed, blobs


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


def test_a_checkpoint_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").mkdir()
    with pytest.raises(InvalidFile, match=r"cannot read .*checkpoint\.pt: Is a directory"):
        read_checkpoint(tmp_path)


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
