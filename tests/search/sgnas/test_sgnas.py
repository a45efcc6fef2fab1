"""The architecture generator: its shape, its losses, its training, and where it is kept."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from devices import InvalidFile, UnknownName
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from lut.model import Bend
from profiler import total_macs
from search import Architecture, as_choices, space_named
from search.images.data import ImageData, load_data
from search.sgnas.gates import (
    ExpectedLatency,
    expected_values,
    gates_of,
    gumbel_gates,
    log_probabilities,
)
from search.sgnas.generators import NoGenerator, generator_file, load_generator, train_generator
from search.sgnas.network import Generator
from search.sgnas.objectives import CrossEntropy, ExpectedError, accuracy_table, hardware_loss
from search.sgnas.projection import project
from search.sgnas.proposing import opinion_of, propose
from search.sgnas.settings import GeneratorSettings, generator_settings
from search.sgnas.training import GeneratorMetrics
from search.supernets.supernet import Supernet

SPACE = space_named("macro", resolution=8, classes=10)
SETTINGS = GeneratorSettings(epochs=3, steps=2, targets=4)


def model_of(space_name: str = "macro", *, bend: Bend | None = None) -> LatencyModel:
    """Return a device that takes a second for a million operations, and half a second more."""
    space = space_named(space_name, resolution=8, classes=10)
    costs = space.costs(lambda op: total_macs((op,)) * 1e-6)
    return LatencyModel(
        device="counter",
        base_s=0.5,
        cost_s=np.array(costs),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash=f"of {space_name}",
        bend=bend,
    )


MODEL = model_of()
EVERY = [Architecture(choices) for choices in product(range(3), repeat=8)]


def budgets_of(limits_s: list[float]) -> list[LatencyBudget]:
    return [
        LatencyBudget(model=MODEL, target=LatencyTarget(device="counter", limit_s=limit_s))
        for limit_s in limits_s
    ]


def random_gates(model: LatencyModel, count: int = 3) -> torch.Tensor:
    gates = gates_of(SPACE, model)
    layers, groups, options = gates.mask.shape
    image = torch.randn(count, layers, groups * options, generator=torch.manual_seed(0))
    return log_probabilities(image, gates.mask).exp()


def table_of(value: dict[Architecture, float]) -> torch.Tensor:
    return torch.tensor([value[arch] for arch in EVERY], dtype=torch.float64).reshape((3,) * 8)


def test_the_released_shape_has_the_released_number_of_parameters() -> None:
    def parameters(generator: Generator) -> int:
        return sum(weight.numel() for weight in generator.parameters())

    assert parameters(Generator(19, 24)) == 67_969
    assert parameters(Generator(19, 24, prior=False)) == 67_969 - 288 - 9_216


def test_the_released_constants_are_those_of_millions_of_operations() -> None:
    # 5.7 million above 360 of 270 to 450, 1.2 times 3e-4 for each squared; 5.7 below; .1 above.
    latency, targets = torch.tensor([95.7, 84.3, 90.1]) / 180, torch.full((3,), 90 / 180)
    loss = hardware_loss(latency, targets, GeneratorSettings(dead_zone=0.1001 / 180))
    expected = [3e-4 * 5.7**2 * 1.2, 3e-4 * 5.7**2, 0.0]
    assert loss.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_published_temperature_ends_at_385_thousandths() -> None:
    settings = GeneratorSettings()
    assert settings.tau * settings.decay**settings.epochs == pytest.approx(0.385, abs=5e-4)


@pytest.mark.parametrize("bend", [None, Bend(knot_s=3.0, steepening=0.5)])
def test_expected_latency_is_the_models_where_gates_are_0_and_1(bend: Bend | None) -> None:
    model = model_of(bend=bend)
    gates = gates_of(SPACE, model)
    archs = EVERY[:: len(EVERY) // 50]
    latency = ExpectedLatency(model, gates)
    found = latency(torch.stack([gates.one_hot(arch) for arch in archs]))
    assert found.numpy() == pytest.approx(latency.shares(model.latency_s(as_choices(archs))))
    assert latency.shares(np.array([0.0, 99.0])).tolist() == [0.0, 1.0]


def test_expected_latency_is_the_mean_over_all_architectures_and_has_its_gradient() -> None:
    gates = random_gates(MODEL).double().requires_grad_()
    latency = ExpectedLatency(MODEL, gates_of(SPACE, MODEL))
    shares = latency.shares(MODEL.latency_s(as_choices(EVERY)))
    exact = expected_values(gates, torch.from_numpy(shares).reshape((3,) * 8))
    found = latency(gates)
    assert found.tolist() == pytest.approx(exact.tolist())
    (slope,) = torch.autograd.grad(found.sum(), gates)
    span_s = latency.high_s - latency.low_s
    assert slope[0, :, 0].numpy() == pytest.approx(MODEL.cost_s / span_s, rel=1e-5)


def test_the_contracted_accuracy_is_the_mean_over_all_architectures(
    rng: np.random.Generator,
) -> None:
    table = torch.from_numpy(rng.random((3,) * 8))
    gates = random_gates(MODEL).double()
    choices = torch.tensor([arch.choices for arch in EVERY])  # (architectures, layers)
    chances = gates[:, torch.arange(8), 0, choices].prod(dim=-1)  # (targets, architectures)
    assert expected_values(gates, table).tolist() == pytest.approx(
        (chances @ table.flatten()).tolist()
    )


def test_the_table_of_a_space_has_one_value_for_the_forms_of_a_network() -> None:
    asked: list[Architecture] = []

    def accuracy(archs: list[Architecture]) -> list[float]:
        asked.extend(archs)
        return [sum(arch.choices) / 16 for arch in archs]

    table = accuracy_table(SPACE, accuracy)
    assert len(asked) == len(set(asked)) == 3_969
    assert table[2, 2, 1, 0, 2, 0, 0, 1] == table[2, 2, 1, 2, 0, 0, 1, 0] == 8 / 16


def test_hard_gates_are_0_and_1_with_the_gradient_of_soft_ones() -> None:
    log_gates = random_gates(MODEL).log().requires_grad_()
    noise = torch.zeros_like(log_gates)
    soft = gumbel_gates(log_gates, noise, tau=0.5, hard=False)
    hard = gumbel_gates(log_gates, noise, tau=0.5, hard=True)
    assert set(hard.detach().round(decimals=5).flatten().tolist()) == {0.0, 1.0}
    weights = torch.randn(soft.shape, generator=torch.manual_seed(1))
    of_soft, of_hard = (
        torch.autograd.grad((gates * weights).sum(), log_gates)[0] for gates in (soft, hard)
    )
    assert torch.allclose(of_soft, of_hard)


def test_a_low_temperature_draws_by_the_probabilities() -> None:
    log_gates = torch.tensor([0.2, 0.3, 0.5]).log().expand(20_000, 1, 1, 3)
    noise = torch.from_numpy(np.random.default_rng(0).gumbel(size=(20_000, 1, 1, 3)))
    drawn = gumbel_gates(log_gates, noise, tau=0.01, hard=True).mean(dim=0).flatten()
    assert drawn.tolist() == pytest.approx([0.2, 0.3, 0.5], abs=0.01)


def test_a_mixture_with_gates_of_0_and_1_is_the_network(rng: np.random.Generator) -> None:
    supernet, images = Supernet(SPACE).eval(), torch.from_numpy(rng.random((2, 3, 8, 8))).float()
    gates = gates_of(SPACE, MODEL)
    arch = Architecture((2, 0, 1, 2, 0, 1, 0, 2))
    mixed = supernet.mixture(images, gates.one_hot(arch)[:, 0])
    assert torch.allclose(mixed, supernet(images, arch), atol=1e-5)


def test_unified_gates_cost_what_the_blocks_cost_and_score_what_the_groups_score(
    rng: np.random.Generator,
) -> None:
    space, model = space_named("unified-macro", resolution=8, classes=10), model_of("unified-macro")
    gates = gates_of(space, model)
    assert gates.mask.shape == (8, 6, 4)
    archs = [space.sample(rng) for _ in range(20)]
    images = torch.stack([gates.one_hot(arch) for arch in archs])
    latency = ExpectedLatency(model, gates)
    assert latency(images).numpy() == pytest.approx(
        latency.shares(model.latency_s(as_choices(archs))), abs=1e-6
    )
    log_gates = log_probabilities(torch.randn(1, 8, 24), gates.mask).clamp_min(-30)
    scores = gates.choice_scores(log_gates.double().numpy())
    assert scores.shape == (1, 8, 3072)
    for image, arch in zip(images, archs, strict=True):
        by_group = float((image * log_gates[0]).sum())
        by_choice = scores[0, np.arange(8), list(arch.choices)].sum()
        assert by_choice == pytest.approx(by_group, rel=1e-5)


def test_a_unified_generator_learns_and_answers_in_codes() -> None:
    space, model = space_named("unified-macro", resolution=8, classes=10), model_of("unified-macro")
    settings = replace(SETTINGS, epochs=2)
    seen: list[GeneratorMetrics] = []
    made = train_generator(
        space, model, lambda gates, _: gates.square().mean(), settings, on_epoch=seen.append
    )
    assert np.isfinite([metrics.loss for metrics in seen]).all()
    limit_s = float(model.latency_s(model.ends).mean())
    target = LatencyTarget(device="counter", limit_s=limit_s)
    budget = LatencyBudget(model=model, target=target)
    found = propose(made, [budget], space=space, most=5, rng=np.random.default_rng(0))
    assert len(found) == 5
    assert (model.latency_s(as_choices(found)) <= limit_s).all()


def test_cells_are_priced_by_the_product_of_their_gates() -> None:
    space = space_named("nasbench201", resolution=8, classes=10)
    cost_s = np.random.default_rng(0).random((1, 5**6))
    cost_s[0, 0] = np.inf  # a cell that computes nothing
    model = LatencyModel(
        device="sim",
        base_s=0.0,
        cost_s=cost_s,
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="none",
        together=(5,) * 6,
    )
    gates = gates_of(space, model)
    archs = [Architecture((4, 3, 2, 1, 0, 1)), Architecture((1, 1, 1, 1, 1, 1))]
    latency = ExpectedLatency(model, gates)
    found = latency(torch.stack([gates.one_hot(arch) for arch in archs]))
    assert found.numpy() == pytest.approx(latency.shares(model.latency_s(as_choices(archs))))
    log_gates = np.log(np.random.default_rng(1).random((2, 6, 1, 5)))
    scores = gates.choice_scores(log_gates)
    place = np.ravel_multi_index(archs[0].choices, (5,) * 6)
    sums = log_gates[:, np.arange(6), 0, list(archs[0].choices)].sum(axis=1)
    assert scores[:, 0, place] == pytest.approx(sums)


def test_a_generator_learns_to_meet_targets_and_to_prefer_what_is_accurate() -> None:
    # Where every network is as accurate, only the targets count; else the better half wins.
    settings = GeneratorSettings(epochs=8, steps=15, targets=8, decay=0.75)
    flat = ExpectedError(np.full((3,) * 8, 0.5), scale=1.0)
    seen = []
    made = train_generator(
        SPACE, MODEL, flat, settings, on_epoch=lambda metrics: seen.append(metrics.miss)
    )
    assert seen[-1] < 0.5 * seen[0]
    targets = np.linspace(0.0, 1.0, 9)
    scores = made.scores(targets)
    favourites = scores.argmax(axis=2)
    shares = made.latency.shares(MODEL.latency_s(favourites))
    assert np.corrcoef(shares, targets)[0, 1] > 0.8
    budgets = budgets_of(np.linspace(1.01, 6.0, 7).tolist())
    projected = project(scores, budgets, space=SPACE)
    assert (MODEL.latency_s(projected[4]) <= [budget.allowed_s for budget in budgets]).all()


def test_one_pass_proposes_for_every_budget_and_draws_by_the_seed() -> None:
    made = train_generator(SPACE, MODEL, ExpectedError(np.zeros((3,) * 8), scale=1.0), SETTINGS)
    budgets = budgets_of(np.linspace(2.0, 4.0, 12).tolist())

    def proposed(most: int, seed: int) -> list[Architecture]:
        rng = np.random.default_rng(seed)
        return propose(made, budgets, space=SPACE, most=most, rng=rng)

    many = proposed(40, 0)
    assert len(many) == len(set(many)) == 40
    assert all(SPACE.canonical(arch) == arch for arch in many)
    assert (MODEL.latency_s(as_choices(many)) <= 4.0).all()
    assert proposed(40, 0) == many != proposed(40, 1)
    favourites = project(
        made.scores(made.latency.shares(np.linspace(2.0, 4.0, 12))), budgets, space=SPACE
    )
    own = {SPACE.canonical(Architecture(tuple(favourites[i, i].tolist()))) for i in range(12)}
    assert own <= set(proposed(1, 0))


def test_the_opinion_on_a_network_is_how_likely_it_is_for_its_own_latency() -> None:
    made = train_generator(SPACE, MODEL, ExpectedError(np.zeros((3,) * 8), scale=1.0), SETTINGS)
    archs = [Architecture((0,) * 8), Architecture((2, 1, 0, 2, 1, 0, 2, 1))]
    found = opinion_of(made, archs, model=MODEL)
    for arch, opinion in zip(archs, found.tolist(), strict=True):
        share = made.latency.shares(MODEL.latency_s(as_choices([arch])))
        (scores,) = made.scores(share)
        assert opinion == pytest.approx(sum(scores[i, c] for i, c in enumerate(arch.choices)))


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", resolution=8)


def test_cross_entropy_goes_through_the_images_and_leaves_the_supernet_alone(
    digits: ImageData,
) -> None:
    supernet = Supernet(SPACE).eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    objective = CrossEntropy(supernet, gates_of(SPACE, MODEL), digits.validation, batch=50)
    gates = random_gates(MODEL, count=1).requires_grad_()
    first = objective(gates, 0)
    torch.autograd.backward(first)
    assert gates.grad is not None
    assert gates.grad.abs().sum() > 0
    batches = len(digits.validation) // 50
    still = gates.detach()
    assert float(objective(still, batches)) == first.item() != float(objective(still, 1))
    after = supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not supernet.training


def test_a_generator_that_was_cut_off_ends_like_one_that_was_not(tmp_path: Path) -> None:
    table = np.random.default_rng(0).random((3,) * 8)

    class Killed(Exception):
        pass

    def kill(_: object) -> None:
        raise Killed

    objective = ExpectedError(table, scale=20.0)
    with pytest.raises(Killed):
        train_generator(SPACE, MODEL, objective, SETTINGS, run_dir=tmp_path, on_epoch=kill)
    resumed = train_generator(SPACE, MODEL, objective, SETTINGS, run_dir=tmp_path)
    whole = train_generator(SPACE, MODEL, objective, SETTINGS)
    loaded = load_generator(tmp_path, space=SPACE, model=MODEL)
    targets = np.linspace(0.0, 1.0, 5)
    assert (resumed.scores(targets) == whole.scores(targets)).all()
    assert (loaded.scores(targets) == whole.scores(targets)).all()
    assert loaded.epoch == 3


def test_a_generator_of_another_table_is_refused_with_what_trains_one(tmp_path: Path) -> None:
    other = replace(MODEL, device="phone", table_hash="f00dfeedbeefcafe")
    with pytest.raises(NoGenerator, match="holds no generator, none for 'counter'"):
        load_generator(tmp_path, space=SPACE, model=MODEL)
    objective = ExpectedError(np.zeros((3,) * 8), scale=1.0)
    train_generator(SPACE, other, objective, SETTINGS, run_dir=tmp_path)
    with pytest.raises(NoGenerator) as caught:
        load_generator(tmp_path, space=SPACE, model=MODEL)
    assert str(caught.value) == (
        f"the run in {tmp_path} holds only generators for 'phone' (table f00dfeedbeef), none for "
        f"'counter' (table of macro): train one: latkit train sgnas --from {tmp_path} --table "
        f"T.lut -o {tmp_path}"
    )


def test_a_generator_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    objective = ExpectedError(np.zeros((3,) * 8), scale=1.0)
    train_generator(SPACE, MODEL, objective, SETTINGS, run_dir=tmp_path)
    with pytest.raises(InvalidFile, match=r"was trained with over 1\.2, not 2\.0"):
        train_generator(SPACE, MODEL, objective, replace(SETTINGS, over=2.0), run_dir=tmp_path)


def test_a_damaged_generator_is_named_with_the_cure(tmp_path: Path) -> None:
    path = generator_file(tmp_path, MODEL.table_hash)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InvalidFile, match="truncated or no generator: remove it and train again"):
        load_generator(tmp_path, space=SPACE, model=MODEL)


def test_settings_of_the_generator_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("epochs = 7\n[sgnas]\nover = 2.0\nbetas = [0.9, 0.99]\n")
    assert generator_settings(path) == GeneratorSettings(over=2.0, betas=(0.9, 0.99))
    path.write_text("[sgnas]\nofer = 2.0\n")
    with pytest.raises(UnknownName, match="the nearest is 'over'"):
        generator_settings(path)
    path.write_text("[sgnas]\ntau = 0.0\n")
    with pytest.raises(InvalidFile, match="tau: Input should be greater than 0"):
        generator_settings(path)
