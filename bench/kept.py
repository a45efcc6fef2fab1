"""Where a bench keeps its tables, and what they cost."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from devices import DeviceSpec
from devices.files import write_atomically
from lut import Effort, LatencyTable, Progress
from search.pricing.tables import profile_space
from search.space import SearchSpace

COST = ".cost.json"
"""Ending of the file beside a table that says what all runs for it took together."""


@contextmanager
def kept_in(path: Path | None) -> Iterator[Path]:
    """Yield where tables are kept: a given folder, or one that is removed in the end."""
    if path is None:
        with TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    path.mkdir(parents=True, exist_ok=True)
    yield path


def profiled_at_cost(
    path: Path, space: SearchSpace, device: DeviceSpec, *, effort: Effort
) -> tuple[LatencyTable, dict[str, float]]:
    """Profile a space, and count what it took: ``device_s``, and slices that were ``redone``.

    What is kept of runs that were cut off counts, too. Of a table that nobody counted for, both are
    not a number.
    """
    beside = path.with_suffix(COST)
    nothing = math.nan if path.exists() else 0
    before = {"device_s": nothing, "redone": nothing}
    if beside.exists():
        before = json.loads(beside.read_text())
    cost = dict(before)

    def keep(progress: Progress) -> None:
        spent = {"device_s": progress.device_s, "redone": progress.redone}
        now = {name: before[name] + spent[name] for name in before}
        if now != cost:
            cost.update(now)
            write_atomically(beside, json.dumps(cost).encode())

    write_atomically(beside, json.dumps(before).encode())
    table, _ = profile_space(path, space, device, effort=effort, on_progress=keep)
    return table, cost
