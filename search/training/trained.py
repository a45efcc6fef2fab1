"""A supernet as its run left it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from devices import InvalidFile
from search.images.data import ImageData, load_data
from search.images.sources import OnCorrupt
from search.supernets.supernet import Supernet
from search.supernets.supernet_for import supernet_for
from search.training.runs import RunMismatch, RunRecord, read_checkpoint, space_of_record


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedRun:
    """A supernet as a run left it.

    Attributes:
        supernet: Trained weights, in evaluation mode; it knows its space.
        record: What it was trained on, and how.
        epoch: Epochs finished; less than ``record.settings.epochs`` if the run was interrupted, or
            the method stopped early.
    """

    supernet: Supernet
    record: RunRecord
    epoch: int

    @property
    def weights_from(self) -> str:
        """Where a network's weights come from, for people; says where the training was cut off."""
        wanted = self.record.settings.epochs
        cut_off = f" after {self.epoch} of {wanted} epochs" if self.epoch < wanted else ""
        return f"inherited weights{cut_off}"


def load_shared(run_dir: Path, record: RunRecord) -> TrainedRun:
    """Load the one supernet that a run has trained so far.

    Raises:
        InvalidFile: There is no finished epoch, or its files are damaged or do not fit.
        UnknownName: Its space is not known here.
    """
    checkpoint, space = read_checkpoint(run_dir), space_of_record(record)
    supernet = supernet_for(space).to(memory_format=torch.channels_last)
    try:
        supernet.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise InvalidFile(
            f"the weights in {run_dir} do not fit space {record.space!r} of this version; they "
            f"were trained by latkit {record.versions.get('latkit')}: train again"
        ) from error
    return TrainedRun(supernet=supernet.eval(), record=record, epoch=checkpoint.epoch)


def load_run_data(record: RunRecord) -> ImageData:
    """Load the images of a run again, to evaluate or to calibrate with.

    Raises:
        InvalidData: They are no longer there, or damaged.
        RunMismatch: They are others than those of the training.
    """
    on_corrupt: OnCorrupt = "skip" if record.skipped else "refuse"
    data = load_data(record.data, resolution=record.resolution, on_corrupt=on_corrupt)
    if data.fingerprint != record.fingerprint:
        raise RunMismatch(
            f"the images of {record.data!r} have changed since the run: their fingerprint was "
            f"{record.fingerprint} and is {data.fingerprint}; restore them, or train again"
        )
    return data
