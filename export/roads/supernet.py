"""Training and searching supernets: what the command line and the demo share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import InvalidFile
from export.precision.format_drop import FormatAsked, formats_of, models_in_formats
from export.progress import TimeLeft, bar
from export.roads.generate import generated
from export.roads.images import images_of
from export.roads.retrain import refuse_final
from lut import LatencyBudget, LatencyModel
from search.greedynas.sampler import METHOD as GREEDYNAS
from search.greedynas.sampler import (
    GreedySettings,
    greedy_from_toml,
    greedy_options,
    greedy_paths,
    read_pool,
)
from search.images.data import ImageData
from search.load_supernet import load_supernet
from search.memory import MemoryAsked, MemoryLimit
from search.precisions import refusals_of, solve_formats
from search.searcher import Round
from search.sgnas.settings import METHOD as SGNAS
from search.sgnas.settings import GeneratorSettings, generator_settings
from search.solve import (
    PROPOSED,
    SEEDED,
    Limits,
    Search,
    Solution,
    Solver,
    budgets_of,
    models_of,
)
from search.space import Architecture, SearchSpace
from search.spaces import space_named
from search.supernets.evaluation import CALIBRATION_IMAGES, Evaluator, calibration_images
from search.training.loop import train
from search.training.path_samplers import PathSampler, sampler_named
from search.training.runs import EpochMetrics
from search.training.settings import TrainSettings, settings_from_toml
from search.training.trained import TrainedRun, load_run_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """Limits on one device that a supernet is trained for.

    Attributes:
        table: Of the device.
        limits_s: Seconds, one limit or more.
        confidence: How sure each must hold, in [0.5, 1).
    """

    table: Path
    limits_s: tuple[float, ...]
    confidence: float

    def budgets(self, space: SearchSpace) -> tuple[LatencyBudget, ...]:
        """Return the limits as budgets of a space, priced by the table."""
        models = models_of([self.table], space)
        limits = (Limits(limits_s=(limit_s,)) for limit_s in self.limits_s)
        return tuple(
            budget for each in limits for budget in budgets_of(models, each, self.confidence)
        )


def train_run(
    run_dir: Path,
    *,
    method: str = "uniform",
    space: str,
    source: str,
    resolution: int | None,
    settings: Path | TrainSettings | None,
    skip_corrupt: bool,
    quiet: bool,
    within: Within | None = None,
) -> tuple[TrainedRun, ImageData]:
    """Train a supernet of a named space, or take up the run that is there.

    Args:
        run_dir: Where the run is kept.
        method: How paths are drawn, see `search.training.path_samplers`.
        space: Name of the space.
        source: ``"digits"`` or a path.
        resolution: Side of the images in pixels; None for the space's published one.
        settings: Settings, a TOML file of them, or None for the defaults.
        skip_corrupt: Whether corrupt images are left out.
        quiet: Whether to show no progress.
        within: Limits that will be searched for, for a method that trains within them.
    """
    how = settings_from_toml(settings) if isinstance(settings, Path) else settings
    how = how or TrainSettings()
    own = _own_settings(method, settings)
    side = space_named(space, resolution=resolution).input_shape[2]
    data = images_of(source, resolution=side, skip_corrupt=skip_corrupt)
    supernet_space = space_named(space, resolution=side, classes=len(data.class_names))
    paths, options = _paths(method, supernet_space, data, how, own=own, within=within)
    with bar(f"training {space} on {data.name}", quiet=quiet) as update:
        loss, time_left = "", TimeLeft()

        def on_epoch(metrics: EpochMetrics) -> None:
            nonlocal loss
            loss = f", loss {metrics.loss:.3f}"

        def on_step(done: int, total: int) -> None:
            update(done, total, f"step {done}/{total}{loss}{time_left(done, total)}")

        run = train(
            supernet_space,
            data,
            how,
            run_dir,
            method=method,
            paths=paths,
            options=options,
            source=source,
            on_epoch=on_epoch,
            on_step=on_step,
        )
    return run, data


def _own_settings(
    method: str, settings: Path | TrainSettings | None
) -> GreedySettings | GeneratorSettings | None:
    """Return the settings that only a method has; None for methods without any."""
    file = settings if isinstance(settings, Path) else None
    if method == GREEDYNAS:
        return GreedySettings() if file is None else greedy_from_toml(file)
    if method == SGNAS:
        return GeneratorSettings() if file is None else generator_settings(file)
    return None


def _paths(
    method: str,
    space: SearchSpace,
    data: ImageData,
    how: TrainSettings,
    *,
    own: GreedySettings | GeneratorSettings | None,
    within: Within | None,
) -> tuple[PathSampler, dict[str, Any]]:
    """Return what draws a supernet's paths, and the options of its run.

    Args:
        method: See `train_run`.
        space: Of the supernet.
        data: What it is trained on.
        how: How it is trained.
        own: The method's own settings.
        within: Limits that will be searched for.
    """
    if isinstance(own, GreedySettings):
        budgets = () if within is None else within.budgets(space)
        sampler = greedy_paths(space, data, how, own, budgets=budgets)
        return sampler, greedy_options(own, budgets)
    if isinstance(own, GeneratorSettings):
        return sampler_named(own.paths, space), {SGNAS: {"paths": own.paths}}
    return sampler_named(method, space), {}


def search_run(
    search: Search,
    run_dir: Path,
    *,
    tables: Sequence[Path],
    limits_s: Sequence[tuple[float, ...]],
    quiet: bool,
    memory: MemoryAsked | None = None,
    formats: Sequence[FormatAsked] = (),
) -> list[Solution]:
    """Search a trained supernet under limits on one or several devices.

    Args:
        search: How.
        run_dir: The supernet.
        tables: One for each device.
        limits_s: Sets of limits, each in the order of the tables.
        quiet: Whether to show no progress.
        memory: What every answer's engine may take; None for no limit.
        formats: Other number formats of the first device: of all of them the best is the answer.

    Raises:
        InvalidFile: The method begins with the candidate pool of the run, and the run has none;
            or the run trained one network alone.
        NoFeasibleArchitecture: No network keeps a limit, in any format; raised before images are
            decoded where that can be known.
        NoGenerator: The method asks a generator, and the run has none for the table.
    """
    refuse_final(run_dir)
    run = load_supernet(run_dir)
    space = run.supernet.space
    models = models_of(tables, space, origins=search.origins)
    limits = [Limits(limits_s=each) for each in limits_s]
    bound = None if memory is None else memory.limit(space)
    priced = models_in_formats(formats, search, space, tables=tables, models=models)
    refusals_of(  # before images are decoded
        priced, limits, space=space, confidence=search.confidence, memory=bound
    )
    data = load_run_data(run.record)
    every = formats_of(formats, priced, run, data, seed=search.seed, quiet=quiet)
    evaluator = Evaluator(
        run.supernet, data.validation, calibration=calibration_images(data.training)
    )
    with bar(f"searching {space.name}", quiet=quiet) as update:
        seeds = _seeds(search, run_dir, models, limits, evaluator, bound)
        on_round = _shown(update, search.rounds, limits=len(limits), formats=len(every))

        solver = Solver(
            search=search,
            space=space,
            accuracy=evaluator.scores,
            accuracy_from=(
                f"{run.weights_from}, batch norm recalibrated on {CALIBRATION_IMAGES} training "
                f"images, {len(data.validation)} validation images, ranked by their loss"
            ),
            seeds=seeds,
            on_round=on_round,
            memory=bound,
        )
        return solve_formats(every, limits, solver)


def _seeds(
    search: Search,
    run_dir: Path,
    models: Sequence[LatencyModel],
    limits: Sequence[Limits],
    evaluator: Evaluator,
    memory: MemoryLimit | None,
) -> tuple[Architecture, ...]:
    """Return what a method begins with: what its run left for it; nothing for the others."""
    if search.method in PROPOSED:
        return generated(
            search,
            run_dir,
            models=models,
            limits=limits,
            accuracy=evaluator.scores,
            memory=memory,
        )
    return _pooled(run_dir) if search.method in SEEDED else ()


def _shown(
    update: Callable[[float, float, str], None], rounds: int, *, limits: int, formats: int
) -> Callable[[int, Round], None]:
    """Return what shows each round of a search that goes through all limits in every format."""
    done = 0

    def on_round(number: int, summary: Round) -> None:
        nonlocal done
        done += 1
        best = "" if summary.best is None else f", best {summary.best.accuracy:.1%}"
        update(done, limits * formats * rounds, f"limit {number + 1}{best}")

    return on_round


def _pooled(run_dir: Path) -> tuple[Architecture, ...]:
    """Return the paths in a run's candidate pool, the best first; one or more."""
    paths = tuple(path for path, _ in read_pool(run_dir).entries)
    if not paths:
        raise InvalidFile(
            f"the run in {run_dir} stopped in its warm-up, before its pool held a path: go on "
            "training, with the same command, or search it with nsga2"
        )
    return paths
