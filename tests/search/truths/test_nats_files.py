"""NATS-Bench's files, made here as its package writes them, and read through it."""

import bz2
import json
import pickle
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latkit
from devices import InvalidFile
from profiler.operators.cells import pruned
from search import Architecture
from search.spaces.nasbench201 import cell_text, every_cell, nasbench201
from search.truths.nasbench201 import CELLS, CLASSES, NasBench201
from search.truths.nats_files import first_of_class, is_nats_bench, read_nats_bench

SPACE = nasbench201()
ORDER = np.random.default_rng(0).permutation(CELLS)
ARCHS = [Architecture(choices) for choices in every_cell()]
ARCHS = [ARCHS[i] for i in ORDER]
STANDING = set(first_of_class(ARCHS).tolist())

EVALUATED = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
"""Data set to what its networks were evaluated on, as documented by ``ArchResults.get_metrics``."""

SEEDS = {"12": (777,), "200": (777, 888)}
"""Training runs by their epochs; the second one of a pair is 2 points better."""


def size_of(arch: Architecture) -> int:
    return sum(choice > 1 for choice in pruned(SPACE.canonical(arch).choices))


@cache
def trials(size: int, hp: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the training runs of a cell of so many operations: ten points each, and the test's."""
    return {
        (dataset, seed): trial(10.0 * size + 2 * i, dataset, epochs=int(hp), seed=seed)
        for dataset in EVALUATED
        for i, seed in enumerate(SEEDS[hp])
    }


def trial(accuracy: float, dataset: str, *, epochs: int, seed: int) -> dict[str, Any]:
    """Return the plain data of a ``ResultsCount``, of its last epoch alone."""
    keys = [f"{name}@{epochs - 1}" for name in EVALUATED[dataset]]
    return {
        "name": "infer.tiny",
        "net_state_dict": None,
        "train_acc1es": {epochs - 1: 99.0},
        "train_acc5es": {epochs - 1: 100.0},
        "train_losses": {epochs - 1: 0.1},
        "train_times": None,
        "arch_config": {"channel": 16, "num_cells": 5, "class_num": 10},
        "params": 1.0,
        "flop": 1.0,
        "seed": seed,
        "epochs": epochs,
        "latency": None,
        "eval_names": list(EVALUATED[dataset]),
        "eval_acc1es": {key: accuracy + i for i, key in enumerate(keys)},
        "eval_times": {},
        "eval_losses": dict.fromkeys(keys, 1.0),
    }


def cell_file(index: int) -> dict[str, Any]:
    """Return what is known of a cell: the plain data of an ``ArchResults`` for each training."""
    return {
        hp: {
            "arch_index": index,
            "arch_str": cell_text(ARCHS[index]),
            "all_results": trials(size_of(ARCHS[index]), hp),
            "dataset_seed": {dataset: list(seeds) for dataset in EVALUATED},
            "clear_net_done": True,
        }
        for hp, seeds in SEEDS.items()
    }


def write(path: Path, content: Any) -> None:
    path.write_bytes(bz2.compress(pickle.dumps(content, protocol=4), 1))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the simple archive, without the cells that stand for no class."""
    pytest.importorskip("nats_bench", reason="the package nats_bench is not installed")
    folder = tmp_path_factory.mktemp("nats") / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    write(folder / "meta.pickle.pbz2", {"meta_archs": [cell_text(arch) for arch in ARCHS]})
    for index in STANDING:
        write(folder / f"{index:06d}.pickle.pbz2", cell_file(index))
    return folder


read_so_far: list[tuple[int, int]] = []


@pytest.fixture(scope="module")
def bench(archive: Path) -> NasBench201:
    return read_nats_bench(archive, on_cell=lambda done, total: read_so_far.append((done, total)))


def test_a_class_stands_at_its_first_cell() -> None:
    one, other = Architecture((1, 0, 0, 0, 3, 0)), Architecture((3, 0, 0, 0, 1, 0))
    assert first_of_class([one, Architecture((0,) * 6), other]).tolist() == [0, 1, 0]
    assert len(STANDING) == CLASSES


def test_a_folder_and_a_compressed_pickle_are_told_from_a_csv(tmp_path: Path) -> None:
    paths = (tmp_path, tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2", tmp_path / "accuracy.csv.gz")
    assert list(map(is_nats_bench, paths)) == [True, True, False]


def test_what_a_search_sees_and_what_judges_it_are_means_over_runs(bench: NasBench201) -> None:
    arch = Architecture((0, 0, 0, 3, 0, 0))  # one operation: 10 points
    for dataset, tested in (("cifar10", 0.11), ("cifar100", 0.12), ("imagenet16", 0.12)):
        truth = bench.truth(dataset)
        assert len(truth.archs) == CLASSES
        assert truth.evaluator()([arch]) == pytest.approx([0.10])
        assert truth.judge([arch]) == pytest.approx([tested])  # runs of 10 and 12, the second set


def test_raw_indices_are_those_of_the_package(bench: NasBench201) -> None:
    assert [bench.raw_index[arch] for arch in ARCHS[:3]] == [0, 1, 2]
    assert (bench.classes == first_of_class(ARCHS)).all()


def test_one_file_of_all_cells_is_read_as_the_archive(
    archive: Path, bench: NasBench201, tmp_path: Path
) -> None:
    path = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
    content = {
        "meta_archs": [cell_text(arch) for arch in ARCHS],
        "arch2infos": {index: cell_file(index) for index in STANDING},
        "evaluated_indexes": sorted(STANDING),
    }
    write(path, content)
    found = read_nats_bench(path)
    for name, values in bench.columns.items():
        assert np.array_equal(found.columns[name], values)


@pytest.mark.usefixtures("bench")
def test_reading_says_how_far_it_is() -> None:
    assert read_so_far == [(done, CLASSES) for done in range(1, CLASSES + 1)]


def test_a_search_takes_the_folder_for_true_accuracies(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latency = tmp_path / "ms.csv"
    rows = (f"{i},{1 + size_of(arch)}" for i, arch in enumerate(ARCHS))
    latency.write_text("\n".join(("idx,phone", *rows)) + "\n")
    args = ["search", "random", "--truth", str(archive), "--space", "nasbench201", "--json"]
    args += ["--latency", f"{latency}:phone", "--limit-ms", "3", "--rounds", "3"]
    assert latkit.main([*args, "-o", str(tmp_path / "arch.json")]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["judged"] == pytest.approx(answer["accuracy"] + 0.01)


@pytest.mark.parametrize("left", [(), ("meta.pickle.pbz2",)], ids=["nothing", "no cell"])
def test_a_folder_that_lacks_files_is_refused_in_one_line(
    archive: Path, tmp_path: Path, left: tuple[str, ...]
) -> None:
    for name in left:
        (tmp_path / name).write_bytes((archive / name).read_bytes())
    with pytest.raises(InvalidFile, match="cannot be read as NATS-Bench's topology space") as said:
        read_nats_bench(tmp_path)
    assert "\n" not in str(said.value)


def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    args = ["search", "random", "--truth", str(tmp_path), "--space", "nasbench201"]
    args += ["--latency", "ms.csv:phone", "--limit-ms", "3", "-o", str(tmp_path / "arch.json")]
    assert latkit.main(args) == latkit.REFUSED
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("latkit: this needs nats_bench, which is not installed: pip install")
