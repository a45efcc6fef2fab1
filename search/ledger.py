"""What a few-shot run cost: the parent, choosing where to split, and every child.

Costs are derived from the runs themselves whenever they are asked for; ``ledger.json`` is a copy
for people and other programs. A training image goes forward once and backward at twice the
operations, so it counts three times its forward MACs, and a scored image once.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices.files import write_atomically
from profiler.operators.costs import macs, total_macs
from search.space import SearchSpace
from search.splits.routed import CHOICE, LEDGER, PARENT, child_dir, read_partition
from search.training.runs import (
    CHECKPOINT,
    RunRecord,
    read_checkpoint,
    read_metrics,
    read_record,
    space_of_record,
)

DRAWN = 256
"""Networks behind the mean of a space that is no chain."""

FORWARD_AND_BACKWARD = 3
"""MACs of a training image, in those of its way forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one part of the work cost.

    Attributes:
        what: ``"parent"``, ``"choosing"`` or ``"child"``.
        part: Of a child, which part of the space it holds; empty otherwise.
        run: Directory, relative to that of the few-shot run; empty where there is none.
        images_trained: Images that went forward and backward through a path, or a mixture of all.
        images_scored: Images that went forward only.
        macs: Multiply-accumulates of both.
        counted: Whether the MACs are those of the paths drawn; otherwise they are those of
            uniformly drawn paths.
    """

    what: str
    part: str = ""
    run: str = ""
    images_trained: int
    images_scored: int
    macs: float
    counted: bool


def costs_of(run_dir: Path) -> tuple[Cost, ...]:
    """Return the entries of a few-shot run, in the order of the work; of what was done so far.

    Raises:
        InvalidFile: There is no few-shot run, or its files are damaged.
    """
    partition = read_partition(run_dir)
    entries = []
    if (run_dir / PARENT).exists():  # relaxed children have theirs in the run they came from
        entries.append(run_cost(run_dir / PARENT, what="parent", run=PARENT))
    if (run_dir / CHOICE).exists():
        entries.append(Cost(**json.loads((run_dir / CHOICE).read_text())["cost"]))
    for number, part in enumerate(partition.parts):
        child = child_dir(run_dir, number)
        if (child / CHECKPOINT).exists():
            entries.append(run_cost(child, what="child", part=part.name, run=child.name))
    return tuple(entries)


def run_cost(run_dir: Path, *, what: str, part: str = "", run: str = "") -> Cost:
    """Return what one supernet has cost so far.

    Args:
        run_dir: Its run.
        what: See `Cost`.
        part: See `Cost`.
        run: See `Cost`.
    """
    record, checkpoint = read_record(run_dir), read_checkpoint(run_dir)
    rows = read_metrics(run_dir)
    trained = sum(row.images for row in rows)
    scored = sum(row.scored_images for row in rows)
    counted = "macs" in checkpoint.sampler
    # what was counted needs no mean, and no space that is known by name
    mean = 0.0 if counted and not scored else mean_macs(space_of_record(record))
    forward = _drawn_macs(checkpoint.sampler, record) if counted else trained * mean
    return Cost(
        what=what,
        part=part,
        run=run,
        images_trained=trained,
        images_scored=scored,
        macs=FORWARD_AND_BACKWARD * forward + scored * mean,
        counted=counted,
    )


def _drawn_macs(sampler: dict[str, Any], record: RunRecord) -> float:
    """Return the forward MACs of all paths drawn, as `CountedPaths` counts them."""
    return float(sampler["macs"]) * record.settings.batch


def mean_macs(space: SearchSpace) -> float:
    """Return the MACs that a uniformly drawn path needs for one image, on average.

    Exact for chains, where moving skips about, as the canonical form does, changes nothing; of
    other spaces the mean of `DRAWN` draws.
    """
    if type(space) is not SearchSpace:
        rng = np.random.default_rng(0)
        drawn = (space.chain(space.sample(rng)) for _ in range(DRAWN))
        return sum(map(total_macs, drawn)) / DRAWN / space.input_shape[0]
    searched = sum(float(costs.mean()) for costs in space.costs(macs))
    return (total_macs(space.before) + searched + total_macs(space.after)) / space.input_shape[0]


def write_ledger(run_dir: Path) -> None:
    """Write down what a run has cost so far, one entry for each part of the work, and the sum."""
    costs = costs_of(run_dir)
    total = {
        name: sum(getattr(cost, name) for cost in costs)
        for name in ("images_trained", "images_scored", "macs")
    }
    content = {"entries": [asdict(cost) for cost in costs], "total": total}
    write_atomically(run_dir / LEDGER, (json.dumps(content, indent=2) + "\n").encode())
