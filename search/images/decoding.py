"""Encoded images, and the square pixels that they decode to."""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from devices import LatkitError

Part = Literal["training", "validation", "test"]
Pixels: TypeAlias = NDArray[np.uint8]
"""Images as bytes, ``(images, height, width, 3)``."""
Rows: TypeAlias = NDArray[np.int64]
"""Positions of images in a source, or their labels, ``(images,)``."""

UNREADABLE = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What numpy and Pillow raise when the bytes of a file are not what they should be."""


class InvalidData(LatkitError):
    """Images that are missing, broken, or too few to train and to judge with."""


class Images(Protocol):
    """Square images by position, all of one size."""

    def take(self, rows: Rows) -> Pixels:
        """Return some images as a new array, ``(rows, side, side, 3)``."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayImages:
    """Images in memory, ``(images, side, side, 3)``."""

    pixels: Pixels

    def take(self, rows: Rows) -> Pixels:
        """Return some images as a new array, ``(rows, side, side, 3)``."""
        return self.pixels[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One encoded image.

    Attributes:
        name: Unique in its source: ``"cat/12.png"``; it decides the split, so it is no full path.
        label: Index of its class.
        part: The split its publisher put it in; ``"training"`` where there is none.
        data: The encoded bytes, or the file that holds them.
    """

    name: str
    label: int
    part: Part
    data: Path | bytes


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImages:
    """Images too large for memory, decoded each time they are taken."""

    entries: Sequence[Entry]
    side: int

    def take(self, rows: Rows) -> Pixels:
        """Return some images as a new array, ``(rows, side, side, 3)``.

        Raises:
            InvalidData: A file has changed since it was loaded and cannot be decoded any more.
        """
        return np.stack([decode(self.entries[row], self.side).pixels for row in rows])


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded image, ``(side, side, 3)``, and the SHA-256 of what it was decoded from."""

    digest: str
    pixels: Pixels


def decode(entry: Entry, side: int) -> Picture:
    """Decode an image; its shorter side is scaled to ``side`` and its centre cropped.

    Raises:
        InvalidData: The file cannot be read, or what it holds cannot be decoded.
    """
    try:
        encoded = entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes()
        with Image.open(io.BytesIO(encoded)) as image:
            image.draft("RGB", (side, side))  # a JPEG may skip detail that scaling would discard
            square = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
        return Picture(sha256(encoded).hexdigest(), np.asarray(square))
    except UnidentifiedImageError as error:  # whose message is an address in memory
        raise InvalidData(f"{entry.name!r} is no image") from error
    except UNREADABLE as error:
        raise InvalidData(f"{entry.name!r} cannot be decoded: {error}") from error
