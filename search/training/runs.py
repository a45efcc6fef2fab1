"""A run directory: what was trained, with what, how it went, and the weights.

``settings.json`` is a `RunRecord`, written once and compared before a run is resumed;
``metrics.jsonl`` has one `EpochMetrics` a line; ``checkpoint.pt`` is a `Checkpoint` of the last
finished epoch, replaced as a whole.
"""

import io
import json
import os
import pickle
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, field, fields
from dataclasses import dataclass as plain_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from devices import InvalidFile, LatkitError
from devices.files import PARTIAL, sha256_of, write_atomically
from devices.in_use import LOCK, held, make_folder
from lut import LatencyBudget
from search.images.data import ImageData
from search.space import SearchSpace
from search.spaces import space_named
from search.training.settings import NOT_COMPARED, STRICT, TrainSettings, explained

SETTINGS, METRICS, CHECKPOINT = "settings.json", "metrics.jsonl", "checkpoint.pt"

FEW_SHOT = ("fewshot", "fewshot darts")
"""Methods whose runs have children: see `search.splits.routed`."""

UNREADABLE = (RuntimeError, TypeError, ValueError, LookupError, EOFError, pickle.UnpicklingError)
"""What torch raises on a checkpoint that is cut short or something else."""


class RunMismatch(LatkitError):
    """A run directory holds a run of something else than what is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RunRecord:
    """What a run trains, on what, and how: enough to rebuild it, and to refuse another's weights.

    Attributes:
        method: How paths are drawn, such as ``"uniform"``.
        space: Name of the search space.
        resolution: Side of its images in pixels.
        batch: Images per inference of the space; training has a batch of its own.
        classes: Logits.
        data: What `search.images.data.load_data` was given: ``"digits"``, or a path.
        skipped: Whether corrupt images were left out.
        fingerprint: Of the images and their splits.
        settings: Of the training.
        options: The method's own settings, as JSON has them; a run that was written before there
            were any has none.
        versions: Of what trained it; written down, not compared.
    """

    method: str
    space: str
    resolution: int
    batch: int
    classes: int
    data: str
    skipped: bool
    fingerprint: str
    settings: TrainSettings
    options: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str]


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics:
    """How an epoch went.

    Attributes:
        epoch: Epochs finished, this one included.
        loss: Mean training loss over the paths and images of the epoch.
        accuracy: Share of the (augmented) training images that the drawn paths got right.
        learning_rate: Where the epoch left it.
        images: Training images that went through a path, or a mixture of all.
        train_s: Seconds that the epoch took, scoring included.
        scored_images: Images that candidates were scored on, forward only; 0 where the method
            scores nothing, as did all when lines had no such field.
    """

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images: int
    train_s: float
    scored_images: int = 0


@plain_dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped.

    Attributes:
        epoch: Epochs finished.
        model: ``state_dict`` of the supernet.
        optimizer: ``state_dict`` of the optimizer.
        scheduler: ``state_dict`` of the learning rate's schedule.
        rng: States of the random generators.
        sampler: State of the path sampler; empty where it remembers nothing.
        scaler: ``state_dict`` of the gradient's scale; empty unless training in fp16.
    """

    epoch: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    rng: dict[str, Any]
    sampler: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


