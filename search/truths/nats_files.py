"""NATS-Bench's own files, read through its package: the accuracies of NAS-Bench-201's cells.

Two kinds of files hold the same: an archive with a file for every cell, the folder
``NATS-tss-v1_0-3ffb9-simple``, and one file of all, ``NATS-tss-v1_0-3ffb9.pickle.pbz2``, which has
to fit into memory as a whole. Both are pickles, which can run code when they are read: take them
from nobody but their authors.

Source:
    Dong et al., NATS-Bench, TPAMI 2021; the package ``nats_bench`` 1.8, which says what is where.
"""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import InvalidFile
from devices.errors import reason_of
from profiler.operators.cells import choices_from_code
from search.space import Architecture
from search.spaces.nasbench201 import class_text
from search.truths.nasbench201 import LONG_EPOCHS, SHORT_EPOCHS, NasBench201, check_cells
from search.truths.truth import UNREADABLE

TEST, VALIDATION = "test-accuracy", "valid-accuracy"

QUERIES = {
    f"c10_test_{LONG_EPOCHS}": ("cifar10", LONG_EPOCHS, TEST),
    f"c10_val_{SHORT_EPOCHS}": ("cifar10-valid", SHORT_EPOCHS, VALIDATION),
    f"c100_test_{LONG_EPOCHS}": ("cifar100", LONG_EPOCHS, TEST),
    f"c100_val_{SHORT_EPOCHS}": ("cifar100", SHORT_EPOCHS, VALIDATION),
    f"in16_test_{LONG_EPOCHS}": ("ImageNet16-120", LONG_EPOCHS, TEST),
    f"in16_val_{SHORT_EPOCHS}": ("ImageNet16-120", SHORT_EPOCHS, VALIDATION),
}
"""Column of a `NasBench201` to data set, epochs and figure, as the package calls them.

CIFAR-10 was trained on with its validation images and without; those are two data sets.
"""

OnCell = Callable[[int, int], None]


def is_nats_bench(path: Path) -> bool:
    """Return whether a path is one of the package's files, by its name alone."""
    return path.is_dir() or path.suffix == ".pbz2"


def read_nats_bench(path: Path, *, on_cell: OnCell | None = None) -> NasBench201:
    """Read the accuracies, means over the training runs of a cell.

    Only the cell that stands for its class is read; all cells of the class have its figures.

    Args:
        path: The folder of the archive, or the file of all cells.
        on_cell: Called after every cell that was read, with the cells read and in all.

    Raises:
        ModuleNotFoundError: The package is not installed.
        InvalidFile: The path is missing or something else, or cells are missing from it.
    """
    from nats_bench import create  # type: ignore[import-not-found, import-untyped, unused-ignore]

    try:
        api = create(str(path), "tss", fast_mode=path.is_dir(), verbose=False)
        archs = tuple(Architecture(choices_from_code(text)) for text in api.meta_archs)
        classes = first_of_class(archs)
        check_cells(archs, classes)
        columns = _columns(api, classes, archive=path.is_dir(), on_cell=on_cell)
    except (*UNREADABLE, AssertionError, pickle.UnpicklingError) as error:
        raise InvalidFile(
            f"{path} cannot be read as NATS-Bench's topology space ({reason_of(error)}): the "
            "folder NATS-tss-v1_0-3ffb9-simple, or NATS-tss-v1_0-3ffb9.pickle.pbz2"
        ) from error
    return NasBench201(archs=archs, classes=classes, columns=columns, name=str(path))


def first_of_class(archs: Sequence[Architecture]) -> NDArray[np.intp]:
    """Return for each cell the index of the first one of its class, ``(cells,)``.

    That is the one that stands for the class, as in the published tables.
    """
    first: dict[str, int] = {}
    texts = (class_text(arch.choices) for arch in archs)
    return np.array([first.setdefault(text, index) for index, text in enumerate(texts)], np.intp)


def _columns(
    api: Any, classes: NDArray[np.intp], *, archive: bool, on_cell: OnCell | None
) -> dict[str, NDArray[np.float64]]:
    """Return all figures, ``(cells,)`` each, in per cent."""
    columns = {name: np.full(len(classes), np.nan) for name in QUERIES}
    standing = np.unique(classes)
    for done, index in enumerate(standing.tolist(), start=1):
        for name, (dataset, epochs, figure) in QUERIES.items():
            found = api.get_more_info(index, dataset, hp=str(epochs), is_random=False)
            columns[name][index] = found[figure]
        if archive:  # forget what was read, or all of it would have to fit into memory
            api.arch2infos_dict.clear()
            api.evaluated_indexes.clear()
        if on_cell is not None:
            on_cell(done, len(standing))
    return {name: values[classes] for name, values in columns.items()}
