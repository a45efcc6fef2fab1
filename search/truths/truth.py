"""Networks that somebody trained all of: what a ranking or a search is judged by."""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import InvalidFile
from devices.errors import reason_of
from search.searcher import Accuracy
from search.space import Architecture, SearchSpace, architecture_from_text
from search.spaces import space_named

UNREADABLE = (
    InvalidFile,
    OSError,
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    zlib.error,
)
"""What a file raises that is missing, cut short or something else."""


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: the index is cached on the instance
class Truth:
    """True accuracies of all networks of a space.

    Attributes:
        space: The space as it was trained.
        archs: Its canonical architectures, in ascending order.
        accuracy: ``(networks, runs)`` top-1 on test images, in [0, 1], of some training runs.
        macs: ``(networks,)`` multiply-accumulates.
        seen: ``(networks,)`` top-1 on validation images after a short training, which a search
            sees in place of a run; None where there is none.
        protocol: What a search sees and what judges it, for people.
    """

    space: SearchSpace
    archs: tuple[Architecture, ...]
    accuracy: NDArray[np.float64]
    macs: NDArray[np.float64]
    seen: NDArray[np.float64] | None = None
    protocol: tuple[str, str] = ("one training run", "the mean of the others")

    @property
    def mean(self) -> NDArray[np.float64]:
        """``(networks,)`` accuracies, the mean of all runs."""
        return self.accuracy.mean(axis=1)

    @cached_property
    def _index(self) -> dict[Architecture, int]:
        return {arch: row for row, arch in enumerate(self.archs)}

    def rows(self, archs: Sequence[Architecture]) -> NDArray[np.intp]:
        """Return where architectures stand, in any of their forms: ``(archs,)``.

        Raises:
            InvalidFile: One is of another space.
        """
        for arch in archs:
            self.space.check(arch)
        return np.array([self._index[self.space.canonical(arch)] for arch in archs], np.intp)

    def evaluator(self, *, run: int | None = None) -> Accuracy:
        """Return what a search sees: accuracies of validation, or of one run, noise included.

        The other runs judge what it finds.

        Args:
            run: Which training run; None for what there is to see, the first run otherwise.
        """
        if run is None and self.seen is not None:
            return partial(self._of, self.seen)
        return partial(self._of, self.accuracy[:, run or 0])

    @cached_property
    def judge(self) -> Accuracy:
        """What judges a search that saw `evaluator`: the mean of what it did not see."""
        unseen = self.accuracy if self.seen is not None else self.accuracy[:, 1:]
        return partial(self._of, unseen.mean(axis=1))

    def _of(self, values: NDArray[np.float64], archs: Sequence[Architecture]) -> list[float]:
        accuracies: list[float] = values[self.rows(archs)].tolist()
        return accuracies


def read_nas_bench_macro(path: Path) -> Truth:
    """Read NAS-Bench-Macro, ``nas-bench-macro_cifar10.json`` or the same compressed by gzip.

    Only the canonical architectures are kept: the others are the same networks under other names,
    with the same accuracies.

    Raises:
        InvalidFile: The file is missing or something else, or networks are missing from it.

    Source:
        Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021;
        github.com/xiusu/NAS-Bench-Macro.
    """
    space = space_named("macro")
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        networks = {architecture_from_text(name): row for name, row in json.loads(text).items()}
        rows = [(arch, *_figures(networks[arch])) for arch in sorted(_canonical(space, networks))]
        archs, accuracy, macs = zip(*rows, strict=True)
        table = np.array(accuracy, np.float64)
    except UNREADABLE as error:
        raise InvalidFile(
            f"{path} cannot be read as NAS-Bench-Macro ({reason_of(error)}): get it again from "
            "github.com/xiusu/NAS-Bench-Macro"
        ) from error
    return Truth(
        space=space,
        archs=archs,
        accuracy=table,
        macs=np.array(macs, np.float64),
        protocol=("test accuracy of the first training run", "the mean of the other two"),
    )


def _canonical(
    space: SearchSpace, networks: dict[Architecture, dict[str, Any]]
) -> set[Architecture]:
    """Return the canonical forms of networks.

    Raises:
        ValueError: There are not all networks of the space.
    """
    for arch in networks:
        space.check(arch)
    if len(networks) != space.size:
        raise ValueError(f"{len(networks)} networks, not {space.size}")
    return {space.canonical(arch) for arch in networks}


def _figures(row: dict[str, Any]) -> tuple[list[float], float]:
    """Return accuracies in [0, 1], and operations."""
    return [percent / 100 for percent in row["test_acc"]], float(row["flops"])
