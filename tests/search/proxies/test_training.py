"""Networks trained alone under proxies: stages, studies, searches, and what may go wrong."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from devices import UnknownName
from lut import ErrorBand, LatencyModel
from search.econas.hierarchy import METHOD, EconasSettings
from search.econas.on_data import ProxySearch, Spent, solve_by_training
from search.images.data import ImageData, load_data
from search.metrics import spearman
from search.proxies.proxy import InvalidProxy, proxy_from_text
from search.proxies.study import NothingToCompare, Study, distinct_networks, study_of
from search.proxies.training import (
    MissingCheckpoint,
    ProxyTrainer,
    Stage,
    read_stage,
    stage_path,
    trainer_of,
)
from search.searcher import Trial
from search.solve import Limits, Solution
from search.space import Architecture, architecture_from_text
from search.spaces import space_named
from search.training.runs import CHECKPOINT, RunMismatch, read_checkpoint, read_metrics, read_record
from search.training.settings import TrainSettings

SPACE = space_named("macro", resolution=16, classes=10)
ARCH = architecture_from_text("10101100")
CANONICAL = "10110100"
PROXY = proxy_from_text("c6r0s1e4")
TRAINING = TrainSettings(
    batch=32, learning_rate=0.05, warmup_epochs=0.0, label_smoothing=0.0, threads=1
)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", resolution=16)


def trainer(digits: ImageData, folder: Path, *, settings: TrainSettings = TRAINING) -> ProxyTrainer:
    return trainer_of(
        SPACE, digits, PROXY, settings, folder, levels=(1, 2, 4), images=128, validation=64
    )


def weights(run_dir: Path) -> torch.Tensor:
    state = read_checkpoint(run_dir).model
    return torch.cat([value.flatten().float() for value in state.values()])


def forget_time(stage: Stage) -> Stage:
    return replace(stage, train_s=0.0)


# Stages


def test_going_on_keeps_weights_momentum_and_schedule(digits: ImageData, tmp_path: Path) -> None:
    staged, straight = trainer(digits, tmp_path / "staged"), trainer(digits, tmp_path / "straight")
    stages = [staged(Trial(ARCH, effort)) for effort in (1, 2, 3)]
    at_once = straight(Trial(ARCH, 3))
    assert [stage.epochs for stage in stages] == [1, 2, 4]
    assert [stage.images for stage in stages] == [64, 128, 256]  # half of 128 images an epoch
    assert forget_time(stages[2]) == forget_time(at_once)
    runs = (staged.run_dir(ARCH), straight.run_dir(ARCH))
    assert torch.equal(*map(weights, runs))
    momenta = [read_checkpoint(run).optimizer["state"][0]["momentum_buffer"] for run in runs]
    assert torch.equal(*momenta)
    rates = [row.learning_rate for row in read_metrics(runs[0])]
    assert rates == pytest.approx([0.05 * (1 + np.cos(np.pi * e / 4)) / 2 for e in (1, 2, 3, 4)])


def test_what_was_trained_is_read_and_not_trained_again(digits: ImageData, tmp_path: Path) -> None:
    train = trainer(digits, tmp_path)
    first = train(Trial(ARCH, 1))
    checkpoint = train.run_dir(ARCH) / CHECKPOINT
    checkpoint.unlink()  # whatever came of it is in the stage
    assert train(Trial(architecture_from_text(CANONICAL), 1)) == first  # an equal network
    assert not checkpoint.exists()


def test_an_effort_whose_checkpoint_is_gone_says_what_to_do(
    digits: ImageData, tmp_path: Path
) -> None:
    train = trainer(digits, tmp_path)
    train(Trial(ARCH, 2))
    (train.run_dir(ARCH) / CHECKPOINT).unlink()
    with pytest.raises(MissingCheckpoint) as caught:
        train(Trial(ARCH, 3))
    message = str(caught.value)
    assert message.startswith(f"effort 3 of architecture {ARCH} goes on from epoch 2, which ")
    assert message.endswith(f"remove {tmp_path / CANONICAL} and the network is trained anew")
    assert "checkpoint.pt is missing: restore it" in message


def test_a_run_says_which_proxy_of_what_it_is(digits: ImageData, tmp_path: Path) -> None:
    train = trainer(digits, tmp_path)
    train(Trial(ARCH, 1))
    record = read_record(tmp_path / CANONICAL)
    assert (record.method, record.space, record.resolution) == ("proxy", "macro-c6", 16)
    assert record.options["arch"] == CANONICAL
    assert (record.options["proxy"], record.options["training images"]) == ("c6r0s1e4", 64)
    with pytest.raises(RunMismatch, match=r"learning_rate 0.05, not 0.01"):
        trainer(digits, tmp_path, settings=replace(TRAINING, learning_rate=0.01))(Trial(ARCH, 2))


def test_a_stage_is_judged_by_validation_images(digits: ImageData, tmp_path: Path) -> None:
    train = trainer(digits, tmp_path)
    assert (len(train.data.training), len(train.data.validation)) == (64, 64)
    assert set(train.data.training.rows) < set(digits.training.rows)
    assert set(train.data.validation.rows) < set(digits.validation.rows)
    stage = train(Trial(ARCH, 1))
    assert stage == read_stage(stage_path(tmp_path / CANONICAL, 1))
    assert stage.accuracy * 64 == round(stage.accuracy * 64)


def test_a_warm_up_as_long_as_the_proxy_is_refused(digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(InvalidProxy, match="c6r0s1e4 trains for 4 epochs, and warmup_epochs is 4"):
        trainer(digits, tmp_path, settings=replace(TRAINING, warmup_epochs=4.0))


# Studies


def study(digits: ImageData, folder: Path, *, truth: Sequence[float] | None = None) -> Study:
    grid = [proxy_from_text(text) for text in ("c6r0s1e1", "c6r0s0e2")]
    archs = distinct_networks(SPACE, 4, np.random.default_rng(0))
    return study_of(
        SPACE, {16: digits}, grid, TRAINING, archs, folder, images=128, validation=64, truth=truth
    )


def test_a_study_compares_every_setting_with_the_dearest(digits: ImageData, tmp_path: Path) -> None:
    asked = study(digits, tmp_path)
    done: list[tuple[int, int]] = []
    stages = asked.run(workers=1, on_stage=lambda *count: done.append(count))
    (row,) = asked.judge(stages)
    assert (str(asked.dearest), str(row.proxy), str(asked.full)) == (
        "c6r0s0e2",
        "c6r0s1e1",
        "c0r0s0e2",
    )
    assert done == [(i, 8) for i in range(1, 9)]
    found, reference = (
        np.array([stage.accuracy for stage in stages[proxy]]) for proxy in asked.trainers
    )
    assert row.spearman == pytest.approx(np.nan_to_num(spearman(found, reference)))
    assert row.spearman_interval[0] <= row.spearman <= row.spearman_interval[1]
    assert row.paper_share == 1 / 256  # 64 by channels, 2 by samples, 2 by epochs
    assert 1 / 256 < row.cost_share < 1 / 32  # widths were rounded up


def test_a_study_that_was_stopped_trains_only_what_is_missing(
    digits: ImageData, tmp_path: Path
) -> None:
    asked = study(digits, tmp_path)

    class Stopped(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        asked.run(workers=1, on_stage=stop)
    kept = sorted(tmp_path.glob("*/*/stage-*.json"))
    times = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 3
    asked.run(workers=1)
    assert len(list(tmp_path.glob("*/*/stage-*.json"))) == 8
    assert [path.stat().st_mtime_ns for path in kept] == times


def made_up(accuracies: Sequence[float]) -> list[Stage]:
    return [Stage(epochs=1, accuracy=each, train_s=2.0, images=64) for each in accuracies]


def test_reliability_is_that_of_ranks(digits: ImageData, tmp_path: Path) -> None:
    asked = study(digits, tmp_path, truth=[0.1, 0.2, 0.3, 0.4])
    cheap, dear = asked.trainers
    rows = asked.judge({cheap: made_up([0.1, 0.3, 0.2, 0.4]), dear: made_up([0.4, 0.3, 0.2, 0.1])})
    assert [row.proxy for row in rows] == [cheap, dear]
    assert [row.spearman for row in rows] == pytest.approx([0.8, -1.0])
    assert [row.kendall for row in rows] == pytest.approx([2 / 3, -1.0])
    assert [row.shift for row in rows] == [0.5, 2.0]  # places: 0 1 1 0, and 3 1 1 3
    assert [row.best for row in rows] == [True, False]
    assert [row.train_s for row in rows] == [2.0, 2.0]


def test_what_ranks_nothing_has_no_correlation(digits: ImageData, tmp_path: Path) -> None:
    asked = study(digits, tmp_path, truth=[0.1, 0.2, 0.3, 0.4])
    rows = asked.judge(dict.fromkeys(asked.trainers, made_up([0.5] * 4)))
    assert [(row.spearman, row.kendall, row.best) for row in rows] == [(0.0, 0.0, False)] * 2


def test_a_study_needs_networks_and_settings(digits: ImageData, tmp_path: Path) -> None:
    asked = study(digits, tmp_path)
    with pytest.raises(NothingToCompare, match="2 networks cannot be ranked: take 3 or more"):
        replace(asked, archs=asked.archs[:2])
    with pytest.raises(NothingToCompare, match="would be compared with itself: add cheaper ones"):
        replace(asked, trainers=dict(list(asked.trainers.items())[:1]))
    with pytest.raises(NothingToCompare, match="ask for fewer"):
        distinct_networks(replace(SPACE, layers=SPACE.layers[:1]), 4, np.random.default_rng(0))


# Searches

SMALL = EconasSettings(
    initial=3,
    cycles=2,
    epochs=(1, 2),
    promoted=(1,),
    mothers=(1, 1),
    channels=6,
    resolution=0,
    samples=1,
    images=128,
    validation=64,
)
MODEL = LatencyModel(
    device="sim",
    base_s=0.0,
    cost_s=np.tile(np.array([1.0, 2.0, 3.0]), (8, 1)),
    band=ErrorBand(ratios=(1.0,) * 20),
    table_hash="of no table",
)


def search(
    digits: ImageData, work: Path, *, workers: int = 1, stop_after: int = 10**9
) -> tuple[Solution, Spent]:
    count = 0

    def on_stage(trial: Trial, stage: Stage) -> None:
        nonlocal count
        count += 1
        if count == stop_after:
            raise KeyboardInterrupt

    (solution,), spent = solve_by_training(
        ProxySearch(method=METHOD, settings=SMALL, training=TRAINING, workers=workers),
        space=SPACE,
        data=digits,
        models=[MODEL],
        limits=[Limits(limits_s=(14.0,))],
        work=work,
        on_stage=on_stage,
    )
    return solution, spent


def test_a_search_that_was_stopped_ends_as_one_that_was_not(
    digits: ImageData, tmp_path: Path
) -> None:
    whole, cost = search(digits, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        search(digits, tmp_path / "stopped", stop_after=4)
    trained = len(list((tmp_path / "stopped").glob("*/*/stage-*.json")))
    again, cost_again = search(digits, tmp_path / "stopped")
    assert trained == 4
    assert again.answer == whole.answer
    assert again.result == whole.result
    assert (cost.networks, cost.epochs) == (cost_again.networks, cost_again.epochs)
    everything = list((tmp_path / "stopped").glob("*/*/stage-*.json"))
    assert len(everything) == whole.result.evaluations  # nothing is counted twice
    assert cost.epochs == sum(
        max(json.loads(p.read_text())["epochs"] for p in run.glob("stage-*.json"))
        for run in (tmp_path / "stopped" / "c6r0s1e2").iterdir()
    )


def test_workers_find_what_one_process_finds(digits: ImageData, tmp_path: Path) -> None:
    alone, _ = search(digits, tmp_path / "alone")
    together, _ = search(digits, tmp_path / "together", workers=2)
    assert together.result == alone.result


def test_an_answer_says_that_it_has_no_weights(digits: ImageData, tmp_path: Path) -> None:
    solution, _ = search(digits, tmp_path)
    answer = solution.answer
    assert answer.method == "econas"
    assert answer.accuracy_from == (
        "trained alone for 2 epochs under proxy c6r0s1e2 on 64 images, 64 validation images; "
        "no weights of the full network: train final before export"
    )
    assert answer.predicted_s[0] <= 14.0  # of the full network, at full width
    assert answer.space is SPACE


def test_an_unknown_search_is_refused() -> None:
    with pytest.raises(UnknownName, match="no search method is called 'eco'"):
        ProxySearch(method="eco", settings=SMALL, training=TRAINING)


def test_the_only_network_of_a_twin_is_the_architecture(digits: ImageData, tmp_path: Path) -> None:
    twin = trainer(digits, tmp_path).twin(ARCH)
    assert [str(layer[0]) for layer in twin.layers][:3] == [
        "mbconv 1x8x16x16 -> 8 k3 s2 e3",
        "skip 1x8x8x8",
        "mbconv 1x8x8x8 -> 16 k3 s2 e3",
    ]
    assert twin.size == 1
    assert Architecture((0,) * 8).choices == (0,) * len(twin.layers)
