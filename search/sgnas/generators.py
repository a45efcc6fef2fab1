"""Generators beside a supernet: trained, kept for each table, and loaded again.

A run directory holds one file for each table that a generator was trained for. It is replaced as a
whole after every epoch, so training goes on where it was cut off.
"""

import io
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from devices import InvalidFile, LatkitError
from devices.files import write_atomically
from lut import LatencyModel
from search.sgnas.network import TrainedGenerator
from search.sgnas.objectives import Objective
from search.sgnas.settings import METHOD, GeneratorSettings
from search.sgnas.training import GeneratorMetrics, GeneratorTraining
from search.space import SearchSpace
from search.training.runs import UNREADABLE
from search.training.settings import changed


class NoGenerator(LatkitError):
    """A run holds no generator for a table."""


OnGeneratorEpoch = Callable[[GeneratorMetrics], None]


def train_generator(
    space: SearchSpace,
    model: LatencyModel,
    objective: Objective,
    settings: GeneratorSettings,
    *,
    run_dir: Path | None = None,
    device: torch.device | None = None,
    on_epoch: OnGeneratorEpoch | None = None,
) -> TrainedGenerator:
    """Train a generator for one device, or go on where an earlier call was cut off.

    Args:
        space: What it generates.
        model: Prices it; its range is that of the targets.
        objective: What is made small beside the distance to the target.
        settings: How.
        run_dir: Where it is kept, beside those for other tables; None keeps nothing.
        device: Where it computes; None for the CPU.
        on_epoch: Called after every epoch that was trained here.

    Raises:
        InvalidFile: The generator there is damaged, or was trained by other settings.
        TrainingDiverged: A loss is no number.
    """
    state = GeneratorTraining(space, model, objective, settings, device=device)
    kept = None if run_dir is None else generator_file(run_dir, model.table_hash)
    if kept is not None and kept.exists():
        known = _read(kept)
        _refuse_others(kept, known, settings)
        state.restore(known["state"])
    while state.epoch < settings.epochs:
        metrics = state.run_epoch()
        if kept is not None:
            _write(kept, state, model, settings)
        if on_epoch is not None:
            on_epoch(metrics)
    return state.trained()


def generator_file(run_dir: Path, table_hash: str) -> Path:
    """Return where a run keeps its generator for a table."""
    return run_dir / f"generator-{table_hash[:12]}.pt"


def generator_files(run_dir: Path) -> list[Path]:
    """Return the generators that a run keeps, whatever tables they were trained for."""
    return sorted(run_dir.glob("generator-*.pt"))


def load_generator(run_dir: Path, *, space: SearchSpace, model: LatencyModel) -> TrainedGenerator:
    """Load a run's generator for a table.

    Args:
        run_dir: Of the supernet.
        space: Its space.
        model: Made from the table.

    Raises:
        NoGenerator: There is none for this table; names those there are, and what trains one.
        InvalidFile: It is damaged.
    """
    path = generator_file(run_dir, model.table_hash)
    if not path.exists():
        raise NoGenerator(_which_there_are(run_dir, model))
    known = _read(path)
    settings = _settings_of(path, known)
    # An objective is what it was trained by, and nothing that it is asked with.
    state = GeneratorTraining(space, model, lambda gates, _: gates.sum(), settings)
    try:
        state.restore(known["state"])
    except UNREADABLE as error:
        raise InvalidFile(f"{path} holds no generator of this space: {_again(path)}") from error
    return state.trained()


def _which_there_are(run_dir: Path, model: LatencyModel) -> str:
    there = [_read(path) for path in generator_files(run_dir)]
    names = ", ".join(f"{each['device']!r} (table {each['table_hash'][:12]})" for each in there)
    what = f"only generators for {names}" if there else "no generator"
    return (
        f"the run in {run_dir} holds {what}, none for {model.device!r} (table "
        f"{model.table_hash[:12]}): train one: latkit train {METHOD} --from {run_dir} --table "
        f"T.lut -o {run_dir}"
    )


def _write(
    path: Path, state: GeneratorTraining, model: LatencyModel, settings: GeneratorSettings
) -> None:
    buffer = io.BytesIO()
    content = {
        "device": model.device,
        "table_hash": model.table_hash,
        "settings": asdict(settings),
        "state": state.state(),
    }
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def _read(path: Path) -> dict[str, Any]:
    content = io.BytesIO(path.read_bytes())  # so that trouble of the disk is told from a bad file
    try:
        known: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
        if known.keys() != {"device", "table_hash", "settings", "state"}:
            raise ValueError("other keys")
    except UNREADABLE as error:
        raise InvalidFile(f"{path} is truncated or no generator: {_again(path)}") from error
    return known


def _again(path: Path) -> str:
    return f"remove it and train again: latkit train {METHOD} --from {path.parent}"


def _settings_of(path: Path, known: dict[str, Any]) -> GeneratorSettings:
    values = known["settings"] | {"betas": tuple(known["settings"]["betas"])}
    return changed(GeneratorSettings(), values, path=path)


def _refuse_others(path: Path, known: dict[str, Any], settings: GeneratorSettings) -> None:
    """Refuse to go on with a generator of other settings."""
    old = _settings_of(path, known)
    differing = [
        f"{field.name} {getattr(old, field.name)!r}, not {getattr(settings, field.name)!r}"
        for field in fields(GeneratorSettings)
        if getattr(old, field.name) != getattr(settings, field.name)
    ]
    if differing:
        raise InvalidFile(
            f"{path} was trained with {'; '.join(differing)}: give the same again, or "
            f"{_again(path)}"
        )
