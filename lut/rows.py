"""What the rows of a table are worth: all of them judged together.

From a handful of processes next to nothing is known of the spread of one row, so a row alone is
called noisy or ok by luck. All rows together know it well, see `lut.spread`.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from devices.backend import EMULATED
from lut.files.engines import other_precision
from lut.spread import Spread, spread_of, total
from lut.table import LatencyTable, is_emulated, needed
from profiler import Chain, Modes, OpSpec, Status, in_context, terms

RowStatus: TypeAlias = Status | Literal["unsupported", "emulated", "other precision"]
"""What a row is worth; ``unsupported`` where the device refuses a graph that it takes, ``other
precision`` where its engine computes in another number format than the table is of."""

COVERAGE = 0.9

ENOUGH_ROWS = 8
"""Rows whose gaps between slices say what is usual."""

WIDE_ROW = 0.2
"""Width of an interval, relative, above which a row is noisy. Four times what a network is allowed:
the errors of some twenty rows, of which some are larger than others, cancel in a network."""

MEDIAN = math.pi / 2
"""Variance of a median over that of a mean, of normal values: rows are medians, the spread is that
of means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRows:
    """The rows of a table, each seen beside all the others.

    Attributes:
        table: Where they are.
        spread: How far each would lie elsewhere if it was measured again.
        modes: Row to the two groups that its slices fall into best; of rows of four or more.
        closeness: Mean over the rows of their middle gap times their slices, which hardly depends
            on how many there are; None of too few rows.
    """

    table: LatencyTable
    spread: Spread
    modes: Mapping[Chain, Modes]
    closeness: float | None

    def status(self, op: OpSpec) -> RowStatus:
        """Return one word on an operator: whether to trust its row, or that it cannot be had.

        Raises:
            MissingLatency: It was not measured.
        """
        if any(chain in self.table.refusals for chain in needed(op)):
            return "unsupported"
        self.table.measurement(op)
        return EMULATED if self.emulated else self.chain_status(in_context(op))

    @property
    def emulated(self) -> bool:
        """Whether no row is a real device's, however steady it is."""
        return is_emulated(self.table.conditions)

    def chain_status(self, chain: Chain) -> RowStatus:
        """Return one word on what was timed: an operator in its context, or a whole network."""
        if other_precision(self.table.engines.get(chain, ())):
            return "other precision"
        home = self.table.networks if chain in self.table.networks else self.table.chains
        measurement = home[chain]
        if measurement.disturbance is not None:
            return measurement.disturbance
        if self._bimodal(chain):
            return "bimodal"
        width = 2 * math.sqrt(MEDIAN) * self.spread.log_s[chain].half_width(1 - COVERAGE)
        if math.isinf(width):  # there are no others
            return measurement.status
        return "noisy" if width > WIDE_ROW else "ok"

    def _bimodal(self, chain: Chain) -> bool:
        modes = self.modes.get(chain)
        if modes is None:
            return False
        return modes.apart(None if self.closeness is None else self.closeness / modes.slices)

    def chain_statuses(self) -> Counter[RowStatus]:
        """Count the statuses of operators and contexts."""
        if self.emulated:
            return Counter({EMULATED: len(self.table.chains)})
        return Counter(self.chain_status(chain) for chain in self.table.chains)

    @property
    def wide(self) -> tuple[Chain, ...]:
        """What was timed without a disturbance and is noisy nevertheless."""
        chains = self.table.chains
        return tuple(
            chain
            for chain, measurement in chains.items()
            if measurement.disturbance is None and self.chain_status(chain) == "noisy"
        )

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
    rows = {**table.chains, **table.networks}
    modes = {chain: found for chain, row in rows.items() if (found := row.modes) is not None}
    gaps = [each.middle_gap * each.slices for each in modes.values()]
    closeness = sum(gaps) / len(gaps) if len(gaps) >= ENOUGH_ROWS else None
    return TableRows(table=table, spread=spread_of(table), modes=modes, closeness=closeness)
