from dataclasses import replace
from pathlib import Path

import pytest

from devices import DeviceUnavailable, InvalidFile, UnknownName
from search.images.data import ImageData, InvalidData
from search.training.loop import train_uniform
from search.training.settings import TrainSettings, settings_from_toml
from search.training.workers import UnevenShares
from tests.tiny_training import DATA, SETTINGS, SPACE, blobs


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
