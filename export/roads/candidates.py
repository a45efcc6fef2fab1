"""Searches that train their candidates: what ``latkit search econas`` does and shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType

from export.figures.answers_views import answers_view
from export.progress import TimeLeft, bar
from export.roads.images import check_classes, images_of
from export.roads.retrain import final_command
from lut import load_table
from search.econas.hierarchy import econas_settings
from search.econas.on_data import ProxySearch, Spent, solve_by_training
from search.memory import MemoryAsked
from search.pricing.tables import space_of
from search.proxies.training import Stage
from search.searcher import Round, Trial
from search.solve import Limits, Solution, budgets_of, check_limits, models_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a search without a supernet is asked to do.

    Attributes:
        method: One of `search.econas.hierarchy.PROXY_METHODS`.
        space: Name of the space; empty where the tables are of one.
        source: ``"digits"`` or a path.
        tables: One for each device.
        limits_s: Sets of limits, each in the order of the tables.
        confidence: How sure each limit must hold.
        settings: A TOML file; None for the small preset.
        seed: Of the search.
        workers: Processes that train at once.
        memory: What every answer's engine may take; None for no limit.
    """

    method: str
    space: str
    source: str
    tables: tuple[Path, ...]
    limits_s: tuple[tuple[float, ...], ...]
    confidence: float
    settings: Path | None
    seed: int
    workers: int
    memory: MemoryAsked | None = None


def search_by_training(ask: Ask, work: Path, *, quiet: bool) -> tuple[list[Solution], Spent]:
    """Search by training candidates, or go on where a search in ``work`` was stopped.

    Args:
        ask: What to do.
        work: Where the runs of the candidates are kept.
        quiet: Whether to show no progress.

    Raises:
        InvalidData: The images have other classes than the space.
        NoFeasibleArchitecture: No network keeps a limit; raised before images are decoded.
        LatkitError: What `search.econas.on_data.solve_by_training` raises.
    """
    sizes, training = econas_settings(ask.settings)
    search = ProxySearch(
        method=ask.method,
        settings=sizes,
        training=training,
        confidence=ask.confidence,
        seed=ask.seed,
        workers=ask.workers,
    )
    space = space_of(load_table(ask.tables[0]), ask.space or None)
    models = models_of(ask.tables, space)
    proxy = search.sizes.proxy
    bound = None if ask.memory is None else ask.memory.limit(space)
    limits = [Limits(limits_s=each) for each in ask.limits_s]
    proxy.check_space(space)  # complain before images are decoded
    check_limits(space, [budgets_of(models, each, ask.confidence) for each in limits], bound)
    data = images_of(ask.source, resolution=proxy.side(space.input_shape[2]), skip_corrupt=False)
    check_classes(
        data,
        space.classes,
        whose="the tables price networks of",
        cure=f"profile the space with --classes {len(data.class_names)}",
    )
    total = len(ask.limits_s) * search.sizes.total_epochs
    with bar(f"searching {space.name}", quiet=quiet) as update:
        epochs, best, time_left = 0, "", TimeLeft()

        def on_stage(trial: Trial, stage: Stage) -> None:
            nonlocal epochs
            epochs += stage.epochs - (
                search.sizes.epochs[trial.effort - 2] if trial.effort > 1 else 0
            )
            note = f"{epochs} of at most {total} epochs{best}{time_left(epochs, total)}"
            update(epochs, total, note)

        def on_round(number: int, summary: Round) -> None:
            nonlocal best
            if summary.best is not None:
                best = f", limit {number + 1} best {summary.best.accuracy:.1%}"

        return solve_by_training(
            search,
            space=space,
            data=data,
            models=models,
            limits=limits,
            work=work,
            on_stage=on_stage,
            on_round=on_round,
            memory=bound,
        )


def candidates_view(
    solutions: Sequence[Solution], spent: Spent, *, output: Path, source: str
) -> RenderableType:
    """Show what a search found, what it cost, and what to do next."""
    answers, notes = zip(*((each.answer, each.note) for each in solutions), strict=True)
    return Group(
        answers_view(answers, notes=notes),
        f"Trained {spent.networks} networks, {spent.epochs} epochs of the proxy, "
        f"{spent.train_s:.0f} s of training.",
        f"Next: {final_command(output, source)}",
    )
