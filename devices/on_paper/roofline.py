"""How long kernels take by a spec sheet: an estimate for GPUs that nobody has at hand.

A kernel takes a launch, its operations at their peak rates and its bytes at full bandwidth, added
up. The roofline proper takes the larger of the last two, as if they overlapped perfectly; against
89,759 convolutions on a V100 the sum ranks better and errs less (bench/roofline.py), and being
linear it is calibrated by least squares: each part gets a factor, fitted to a few measured rows.

Source:
    Williams, Waterman and Patterson, Roofline: an insightful visual performance model for
    multicore architectures, Communications of the ACM 52(4), 2009.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from devices.spec import Precision
from devices.spec_sheet import SpecSheet

if TYPE_CHECKING:
    from devices.on_paper.workload import Workload

NUMBER_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}

FEWEST_ROWS = 8
"""Fewer measured rows than this say too little of four factors."""

PULL = 0.1
"""How much every factor is pulled toward that of the whole kernel, as the weight of a row that
says so. Ten rows may have next to nothing of a part, and its factor would follow their noise: this
took the mean error of a V100's convolutions from 137 to 47 %, and from 100 rows on it is lost."""

Times: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowdown:
    """How much longer each part of a kernel takes than the spec sheet promises.

    Attributes:
        launch: Of the launch, 0 or more.
        matrix: Of operations on the matrix units.
        vector: Of operations on the vector units.
        memory: Of reading and writing.
    """

    launch: float = 1.0
    matrix: float = 1.0
    vector: float = 1.0
    memory: float = 1.0

    def __post_init__(self) -> None:
        if not min(astuple(self)) >= 0.0:
            raise ValueError(f"no part of a kernel takes less than no time, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """A spec sheet that estimates.

    Attributes:
        sheet: Peaks.
        precision: Of all numbers.
        slowdown: What the sheet is worth; all 1 where nothing was measured.
    """

    sheet: SpecSheet
    precision: Precision
    slowdown: Slowdown = Slowdown()

    def parts_s(self, kernels: "Sequence[Workload]") -> Times:
        """Return the seconds of kernels in a row by the sheet alone.

        Returns:
            ``(4,)``: launches, matrix units, vector units, memory.
        """
        matrix, vector = self._rates
        return np.array(
            [
                len(kernels) * self.sheet.launch_s,
                sum(each.matrix_ops for each in kernels) / matrix,
                sum(each.vector_ops for each in kernels) / vector,
                sum(each.moved for each in kernels)
                * (NUMBER_BYTES[self.precision] / self.sheet.bytes_per_s),
            ]
        )

    def seconds(self, kernels: "Sequence[Workload]") -> float:
        """Return the estimate for kernels in a row; none take no time."""
        return float(self.parts_s(kernels) @ astuple(self.slowdown))

    @property
    def _rates(self) -> tuple[float, float]:
        sheet = self.sheet
        match self.precision:
            case "fp32":
                return sheet.matrix_fp32_ops_per_s, sheet.vector_fp32_ops_per_s
            case "fp16":
                return sheet.matrix_fp16_ops_per_s, sheet.vector_fp16_ops_per_s
            case "int8":
                return sheet.matrix_int8_ops_per_s, sheet.vector_fp32_ops_per_s


def fitted_slowdown(parts_s: Times, measured_s: Times) -> Slowdown:
    """Fit the four factors to measured rows: non-negative least squares of the relative error.

    A part that no row has, say the vector units where no row is depthwise, gets the factor of whole
    kernels, the median, which pulls at the others, too (`PULL`).

    Args:
        parts_s: ``(rows, 4)``, see `Roofline.parts_s`.
        measured_s: ``(rows,)`` seconds, positive.
    """
    usual = float(np.median(measured_s / parts_s.sum(axis=1)))
    rows = np.vstack([parts_s / measured_s[:, None], np.eye(parts_s.shape[1]) * (PULL / usual)])
    wanted = np.append(np.ones(len(measured_s)), np.full(parts_s.shape[1], PULL))
    launch, matrix, vector, memory = _non_negative(rows, wanted).tolist()
    return Slowdown(launch=launch, matrix=matrix, vector=vector, memory=memory)


def held_out_ratios(parts_s: Times, measured_s: Times) -> tuple[float, ...]:
    """Return measured over estimated for each row, its factors fitted to all the others.

    Args:
        parts_s: ``(rows, 4)``.
        measured_s: ``(rows,)`` seconds, positive; `FEWEST_ROWS` or more.

    Raises:
        ValueError: There are too few rows.
    """
    if len(measured_s) < FEWEST_ROWS:
        raise ValueError(f"four factors take {FEWEST_ROWS} rows or more, got {len(measured_s)}")
    ratios = []
    for row in range(len(measured_s)):
        others = np.arange(len(measured_s)) != row
        slowdown = fitted_slowdown(parts_s[others], measured_s[others])
        ratios.append(float(measured_s[row] / (parts_s[row] @ astuple(slowdown))))
    return tuple(ratios)


def _non_negative(columns: Times, wanted: Times) -> Times:
    """Return factors ``x >= 0`` that bring ``columns @ x`` nearest to what is wanted, exactly.

    With a handful of columns every set of those that are not 0 can be tried.
    """
    count = columns.shape[1]
    best, least = np.zeros(count), float(np.square(wanted).sum())
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            found = np.linalg.lstsq(columns[:, chosen], wanted)[0]
            error = float(np.square(columns[:, chosen] @ found - wanted).sum())
            if found.min() >= 0.0 and error < least:
                best, least = np.zeros(count), error
                best[list(chosen)] = found
    return best
