"""Images that ranges come from: how many, of what, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.precision.calibration import BadCalibration, CalibrationAsked, calibration_of
from search.images.data import ImageData, load_data
from search.images.decoding import InvalidData

SHAPE = (1, 3, 8, 8)


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data("digits", resolution=8)


def refusal(asked: CalibrationAsked, data: ImageData) -> str:
    with pytest.raises(BadCalibration) as raised:
        calibration_of(asked, data, SHAPE)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_first_training_images_are_taken_unless_something_else_is_said(
    data: ImageData,
) -> None:
    found = calibration_of(CalibrationAsked(), data, SHAPE)
    assert found.source == "the training split of digits"
    assert found.images.shape == (256, 3, 8, 8)
    images, _ = next(data.training.batches(256))
    np.testing.assert_array_equal(found.images, images.numpy())
    assert len(calibration_of(CalibrationAsked(images=40), data, SHAPE).images) == 40


def test_all_images_are_taken_where_there_are_fewer_than_usual(data: ImageData) -> None:
    training = replace(data.training, rows=data.training.rows[:50])
    few = replace(data, training=training)
    assert len(calibration_of(CalibrationAsked(), few, SHAPE).images) == 50
    assert "has 50 images, 60 are wanted" in refusal(CalibrationAsked(images=60), few)
    fewer = replace(data, training=replace(training, rows=training.rows[:31]))
    assert "has 31 images, 32 are wanted" in refusal(CalibrationAsked(), fewer)


def test_too_few_are_refused_with_what_is_usual() -> None:
    with pytest.raises(BadCalibration, match=r"give 32 or more .* 256 are usual"):
        CalibrationAsked(images=31)


def test_a_folder_of_images_is_seen_as_the_network_saw_its_own(
    data: ImageData, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for number in range(80):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(100, 156, (9, 9, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    asked = CalibrationAsked(source=str(tmp_path / "photos"))
    found = calibration_of(asked, data, SHAPE)
    assert found.source == "the training split of photos"
    assert found.images.shape == (48, 3, 8, 8)
    grey = (0.5 - data.mean[0]) / data.std[0]
    assert found.images[:, 0].mean() == pytest.approx(grey, abs=0.05)


def test_an_array_is_taken_as_it_is(data: ImageData, tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    asked = CalibrationAsked(source=str(tmp_path / "x.npy"), images=50)
    np.testing.assert_array_equal(calibration_of(asked, data, SHAPE).images, images[:50])


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((64, 3, 9, 9), np.float32), r"takes float32 of (n, 3, 8, 8)"),
        (np.zeros((64, 8, 8, 3), np.float32), r"float32 of shape (64, 8, 8, 3), the network"),
        (np.zeros((64, 3, 8, 8), np.uint8), r"holds uint8 of shape"),
        (np.full((64, 3, 8, 8), np.nan, np.float32), "numbers that are not finite"),
        (np.zeros((20, 3, 8, 8), np.float32), "has 20 images, 32 are wanted"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(
    images: np.ndarray, said: str, data: ImageData, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", images)
    assert said in refusal(CalibrationAsked(source=str(tmp_path / "x.npy")), data)


def test_damaged_arrays_are_refused_in_one_line(data: ImageData, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.touch()
    assert "cannot read the calibration images" in refusal(CalibrationAsked(source=str(path)), data)
    np.savez(tmp_path / "x.npz", images=np.zeros((64, 3, 8, 8), np.float32))
    archive = (tmp_path / "x.npz").read_bytes()
    path.write_bytes(archive)
    assert "give one array" in refusal(CalibrationAsked(source=str(path)), data)
    path.write_bytes(archive[:1000])
    assert "cannot read the calibration images" in refusal(CalibrationAsked(source=str(path)), data)


def test_images_that_the_training_left_out_are_left_out_here(
    data: ImageData, tmp_path: Path
) -> None:
    for number in range(80):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), number, np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "photos" / "a" / "broken.png").write_bytes(b"no image")
    asked = CalibrationAsked(source=str(tmp_path / "photos"))
    with pytest.raises(InvalidData):
        calibration_of(asked, data, SHAPE)
    tolerant = replace(data, skipped=("broken.png",))
    assert len(calibration_of(asked, tolerant, SHAPE).images) >= 32


def test_what_is_no_array_is_refused(data: ImageData, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_text("no array")
    assert "cannot read the calibration images" in refusal(
        CalibrationAsked(source=str(tmp_path / "x.npy")), data
    )
    assert "No such file" in refusal(CalibrationAsked(source=str(tmp_path / "y.npy")), data)
