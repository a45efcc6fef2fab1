"""What the rows of a table are worth: all of them judged together.

From a handful of processes next to nothing is known of the spread of one row, so a row alone is
called noisy or ok by luck. All rows together know it well, see `lut.spread`.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lut.spread import Spread, spread_of, total
from lut.table import LatencyTable, needed
from profiler import Chain, OpSpec, Status, in_context, terms

RowStatus: TypeAlias = Status | Literal["unsupported"]
"""What a row is worth; ``unsupported`` where the device refuses a graph that it takes."""

COVERAGE = 0.9

WIDE_ROW = 0.1
"""Width of an interval, relative, above which a row is noisy. Twice what a network is allowed: the
errors of some twenty rows cancel in a network."""

MEDIAN = math.pi / 2
"""Variance of a median over that of a mean, of normal values: rows are medians, the spread is that
of means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRows:
    """The rows of a table, each seen beside all the others.

    Attributes:
        table: Where they are.
        spread: How far each would lie elsewhere if it was measured again.
    """

    table: LatencyTable
    spread: Spread

    def status(self, op: OpSpec) -> RowStatus:
        """Return one word on an operator: whether to trust its row, or that it cannot be had.

        Raises:
            MissingLatency: It was not measured.
        """
        if any(chain in self.table.refusals for chain in needed(op)):
            return "unsupported"
        self.table.measurement(op)
        return self.chain_status(in_context(op))

    def chain_status(self, chain: Chain) -> Status:
        """Return one word on what was timed: an operator in its context, or a whole network."""
        home = self.table.networks if chain in self.table.networks else self.table.chains
        measurement = home[chain]
        if measurement.trouble is not None:
            return measurement.trouble
        width = 2 * math.sqrt(MEDIAN) * self.spread.log_s[chain].half_width(1 - COVERAGE)
        if math.isinf(width):  # there are no others
            return measurement.status
        return "noisy" if width > WIDE_ROW else "ok"

    def chain_statuses(self) -> Counter[Status]:
        """Count the statuses of operators and contexts."""
        return Counter(self.chain_status(chain) for chain in self.table.chains)

    def interval_s(self, op: OpSpec, coverage: float = COVERAGE) -> tuple[float, float]:
        """Return where an operator's seconds would lie if all its rows were measured again.

        At the same speed of the device, in as many processes. What is subtracted is as uncertain as
        what it is subtracted from, so a small operator between large neighbours has a wide one.

        Args:
            op: An operator of the table.
            coverage: Two-sided, in (0, 1).

        Raises:
            MissingLatency: It was not measured.
        """
        latency_s, chains = self.table[op], self.table.chains
        parts = (
            self.spread.log_s[chain].times(count * self.table.seconds(chains[chain]))
            for chain, count in terms(op).items()
        )
        half_s = math.sqrt(MEDIAN) * total(latency_s, tuple(parts)).half_width(1 - coverage)
        return latency_s - half_s, latency_s + half_s


def rows_of(table: LatencyTable) -> TableRows:
    """Judge the rows of a table together."""
    return TableRows(table=table, spread=spread_of(table))
