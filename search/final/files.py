"""What a run of one network alone leaves: its weights, and its accuracy after each epoch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from devices import InvalidFile
from devices.errors import reason_of
from devices.files import write_atomically
from search.space import Architecture, SearchSpace, architecture_from_text
from search.supernets.supernet import Supernet
from search.training.runs import RunRecord, read_checkpoint, read_record, space_of_record

METHOD = "final"
"""What a run's record says where it trained one network alone."""


VALIDATION, TEST = "validation.jsonl", "test.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Top-1 accuracy on the validation split after an epoch, in [0, 1].

    Attributes:
        epoch: Epochs finished.
        averaged: Of the moving average of the weights, which is what is exported.
        raw: Of the weights as the optimizer left them.
    """

    epoch: int
    averaged: float
    raw: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinalRun:
    """A network that was trained alone, as its run left it.

    Attributes:
        network: Its averaged weights, on the CPU in evaluation mode: ``(batch, 3, height, width)``
            to ``(batch, classes)``.
        space: Where it was chosen.
        arch: The choice, as `SearchSpace.alone` has it.
        record: What it was trained on, and how.
        validation: Of the last finished epoch.
        test_accuracy: Top-1 in [0, 1] on the test split; None until the last epoch is over.
    """

    network: nn.Sequential
    space: SearchSpace
    arch: Architecture
    record: RunRecord
    validation: Validation
    test_accuracy: float | None

    @property
    def epoch(self) -> int:
        """Epochs finished; less than ``record.settings.epochs`` if the run was interrupted."""
        return self.validation.epoch


def load_final_run(run_dir: Path) -> FinalRun:
    """Load what a run has trained so far.

    Raises:
        InvalidFile: There is no run of one network, no finished epoch, or its files are damaged
            or do not fit.
        UnknownName: Its space is not known here.
    """
    record, checkpoint = read_record(run_dir), read_checkpoint(run_dir)
    space = space_of_record(record)
    arch = architecture_from_text(str(record.options.get("arch", "")))
    supernet = Supernet(space_of_one(space, arch)).to(memory_format=torch.channels_last)
    try:
        supernet.load_state_dict(checkpoint.sampler["averaged"])
    except (KeyError, RuntimeError) as error:
        raise InvalidFile(
            f"the weights in {run_dir} do not fit architecture {arch} of this version; they "
            f"were trained by latkit {record.versions.get('latkit')}: train again"
        ) from error
    tested = (run_dir / TEST).exists()
    return FinalRun(
        network=only_network(supernet),
        space=space,
        arch=arch,
        record=record,
        validation=validation_of_epoch(run_dir, epoch=checkpoint.epoch),
        test_accuracy=read_test_accuracy(run_dir) if tested else None,
    )


def space_of_one(space: SearchSpace, arch: Architecture) -> SearchSpace:
    """Return the space whose only network is one architecture, as `SearchSpace.alone` has it.

    Raises:
        InvalidFile: ``arch`` does not belong to ``space``.
    """
    chain = space.chain(space.alone(arch))
    first, end = len(space.before), len(chain) - len(space.after)
    return SearchSpace(
        name=space.name,
        before=chain[:first],
        layers=tuple((op,) for op in chain[first:end]),
        after=chain[end:],  # as wide as what this network gives it
        snap=space.snap,
    )


def only_network(supernet: Supernet) -> nn.Sequential:
    """Return a copy of the only network of a supernet, in evaluation mode."""
    return supernet.subnetwork(only_choice(supernet.space)).eval()


def only_choice(space: SearchSpace) -> Architecture:
    """Return the only network of a space that has one."""
    return Architecture((0,) * len(space.layers))


def append_validation(run_dir: Path, found: Validation) -> None:
    """Add the line of one epoch; those of epochs that are trained again go."""
    rows = [row for row in read_validation(run_dir) if row.epoch < found.epoch]
    lines = (json.dumps(asdict(row)) + "\n" for row in (*rows, found))
    write_atomically(run_dir / VALIDATION, "".join(lines).encode())


def read_validation(run_dir: Path) -> tuple[Validation, ...]:
    """Return the finished epochs in order.

    Raises:
        InvalidFile: A line is damaged.
    """
    path = run_dir / VALIDATION
    lines = path.read_text().splitlines() if path.exists() else []
    try:
        return tuple(Validation(**json.loads(line)) for line in lines)
    except (TypeError, ValueError) as error:
        raise InvalidFile(f"{path} is damaged ({error}); train into another directory") from error


def validation_of_epoch(run_dir: Path, *, epoch: int) -> Validation:
    """Return the line of one epoch.

    Raises:
        InvalidFile: There is none, or a line is damaged.
    """
    found = [row for row in read_validation(run_dir) if row.epoch == epoch]
    if not found:
        raise InvalidFile(
            f"{run_dir / VALIDATION} has no line of epoch {epoch}; train into another directory"
        )
    return found[0]


def read_test_accuracy(run_dir: Path) -> float:
    """Return the top-1 accuracy on the test split, in [0, 1].

    Raises:
        InvalidFile: The file is damaged.
    """
    path = run_dir / TEST
    try:
        return float(json.loads(path.read_text())["accuracy"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} is damaged ({reason_of(error)}); remove it and train again"
        ) from error
