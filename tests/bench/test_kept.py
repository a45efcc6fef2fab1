"""What tables cost a bench, over all the runs that they took."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.kept import profiled_at_cost
from devices import device_named
from lut import Effort, Progress
from search.spaces import space_named


def cost(path: Path) -> dict[str, float]:
    space = space_named("macro", resolution=32)
    return profiled_at_cost(path, space, device_named("sim"), effort=Effort())[1]


def profiling(*steps: Progress, killed: bool = False) -> Callable[..., Any]:
    """Return what takes these steps in place of `profile_space`."""

    def take(path: Path, *_: object, on_progress: Callable[[Progress], None], **__: object) -> Any:
        path.touch()
        for step in steps:
            on_progress(step)
        if killed:
            raise KeyboardInterrupt
        return None, steps[-1]

    return take


def test_what_a_killed_run_took_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "load-0.5.lut"
    first = (Progress(total=3), Progress(total=3, device_s=2.0, redone=1))
    monkeypatch.setattr("bench.kept.profile_space", profiling(*first, killed=True))
    with pytest.raises(KeyboardInterrupt):
        cost(path)
    monkeypatch.setattr("bench.kept.profile_space", profiling(Progress(total=1, device_s=3.0)))
    assert cost(path) == {"device_s": 5.0, "redone": 1}
    monkeypatch.setattr("bench.kept.profile_space", profiling(Progress(total=0)))
    assert cost(path) == {"device_s": 5.0, "redone": 1}  # nothing was left to do


def test_what_nobody_counted_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.lut").touch()
    monkeypatch.setattr("bench.kept.profile_space", profiling(Progress(total=0)))
    assert all(math.isnan(each) for each in cost(tmp_path / "t.lut").values())
