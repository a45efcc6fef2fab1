"""Learning from a larger network too: what ``latkit train final`` does where it has a teacher.

The loss is that of the labels and that of the teacher's answers to the same images, augmented as
the student sees them. The teacher is in evaluation mode and learns nothing.

Source:
    Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2: answers
    softened by a temperature, whose gradients are scaled by its square. Beyer et al., Knowledge
    Distillation: A Good Teacher Is Patient and Consistent, CVPR 2022: both see the same views.
"""

from dataclasses import dataclass as plain_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from devices import InvalidFile
from profiler import macs, parameters
from search.final.files import METHOD, load_final_run
from search.images.data import ImageData
from search.load_supernet import load_supernet
from search.space import SearchSpace
from search.supernets.evaluation import calibration_images, final_weights
from search.training.runs import read_record
from search.training.settings import STRICT, Positive, Share, section_from_toml

SECTION = "distillation"
"""Table of a file of settings, and key of a run's options."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class DistillationSettings:
    """How much is learnt from a teacher.

    Attributes:
        share: Of the loss, in [0, 1); the labels have the rest.
        temperature: Both answers are divided by it before they are compared.
    """

    share: Share = 0.5
    temperature: Positive = 4.0


@plain_dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """A trained network that another one learns from.

    Attributes:
        network: In evaluation mode: ``(batch, 3, height, width)`` to ``(batch, classes)``.
        name: What it is, for people.
        settings: How much is learnt from it.
    """

    network: nn.Module
    name: str
    settings: DistillationSettings

    def to(self, device: torch.device) -> "Teacher":
        """Move its weights, in place; return it."""
        self.network.to(device)
        self.network.to(memory_format=torch.channels_last)
        return self

    def mixed(self, from_labels: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Return the loss of labels and teacher together.

        Args:
            from_labels: The loss of the labels, a scalar.
            logits: Of the student, ``(batch, classes)``.
            images: What they answer, ``(batch, 3, height, width)``.
        """
        with torch.no_grad():
            answers = self.network(images)  # (batch, classes)
        share, temperature = self.settings.share, self.settings.temperature
        divergence = functional.kl_div(
            functional.log_softmax(logits / temperature, dim=1),
            functional.log_softmax(answers / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return (1.0 - share) * from_labels + share * temperature**2 * divergence

    def as_options(self) -> dict[str, Any]:
        """Return what a run records: another teacher, or other weights, are another run."""
        digest = sha256()
        for weight in self.network.parameters():  # statistics of batch norm may round otherwise
            digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
        return {
            "teacher": self.name,
            "weights": digest.hexdigest()[:16],
            "share": self.settings.share,
            "temperature": self.settings.temperature,
        }


def distillation_settings(path: Path | None) -> DistillationSettings:
    """Read the table ``[distillation]`` of a file of settings; the defaults where it has none.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    defaults = DistillationSettings()
    return defaults if path is None else section_from_toml(path, SECTION, defaults)


def teacher_from_run(
    run_dir: Path, space: SearchSpace, data: ImageData, settings: DistillationSettings
) -> Teacher:
    """Return the largest network of a run's supernet, or the one that a run trained alone.

    Args:
        run_dir: The run.
        space: Of the student.
        data: What the student is trained on; its training split gives batch norm's statistics.
        settings: How much is learnt from it.

    Raises:
        InvalidFile: There is no such run, or it was trained on other images.
    """
    record = read_record(run_dir)
    side = space.input_shape[2]
    if (record.resolution, record.fingerprint) != (side, data.fingerprint):
        raise InvalidFile(
            f"the run in {run_dir} was trained on {record.data!r} at {record.resolution} pixels, "
            f"the student is on {data.name!r} at {side}: a teacher must have seen the same "
            "training images, and none that the student is judged by"
        )
    if record.method == METHOD:
        final = load_final_run(run_dir)
        return Teacher(network=final.network, name=f"{final.arch} trained alone", settings=settings)
    run = load_supernet(run_dir)
    _, largest = run.supernet.space.ends(lambda op: (macs(op), parameters(op)))
    network = final_weights(run.supernet, largest, calibration_images(data.training))
    name = f"{largest}, the largest of a supernet of {record.space}"
    return Teacher(network=network, name=name, settings=settings)
