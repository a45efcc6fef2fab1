"""The whole road, small and real: profile, train, search, export, verify, on one device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from devices import DeviceSpec
from export.figures.plots import plot_agreement, plot_pareto
from export.progress import counting, measuring
from export.roads.ship import export_run
from export.roads.supernet import search_run, train_run
from export.verdicts.certify import processes_of
from export.verdicts.verdict import Verdict
from export.verdicts.verify import Plan, verify
from lut import (
    Effort,
    LatencyModel,
    LatencyTable,
    calibration_networks,
    latency_model,
)
from lut.model import COVERAGE
from search.answers import write_answers
from search.exact import feasible_range
from search.pricing.tables import profile_space
from search.searcher import Candidate
from search.solve import Search, Solution
from search.training.settings import TrainSettings
from search.training.trained import TrainedRun

SPACE, DATA, RESOLUTION = "macro", "digits", 16
"""The smallest real thing: handwritten digits come with scikit-learn and need no download."""

BUDGETS = {"tight": 0.15, "middle": 0.5, "loose": 0.9}
"""Where the budgets lie between the fastest and the slowest network of the space."""

SETTINGS = TrainSettings(epochs=18, augment=False)
"""A minute of training; augmentation does not pay in so few epochs."""

SEARCH = Search(rounds=4, population=12)
"""A twentieth of a real search, to end in half a minute; the space has 3,969 distinct networks."""

PLAN = Plan(rounds=5)
"""Fewer slices than usual; the demo has five minutes for everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRow:
    """One budget and what became of it.

    Attributes:
        name: ``tight``, ``middle`` or ``loose``.
        arch: The network.
        limit_s: The budget, in seconds.
        predicted_s: By the table.
        interval_s: Where 90 % of networks with this prediction should measure.
        verdict: Of fresh processes.
        test_accuracy: Top-1 in [0, 1] on images that nothing was chosen by.
    """

    name: str
    arch: str
    limit_s: float
    predicted_s: float
    interval_s: tuple[float, float]
    verdict: Verdict
    test_accuracy: float

    @property
    def met(self) -> bool:
        """Whether the budget is kept beyond doubt."""
        return self.verdict.met

    def as_json(self) -> dict[str, Any]:
        """Return plain data; latencies in milliseconds."""
        return {
            "name": self.name,
            "arch": self.arch,
            "limit_ms": self.limit_s * 1e3,
            "predicted_ms": self.predicted_s * 1e3,
            "interval_ms": [end * 1e3 for end in self.interval_s],
            "measured_ms": self.verdict.measured_s * 1e3,
            "verdict": self.verdict.verdict,
            "met": self.met,
            "status": self.verdict.status,
            "test_accuracy": self.test_accuracy,
        }


def run_demo(
    folder: Path,
    device: DeviceSpec,
    *,
    quiet: bool,
    effort: Effort | None = None,
    settings: TrainSettings | None = None,
    search: Search = SEARCH,
    plan: Plan | None = None,
) -> list[DemoRow]:
    """Go the whole road and leave everything in a folder; taken up again where it was cut off.

    Args:
        folder: For the table, the run, the deployments and the plots.
        device: Where to measure.
        quiet: Whether to show no progress.
        effort: Of profiling; None for the usual.
        settings: Of training; None for the usual.
        search: How to search.
        plan: Of verifying; None for the usual.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run, _ = train_run(
        folder / "run",
        space=SPACE,
        source=DATA,
        resolution=RESOLUTION,
        settings=settings or SETTINGS,
        skip_corrupt=False,
        quiet=quiet,
    )
    space = run.supernet.space
    path = folder / f"{device.name}.lut"
    with measuring(f"profiling {device.name}", quiet=quiet) as on_progress:
        table, _ = profile_space(
            path, space, device, effort=effort or Effort(), on_progress=on_progress
        )
    model = latency_model(table, space)
    limits_s = limits_of(model, confidence=search.confidence)
    solutions = search_run(
        search, folder / "run", tables=[path], limits_s=[(each,) for each in limits_s], quiet=quiet
    )
    write_answers(folder / "architectures.json", [solution.answer for solution in solutions])
    rows = [
        _ship(folder, name, solution, device, plan or PLAN, quiet=quiet)
        for name, solution in zip(BUDGETS, solutions, strict=True)
    ]
    _plot(folder, table, model, run, solutions, rows)
    return rows


def limits_of(model: LatencyModel, *, confidence: float) -> list[float]:
    """Return a tight, a middle and a loose limit, in seconds, that the space can keep.

    Each is the latency at a share of the space's range, plus the margin that the confidence takes.
    """
    reach = feasible_range(model)
    low_s, high_s = reach.fastest.latency_s, reach.slowest.latency_s
    margin = max(1.0, model.band.upper(confidence))
    return [margin * (low_s + share * (high_s - low_s)) for share in BUDGETS.values()]


def _ship(
    folder: Path, name: str, solution: Solution, device: DeviceSpec, plan: Plan, *, quiet: bool
) -> DemoRow:
    """Export one answer and verify it."""
    answer = solution.answer
    exported = export_run(answer, folder / name, run_dir=folder / "run", device=device)
    total = processes_of(plan)
    with counting(f"verifying the {name} budget", total, quiet=quiet) as on_process:
        verdict = verify(folder / name, device, plan=plan, on_process=on_process)
    return DemoRow(
        name=name,
        arch=str(answer.arch),
        limit_s=answer.limits_s[0],
        predicted_s=answer.predicted_s[0],
        interval_s=answer.interval_s[0],
        verdict=verdict,
        test_accuracy=exported.test_accuracy,
    )


def _plot(
    folder: Path,
    table: LatencyTable,
    model: LatencyModel,
    run: TrainedRun,
    solutions: Sequence[Solution],
    rows: Sequence[DemoRow],
) -> None:
    _, measured_s = calibration_networks(table, run.supernet.space)
    plot_agreement(
        folder / "agreement.png",
        calibration=(measured_s / np.array(model.band.ratios), measured_s),
        verified=(
            np.array([row.predicted_s for row in rows]),
            np.array([row.verdict.measured_s for row in rows]),
        ),
        band=model.band.around(COVERAGE),
        device=model.device,
    )
    evaluated: dict[str, Candidate] = {
        str(candidate.arch): candidate
        for solution in solutions
        for candidate in solution.result.candidates
    }
    plot_pareto(
        folder / "pareto.png",
        candidates=list(evaluated.values()),
        chosen=[solution.answer.chosen for solution in solutions],
        limits_s=[row.limit_s for row in rows],
        device=model.device,
    )


def demo_view(folder: Path, rows: Sequence[DemoRow]) -> RenderableType:
    """Show the promises of a demo and what became of them."""
    view = Table(
        "budget, ms", "predicted, ms", "measured, ms", "verdict", "test accuracy", "network",
        box=None,
    )  # fmt: skip
    for row in rows:
        low, high = (end * 1e3 for end in row.interval_s)
        view.add_row(
            f"{row.limit_s * 1e3:.3g}",
            f"{row.predicted_s * 1e3:.3g} ({low:.3g} to {high:.3g})",
            f"{row.verdict.measured_s * 1e3:.3g}",
            row.verdict.verdict,
            f"{row.test_accuracy:.1%}",
            row.arch,
        )
    return Group(view, f"Models, table, run and plots are in {folder}.")
