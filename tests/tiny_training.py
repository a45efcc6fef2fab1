"""A run that is trained within a second: its space, images and settings, and a power cut."""

from dataclasses import dataclass

import numpy as np

from profiler import Conv, Head, MBConv, Skip
from search.images.data import ImageData, Split
from search.images.decoding import ArrayImages
from search.space import SearchSpace
from search.training.settings import TrainSettings

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


class Killed(Exception):
    """Stands for the power cut."""


@dataclass
class KillAt:
    step: int

    def __call__(self, done: int, total: int) -> None:
        if done == self.step:
            raise Killed
