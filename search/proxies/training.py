"""Networks trained alone under a proxy, stage by stage: one run directory for each network.

A network is a supernet of a single path, so the loop, checkpoints and resuming are those of
`search.training.loop`. A level of effort is a number of epochs of one schedule. Going on to the
next level takes up the run: weights, momentum and the position on the cosine are kept.

Beside the files of a run stands ``stage-4.json``, one for every level that was reached: what a
search counts on. It is written once, whole or not at all, and never trained again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from devices import InvalidFile, LatkitError
from devices.files import write_atomically
from profiler import total_macs
from search.final.files import only_choice, only_network, space_of_one
from search.images.data import ImageData
from search.ledger import FORWARD_AND_BACKWARD
from search.proxies.proxy import InvalidProxy, Proxy, first_images
from search.searcher import Trial
from search.space import Architecture, SearchSpace
from search.supernets.evaluation import EVALUATION_BATCH, accuracy
from search.training.loop import train
from search.training.path_samplers import MemorylessPaths
from search.training.runs import CHECKPOINT, read_checkpoint, read_metrics
from search.training.settings import TrainSettings
from search.training.trained import TrainedRun
from search.training.workers import this_worker

METHOD = "proxy"
"""What a run's record says where it trained one network alone to be compared."""


class MissingCheckpoint(LatkitError):
    """A network was trained up to a level of effort, and what it could go on from is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How good a network was after so many epochs under a proxy.

    Attributes:
        epochs: Finished, since its start.
        accuracy: Top-1 in [0, 1] on the validation images.
        train_s: Seconds that these epochs took, wherever they ran.
        images: Training images that went through the network.
    """

    epochs: int
    accuracy: float
    train_s: float
    images: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProxyTrainer:
    """Trains networks of a space alone, under one proxy; a repeatable piece of work for a pool.

    Attributes:
        space: The full space; trials name its architectures.
        data: Images at the proxy's side, no more of them than are used.
        proxy: The setting; its epochs are those of the last level.
        settings: How to train; its epochs are the proxy's.
        levels: Epochs after which a network is judged, increasing; one for each level of effort.
        folder: Where the runs are kept, each in a folder named after its architecture.
    """

    space: SearchSpace
    data: ImageData
    proxy: Proxy
    settings: TrainSettings
    levels: tuple[int, ...]
    folder: Path

    def __post_init__(self) -> None:
        if not self.levels or self.levels[-1] != self.proxy.epochs or self.levels[0] < 1:
            raise ValueError(f"levels {self.levels} do not end at the epochs of {self.proxy}")
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels of effort are increasing epochs, got {self.levels}")
        if self.settings.epochs != self.proxy.epochs:
            raise ValueError(f"{self.settings.epochs} epochs in the settings of {self.proxy}")

    def __call__(self, trial: Trial) -> Stage:
        """Train a network up to a level of effort, or as far as it takes from where it stands.

        Raises:
            InvalidFile: The architecture is not of the space, or files of the run are damaged.
            MissingCheckpoint: A lower level was reached, and its checkpoint is gone.
            RunMismatch: The folder holds a run of other settings or images.
            TrainingDiverged: The loss is not finite any more.
        """
        self.space.check(trial.arch)
        run_dir, epochs = self.run_dir(trial.arch), self.levels[trial.effort - 1]
        path = stage_path(run_dir, epochs)
        if not path.exists():
            self._check_checkpoint(run_dir, trial)
            stage = self._stage(self._trained(trial.arch, run_dir, until=epochs), run_dir)
            write_atomically(path, (json.dumps(asdict(stage)) + "\n").encode())
        return read_stage(path)

    def run_dir(self, arch: Architecture) -> Path:
        """Return where the run of an architecture is kept: equal networks have one."""
        return self.folder / str(self.space.alone(arch))

    def twin(self, arch: Architecture) -> SearchSpace:
        """Return the space whose only network is the reduced twin of an architecture."""
        return self.proxy.reduced(space_of_one(self.space, arch))

    def macs(self, arch: Architecture) -> float:
        """Return the operations of training an architecture to the last level."""
        return training_macs(self.twin(arch), images=self.proxy.epochs * len(self.data.training))

    def _trained(self, arch: Architecture, run_dir: Path, *, until: int) -> TrainedRun:
        alone = self.twin(arch)
        only = only_choice(alone)
        return train(
            alone,
            self.data,
            self.settings,
            run_dir,
            method=METHOD,
            paths=MemorylessPaths(lambda _: (only,)),
            options={
                "arch": str(self.space.alone(arch)),
                "proxy": str(self.proxy),
                "training images": len(self.data.training),
                "validation images": len(self.data.validation),
            },
            until=until,
        )

    def _stage(self, run: TrainedRun, run_dir: Path) -> Stage:
        device = this_worker(self.settings).device
        network = only_network(run.supernet).to(device)
        batches = self.data.validation.batches(EVALUATION_BATCH)
        metrics = read_metrics(run_dir)[: run.epoch]
        return Stage(
            epochs=run.epoch,
            accuracy=accuracy(network, batches, device=device),
            train_s=sum(row.train_s for row in metrics),
            images=sum(row.images for row in metrics),
        )

    def _check_checkpoint(self, run_dir: Path, trial: Trial) -> None:
        """Check that the run stands at least where its last stage ended."""
        reached = [e for e in self.levels if stage_path(run_dir, e).exists()]
        if not reached:
            return
        there = (run_dir / CHECKPOINT).exists()
        if not there or read_checkpoint(run_dir).epoch < reached[-1]:
            raise MissingCheckpoint(
                f"effort {trial.effort} of architecture {trial.arch} goes on from epoch "
                f"{reached[-1]}, which {stage_path(run_dir, reached[-1])} says was reached, but "
                f"{run_dir / CHECKPOINT} {'is older' if there else 'is missing'}: restore it, or "
                f"remove {run_dir} and the network is trained anew"
            )


