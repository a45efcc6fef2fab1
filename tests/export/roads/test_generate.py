"""A supernet that is taken over, and what its generator proposes for many limits."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from devices import InvalidFile
from export.roads import generate
from export.roads.generate import adopt_supernet, generated
from lut import ErrorBand, LatencyModel
from profiler import total_macs
from search.sgnas.generators import generator_file, train_generator
from search.sgnas.settings import GeneratorSettings
from search.solve import Limits, Search
from search.space import Architecture
from search.spaces import space_named
from search.training.loop import train
from search.training.path_samplers import uniform_paths
from search.training.runs import read_checkpoint, read_metrics
from tests.tiny_training import DATA, SETTINGS, SPACE

MACRO = space_named("macro", resolution=8, classes=10)


def trained(run_dir: Path, *, until: int, seed: int = 7) -> None:
    settings = replace(SETTINGS, seed=seed)
    paths = uniform_paths(SPACE)
    train(SPACE, DATA, settings, run_dir, method="uniform", paths=paths, until=until)


def test_a_supernet_that_was_trained_on_since_is_taken_over_anew(tmp_path: Path) -> None:
    source, adopted = tmp_path / "source", tmp_path / "adopted"
    trained(source, until=1)
    adopt_supernet(source, adopted)
    assert read_checkpoint(adopted).epoch == 1
    trained(source, until=3)
    adopt_supernet(source, adopted)
    assert read_checkpoint(adopted).epoch == 3
    assert [row.epoch for row in read_metrics(adopted)] == [1, 2, 3]


def test_a_supernet_is_not_replaced_under_a_generator_that_was_trained_for_it(
    tmp_path: Path,
) -> None:
    source, adopted = tmp_path / "source", tmp_path / "adopted"
    trained(source, until=1)
    adopt_supernet(source, adopted)
    generator_file(adopted, "of some table").write_bytes(b"a generator")
    adopt_supernet(source, adopted)  # the same weights: nothing to say
    trained(source, until=3)
    with pytest.raises(InvalidFile) as caught:
        adopt_supernet(source, adopted)
    assert str(caught.value) == (
        f"{adopted} has a generator for the supernet of {source} at epoch 1, which was trained on "
        f"to epoch 3 since: name a new directory, or keep the older one, --from {adopted}"
    )
    assert read_checkpoint(adopted).epoch == 1


def test_a_copy_that_was_trained_further_is_not_undone(tmp_path: Path) -> None:
    source, adopted = tmp_path / "source", tmp_path / "adopted"
    trained(source, until=1)
    adopt_supernet(source, adopted)
    trained(adopted, until=2)
    with pytest.raises(InvalidFile, match="holds another supernet than"):
        adopt_supernet(source, adopted)
    assert read_checkpoint(adopted).epoch == 2


def test_a_copy_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    source, adopted = tmp_path / "source", tmp_path / "adopted"
    trained(source, until=1)
    adopted.mkdir()
    shutil.copy(source / "settings.json", adopted)
    adopt_supernet(source, adopted)
    assert (adopted / "checkpoint.pt").read_bytes() == (source / "checkpoint.pt").read_bytes()


def test_a_source_without_a_finished_epoch_is_refused_and_nothing_is_copied(
    tmp_path: Path,
) -> None:
    source, adopted = tmp_path / "source", tmp_path / "adopted"
    trained(source, until=1)
    (source / "checkpoint.pt").unlink()
    with pytest.raises(InvalidFile, match="has not finished an epoch"):
        adopt_supernet(source, adopted)
    assert not adopted.exists()


def model_of(device: str, scale: float) -> LatencyModel:
    """Return a device that takes as many seconds for a million operations, and half a second."""
    return LatencyModel(
        device=device,
        base_s=0.5,
        cost_s=np.array(MACRO.costs(lambda op: scale * total_macs((op,)) * 1e-6)),
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash=f"of {device}",
    )


def larger_is_better(archs: Sequence[Architecture]) -> list[float]:
    return [sum(arch.choices) / 20 for arch in archs]


@pytest.mark.parametrize("devices", [1, 2])
def test_what_is_proposed_does_not_depend_on_the_order_of_the_limits(
    devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [model_of("phone", 1.0), model_of("gpu", 2.0)][:devices]
    settings = GeneratorSettings(epochs=1, steps=1, targets=2)
    made = train_generator(MACRO, models[0], lambda gates, _: gates.sum(), settings)
    run = SimpleNamespace(supernet=SimpleNamespace(space=MACRO))
    monkeypatch.setattr(generate, "load_supernet", lambda _: run)
    monkeypatch.setattr(generate, "load_generator", lambda *_, **__: made)
    low, high = models[0].price(np.array([[0] * 8, [2] * 8])).latency_s.tolist()
    limits = [
        Limits(limits_s=(low + share * (high - low), 99.0)[:devices]) for share in (0.2, 0.5, 0.9)
    ]

    def proposed(order: Sequence[Limits]) -> tuple[Architecture, ...]:
        search = Search(method="sgnas", population=40)
        return generated(
            search, Path("run"), models=models, limits=order, accuracy=larger_is_better
        )

    assert proposed(limits) == proposed(limits[::-1])


def test_with_a_second_device_the_loosest_limit_is_tightened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []

    def propose(_: object, budgets: Sequence[object], **__: object) -> list[Architecture]:
        asked.extend(budget.target.limit_s for budget in budgets)  # type: ignore[attr-defined]
        return []

    run = SimpleNamespace(supernet=SimpleNamespace(space=MACRO))
    monkeypatch.setattr(generate, "load_supernet", lambda _: run)
    monkeypatch.setattr(generate, "load_generator", lambda *_, **__: None)
    monkeypatch.setattr(generate, "propose", propose)
    models = [model_of("phone", 1.0), model_of("gpu", 2.0)]
    low, high = models[0].price(np.array([[0] * 8, [2] * 8])).latency_s.tolist()
    tight, loose = low + 0.1 * (high - low), low + 0.9 * (high - low)
    limits = [Limits(limits_s=(tight, 99.0)), Limits(limits_s=(loose, 99.0))]
    generated(
        Search(method="sgnas"), Path("run"), models=models, limits=limits, accuracy=larger_is_better
    )
    assert asked[:2] == [tight, loose]
    assert len(asked) == 2 + generate.TIGHTER
    assert sum(tight < limit_s < loose for limit_s in asked) > generate.TIGHTER / 2
