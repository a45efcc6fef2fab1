"""Where labelled images come from, before anyone splits them.

    digits      scikit-learn's handwritten digits: in the package, so always there
    a folder    CIFAR-10 as torchvision unpacks it, CIFAR-10 as two .npz of JPEGs, or class folders
    an .npz     JPEGs end to end, with their offsets and labels

Every image is decoded once while it is loaded, so that a broken one is met now and not hours
into a training.
"""

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search.images.decoding import (
    UNREADABLE,
    ArrayImages,
    EncodedImages,
    Entry,
    Images,
    InvalidData,
    Part,
    Pixels,
    Rows,
    decode,
)

OnCorrupt = Literal["refuse", "skip"]

DIGITS = "digits"
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_FILES: dict[str, Part] = {
    "data_batch_1": "training",
    "data_batch_2": "training",
    "data_batch_3": "training",
    "data_batch_4": "training",
    "data_batch_5": "training",
    "test_batch": "test",
}
NPZ_PAIR: dict[str, Part] = {"cifar10_train_16667.npz": "training", "cifar10_test.npz": "test"}
NPZ_KEYS = ("jpeg", "offset", "label", "classes")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})

MEMORY_LIMIT_BYTES = 1 << 30
"""Decoded images up to this size (1 GiB) stay in memory; larger sets are decoded batch by batch."""

