import numpy as np
import pytest
import torch
from torch import Tensor, nn

from devices import InvalidFile
from search.images.data import Split
from search.images.decoding import ArrayImages
from search.space import Architecture
from search.supernets.evaluation import (
    BatchNorm,
    Evaluator,
    accuracy,
    calibration_images,
    evaluate,
    final_weights,
    recalibrate,
)
from search.supernets.supernet import Supernet
from tests.tiny_training import SPACE

PROTOCOLS: tuple[BatchNorm, ...] = ("recalibrate", "batch", "inherit")


def split_of(count: int, seed: int) -> Split:
    """Return dark images of class 0 and bright ones of class 1, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.normal(80.0 + 90.0 * labels[:, None, None, None], 10.0, (count, 8, 8, 3))
    return Split(
        images=ArrayImages(pixels.clip(0, 255).astype(np.uint8)),
        rows=np.arange(count),
        labels=labels.astype(np.int64),
        resolution=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        flip=False,
    )


TRAINING, VALIDATION = split_of(64, seed=1), split_of(40, seed=2)
CALIBRATION = calibration_images(TRAINING)


@pytest.fixture(scope="module")
def trained() -> Supernet:
    supernet = Supernet(SPACE, seed=0)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(0)
    for _ in range(10):
        for images, labels in TRAINING.batches(16, rng=rng):
            optimizer.zero_grad(set_to_none=True)
            logits = supernet(images, SPACE.sample(rng))
            loss: Tensor = nn.functional.cross_entropy(logits, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return supernet


def copied(supernet: Supernet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in supernet.state_dict().items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_evaluating_changes_no_bit_of_the_supernet(trained: Supernet, protocol: BatchNorm) -> None:
    before, training = copied(trained), trained.training
    judge = Evaluator(trained, VALIDATION, calibration=CALIBRATION, batch_norm=protocol)
    judge([Architecture((1, 1)), Architecture((0, 0))])
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert trained.training is training


@pytest.mark.parametrize("protocol", ["recalibrate", "batch"])
def test_dark_and_bright_images_are_told_apart(trained: Supernet, protocol: BatchNorm) -> None:
    score = evaluate(
        trained, Architecture((1, 1)), VALIDATION, calibration=CALIBRATION, batch_norm=protocol
    )
    assert score == 1.0


def test_only_inheriting_reads_the_statistics_of_the_supernet(trained: Supernet) -> None:
    poisoned = Supernet(SPACE)
    poisoned.load_state_dict(trained.state_dict())
    for module in poisoned.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.full((module.num_features,), 1e6)
    changed = {}
    for protocol in PROTOCOLS:
        before, after = (
            evaluate(
                supernet,
                Architecture((1, 1)),
                VALIDATION,
                calibration=CALIBRATION,
                batch_norm=protocol,
            )
            for supernet in (trained, poisoned)
        )
        changed[protocol] = before != after
    assert changed == {"recalibrate": False, "batch": False, "inherit": True}


def test_recalibrated_statistics_are_the_mean_over_the_batches() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1, momentum=0.3))
    network[0].running_mean = torch.tensor([55.0])
    first = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)  # mean 2, unbiased variance 2
    second = torch.tensor([2.0, 8.0]).view(2, 1, 1, 1)  # mean 5, unbiased variance 18
    recalibrate(network, (first, second))
    state = network.state_dict()
    assert (state["0.running_mean"].item(), state["0.running_var"].item()) == (3.5, 10.0)
    assert network[0].momentum == 0.3
    assert not network.training


def test_recalibrating_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        recalibrate(nn.Sequential(nn.BatchNorm2d(1)), ())


def test_calibration_takes_the_first_training_images_every_time() -> None:
    batches = calibration_images(split_of(300, seed=3), count=280)
    again = calibration_images(split_of(300, seed=3), count=280)
    assert [len(images) for images in batches] == [128, 128]  # 280 rounded down to full batches
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


def test_a_small_training_split_calibrates_with_all_of_itself() -> None:
    assert [len(images) for images in calibration_images(TRAINING)] == [64]


def test_accuracy_is_the_share_of_right_answers() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 4.0], [1.0, 0.0]])  # answers 0 1 0 0
    batches = [(logits[:3], torch.tensor([0, 1, 1])), (logits[3:], torch.tensor([0]))]
    assert accuracy(nn.Identity(), batches) == 0.75


def test_the_accuracy_of_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="needs images"):
        accuracy(nn.Identity(), [])


def test_scores_come_in_the_order_of_the_question(trained: Supernet) -> None:
    archs = [Architecture((1, 1)), Architecture((0, 0)), Architecture((1, 0))]
    judge = Evaluator(trained, VALIDATION, calibration=CALIBRATION, batch_norm="inherit")
    one_by_one = [judge([arch])[0] for arch in reversed(archs)]
    assert judge(archs) == one_by_one[::-1]


def test_an_architecture_is_scored_once_and_in_canonical_form() -> None:
    supernet = Supernet(SPACE, seed=0)
    judge = Evaluator(supernet, VALIDATION, calibration=CALIBRATION)
    canonical = judge([Architecture((1, 0))])
    for parameter in supernet.parameters():  # a second evaluation would now fail
        parameter.data.fill_(float("nan"))
    assert judge([Architecture((0, 1)), Architecture((1, 0))]) == canonical * 2


def test_an_architecture_of_another_space_is_refused(trained: Supernet) -> None:
    judge = Evaluator(trained, VALIDATION, calibration=CALIBRATION)
    with pytest.raises(InvalidFile, match="has 3 choices"):
        judge([Architecture((1, 1, 1))])


def test_final_weights_score_what_the_evaluator_says_and_can_be_trained_on(
    trained: Supernet,
) -> None:
    arch = Architecture((1, 0))
    network = final_weights(trained, arch, CALIBRATION)
    score = evaluate(trained, arch, VALIDATION, calibration=CALIBRATION)
    assert not network.training
    assert accuracy(network, VALIDATION.batches(256)) == score
    network(CALIBRATION[0]).sum().backward()  # an inference tensor would refuse


def test_final_weights_are_those_of_the_canonical_form(trained: Supernet) -> None:
    one, other = (
        final_weights(trained, Architecture(choices), CALIBRATION) for choices in ((0, 1), (1, 0))
    )
    assert torch.equal(one(CALIBRATION[0]), other(CALIBRATION[0]))


def test_scores_are_the_accuracy_with_the_mean_cross_entropy(trained: Supernet) -> None:
    arch = Architecture((1, 1))
    judge = Evaluator(trained, VALIDATION, calibration=CALIBRATION)
    (found,) = judge.scores([arch])
    network = final_weights(trained, arch, CALIBRATION)
    images, labels = next(VALIDATION.batches(len(VALIDATION)))
    with torch.inference_mode():
        expected = float(nn.functional.cross_entropy(network(images), labels))
    assert found.accuracy == judge([arch])[0]
    assert found.loss == pytest.approx(expected, rel=1e-5)
