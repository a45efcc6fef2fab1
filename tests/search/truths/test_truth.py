import gzip
import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices import InvalidFile
from profiler import total_macs
from search import Architecture, space_named
from search.metrics import kendall_tau, regrets, top_tau
from search.truths.truth import Truth, read_nas_bench_macro

NETWORKS = {
    "".join(choices): {"test_acc": [10.0 * choices.count("2"), 1.0, 2.0], "flops": 100 + i}
    for i, choices in enumerate(product("012", repeat=8))
}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    path = tmp_path_factory.mktemp("truth") / "networks.json"
    path.write_text(json.dumps(NETWORKS))
    return read_nas_bench_macro(path)


def test_of_equal_networks_the_canonical_one_is_kept(made_up: Truth) -> None:
    assert len(made_up.archs) == 3969
    assert list(made_up.archs) == sorted({made_up.space.canonical(arch) for arch in made_up.archs})
    assert made_up.accuracy.shape == (3969, 3)


def test_any_form_of_a_network_finds_its_row(made_up: Truth) -> None:
    forms = [Architecture((0, 1, 0, 0, 2, 0, 0, 0)), Architecture((0, 1, 0, 2, 0, 0, 0, 0))]
    assert len(set(made_up.rows(forms).tolist())) == 1
    assert str(made_up.archs[made_up.rows(forms)[0]]) == "01020000"


def test_accuracies_are_shares_and_a_search_sees_one_run(made_up: Truth) -> None:
    arch = Architecture((2, 2, 0, 0, 0, 0, 0, 0))
    assert made_up.evaluator()([arch]) == pytest.approx([0.2])
    assert made_up.evaluator(run=2)([arch, arch]) == pytest.approx([0.02, 0.02])
    assert made_up.mean[made_up.rows([arch])[0]] == pytest.approx((0.2 + 0.01 + 0.02) / 3)


def test_a_network_of_another_space_is_refused(made_up: Truth) -> None:
    with pytest.raises(InvalidFile, match="has 2 choices"):
        made_up.rows([Architecture((0, 1))])


def without(name: str) -> dict[str, Any]:
    return {key: row for key, row in NETWORKS.items() if key != name}


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b"{}")[:-9],
        gzip.compress(b"[]"),
        gzip.compress(b'{"22": {}}'),
        gzip.compress(json.dumps(without("22212220")).encode()),
        gzip.compress(json.dumps(NETWORKS | {"00000000": {"flops": 1}}).encode()),
    ],
    ids=["no gzip", "cut short", "a list", "another space", "incomplete", "no accuracy"],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "truth.json.gz"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=r"truth\.json\.gz cannot be read as NAS-Bench") as caught:
        read_nas_bench_macro(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"none\.json cannot be read .*xiusu/NAS-Bench-Macro"):
        read_nas_bench_macro(tmp_path / "none.json")


# The published tables


@pytest.fixture(scope="module")
def truth() -> Truth:
    if "LATKIT_DATA" not in os.environ:
        pytest.skip("LATKIT_DATA is unset: no NAS-Bench-Macro here")
    folder = Path(os.environ["LATKIT_DATA"])
    return read_nas_bench_macro(folder / "nas_bench_macro/nas-bench-macro_cifar10.json.gz")


def test_the_best_networks_are_the_published_ones(truth: Truth) -> None:
    assert str(truth.archs[truth.mean.argmax()]) == "22212220"
    limits = [30e6, 45e6, 60e6, 80e6]
    best = [truth.mean[truth.macs <= limit].max() * 100 for limit in limits]
    assert best == pytest.approx([89.38, 91.86, 92.57, 93.08], abs=0.005)


def test_our_count_of_operations_is_the_published_one(truth: Truth) -> None:
    space = space_named("macro")
    some = np.random.default_rng(0).choice(len(truth.archs), size=200, replace=False)
    counted = [total_macs(space.chain(truth.archs[i])) for i in some]
    assert counted == truth.macs[some].tolist()


def test_operations_rank_as_they_are_known_to(truth: Truth) -> None:
    assert kendall_tau(truth.macs, truth.mean) == pytest.approx(0.546, abs=0.001)
    assert top_tau(truth.macs, truth.accuracy) == pytest.approx(0.38, abs=0.005)
    lost = regrets(truth.macs, truth.mean, truth.macs, limits=[30e6, 45e6, 60e6, 80e6])
    assert (lost > 0.0).all()
