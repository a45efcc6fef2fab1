"""NAS-Bench-201's published tables: accuracies of all cells, and their latencies on real devices.

Two tables, and two indices. Accuracy goes by isomorphism class: cells of a class are one network up
to noise, and the row of the class speaks for all of them. Latency goes by the raw index: what a
device runs is one cell.

Source:
    Dong et al., NATS-Bench, TPAMI 2021 (accuracies); Lee et al., HELP, NeurIPS 2021 (latencies).
"""

import csv
import gzip
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices import InvalidFile, UnknownName
from devices.errors import reason_of
from lut import ErrorBand, LatencyModel
from lut.sums import joined
from profiler import macs, total_macs
from profiler.operators.cells import choices_from_code
from search.space import Architecture, as_choices
from search.spaces.nasbench201 import ALL_EDGES, CellSpace, has_path, nasbench201
from search.truths.truth import UNREADABLE, Truth

CELLS, CLASSES = 15_625, 6_466
"""Rows of a table, and isomorphism classes among them."""

DATASETS = {
    "cifar10": ("c10", 32, 10),
    "cifar100": ("c100", 32, 100),
    "imagenet16": ("in16", 16, 120),
}
"""Name to prefix of its columns, side of its images and classes; the last is ImageNet16-120."""

NOISELESS = ErrorBand(ratios=(1.0,) * 20)
"""A published latency is taken as it is."""

SHORT_EPOCHS, LONG_EPOCHS = 12, 200
"""Trainings of the benchmark: what a search sees, and what judges it."""

NEEDED = tuple(
    f"{prefix}_{kind}"
    for prefix, _, _ in DATASETS.values()
    for kind in (f"test_{LONG_EPOCHS}", f"val_{SHORT_EPOCHS}")
)
"""Columns of accuracies that a table must have."""


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: the index is cached on the instance
class NasBench201:
    """The table of accuracies.

    Attributes:
        archs: The cell of every raw index.
        classes: ``(15625,)`` for every raw index that of the cell which stands for its class.
        columns: Name to ``(15625,)`` figures, as published.
        name: Where it came from, for messages.
    """

    archs: tuple[Architecture, ...]
    classes: NDArray[np.intp]
    columns: Mapping[str, NDArray[np.float64]]
    name: str

    @cached_property
    def raw_index(self) -> Mapping[Architecture, int]:
        """Cell to raw index."""
        return {arch: index for index, arch in enumerate(self.archs)}

    def truth(self, dataset: str = "cifar10") -> Truth:
        """Return the accuracies of one data set: 12 epochs to search by, 200 to judge.

        The operations are those of the network that ships: dead edges do not count, while the
        benchmark's own column counts them.

        Args:
            dataset: Key in `DATASETS`.

        Raises:
            UnknownName: There is no such data set.
        """
        if dataset not in DATASETS:
            raise UnknownName("data set", dataset, DATASETS)
        prefix, resolution, classes = DATASETS[dataset]
        space = nasbench201(resolution=resolution, classes=classes)
        archs = tuple(sorted({space.canonical(arch) for arch in self.archs}))
        rows = self.classes[[self.raw_index[arch] for arch in archs]]
        tested = self.columns[f"{prefix}_test_{LONG_EPOCHS}"][rows] / 100
        return Truth(
            space=space,
            archs=archs,
            accuracy=tested[:, None],
            macs=live_macs(space, archs),
            seen=self.columns[f"{prefix}_val_{SHORT_EPOCHS}"][rows] / 100,
            protocol=(
                f"validation accuracy on {dataset} after {SHORT_EPOCHS} epochs",
                f"test accuracy after {LONG_EPOCHS} epochs",
            ),
        )


def live_macs(space: CellSpace, archs: Sequence[Architecture]) -> NDArray[np.float64]:
    """Return the multiply-accumulates of networks, ``(archs,)``, dead edges left out."""
    every = space.totals(macs)
    every[np.isinf(every)] = total_macs(space.blocks)  # what a cell without a path leaves
    index = joined(as_choices(list(archs)), ALL_EDGES)[:, 0]
    return every[index] + total_macs((*space.before, *space.after))


