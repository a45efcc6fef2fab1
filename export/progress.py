"""Progress for people, on standard error, drawn only between measurements.

A bar that redraws itself from a thread would be other load on the machine that is measured, so
these draw when they are called, and at most once a second.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

import lut

REDRAW_S = 1.0


@contextmanager
def bar(title: str, *, quiet: bool) -> Iterator[Callable[[float, float, str], None]]:
    """Show a bar; yields ``update(done, total, note)``. Nothing is shown where ``quiet``."""
    title_column, note_column = (
        TextColumn(text, markup=False)  # titles name paths, which may hold [brackets]
        for text in ("{task.description}", "{task.fields[note]}")
    )
    columns = (title_column, BarColumn(), note_column)
    progress = Progress(*columns, console=Console(stderr=True), auto_refresh=False, disable=quiet)
    task = progress.add_task(title, total=None, note="")
    drawn_s = 0.0

    def update(done: float, total: float, note: str) -> None:
        nonlocal drawn_s
        progress.update(task, completed=done, total=total, note=note)
        if monotonic() - drawn_s >= REDRAW_S or done >= total:
            drawn_s = monotonic()
            progress.refresh()

    with progress:
        yield update


def announce(text: str, *, quiet: bool) -> None:
    """Say something before a long job begins, on standard error; nothing where ``quiet``."""
    Console(stderr=True, quiet=quiet, highlight=False, markup=False).print(text)


class TimeLeft:
    """How long the rest of a job will take, by its speed since this was first called."""

    def __init__(self) -> None:
        self._begun: tuple[float, float] | None = None

    def __call__(self, done: float, total: float) -> str:
        """Return words to add to a note; none as long as nothing is known."""
        now_s = monotonic()
        self._begun = self._begun or (done, now_s)
        done_before, begun_s = self._begun
        if done <= done_before:
            return ""
        return f", {(total - done) * (now_s - begun_s) / (done - done_before):.0f} s left"


@contextmanager
def measuring(title: str, *, quiet: bool) -> Iterator[Callable[[lut.Progress], None]]:
    """Show the progress of a campaign, with the time that is left."""
    with bar(title, quiet=quiet) as update:

        def on_progress(progress: lut.Progress) -> None:
            left = progress.remaining_s
            note = f"{progress.done}/{progress.total}"
            note += "" if left is None else f", {left:.0f} s left"
            note += f", {progress.redone} redone" if progress.redone else ""
            update(progress.done, progress.total, note)

        yield on_progress


@contextmanager
def counting(title: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show how many of a few things are done."""
    with bar(title, quiet=quiet) as update:
        update(0, total, f"0/{total}")
        yield lambda done: update(done, max(done, total), f"{done}/{max(done, total)}")
