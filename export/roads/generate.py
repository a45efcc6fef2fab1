"""Generators for the command line: training one beside a supernet, and asking it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from devices import InvalidFile
from export.progress import TimeLeft, bar
from export.roads.retrain import refuse_final
from lut import LatencyBudget, LatencyModel, load_table
from search.exact import check_feasible, feasible_range
from search.load_supernet import load_supernet
from search.memory import MemoryLimit
from search.score import Scoring
from search.searcher import run_search
from search.sgnas.gaps import GapFilling
from search.sgnas.gates import gates_of
from search.sgnas.generators import generator_files, load_generator, train_generator
from search.sgnas.network import TrainedGenerator
from search.sgnas.objectives import CrossEntropy
from search.sgnas.proposing import opinion_of, propose
from search.sgnas.settings import METHOD, GeneratorSettings, generator_settings
from search.sgnas.training import GeneratorMetrics
from search.solve import Limits, Search, budgets_of, models_of
from search.space import Architecture
from search.training.runs import (
    CHECKPOINT,
    FEW_SHOT,
    SETTINGS,
    copy_run,
    read_checkpoint,
    read_record,
    same_weights,
)
from search.training.trained import TrainedRun, load_run_data
from search.training.workers import leads, this_worker

FEWEST = 2
"""Networks that are evaluated for each limit, where there are more limits than asked for."""

GAP_SHARE = 0.7
"""Share of the networks that are evaluated between answers: as much as `bench/sgnas.py` gives."""

TIGHTER = 16
"""Tighter budgets that are answered too where limits on several devices must hold at once."""


def adopt_supernet(source: Path, run_dir: Path) -> None:
    """Copy a trained supernet into a run of its own; nothing where it is there already.

    One that was trained on since is copied anew, unless a generator was trained for what is there.

    Raises:
        InvalidFile: There is no supernet in ``source``, or another one in ``run_dir``; or one in
            ``run_dir`` that has a generator, and was trained on in ``source`` since.
    """
    refuse_final(source)
    if source.resolve() == run_dir.resolve():
        return
    if read_record(source).method in FEW_SHOT:
        raise InvalidFile(
            f"the generator of a few-shot run is kept beside its children: -o {source}, too"
        )
    trained_to = read_checkpoint(source).epoch
    if (run_dir / SETTINGS).exists():
        _refuse_another(source, run_dir, trained_to=trained_to)
    copy_run(source, run_dir)


def _refuse_another(source: Path, run_dir: Path, *, trained_to: int) -> None:
    """Refuse to replace a supernet, but by itself trained on, and under no generator."""
    equal = read_record(run_dir) == read_record(source)
    if equal and (not (run_dir / CHECKPOINT).exists() or same_weights(source, run_dir)):
        return
    known = read_checkpoint(run_dir).epoch if equal else 0
    if not equal or known >= trained_to:
        raise InvalidFile(
            f"{run_dir} holds another supernet than {source}: name a new directory, or "
            f"--from {run_dir}"
        )
    if generator_files(run_dir):
        raise InvalidFile(
            f"{run_dir} has a generator for the supernet of {source} at epoch {known}, which was "
            f"trained on to epoch {trained_to} since: name a new directory, or keep the older one, "
            f"--from {run_dir}"
        )


def train_generator_of(
    run_dir: Path, *, table: Path, settings: GeneratorSettings | Path | None, quiet: bool
) -> tuple[TrainedRun, TrainedGenerator]:
    """Train the generator of a run for a table, or go on where it stopped.

    Args:
        run_dir: The supernet; the generator is kept beside it.
        table: Of the device to generate for.
        settings: Settings, a TOML file with a table ``[sgnas]``, or None for the defaults.
        quiet: Whether to show no progress.

    Raises:
        LatkitError: What `search.sgnas.generators.train_generator` and `models_of` raise.
    """
    how = generator_settings(settings) if isinstance(settings, Path) else settings
    how = how or GeneratorSettings()
    run = load_supernet(run_dir)
    space, data = run.supernet.space, load_run_data(run.record)
    (model,) = models_of([table], space)
    device = this_worker(run.record.settings).device
    gates = gates_of(space, model)
    objective = CrossEntropy(run.supernet.to(device), gates, data.validation, batch=how.batch)
    with bar(f"generator for {model.device}", quiet=quiet) as update:
        time_left = TimeLeft()

        def on_epoch(metrics: GeneratorMetrics) -> None:
            note = f"epoch {metrics.epoch}/{how.epochs}, loss {metrics.loss:.3f}"
            note += f", {metrics.miss:.1%} off target{time_left(metrics.epoch, how.epochs)}"
            update(metrics.epoch, how.epochs, note)

        generator = train_generator(
            space, model, objective, how, run_dir=run_dir, device=device, on_epoch=on_epoch
        )
    run.supernet.cpu()
    return run, generator


def generated(
    search: Search,
    run_dir: Path,
    *,
    models: Sequence[LatencyModel],
    limits: Sequence[Limits],
    accuracy: Scoring,
    memory: MemoryLimit | None = None,
) -> tuple[Architecture, ...]:
    """Return what a run's generator proposes for all limits together: what is worth evaluating.

    It is asked once, about all limits of the first device; see `search.sgnas.proposing.propose`.
    Where there are several limits, what it proposes is evaluated and followed by what lies between
    the answers, see `search.sgnas.gaps`. Where limits on other devices or on memory hold, too, of
    which it knows nothing, the generator is asked about tighter ones instead.

    Args:
        search: Its ``population`` says how many networks are evaluated in all; where that is fewer
            than `FEWEST` a limit, so many.
        run_dir: The supernet and its generators.
        models: One for each device; the generator is that of the first.
        limits: Sets of limits.
        accuracy: Judges architectures; those that were evaluated before cost nothing.
        memory: What every answer keeps beside its limits; None for no limit.

    Raises:
        NoGenerator: The run holds no generator for the table.
        NoFeasibleArchitecture: A limit is below the minimum, which it names.
    """
    space = load_supernet(run_dir).supernet.space
    every = [budgets_of(models, each, search.confidence) for each in limits]
    for each in every:
        check_feasible(space, each)
    generator = load_generator(run_dir, space=space, model=models[0])
    # from the tightest on, so that answers do not depend on how limits are ordered
    budgets = sorted((each[0] for each in every), key=lambda budget: budget.allowed_s)
    loosest = budgets[-1]
    fastest: list[Architecture] = []
    alone = len(models) == 1 and memory is None
    if not alone:  # what another limit allows may be faster here than any limit asks
        budgets += _tighter(loosest)
        fastest = [space.canonical(feasible_range(model).fastest.arch) for model in models]
    if memory is not None:
        fastest.append(space.canonical(Architecture(memory.budget.model.smallest)))
    most = max(search.population, FEWEST * len(budgets))
    between = round(GAP_SHARE * most) if alone and len(limits) > 1 else 0
    rng = np.random.default_rng(search.seed)
    proposed = propose(generator, budgets, space=space, most=most - between, rng=rng)
    if not between:
        return tuple(dict.fromkeys([*proposed, *fastest]))
    filler = GapFilling(
        space=space,
        budgets=budgets,
        archs=proposed,
        opinion=partial(opinion_of, generator, model=models[0]),
        most=most,
        rng=rng,
    )
    found = run_search(filler, space=space, budgets=[loosest], accuracy=accuracy, rounds=most)
    return tuple(each.arch for each in found.judged)


def _tighter(budget: LatencyBudget) -> list[LatencyBudget]:
    """Return budgets from the least that can be kept up to this one."""
    margin = budget.target.limit_s / budget.allowed_s
    least_s = feasible_range(budget.model).fastest.latency_s * margin * (1 + 1e-9)
    limits_s = np.linspace(least_s, budget.target.limit_s, TIGHTER, endpoint=False).tolist()
    return [replace(budget, target=replace(budget.target, limit_s=limit_s)) for limit_s in limits_s]


def train_sgnas(
    run_dir: Path,
    *,
    source: Path | None,
    table: Path,
    settings: Path | None,
    quiet: bool,
    train_supernet: Callable[[], object],
) -> tuple[TrainedRun, TrainedGenerator] | None:
    """Train a supernet, or take one that is there, and the generator of a table over it.

    Under ``torchrun`` all processes train the supernet, and the first alone the generator.

    Args:
        run_dir: Where both are kept.
        source: A run whose supernet is taken; None trains one.
        table: Of the device to generate for; read first, so that a wrong one costs no training.
        settings: A TOML file, or None for the defaults.
        quiet: Whether to show no progress.
        train_supernet: Trains into ``run_dir``, or goes on there.

    Returns:
        Both; None in all processes but the first.

    Raises:
        LatkitError: What `adopt_supernet` and `train_generator_of` raise.
    """
    load_table(table)
    if source is None:
        train_supernet()
    if not leads():
        return None
    if source is not None:
        adopt_supernet(source, run_dir)
    return train_generator_of(run_dir, table=table, settings=settings, quiet=quiet)


def generator_facts(run: TrainedRun, generator: TrainedGenerator, run_dir: Path) -> dict[str, Any]:
    """Return what is known of a generator, for people and machines."""
    latency = generator.latency
    return {
        "run": str(run_dir),
        "space": run.record.space,
        "method": METHOD,
        "supernet": run.record.method,
        "epochs": run.epoch,
        "generator_epochs": generator.epoch,
        "table_hash": generator.table_hash,
        "range_ms": [latency.low_s * 1e3, latency.high_s * 1e3],
    }
