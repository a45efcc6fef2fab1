"""Images that ranges of integers come from: of the run's own data, or of a folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from devices import LatkitError, Shape
from search.images.data import ImageData, Split, load_data
from search.images.decoding import UNREADABLE
from search.images.sources import OnCorrupt

Array = NDArray[np.float32]

USUAL_IMAGES, LEAST_IMAGES = 256, 32
"""Images that ranges come from: if nobody says, and at least. Fewer leave the rare values out."""


class BadCalibration(LatkitError):
    """Images cannot tell what numbers occur in a network."""


LARGEST = 1e6
"""That an image may hold as a network takes it; values are a few deviations at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationAsked:
    """Which images ranges are to come from.

    Attributes:
        source: A folder of images, a file ``.npy`` of ``(n, 3, H, W)`` float32 as the network takes
            them, or whatever else ``--data`` takes; empty for the data of the run. Only the
            training split of what has splits is looked at.
        images: How many; None for `USUAL_IMAGES`, or for all where there are fewer.
    """

    source: str = ""
    images: int | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images < LEAST_IMAGES:
            raise BadCalibration(
                f"{self.images} calibration images say too little of the numbers in a network: "
                f"give {LEAST_IMAGES} or more (--calibration-images), {USUAL_IMAGES} are usual"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Images that ranges come from.

    Attributes:
        images: As the network takes them, ``(n, 3, H, W)``.
        source: Where they are from, for people.
    """

    images: Array
    source: str


def calibration_of(asked: CalibrationAsked, data: ImageData, shape: Shape) -> Calibration:
    """Return the images that ranges come from.

    Args:
        asked: Which.
        data: What the network was trained on; its mean and deviation hold for any images, and where
            corrupt images were left out of it, they are here, too.
        shape: What the network takes, ``(N, 3, H, W)``.

    Raises:
        BadCalibration: There are too few, or they do not fit the network.
        InvalidData: There is nothing at the source, or not what it should be.
    """
    if asked.source.endswith(".npy"):
        return _from_array(Path(asked.source), asked, shape)
    if not asked.source:
        split, source = data.training, f"the training split of {data.name}"
    else:
        on_corrupt: OnCorrupt = "skip" if data.skipped else "refuse"
        other = load_data(asked.source, resolution=shape[2], on_corrupt=on_corrupt)
        split = replace(other.training, mean=data.mean, std=data.std)
        source = f"the training split of {other.name}"
    count = _count(asked, len(split), source)
    return Calibration(images=_first(split, count), source=source)


def _first(split: Split, count: int) -> Array:
    """Return the first images of a split, ``(count, 3, H, W)``: the same for every network."""
    images, _ = next(split.batches(count))
    return images.contiguous().numpy()


def _count(asked: CalibrationAsked, there: int, source: str) -> int:
    """Return how many images to take; refuse where there are not as many, or too few."""
    wanted = min(USUAL_IMAGES, there) if asked.images is None else asked.images
    if there < max(wanted, LEAST_IMAGES):
        fewer = "ask for fewer (--calibration-images), or " if there >= LEAST_IMAGES else ""
        raise BadCalibration(
            f"{source} has {there} images, {max(wanted, LEAST_IMAGES)} are wanted to calibrate "
            f"with: {fewer}name others (--calibrate)"
        )
    return wanted


def _from_array(path: Path, asked: CalibrationAsked, shape: Shape) -> Calibration:
    try:
        with path.open("rb") as file:
            images = np.load(file, allow_pickle=False)
    except (*UNREADABLE, BadZipFile) as error:
        raise BadCalibration(f"cannot read the calibration images {path}: {error}") from error
    if not isinstance(images, np.ndarray):
        raise BadCalibration(
            f"{path} is an archive of several arrays (.npz): give one array, as np.save writes it"
        )
    if images.shape[1:] != shape[1:] or images.dtype != np.float32:
        raise BadCalibration(
            f"{path} holds {images.dtype} of shape {images.shape}, the network takes float32 of "
            f"(n, {', '.join(map(str, shape[1:]))}): give images as the network takes them"
        )
    if not np.isfinite(images).all() or np.abs(images).max(initial=0.0) > LARGEST:
        raise BadCalibration(
            f"{path} holds numbers that are not finite or beyond {LARGEST:g}, which no image has: "
            "give images as the network takes them"
        )
    return Calibration(images=images[: _count(asked, len(images), str(path))], source=str(path))
