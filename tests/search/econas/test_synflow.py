import math

import pytest
import torch

from devices import InvalidFile
from profiler import Conv, Head, MBConv, Skip, total_macs
from search import Architecture, SearchSpace, space_named
from search.econas.synflow import Synflow
from search.metrics import spearman

SHAPE = (1, 4, 4, 4)
SPACE = SearchSpace(
    name="tiny",
    before=(Conv(input_shape=(1, 3, 4, 4), channels=4),),
    layers=(
        (
            Skip(input_shape=SHAPE),
            MBConv(input_shape=SHAPE, channels=4, expand=1),
            MBConv(input_shape=SHAPE, channels=4, expand=4, activation="relu6"),
        ),
    ),
    after=(Head(input_shape=SHAPE, channels=8, classes=2),),
)


def test_the_flow_of_a_linear_network_is_its_output_once_for_each_layer() -> None:
    # Every layer scales the output in proportion, so weight times gradient sums to the output: here
    # of a stem, a 1x1 convolution and a classifier without its bias. Weights are drawn in order.
    torch.manual_seed(3)
    stem, head = torch.nn.Conv2d(3, 4, 1, bias=False), torch.nn.Conv2d(4, 8, 1, bias=False)
    classifier = torch.nn.Linear(8, 2)
    drawn = [each.weight.detach().abs().double() for each in (stem, head, classifier)]
    by_hand = drawn[2] @ drawn[1][:, :, 0, 0] @ drawn[0][:, :, 0, 0] @ torch.ones(3).double()
    flow = math.exp(Synflow(SPACE, seed=3).logarithm(Architecture((0,))))
    assert flow == pytest.approx(3 * float(by_hand.sum()))


def test_scores_are_shares_that_rank_as_the_logarithms() -> None:
    score = Synflow(SPACE)
    archs = [Architecture((choice,)) for choice in range(3)]
    logarithms = [score.logarithm(arch) for arch in archs]
    values = score(archs)
    assert all(0.0 < value < 1.0 for value in values)
    assert sorted(range(3), key=values.__getitem__) == sorted(range(3), key=logarithms.__getitem__)
    assert logarithms[2] > logarithms[1]  # more channels carry more


def test_the_same_seed_scores_the_same_and_forms_of_a_network_are_one() -> None:
    space = space_named("macro", resolution=8)
    forms = [Architecture((1, 0, 1, 0, 1, 1, 0, 0)), Architecture((1, 0, 1, 1, 0, 1, 0, 0))]
    one, other = Synflow(space, seed=1)(forms)
    assert one == other
    assert Synflow(space, seed=2)(forms) != [one, other]


def test_on_the_macro_space_it_follows_size() -> None:
    space = space_named("macro", resolution=8)
    archs = [Architecture((c,) * 8) for c in (0, 1, 2)]
    operations = torch.tensor([float(total_macs(space.chain(arch))) for arch in archs]).numpy()
    scores = torch.tensor(Synflow(space)(archs), dtype=torch.float64).numpy()
    assert spearman(scores, operations) == pytest.approx(1.0)


def test_an_architecture_from_elsewhere_is_refused() -> None:
    with pytest.raises(InvalidFile, match="has 2 choices"):
        Synflow(SPACE)([Architecture((0, 0))])
