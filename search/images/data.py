"""Images for training, for selection and for the final test: three fixed, disjoint splits.

Who sees what: training fits weights (and the channel statistics), validation is what a search
selects by, test is looked at once, after the choice.

The rule of the splits. Whatever its publisher split stays: the test set of CIFAR-10; ``train/``
with both ``val/`` and ``test/``; with one of the two, that one is the test split, as ImageNet's
``val/`` is in the papers. A split that is missing is carved out of training: `HELD_OUT_SHARE` of
each class, so an undivided set ends as 60/20/20. Images are ranked by the hash of `SPLIT_SEED` and
their name, so the splits depend on neither the machine, nor the order of a listing, nor the
version of a random generator, and adding an image moves few others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from search.images.decoding import Images, InvalidData, Part, Pixels, Rows
from search.images.sources import OnCorrupt, Source, read_source

__all__ = ["ImageData", "InvalidData", "Split", "load_data"]

SPLIT_SEED = 2024
"""Decides which images are held out. Another seed is another benchmark: never change it."""

HELD_OUT_SHARE = 0.2
"""Share of each class that goes to validation, and again to test where that is missing too.

Source:
    The 80/20 split of the training set in the code of SGNAS, CVPR 2021.
"""

STATISTICS_IMAGES = 10_000
"""Mean and deviation come from this many training images at most: enough for three digits."""

CROP_PADDING = 1 / 8
"""Padding of the random crop, as a share of the side: the 4 of 32 pixels customary on CIFAR-10."""

PARTS: tuple[Part, ...] = ("training", "validation", "test")

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Some of the images of a source, in a fixed order that mixes the classes.

    Attributes:
        images: The pixels of the whole source.
        rows: Which of them are in this split, ``(images,)``.
        labels: Their classes, ``(images,)``.
        resolution: Side of the images that `batches` returns.
        mean: Subtracted per channel, of values in [0, 1].
        std: Divided by per channel.
        flip: Whether augmentation may mirror: not for digits or letters.
    """

    images: Images
    rows: Rows
    labels: Rows
    resolution: int
    mean: Channels
    std: Channels
    flip: bool

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, places: Rows) -> "Split":
        """Return the images at some places of this split, ``(images,)``, in their order."""
        return replace(self, rows=self.rows[places], labels=self.labels[places])

    def first(self, count: int) -> "Split":
        """Return the first images; all where there are no more."""
        return self.of(np.arange(min(count, len(self))))

    def batches(
        self,
        batch: int,
        *,
        rng: np.random.Generator | None = None,
        augment: bool = False,
        drop_last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the split once.

        Args:
            batch: Images per batch, 1 or more; the last batch may be smaller.
            rng: Shuffles, and draws the augmentation; without it the order is always the same.
            augment: Crop at random from a padding of `CROP_PADDING`, and mirror half of the images
                where the source allows it.
            drop_last: Leave out a last batch that is smaller.

        Returns:
            Pairs of normalised float32 images ``(batch, 3, resolution, resolution)`` in the
            channels-last memory format, and int64 labels ``(batch,)``.

        Raises:
            ValueError: ``batch`` is not positive, or ``augment`` comes without ``rng``.
            InvalidData: ``drop_last`` would leave nothing.
        """
        if batch < 1:
            raise ValueError(f"a batch has 1 image or more, got {batch}")
        if augment and rng is None:
            raise ValueError("augmentation draws from rng: pass one")
        if drop_last and batch > len(self):
            raise InvalidData(f"a batch of {batch} is larger than the split, {len(self)} images")
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        end = len(self) // batch * batch if drop_last else len(self)
        augmenting = rng if augment else None
        return (self._batch(order[i : i + batch], augmenting) for i in range(0, end, batch))

    def _batch(self, picked: Rows, rng: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        pixels = _scaled(self.images.take(self.rows[picked]), self.resolution)
        if rng is not None:
            pixels = _augmented(pixels, flip=self.flip, rng=rng)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()  # (batch, 3, side, side)
        mean, std = (torch.tensor(c).view(1, 3, 1, 1) * 255 for c in (self.mean, self.std))
        return images.sub_(mean).div_(std), torch.from_numpy(self.labels[picked])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageData:
    """Labelled images in three disjoint splits.

    Attributes:
        name: What to call the source in a report.
        class_names: Names of the classes, by label.
        resolution: Side of the images in pixels.
        training: Fits the weights.
        validation: What a search selects by.
        test: For the last number only; selection never sees it.
        mean: Per channel over the training split, of values in [0, 1].
        std: Per channel over the training split.
        skipped: Names of the corrupt images that were left out by choice.
        fingerprint: 16 hexadecimal digits that change with any image, label, or split, but not
            with the resolution.
    """

    name: str
    class_names: tuple[str, ...]
    resolution: int
    training: Split
    validation: Split
    test: Split
    mean: Channels
    std: Channels
    skipped: tuple[str, ...]
    fingerprint: str


def load_data(source: str, *, resolution: int, on_corrupt: OnCorrupt = "refuse") -> ImageData:
    """Load labelled images and split them; every image is decoded once on the way.

    Args:
        source: ``"digits"``, the handwritten digits of scikit-learn (1797 of 8x8 grey pixels); or
            a path: a folder with ``cifar-10-batches-py`` as torchvision leaves it; an ``.npz`` of
            JPEGs, or the folder of the two that hold CIFAR-10; or a folder with one folder of
            images per class, optionally below ``train/`` with ``val/`` or ``test/`` or both.
        resolution: Side in pixels of the square images, 1 or more. Encoded images are scaled until
            the shorter side fits, and the centre is cropped.
        on_corrupt: ``"refuse"`` stops at images that cannot be decoded, after counting them;
            ``"skip"`` leaves them out and records their names.

    Raises:
        ValueError: ``resolution`` is not positive.
        InvalidData: There is nothing at ``source``, it is not what it should be, images are
            corrupt, or a class has too few of them to be in all three splits.
    """
    if resolution < 1:
        raise ValueError(f"the resolution is 1 pixel or more, got {resolution}")
    read = read_source(source, resolution=resolution, on_corrupt=on_corrupt)
    rows = _split(read)
    _check_classes(read, rows)
    mean, std = _channel_statistics(read.images, rows["training"], resolution)
    training, validation, test = (
        Split(
            images=read.images,
            rows=rows[part],
            labels=read.labels[rows[part]],
            resolution=resolution,
            mean=mean,
            std=std,
            flip=read.flip,
        )
        for part in PARTS
    )
    return ImageData(
        name=read.name,
        class_names=read.class_names,
        resolution=resolution,
        training=training,
        validation=validation,
        test=test,
        mean=mean,
        std=std,
        skipped=read.skipped,
        fingerprint=_fingerprint(read, rows),
    )


def _split(source: Source) -> dict[Part, Rows]:
    """Return the rows of each split, ordered by rank, which mixes the classes."""
    ranks = [
        sha256(f"{SPLIT_SEED}/{name}".encode(errors="surrogateescape")).digest()
        for name in source.names
    ]
    order = np.array(sorted(range(len(ranks)), key=ranks.__getitem__), np.int64)
    parts, labels = np.array(source.parts, object)[order], source.labels[order]
    missing = [part for part in PARTS if part not in source.official]
    for label in range(len(source.class_names)):
        pool = np.flatnonzero((parts == "training") & (labels == label))
        held_out = max(1, round(HELD_OUT_SHARE * len(pool)))
        for i, part in enumerate(missing):
            parts[pool[i * held_out : (i + 1) * held_out]] = part
    return {part: order[parts == part] for part in PARTS}


def _check_classes(source: Source, rows: dict[Part, Rows]) -> None:
    for part, members in rows.items():
        counts = np.bincount(source.labels[members], minlength=len(source.class_names))
        if (empty := np.flatnonzero(counts == 0)).size:
            total = int((source.labels == empty[0]).sum())
            raise InvalidData(
                f"class {source.class_names[empty[0]]!r} of {source.name!r} has too few images, "
                f"{total}: none is left for {part}; every class needs one in each of "
                f"{', '.join(PARTS)}: add some, or remove the class"
            )


def _channel_statistics(images: Images, rows: Rows, resolution: int) -> tuple[Channels, Channels]:
    sample = rows[:STATISTICS_IMAGES]  # ranked by hash: the first are as good as any
    total, squares = np.zeros(3), np.zeros(3)
    for start in range(0, len(sample), 64):
        pixels = _scaled(images.take(sample[start : start + 64]), resolution)
        values = pixels.reshape(-1, 3) / 255
        total += values.sum(axis=0)
        squares += np.square(values).sum(axis=0)
    count = len(sample) * resolution * resolution
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    std = np.maximum(np.sqrt(variance), 1 / 255)  # a blank channel must not divide by zero
    return _channels(mean), _channels(std)


def _channels(values: NDArray[np.float64]) -> Channels:
    red, green, blue = values.tolist()
    return red, green, blue


def _fingerprint(source: Source, rows: dict[Part, Rows]) -> str:
    digest = sha256(repr(source.class_names).encode())
    for part, members in rows.items():
        for row in members:
            image = f"{part} {source.names[row]} {source.labels[row]} {source.digests[row]}\n"
            digest.update(image.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _scaled(pixels: Pixels, side: int) -> Pixels:
    """Scale square images, ``(images, height, width, 3)``, bilinearly to ``side``."""
    if pixels.shape[1] == side:
        return pixels
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    scaled = interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).numpy())


def _augmented(pixels: Pixels, *, flip: bool, rng: np.random.Generator) -> Pixels:
    """Return random crops of images padded with black, half of them mirrored if ``flip``."""
    count, side = pixels.shape[:2]
    padding = round(CROP_PADDING * side)
    padded = np.pad(pixels, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    tops, lefts = rng.integers(2 * padding + 1, size=(2, count))
    steps = np.where(rng.random(count) < 0.5, -1, 1) if flip else np.ones(count, np.int64)
    crops = np.empty_like(pixels)
    for i, (top, left, step) in enumerate(zip(tops, lefts, steps, strict=True)):
        # plain slices: four times faster than one gather of all pixels by index
        crops[i] = padded[i, top : top + side, left : left + side][:, ::step]
    return crops
