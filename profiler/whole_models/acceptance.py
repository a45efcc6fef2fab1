"""Whether a percentile of latency keeps a limit, decided as soon as the runs allow.

A limit holds at the 99th percentile where one run in a hundred is slower, at most. Runs of one
process resemble each other: one process is slow throughout, another has a burst. So what counts is
not the single run but the share of slow runs in each fresh process, a number in [0, 1], whatever
the dependence of the runs within. Processes are independent of each other.

Two gamblers bet on that share, one against "the promise is broken", one against "it is kept". If
what a gambler bets against is true, no strategy multiplies the stake by ``1 / alpha`` more often
than with probability ``alpha``, ever, however often one looks (Ville). So whoever gets that far has
decided, and who has not by the cap leaves it undecided. Each plays several strategies side by side,
the mean of which is as fair as each.

Of a share in [0, 1] alone, a p99 takes 299 processes without any slow run, as many as the classical
bound takes independent runs: one process in a hundred might be slow throughout. That a promise is
broken by so few is assumed away: `Acceptance.rare`. A process counts as no slower than the ceiling
that follows, and 299 becomes 52. Nothing of the kind is assumed where a promise is called broken.

Both decisions are sure for any share of slow runs. How soon they come depends on how far it is from
what is allowed: the cap leaves a region of indifference around that (`bench/percentile_test.py`).

Source:
    Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 86
    (2024), sections 3 and 4: the bets and their mixture. Deviation: fixed fractions, and a ceiling.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Decision: TypeAlias = Literal["met", "missed", "undecided"]

BOLD = (1.0, 0.5)
"""Of what may be staked on a process with few slow runs: all, which the ceiling ruins, or half."""

WARY = (0.05, 0.2, 0.6)
"""Of what may be staked on a process with many slow runs; none of them ruins all of it."""

HEADROOM = 1.5
"""How far the ceiling is above the share of slow runs in the processes that have them all: chance
takes some above, and what is cut off there would be missing from the mean."""

RUNS_IN_BLOCK = 100
"""Runs in each process, at least."""

MOST_BLOCKS = 150
"""Fresh processes, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Single runs of one fresh process.

    Attributes:
        slow: How many were slower than the limit.
        runs: How many there were.
        trusted: Whether nothing else ran meanwhile. What others disturbed may speak for a promise,
            never against it.
    """

    slow: int
    runs: int
    trusted: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.slow <= self.runs or not self.runs:
            raise ValueError(f"{self.slow} of {self.runs} runs cannot be slow")

    @property
    def share(self) -> float:
        """Share of slow runs, in [0, 1]."""
        return self.slow / self.runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a test found.

    Attributes:
        decision: ``undecided`` where more blocks are needed.
        blocks: How many decided it.
        runs: In them.
        slow: Runs in them that were slower than the limit.
        for_it: What a stake of 1 against "broken" became at most; it decides at 1 / alpha.
        against_it: What one against "kept" became at most.
    """

    decision: Decision
    blocks: int
    runs: int
    slow: int
    for_it: float
    against_it: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """A sequential test of a percentile; valid however often it is asked.

    Attributes:
        percent: Of runs that have to be within the limit, in [50, 100).
        confidence: Of either decision, in [0.5, 1).
        rare: Share of processes, in (0, 1], so small that slow runs which are all in them do not
            count; at ``1 - percent / 100`` and below nothing is assumed.
        most_blocks: Where a test ends undecided.
    """

    percent: float
    confidence: float = 0.95
    rare: float = 0.1
    most_blocks: int = MOST_BLOCKS

    def __post_init__(self) -> None:
        if not 50 <= self.percent < 100 or not 0.5 <= self.confidence < 1 or not 0 < self.rare <= 1:
            raise ValueError(
                f"no percentile {self.percent:g} with confidence {self.confidence:g} but for "
                f"{self.rare:g} of the processes"
            )
        if self.most_blocks < 1:
            raise ValueError(f"a test needs a block, got at most {self.most_blocks}")

    @property
    def allowed(self) -> float:
        """Share of runs that may be slower than the limit."""
        return 1 - self.percent / 100

    @property
    def ceiling(self) -> float:
        """Largest share of slow runs that a process counts with."""
        return 1.0 if self.rare <= self.allowed else min(1.0, HEADROOM * self.allowed / self.rare)

    @property
    def runs_in_block(self) -> int:
        """Runs in each process: so many that chance takes no honest process to the ceiling."""
        return max(RUNS_IN_BLOCK, math.ceil(1 / self.allowed - 1e-9))

    @property
    def least_blocks(self) -> int:
        """Processes without any slow run that it takes to accept; fewer never do."""
        gain = 1 + np.array(BOLD) * self.allowed / (self.ceiling - self.allowed)
        blocks = np.arange(1, 1 + math.ceil(math.log(self.enough * len(BOLD)) / math.log(gain[0])))
        wealth = np.exp(np.log(gain)[:, None] * blocks).mean(axis=0)
        return int(blocks[np.argmax(wealth >= self.enough)])

    @property
    def enough(self) -> float:
        """What a stake of 1 has to become to decide."""
        return 1 / (1 - self.confidence)

    def decide(self, blocks: Iterable[Block]) -> Accepted:
        """Read blocks, in the order in which they were taken, until they decide or are too many.

        Args:
            blocks: One a fresh process; those after the decision are not read.
        """
        for_it, against_it = np.ones(len(BOLD)), np.ones(len(WARY))
        most_for = most_against = 1.0
        count = runs = slow = 0
        for block in islice(blocks, self.most_blocks):
            count, runs, slow = count + 1, runs + block.runs, slow + block.slow
            for_it *= self._gain_for(block.share)
            if block.trusted:
                against_it *= self._gain_against(block.share)
            most_for = max(most_for, float(for_it.mean()))
            most_against = max(most_against, float(against_it.mean()))
            if max(most_for, most_against) >= self.enough:
                break
        return Accepted(
            decision=self._decision(most_for, most_against),
            blocks=count,
            runs=runs,
            slow=slow,
            for_it=most_for,
            against_it=most_against,
        )

    def _gain_for(self, share: float) -> NDArray[np.float64]:
        """Return what each bet on few slow runs becomes, ``(strategies,)``, 0 or more.

        Fair or worse than that wherever the mean share, up to the ceiling, is more than allowed.
        """
        stakes = np.array(BOLD) / (self.ceiling - self.allowed)
        return 1 + stakes * (self.allowed - min(share, self.ceiling))

    def _gain_against(self, share: float) -> NDArray[np.float64]:
        """Return what each bet on many slow runs becomes, ``(strategies,)``, 0 or more.

        Fair or worse than that wherever the mean share is allowed.
        """
        return 1 + np.array(WARY) / self.allowed * (share - self.allowed)

    def _decision(self, most_for: float, most_against: float) -> Decision:
        if most_against >= self.enough:
            return "missed"
        return "met" if most_for >= self.enough else "undecided"
