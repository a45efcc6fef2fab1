"""The supernet of a few-shot run: every architecture is answered by the child that holds it.

To whoever searches, exports or verifies it is a supernet like any other. An architecture goes to
the child of its canonical form (`search.splits.split`), and it is the canonical form that runs:
all forms of a network give the same logits here, whichever child has the blocks.

A few-shot run is a directory with a ``settings.json`` as every run has, the parent's run in
``parent``, one run for every part in ``child-0``, ``child-1``, ..., what everything cost in
``ledger.json``, and, where the layer to split was chosen, the choice in ``choice.json``.

Source:
    Zhao et al., Few-Shot Neural Architecture Search, ICML 2021, section 3.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import torch
from torch import Tensor, nn

from devices import InvalidFile, LatkitError
from devices.errors import reason_of
from search.space import Architecture
from search.splits.split import Part, Partition, partition_from_texts
from search.supernets.supernet import Supernet
from search.supernets.supernet_for import supernet_for
from search.training.runs import (
    CHECKPOINT,
    FEW_SHOT,
    RunRecord,
    read_checkpoint,
    read_record,
    space_of_record,
)
from search.training.trained import TrainedRun

METHOD, RELAXED = FEW_SHOT
CHILD = "fewshot child"
PARENT, CHOICE, LEDGER = "parent", "choice.json", "ledger.json"


NEGLIGIBLE = 1e-6
"""Probability of a part below which its child does not run in a mixture."""


class MissingChild(LatkitError):
    """An architecture belongs to a child that has not been trained."""


class Dropped(nn.Module):
    """Stands where a block of another child was; it has no weight, and adds nothing to a mixture.

    No path of the child goes through it.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return a zero, whatever the shape of the images."""
        return images.new_zeros(())


class RoutedSupernet(Supernet):
    """The children of one parent, as one supernet: it has no block of its own.

    Args:
        partition: Of the space, a part for each child.
        children: For each part its child; None where there is none yet.
        missing: For each part how to say that, and the command that trains it.
    """

    def __init__(
        self,
        partition: Partition,
        children: Sequence[Supernet | None],
        *,
        missing: Sequence[str] = (),
    ) -> None:
        nn.Module.__init__(self)  # and not a supernet's: the blocks are the children's
        if len(children) != len(partition.parts):
            raise ValueError(f"{len(children)} children for {len(partition.parts)} parts")
        self.space = partition.space
        self.partition = partition
        self.by_part = nn.ModuleDict(
            {str(i): child for i, child in enumerate(children) if child is not None}
        )
        self._missing = tuple(missing)

    def child(self, arch: Architecture) -> Supernet:
        """Return the child that holds an architecture.

        Raises:
            InvalidFile: ``arch`` does not belong to the space.
            MissingChild: That child has not been trained; names the command that does it.
        """
        number = self.partition.index(arch)
        return self._child(number, f"network {arch}")

    def _child(self, number: int, asked: str) -> Supernet:
        if str(number) not in self.by_part:
            part = self.partition.parts[number]
            said = f": {self._missing[number]}" if self._missing else ", which is not there"
            raise MissingChild(f"{asked} belongs to the child of part {part.name}{said}")
        child = self.by_part[str(number)]
        assert isinstance(child, Supernet)  # torch types what a dict holds as Module
        return child

    def forward(self, images: Tensor, arch: Architecture) -> Tensor:
        """Return the logits of one architecture, by its child and in its canonical form.

        Args:
            images: ``(batch, 3, height, width)`` floats, normalised as in training.
            arch: One choice per searched layer.

        Returns:
            Logits, ``(batch, classes)``.

        Raises:
            InvalidFile: ``arch`` does not belong to the space.
            MissingChild: Its child has not been trained.
        """
        logits: Tensor = self.child(arch)(images, self.space.canonical(arch))
        return logits

    def mixture(self, images: Tensor, gates: Tensor) -> Tensor:
        """Return the mean of the children's mixtures, weighted by how probable each part is.

        Choices are taken as they stand: where a skip would move in the canonical form, the part is
        that of the form before.

        Args:
            images: As `forward` takes them.
            gates: ``(layers, choices)`` probabilities.

        Returns:
            Logits, ``(batch, classes)``.

        Raises:
            ValueError: The gates are no choices of layers, as those of unified blocks.
            MissingChild: A probable child has not been trained.
        """
        if gates.ndim != 2 or gates.shape[1] < max(map(len, self.space.layers)):
            raise ValueError(f"children are weighted by gates of choices, got {gates.shape}")
        logits, total = [], []
        for number, part in enumerate(self.partition.parts):
            inside = torch.zeros_like(gates)
            for layer, allowed in enumerate(part.allowed):
                inside[layer, list(allowed)] = 1.0
            kept = gates * inside
            mass = kept.sum(dim=1)  # (layers,)
            share = mass.prod()
            if float(share.detach()) > NEGLIGIBLE:
                child = self._child(number, "a mixture")
                logits.append(share * child.mixture(images, kept / mass[:, None]))
                total.append(share)
        return torch.stack(logits).sum(dim=0) / torch.stack(total).sum()

    def subnetwork(self, arch: Architecture) -> nn.Sequential:
        """Return one architecture alone, a copy of its child's blocks, in its canonical form.

        Raises:
            InvalidFile: ``arch`` does not belong to the space.
            MissingChild: Its child has not been trained.
        """
        return self.child(arch).subnetwork(self.space.canonical(arch))


def keep_part(supernet: Supernet, part: Part) -> None:
    """Drop, in place, the blocks that no architecture of a part has.

    Where choices share their weights, as in a unified block, nothing can be dropped; what no path
    of the part goes through has no gradient and stays as it is.
    """
    for layer, allowed in zip(supernet.layers, part.allowed, strict=True):
        if isinstance(layer, nn.ModuleList):
            for choice in set(range(len(layer))) - set(allowed):
                layer[choice] = Dropped()


def child_dir(run_dir: Path, number: int) -> Path:
    """Return where the run of a part's child is."""
    return run_dir / f"child-{number}"


