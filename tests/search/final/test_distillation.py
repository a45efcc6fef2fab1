"""A teacher's part of the loss by hand, and a student's run that has one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from devices import InvalidFile
from export.roads.retrain import retrained_facts
from search.final.distillation import (
    SECTION,
    DistillationSettings,
    Teacher,
    distillation_settings,
    teacher_from_run,
)
from search.final.files import load_final_run
from search.final.settings import RECIPES
from search.final.training import train_final
from search.images.data import ImageData, load_data
from search.load_supernet import load_supernet
from search.space import architecture_from_text
from search.spaces import space_named
from search.supernets.evaluation import calibration_images, final_weights
from search.training.loop import train_uniform
from search.training.runs import RunMismatch, read_record
from search.training.settings import TrainSettings

SPACE = space_named("macro", resolution=8, classes=10)
ARCH, LARGEST = architecture_from_text("10101100"), architecture_from_text("22222222")
SETTINGS = replace(RECIPES["small"], epochs=2, warmup_epochs=1.0, batch=64, threads=1)


class Answers(nn.Module):
    """Gives the same logits to every image."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def few(data: ImageData, count: int) -> ImageData:
    training = replace(data.training, rows=data.training.rows[:count])
    return replace(data, training=replace(training, labels=training.labels[:count]))


@pytest.fixture(scope="module")
def data() -> ImageData:
    return few(load_data("digits", resolution=8), 256)


@pytest.fixture(scope="module")
def supernet(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("supernet")
    train_uniform(SPACE, data, TrainSettings(epochs=1, warmup_epochs=0, threads=1), folder)
    return folder


def teacher(*logits: float, share: float, temperature: float) -> Teacher:
    settings = DistillationSettings(share=share, temperature=temperature)
    return Teacher(network=Answers(*logits).eval(), name="a test", settings=settings)


def test_the_loss_is_shared_between_labels_and_teacher() -> None:
    logits = torch.tensor([[0.0, np.log(3.0)]])  # 1/4 and 3/4
    even = teacher(1.0, 1.0, share=0.25, temperature=1.0)
    mixed = even.mixed(torch.tensor(2.0), logits, torch.zeros(1, 3, 4, 4))
    divergence = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert mixed.item() == pytest.approx(0.75 * 2.0 + 0.25 * divergence)


def test_a_temperature_softens_both_and_its_square_keeps_the_gradient() -> None:
    logits = torch.tensor([[0.0, 2.0 * np.log(3.0)]])
    even = teacher(1.0, 1.0, share=0.5, temperature=2.0)
    mixed = even.mixed(torch.tensor(0.0), logits, torch.zeros(1, 3, 4, 4))
    divergence = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert mixed.item() == pytest.approx(0.5 * 4.0 * divergence)


def test_who_agrees_with_the_teacher_learns_from_the_labels_alone() -> None:
    same = teacher(1.0, 2.0, share=0.5, temperature=4.0)
    logits = torch.tensor([[3.0, 4.0]], requires_grad=True)  # the same but for a constant
    mixed = same.mixed(torch.tensor(1.0), logits, torch.zeros(1, 3, 4, 4))
    assert mixed.item() == pytest.approx(0.5)
    torch.autograd.backward(mixed)
    assert same.network.logits.grad is None


def test_the_teacher_is_the_largest_network_with_statistics_of_its_own(
    supernet: Path, data: ImageData
) -> None:
    found = teacher_from_run(supernet, SPACE, data, DistillationSettings())
    assert found.name == "22222222, the largest of a supernet of macro"
    assert not found.network.training
    run = load_supernet(supernet)
    alone = final_weights(run.supernet, LARGEST, calibration_images(data.training))
    images, _ = next(data.validation.batches(4))
    with torch.no_grad():
        torch.testing.assert_close(found.network(images), alone(images))


def test_a_student_is_another_run_than_one_without_a_teacher_and_goes_on_as_itself(
    supernet: Path, data: ImageData, tmp_path: Path
) -> None:
    taught = teacher_from_run(supernet, SPACE, data, DistillationSettings())
    student = train_final(SPACE, ARCH, data, SETTINGS, tmp_path / "a", teacher=taught)
    alone = train_final(SPACE, ARCH, data, SETTINGS, tmp_path / "b")
    options = read_record(tmp_path / "a").options[SECTION]
    assert options["teacher"] == taught.name
    assert (options["share"], options["temperature"]) == (0.5, 4.0)
    assert SECTION not in read_record(tmp_path / "b").options
    assert retrained_facts(student)["teacher"] == taught.name
    assert "teacher" not in retrained_facts(alone)
    mine, theirs = (next(iter(each.network.parameters())) for each in (student, alone))
    assert not torch.equal(mine, theirs)
    again = teacher_from_run(supernet, SPACE, data, DistillationSettings())
    kept = train_final(SPACE, ARCH, data, SETTINGS, tmp_path / "a", teacher=again)
    assert kept.test_accuracy == student.test_accuracy
    with pytest.raises(RunMismatch):
        train_final(SPACE, ARCH, data, SETTINGS, tmp_path / "a")
    stronger = replace(again, settings=DistillationSettings(share=0.9))
    with pytest.raises(RunMismatch):
        train_final(SPACE, ARCH, data, SETTINGS, tmp_path / "a", teacher=stronger)
    final = teacher_from_run(tmp_path / "a", SPACE, data, DistillationSettings())
    assert final.name == f"{load_final_run(tmp_path / 'a').arch} trained alone"


def test_a_teacher_of_other_images_is_refused(supernet: Path, data: ImageData) -> None:
    with pytest.raises(InvalidFile, match="must have seen the same training images") as raised:
        teacher_from_run(
            supernet, SPACE, replace(data, fingerprint="other"), DistillationSettings()
        )
    assert "\n" not in str(raised.value)


def test_settings_have_a_table_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("epochs = 2\n[distillation]\nshare = 0.9\n")
    assert distillation_settings(path) == DistillationSettings(share=0.9)
    assert distillation_settings(None) == DistillationSettings()
    path.write_text("[distillation]\nshare = 1.0\n")
    with pytest.raises(InvalidFile, match="share"):
        distillation_settings(path)