_PICKLED = frozenset(
    {
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.ndarray",
        "numpy.dtype",
        "_codecs.encode",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Labelled images as they were published; parallel sequences, one item an image.

    Attributes:
        name: What to call it in reports.
        class_names: Names of the classes, by label.
        images: The pixels.
        names: Unique and the same on every machine.
        labels: Index of the class, ``(images,)``.
        parts: The split that the publisher put an image in.
        official: Which splits the publisher made; the others are carved out of training.
        digests: Hashes of the bytes.
        flip: Whether a mirrored image still shows its class.
        skipped: Names of broken images that were left out.
    """

    name: str
    class_names: tuple[str, ...]
    images: Images
    names: tuple[str, ...]
    labels: Rows
    parts: tuple[Part, ...]
    official: frozenset[Part]
    digests: tuple[str, ...]
    flip: bool = True
    skipped: tuple[str, ...] = ()


def read_source(source: str, *, resolution: int, on_corrupt: OnCorrupt) -> Source:
    """Read the images that a person named on the command line.

    Args:
        source: ``"digits"``, or a path as `search.images.data.load_data` explains.
        resolution: Side in pixels to which encoded images are cropped and scaled.
        on_corrupt: Whether a broken image stops the load, or is left out and recorded.

    Raises:
        InvalidData: There is nothing at ``source``, or not what it should be.
    """
    if source == DIGITS:
        return _read_digits()
    path = Path(source).expanduser()
    if not path.exists():
        raise _missing(path)
    if path.is_file():
        return _read_npz({path: "training"}, path.stem, resolution, on_corrupt)
    for folder in (path, path / CIFAR_FOLDER):
        if folder.name == CIFAR_FOLDER and folder.is_dir():
            return _read_cifar(folder)
    if all((path / name).is_file() for name in NPZ_PAIR):
        files = {path / name: part for name, part in NPZ_PAIR.items()}
        return _read_npz(files, "cifar10-jpeg", resolution, on_corrupt)
    return _read_folder(path, resolution, on_corrupt)


def _missing(path: Path) -> InvalidData:
    siblings = {p.name: str(p) for p in path.parent.iterdir()} if path.parent.is_dir() else {}
    known = siblings | {DIGITS: DIGITS}
    close = get_close_matches(path.name, known, n=1)
    nearest = f"the nearest is {known[close[0]]!r}; " if close else ""
    return InvalidData(
        f"no data at {str(path)!r}; {nearest}give {DIGITS!r}, a CIFAR-10 folder, an .npz of JPEGs, "
        "or a folder with one folder of images per class"
    )


def _read_digits() -> Source:
    from sklearn.datasets import load_digits  # only this source needs scikit-learn, a slow import

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), was 0 to 16
    return _from_arrays(
        DIGITS,
        tuple(map(str, digits.target_names)),
        pixels=np.repeat(grey[..., None], 3, axis=-1),
        labels=digits.target,
        parts=["training"] * len(grey),
        flip=False,
    )


class _ArraysOnly(pickle.Unpickler):
    """Loads numpy arrays and nothing else: a pickle could otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _PICKLED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return dict(_ArraysOnly(file, encoding="latin1").load())
    except (*UNREADABLE, pickle.UnpicklingError, TypeError, LookupError, AttributeError) as error:
        raise InvalidData(
            f"{str(path)!r} cannot be read as a batch of CIFAR-10 ({error}); "
            "unpack cifar-10-python.tar.gz again"
        ) from error


def _read_cifar(folder: Path) -> Source:
    class_names = tuple(_unpickle(folder / "batches.meta").get("label_names", ()))
    pixels: list[Pixels] = []
    labels: list[int] = []
    parts: list[Part] = []
    for name, part in CIFAR_FILES.items():
        batch = _unpickle(folder / name)
        flat, batch_labels = np.asarray(batch.get("data")), list(batch.get("labels", ()))
        if flat.dtype != np.uint8 or flat.shape != (len(batch_labels), 3 * 32 * 32):
            raise InvalidData(
                f"{str(folder / name)!r} does not hold one 32x32 image per label; "
                "unpack cifar-10-python.tar.gz again"
            )
        pixels.append(flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels += batch_labels
        parts += [part] * len(batch_labels)
    _check_labels(labels, class_names, folder)
    return _from_arrays(
        "cifar10", class_names, np.concatenate(pixels), np.array(labels, np.int64), parts
    )


def _from_arrays(
    name: str,
    class_names: tuple[str, ...],
    pixels: Pixels,
    labels: Rows,
    parts: Sequence[Part],
    *,
    flip: bool = True,
) -> Source:
    return Source(
        name=name,
        class_names=class_names,
        images=ArrayImages(np.ascontiguousarray(pixels)),
        names=tuple(f"{part}[{i}]" for i, part in enumerate(parts)),
        labels=labels.astype(np.int64),
        parts=tuple(parts),
        official=frozenset(parts),
        digests=tuple(sha256(image.tobytes()).hexdigest() for image in pixels),
        flip=flip,
    )


def _load_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in NPZ_KEYS if key in archive}
    except (*UNREADABLE, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise InvalidData(
            f"{str(path)!r} cannot be read as an .npz of JPEGs ({error}); copy it again, or give "
            "a folder with one folder of images per class"
        ) from error
    if lacking := [key for key in NPZ_KEYS if key not in arrays]:
        raise InvalidData(
            f"{str(path)!r} lacks {', '.join(lacking)}; an .npz of JPEGs holds "
            f"{', '.join(NPZ_KEYS)}"
        )
    jpeg, offset, label = arrays["jpeg"], arrays["offset"], arrays["label"]
    if (
        label.ndim != 1
        or offset.shape != (len(label) + 1,)
        or jpeg.shape != (offset[-1],)
        or (np.diff(offset, prepend=0) < 0).any()
    ):
        raise InvalidData(f"{str(path)!r}: its offsets do not fit its JPEGs; copy it again")
    return arrays


def _read_npz(files: dict[Path, Part], name: str, resolution: int, on_corrupt: OnCorrupt) -> Source:
    entries: list[Entry] = []
    class_names: tuple[str, ...] = ()
    for path, part in files.items():
        arrays = _load_npz(path)
        jpeg, offset, labels = arrays["jpeg"], arrays["offset"], arrays["label"].tolist()
        classes = tuple(map(str, arrays["classes"]))
        if class_names not in ((), classes):
            raise InvalidData(f"{str(path)!r} has other classes than the file beside it")
        class_names = classes
        _check_labels(labels, classes, path)
        entries += [
            Entry(
                name=f"{path.name}[{i}]",
                label=label,
                part=part,
                data=jpeg[offset[i] : offset[i + 1]].tobytes(),
            )
            for i, label in enumerate(labels)
        ]
    return _from_entries(name, class_names, entries, resolution, on_corrupt)


def _check_labels(labels: Sequence[int], class_names: tuple[str, ...], path: Path) -> None:
    if not labels or min(labels) < 0 or max(labels) >= len(class_names):
        raise InvalidData(
            f"{str(path)!r}: labels must be 0 to {len(class_names) - 1}, one per image, for its "
            f"{len(class_names)} classes"
        )


def _read_folder(root: Path, resolution: int, on_corrupt: OnCorrupt) -> Source:
    trees = _trees(root)
    class_names = _class_names(root / next(iter(trees)))
    entries: list[Entry] = []
    for tree, part in trees.items():
        if (found := _class_names(root / tree)) != class_names:
            odd = sorted(set(found) ^ set(class_names))[0]
            raise InvalidData(f"{str(root)!r}: class {odd!r} is not in each of {', '.join(trees)}")
        for label, class_name in enumerate(class_names):
            entries += [
                Entry(name=file.relative_to(root).as_posix(), label=label, part=part, data=file)
                for file in _image_files(root / tree / class_name)
            ]
    return _from_entries(root.resolve().name, class_names, entries, resolution, on_corrupt)


def _trees(root: Path) -> dict[str, Part]:
    """Return the sub-folders that hold the class folders; ``"."`` is the root itself."""
    match [name for name in ("train", "val", "test") if (root / name).is_dir()]:
        case ["train", "val", "test"]:
            return {"train": "training", "val": "validation", "test": "test"}
        case ["train", held_out]:
            return {"train": "training", held_out: "test"}
        case _:
            return {".": "training"}


def _class_names(tree: Path) -> tuple[str, ...]:
    names = sorted(p.name for p in tree.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) >= 2:
        return tuple(names)
    found = f"only class {names[0]!r}" if names else "no class folder"
    if not names and (loose := len(_files(tree))):
        found += f", and {loose} images outside of one"
    raise InvalidData(
        f"{str(tree)!r} holds {found}; put the images of each class, two classes or more, into a "
        "folder of its own"
    )


def _image_files(folder: Path) -> list[Path]:
    if not (files := _files(folder)):
        if any(p.is_dir() for p in folder.iterdir()):
            cure = "it holds folders: splits are called train/ with val/ or test/ or both"
        else:
            cure = f"add some ({', '.join(sorted(SUFFIXES))}) or remove it"
        raise InvalidData(f"class folder {str(folder)!r} holds no image; {cure}")
    return files


def _files(folder: Path) -> list[Path]:
    return sorted(  # a leading dot also marks what macOS leaves in archives: ._cat.png
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "."
    )


def _from_entries(
    name: str,
    class_names: tuple[str, ...],
    entries: Sequence[Entry],
    resolution: int,
    on_corrupt: OnCorrupt,
) -> Source:
    fits = len(entries) * resolution * resolution * 3 <= MEMORY_LIMIT_BYTES
    pixels = np.empty((len(entries) if fits else 0, resolution, resolution, 3), np.uint8)
    kept: list[Entry] = []
    digests: list[str] = []
    broken: dict[str, InvalidData] = {}
    for entry in entries:
        try:
            picture = decode(entry, resolution)
        except InvalidData as error:
            broken[entry.name] = error
            continue
        if fits:
            pixels[len(kept)] = picture.pixels
        kept.append(entry)
        digests.append(picture.digest)
    if broken and on_corrupt == "refuse":
        raise InvalidData(
            f"{len(broken)} of {len(entries)} images of {name!r} are corrupt, the first: "
            f"{next(iter(broken.values()))}; repair or remove them, or choose to skip them"
        )
    return Source(
        name=name,
        class_names=class_names,
        images=ArrayImages(pixels[: len(kept)]) if fits else EncodedImages(kept, resolution),
        names=tuple(entry.name for entry in kept),
        labels=np.array([entry.label for entry in kept], np.int64),
        parts=tuple(entry.part for entry in kept),
        official=frozenset(entry.part for entry in entries),
        digests=tuple(digests),
        skipped=tuple(broken),
    )