def record_of(
    method: str,
    space: SearchSpace,
    data: ImageData,
    settings: TrainSettings,
    *,
    source: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Return the record of a run that starts here and now.

    Args:
        method: How paths are drawn.
        space: What the supernet holds.
        data: The images.
        settings: Of the training.
        source: What `search.images.data.load_data` was given; None where that is the name of
            ``data``.
        options: The method's own settings, as plain data.
    """
    batch, _, resolution, _ = space.input_shape
    return RunRecord(
        method=method,
        space=space.name,
        resolution=resolution,
        batch=batch,
        classes=space.classes,
        data=data.name if source is None else source,
        skipped=bool(data.skipped),
        fingerprint=data.fingerprint,
        settings=settings,
        options=json.loads(json.dumps(dict(options or {}))),  # tuples become lists, as in the file
        versions={
            "latkit": _version_of_latkit(),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    )


def _version_of_latkit() -> str:
    try:
        return metadata.version("latkit")
    except metadata.PackageNotFoundError:
        return "a checkout that is not installed"


def limits_option(budgets: Sequence[LatencyBudget]) -> list[dict[str, Any]]:
    """Return budgets as an option of a run: what it must share with the one that it takes up."""
    return [
        {
            "device": budget.target.device,
            "limit_s": budget.target.limit_s,
            "confidence": budget.target.confidence,
            "table_hash": budget.model.table_hash,
        }
        for budget in budgets
    ]


@contextmanager
def working_in(run_dir: Path) -> Iterator[None]:
    """Keep other processes out of a run's directory; a directory of something else is left alone.

    Raises:
        InUse: Another process trains there.
        InvalidFile: The directory holds something else.
    """
    if not (run_dir / SETTINGS).exists():
        _claim(run_dir)
    with held(run_dir):
        yield


def open_run(run_dir: Path, record: RunRecord) -> Checkpoint | None:
    """Start a run in a directory, or take up the one that is there.

    Args:
        run_dir: New, empty, or of a run with an equal record.
        record: What is about to be trained.

    Returns:
        Where the run stood; None where no epoch was finished.

    Raises:
        InvalidFile: The directory holds something else, or its files are damaged.
        RunMismatch: It holds a run of other settings, data or space; names what differs.
    """
    if not (run_dir / SETTINGS).exists():
        _claim(run_dir)
        content = TypeAdapter(RunRecord).dump_json(record, indent=2)
        write_atomically(run_dir / SETTINGS, content)
        return None
    _refuse_another(run_dir, read_record(run_dir), record)
    if not (run_dir / CHECKPOINT).exists():
        _trim_metrics(run_dir, epochs=0)
        return None
    checkpoint = read_checkpoint(run_dir)
    _trim_metrics(run_dir, epochs=checkpoint.epoch)
    return checkpoint


def _claim(run_dir: Path) -> None:
    make_folder(run_dir)
    others = sorted(p.name for p in run_dir.iterdir() if not {p.name, p.suffix} & {LOCK, PARTIAL})
    if others:
        raise InvalidFile(
            f"{run_dir} is not a run: it holds {others[0]!r} and no {SETTINGS}; "
            f"name a new or an empty directory"
        )


def _refuse_another(run_dir: Path, there: RunRecord, here: RunRecord) -> None:
    old, new = _flat(there), _flat(here)
    differing = [
        f"{key} {old.get(key)!r}, not {new.get(key)!r}"
        for key in old | new
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise RunMismatch(
            f"the run in {run_dir} has {'; '.join(differing)}: "
            f"give the same again, or another directory"
        )


def _flat(record: RunRecord) -> dict[str, Any]:
    """Return what two runs must share."""
    values = asdict(record)
    for name in ("versions", "data", "skipped"):  # images may move: what counts is the fingerprint
        del values[name]
    values["data fingerprint"] = values.pop("fingerprint")
    settings, options = values.pop("settings"), values.pop("options")
    for name in NOT_COMPARED:
        del settings[name]
    return settings | values | {f"option {name}": value for name, value in options.items()}


def same_weights(one: Path, other: Path) -> bool:
    """Return whether two runs, of which the first has weights, hold the same checkpoint."""
    there = other / CHECKPOINT
    return there.exists() and sha256_of(there) == sha256_of(one / CHECKPOINT)


def copy_run(source: Path, target: Path) -> None:
    """Copy a run as it stands; nothing where the target holds the same weights already.

    Args:
        source: The run, of one finished epoch or more.
        target: New, or a copy of the run that is replaced, or that was cut off.
    """
    if same_weights(source, target):
        return
    target.mkdir(parents=True, exist_ok=True)
    for name in (SETTINGS, METRICS, CHECKPOINT):  # the checkpoint last: it says that all is there
        if (source / name).exists():
            write_atomically(target / name, (source / name).read_bytes())


def read_record(run_dir: Path) -> RunRecord:
    """Read what a run trains.

    Raises:
        InvalidFile: There is no run, or its settings cannot be read.
    """
    path = run_dir / SETTINGS
    if not path.exists():
        raise InvalidFile(
            f"{run_dir} holds no run, it has no {SETTINGS}; train one: "
            f"latkit train uniform --space SPACE --data DATA -o {run_dir}"
        )
    try:
        return TypeAdapter(RunRecord).validate_json(path.read_bytes())
    except ValidationError as error:
        problem = explained(error.errors()[0])
        raise InvalidFile(
            f"{path} is not the record of a run: {problem[:200]}; train into another directory"
        ) from error


def append_metrics(run_dir: Path, metrics: EpochMetrics) -> None:
    """Add the line of one epoch; it is on the disk when this returns."""
    with (run_dir / METRICS).open("a") as file:
        file.write(json.dumps(asdict(metrics)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_metrics(run_dir: Path) -> tuple[EpochMetrics, ...]:
    """Return the finished epochs in order; a line that a kill cut short is left out."""
    path = run_dir / METRICS
    lines = path.read_text().splitlines() if path.exists() else []
    rows = []
    for line in lines:
        try:
            rows.append(EpochMetrics(**json.loads(line)))
        except (ValueError, TypeError):
            break  # only the last line can be half written
    return tuple(rows)


def _trim_metrics(run_dir: Path, *, epochs: int) -> None:
    """Forget lines of epochs that the checkpoint does not know: they will be trained again."""
    kept = [json.dumps(asdict(row)) for row in read_metrics(run_dir) if row.epoch <= epochs]
    write_atomically(run_dir / METRICS, "".join(f"{line}\n" for line in kept).encode())


def write_checkpoint(run_dir: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint; a kill leaves the old one or the new one, never half of one."""
    buffer = io.BytesIO()
    values = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    torch.save(values, buffer)
    write_atomically(run_dir / CHECKPOINT, buffer.getvalue())


def read_checkpoint(run_dir: Path) -> Checkpoint:
    """Read the last finished epoch.

    Raises:
        InvalidFile: There is none, or it is truncated or of another kind.
    """
    path = run_dir / CHECKPOINT
    if not path.exists():
        raise InvalidFile(
            f"the run in {run_dir} has not finished an epoch; start it again with the same "
            f"settings, it goes on"
        )
    try:
        content = io.BytesIO(path.read_bytes())  # trouble of the disk is told from a bad file
    except OSError as error:
        raise InvalidFile(f"cannot read {path}: {error.strerror}") from error
    try:  # on the CPU, because the run may have moved away from a GPU
        return Checkpoint(**torch.load(content, map_location="cpu", weights_only=True))
    except UNREADABLE as error:
        raise InvalidFile(
            f"{path} is truncated or no checkpoint of a run; restore it from a copy, "
            f"or remove {run_dir} and train again"
        ) from error


def space_of_record(record: RunRecord) -> SearchSpace:
    """Build the space that a run trains.

    Raises:
        UnknownName: It is not known here.
    """
    return space_named(
        record.space, resolution=record.resolution, batch=record.batch, classes=record.classes
    )