def training_macs(alone: SearchSpace, *, images: int) -> float:
    """Return the operations of training the only network of a space on so many images."""
    chain = alone.chain(only_choice(alone))
    return FORWARD_AND_BACKWARD * images * total_macs(chain) / alone.input_shape[0]


def stage_path(run_dir: Path, epochs: int) -> Path:
    """Return the file that says how good a network was after so many epochs."""
    return run_dir / f"stage-{epochs}.json"


def read_stage(path: Path) -> Stage:
    """Read how good a network was.

    Raises:
        InvalidFile: The file is damaged.
    """
    try:
        return Stage(**json.loads(path.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise InvalidFile(
            f"{path} is damaged ({error}): remove {path.parent} and the network is trained anew"
        ) from error


def trainer_of(
    space: SearchSpace,
    data: ImageData,
    proxy: Proxy,
    settings: TrainSettings,
    folder: Path,
    *,
    levels: Sequence[int] = (),
    images: int | None = None,
    validation: int | None = None,
) -> ProxyTrainer:
    """Return what trains networks of a space under a proxy.

    Args:
        space: The full space.
        data: Images at the side that the proxy asks for, see `search.proxies.proxy.Proxy.side`.
        proxy: The setting.
        settings: How to train; the epochs are the proxy's.
        folder: Where the runs are kept.
        levels: Epochs after which networks are judged; the last are the proxy's, alone if left out.
        images: Training images that count as all of them; None for those of ``data``.
        validation: Images to judge by; None for all.

    Raises:
        InvalidProxy: Too little is left to train: below a channel, a pixel or a batch; or the
            warm-up is as long as the training.
    """
    full = min(images or len(data.training), len(data.training))
    proxy.check_space(space)
    proxy.check_samples(full, batch=settings.batch)
    return ProxyTrainer(
        space=space,
        data=first_images(data, training=proxy.images(full), validation=validation),
        proxy=proxy,
        settings=_settings_at(settings, proxy),
        levels=tuple(levels) or (proxy.epochs,),
        folder=folder,
    )


def _settings_at(settings: TrainSettings, proxy: Proxy) -> TrainSettings:
    if settings.warmup_epochs >= proxy.epochs:
        raise InvalidProxy(
            f"proxy {proxy} trains for {proxy.epochs} epochs, and warmup_epochs is "
            f"{settings.warmup_epochs:g} in the settings: lower it, or take more epochs"
        )
    return replace(settings, epochs=proxy.epochs)