def read_partition(run_dir: Path) -> Partition:
    """Return how the space of a few-shot run is cut.

    Raises:
        InvalidFile: There is no few-shot run, or the layer to split was not chosen yet.
    """
    record = read_record(run_dir)
    if record.method not in FEW_SHOT:
        raise InvalidFile(f"the run in {run_dir} was trained by {record.method!r} and has no parts")
    texts = record.options.get("splits") or chosen_splits(run_dir)
    if texts is None:
        raise InvalidFile(
            f"the run in {run_dir} has not chosen yet which layer to split; start it again, it "
            "goes on"
        )
    return partition_from_texts(texts, space_of_record(record))


def chosen_splits(run_dir: Path) -> list[str] | None:
    """Return the splits that a run has chosen; None where it has not."""
    path = run_dir / CHOICE
    if not path.exists():
        return None
    try:
        return [str(text) for text in json.loads(path.read_text())["splits"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} is damaged ({reason_of(error)}); remove it: it is chosen again"
        ) from error


def load_routed(run_dir: Path) -> TrainedRun:
    """Load the children of a few-shot run as one supernet.

    A child whose training was interrupted counts as missing: accuracies of a half trained child
    would be compared with those of finished ones.

    Raises:
        InvalidFile: There is no few-shot run, no finished child, or files are damaged.
    """
    record, partition = read_record(run_dir), read_partition(run_dir)
    found = load_children(run_dir, partition)
    command = train_command(run_dir, record, partition)
    children = [child for child, _ in found]
    if not any(child is not None for child in children):
        raise InvalidFile(f"no child of the run in {run_dir} has been trained: {command}")
    missing = [
        f"it has been trained for {epochs} of {record.settings.epochs} epochs. Train it: {command}"
        for _, epochs in found
    ]
    routed = RoutedSupernet(partition, children, missing=missing).eval()
    return TrainedRun(supernet=routed, record=record, epoch=min(epochs for _, epochs in found))


def load_children(run_dir: Path, partition: Partition) -> list[tuple[Supernet | None, int]]:
    """Return for each part its child, None unless its training is finished, and its epochs."""
    return [_load_child(child_dir(run_dir, i), part) for i, part in enumerate(partition.parts)]


def train_command(run_dir: Path, record: RunRecord, partition: Partition) -> str:
    """Return the command that trains what a few-shot run lacks.

    A run does not know where the latency table of its limits is: that is named for its device.
    """
    end = f"--data {quote(record.data)} -o {quote(str(run_dir))}"
    if record.method == RELAXED:
        limits = record.options["budgets"]
        asked = " ".join(f"--limit-ms {limit['limit_s'] * 1e3:.12g}" for limit in limits)
        source = quote(str(record.options["from"]))
        table = f"--table {quote(limits[0]['device'] + '.lut')}"
        sure = f"--confidence {limits[0]['confidence']:g}"
        return f"latkit train darts --from {source} {table} {asked} {sure} {end}"
    splits = " ".join(f"--split {split}" for split in partition.splits)
    if "choose" in record.options:
        splits = "--choose {choose} --children {children}".format_map(record.options)
    return f"latkit train fewshot {splits} --from {quote(str(run_dir / PARENT))} {end}"


def _load_child(run_dir: Path, part: Part) -> tuple[Supernet | None, int]:
    """Return a child, None unless it is finished, and its epochs."""
    if not (run_dir / CHECKPOINT).exists():
        return None, 0
    record, checkpoint = read_record(run_dir), read_checkpoint(run_dir)
    if checkpoint.epoch < record.settings.epochs:
        return None, checkpoint.epoch
    child = supernet_for(part.space)
    keep_part(child, part)
    child.to(memory_format=torch.channels_last)
    try:
        child.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise InvalidFile(
            f"the weights in {run_dir} do not fit part {part.name} of space {part.space.name!r}: "
            "remove that directory and train again"
        ) from error
    return child.eval(), checkpoint.epoch