def read_nas_bench_201(path: Path) -> NasBench201:
    """Read the accuracies, a CSV or the same compressed by gzip.

    Columns: ``idx``, ``arch`` as published, ``iso_rep_idx``, and of each data set (``c10``,
    ``c100``, ``in16``) ``_test_200`` and ``_val_12`` in per cent.

    Raises:
        InvalidFile: The file is missing or something else, or cells are missing from it.
    """
    try:
        rows = _rows(path)
        archs = tuple(Architecture(choices_from_code(row["arch"])) for row in rows)
        classes = np.array([int(row["iso_rep_idx"]) for row in rows], np.intp)
        names = [name for name in rows[0] if name not in ("idx", "arch", "iso_rep_idx")]
        columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
        lacking = [name for name in NEEDED if name not in columns]
        if lacking:
            raise ValueError(f"no column {lacking[0]}")
        check_cells(archs, classes)
    except UNREADABLE as error:
        raise InvalidFile(
            f"{path} cannot be read as NAS-Bench-201's accuracies ({reason_of(error)}): a CSV with "
            f"a row for each of {CELLS} cells and the columns idx, arch, iso_rep_idx, "
            f"{', '.join(NEEDED)}"
        ) from error
    return NasBench201(archs=archs, classes=classes, columns=columns, name=str(path))


def check_cells(archs: Sequence[Architecture], classes: NDArray[np.intp]) -> None:
    """Check that all cells are there, and all classes.

    Args:
        archs: The cell of every raw index.
        classes: ``(cells,)`` for every cell that which stands for its class.

    Raises:
        ValueError: Some are missing.
    """
    if len(set(archs)) != CELLS:
        raise ValueError(f"{len(set(archs))} cells, not {CELLS}")
    if len(set(classes.tolist())) != CLASSES:
        raise ValueError(f"{len(set(classes.tolist()))} classes, not {CLASSES}")


def read_latencies(path: Path, column: str, bench: NasBench201) -> LatencyModel:
    """Read one device's latencies as a model that prices every cell by a raw index.

    The index of what a search judges and an exporter writes: the canonical cell of the class,
    without dead edges. Within a class latencies differ by 7 to 25 %, so that one cell must speak
    for it; and it does not matter what the device did with dead edges. (Of the published columns
    four ran them; the two phones left out those that lead nowhere, and ran those that come from
    nowhere.) The 341 cells without a path have no latency: they keep no budget.

    Args:
        path: A CSV with ``idx`` and a column in milliseconds for each device, maybe compressed.
        column: Which; it becomes the name of the device.
        bench: Says which cell an index is.

    Raises:
        InvalidFile: The file is missing or something else, or rows are missing from it.
        UnknownName: It has no such column.
    """
    try:
        rows = _rows(path)
        known = [name for name in rows[0] if name != "idx"]
        if column in known:
            latency_s = np.array([float(row[column]) for row in rows]) * 1e-3
    except UNREADABLE as error:
        raise InvalidFile(
            f"{path} cannot be read as latencies of NAS-Bench-201 ({reason_of(error)}): a CSV "
            f"with a row for each of {CELLS} cells, a column idx, and one in milliseconds for each "
            "device"
        ) from error
    if column not in known:
        raise UnknownName("latency column", column, known)
    content = hashlib.sha256(latency_s.tobytes() + column.encode()).hexdigest()
    return LatencyModel(
        device=column,
        base_s=0.0,
        cost_s=_by_choices(latency_s, bench)[None],
        together=ALL_EDGES,
        band=NOISELESS,
        table_hash=content[:16],
    )


def _by_choices(latency_s: NDArray[np.float64], bench: NasBench201) -> NDArray[np.float64]:
    """Return latencies by raw index in the order of the choices; ``inf`` without a path."""
    space = nasbench201()
    judged = (space.alone(space.canonical(arch)) for arch in bench.archs)
    rows = [bench.raw_index[arch] for arch in judged]
    paths = np.array([has_path(arch) for arch in bench.archs])
    ordered = np.empty(CELLS)
    places = joined(as_choices(list(bench.archs)), ALL_EDGES)[:, 0]
    ordered[places] = np.where(paths, latency_s[rows], np.inf)
    return ordered


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV, the raw indices in order.

    Raises:
        ValueError: Rows are missing, or an index.
    """
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    rows = sorted(csv.DictReader(io.StringIO(text)), key=lambda row: int(row["idx"]))
    if [int(row["idx"]) for row in rows] != list(range(CELLS)):
        raise ValueError(f"{len(rows)} rows, not one for each index up to {CELLS - 1}")
    return rows
