"""A search over networks that others trained: seconds instead of days, and it can be judged."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import InvalidFile, UnknownName
from export.progress import bar
from lut import LatencyModel
from lut.on_paper.estimates import any_table
from lut.table import Origin
from search.answers import Answer
from search.memory import MemoryAsked
from search.pricing.tables import space_of
from search.searcher import Round
from search.solve import SEEDED, Limits, Search, Solution, models_of, solve
from search.space import SearchSpace
from search.truths.nasbench201 import NasBench201, read_latencies, read_nas_bench_201
from search.truths.nats_files import is_nats_bench, read_nats_bench
from search.truths.truth import Truth, read_nas_bench_macro

SPACES = ("macro", "nasbench201")
"""Spaces whose networks were all trained by others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a search found, and what is true of it.

    Attributes:
        solution: What was found.
        accuracy: True top-1 in [0, 1]: of training runs that the search did not see.
        protocol: What that is, for people.
    """

    solution: Solution
    accuracy: float
    protocol: str

    @property
    def answer(self) -> Answer:
        """What was found alone, as a file holds it."""
        return self.solution.answer

    @property
    def note(self) -> str:
        """What people should know of it."""
        said = f"{self.answer.arch}: {self.accuracy:.2%} {self.protocol}"
        return "; ".join(filter(None, (said, self.solution.note)))

    def as_json(self) -> dict[str, Any]:
        """Return plain data, the truth beside the answer."""
        return {**self.answer.as_json(), "judged": self.accuracy}


def search_truth(
    search: Search,
    path: Path,
    *,
    space: str,
    dataset: str | None,
    tables: Sequence[Path],
    latency: str | None,
    limits_s: Sequence[tuple[float, ...]],
    quiet: bool,
    memory: MemoryAsked | None = None,
) -> list[Judged]:
    """Search a table of true accuracies under limits on one or several devices.

    Args:
        search: How.
        path: The table of accuracies, or NATS-Bench's folder of them.
        space: Whose networks it holds, one of `SPACES`.
        dataset: Which accuracies of NAS-Bench-201; None for CIFAR-10.
        tables: Latency tables, one for each device, or again ``FILE:COLUMN``.
        latency: Published latencies, ``FILE:COLUMN``, a device before the others; or None.
        limits_s: Sets of limits, each in the order of the devices.
        quiet: Whether to show no progress.
        memory: What every answer's engine may take; None for no limit.

    Raises:
        InvalidFile: A file is missing or something else, the method needs a trained run, or a
            latency table is of another space.
        UnknownName: There is no such space, data set or column.
    """
    if search.method in SEEDED:
        raise InvalidFile(
            f"{search.method} begins with what a trained run holds, and --truth has no run: "
            "use evolution, nsga2 or random"
        )
    truth, bench = read_truth(path, space, dataset, quiet=quiet)
    where, models = _priced(latency, tables, truth.space, bench, origins=search.origins)
    total = len(limits_s) * search.rounds
    with bar(f"searching {where.name}", quiet=quiet) as update:

        def on_round(number: int, summary: Round) -> None:
            best = "" if summary.best is None else f", best {summary.best.accuracy:.1%}"
            update(number * search.rounds + summary.number, total, f"limit {number + 1}{best}")

        solutions = solve(
            search,
            space=where,
            models=models,
            limits=[Limits(limits_s=each) for each in limits_s],
            accuracy=truth.evaluator(),
            accuracy_from=f"published: {truth.protocol[0]}",
            on_round=on_round,
            memory=None if memory is None else memory.limit(where),
        )
    return _judged(solutions, truth)


def read_truth(
    path: Path, space: str, dataset: str | None = None, *, quiet: bool = True
) -> tuple[Truth, NasBench201 | None]:
    """Read the true accuracies of a space, and of NAS-Bench-201 the whole benchmark, too.

    Args:
        path: The file; of NAS-Bench-201 a CSV, or what NATS-Bench's package reads.
        space: One of `SPACES`.
        dataset: Which accuracies of NAS-Bench-201; None for CIFAR-10.
        quiet: Whether to show no progress.

    Raises:
        UnknownName: Nobody published a table of that space.
        InvalidFile: The file is something else, or the space has no other accuracies.
    """
    if space not in SPACES:
        raise UnknownName("space with true accuracies", space, SPACES)
    if space == "nasbench201":
        bench = _nats_bench(path, quiet) if is_nats_bench(path) else read_nas_bench_201(path)
        return bench.truth() if dataset is None else bench.truth(dataset), bench
    if dataset is not None:
        raise InvalidFile(f"--dataset {dataset}: space {space!r} was trained on CIFAR-10 alone")
    return read_nas_bench_macro(path), None


def _judged(solutions: Sequence[Solution], truth: Truth) -> list[Judged]:
    """Return answers, each with what is true of it."""
    archs = [solution.answer.arch for solution in solutions]
    return [
        Judged(solution=solution, accuracy=accuracy, protocol=truth.protocol[1])
        for solution, accuracy in zip(solutions, truth.judge(archs), strict=True)
    ]


def _priced(
    latency: str | None,
    tables: Sequence[Path],
    space: SearchSpace,
    bench: NasBench201 | None,
    *,
    origins: Sequence[Origin],
) -> tuple[SearchSpace, list[LatencyModel]]:
    """Return the space as measured tables price it, and a model for each device.

    Args:
        latency: Published latencies, of a device before the others; or None.
        tables: Latency tables, or again ``FILE:COLUMN``.
        space: Whose true accuracies are searched; it stays where no table was measured.
        bench: The benchmark that columns are of; None for a space without any.
        origins: What tables may hold instead of measurements.
    """
    first = [_published(latency, bench)] if latency is not None else []
    models = {table: _published(str(table), bench) for table in tables if _is_column(table, bench)}
    measured = [table for table in tables if table not in models]
    if measured:
        space = space_of(any_table(measured[0]), space.name)  # its networks are the truth's
        models |= zip(measured, models_of(measured, space, origins=origins), strict=True)
    return space, [*first, *(models[table] for table in tables)]


def _nats_bench(path: Path, quiet: bool) -> NasBench201:
    with ExitStack() as shown:  # no bar where there is nothing to read
        update: Callable[[float, float, str], None] | None = None

        def on_cell(done: int, total: int) -> None:
            nonlocal update
            update = update or shown.enter_context(bar("reading NATS-Bench", quiet=quiet))
            update(done, total, f"{done}/{total} cells")

        return read_nats_bench(path, on_cell=on_cell)


def _is_column(table: Path, bench: NasBench201 | None) -> bool:
    """Return whether a table is a column of published latencies, ``FILE:COLUMN``."""
    return bench is not None and ":" in table.name and not table.exists()


def _published(text: str, bench: NasBench201 | None) -> LatencyModel:
    """Read ``FILE:COLUMN`` as the model of a device."""
    file, _, column = text.rpartition(":")
    if bench is None or not file:
        raise InvalidFile(
            f"--latency {text}: write FILE:COLUMN, latencies of NAS-Bench-201 by its index; for "
            "other spaces give a table: --table T.lut"
        )
    return read_latencies(Path(file), column, bench)
