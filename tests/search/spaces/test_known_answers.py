"""Published figures that the spaces and the counters must reproduce exactly."""

import gzip
import json
import os
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler import (
    Conv,
    MBConv,
    OpSpec,
    Skip,
    check_chain,
    macs,
    total_macs,
    total_parameters,
)
from search import Architecture, architecture_from_text, space_named
from search.spaces.published import PUBLISHED

needs_data = pytest.mark.skipif(
    "LATKIT_DATA" not in os.environ, reason="LATKIT_DATA is unset: no NAS-Bench-Macro here"
)


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, Any]]:
    path = Path(os.environ["LATKIT_DATA"]) / "nas_bench_macro/nas-bench-macro_cifar10.json.gz"
    with gzip.open(path, "rt") as file:
        networks: dict[str, dict[str, Any]] = json.load(file)
    return networks


@needs_data
def test_all_macro_networks_have_the_published_flops_and_parameters(
    published: dict[str, dict[str, Any]],
) -> None:
    macro = space_named("macro")
    assert len(published) == macro.size == 6561
    for text, network in published.items():
        chain = macro.chain(architecture_from_text(text))
        counted = (total_macs(chain), total_parameters(chain))
        assert counted == (network["flops"], network["params"]), text


@needs_data
def test_networks_of_one_canonical_form_have_one_published_accuracy(
    published: dict[str, dict[str, Any]],
) -> None:
    macro = space_named("macro")
    for text, network in published.items():
        canonical = str(macro.canonical(architecture_from_text(text)))
        assert network["test_acc"] == published[canonical]["test_acc"], text


def test_3969_macro_networks_are_distinct() -> None:
    macro = space_named("macro")
    archs = map(Architecture, product(range(3), repeat=8))
    assert len({macro.canonical(arch) for arch in archs}) == 3969


def test_greedynas_has_21_layers_of_7_choices() -> None:
    space = space_named("greedynas")
    assert [len(layer) for layer in space.layers] == [7] * 21
    assert space.size == 7**21


@pytest.mark.parametrize("resolution", [224, 160, 33])
def test_greedynas_has_72_operators_at_any_resolution(resolution: int) -> None:
    # 11 kinds of layer with 6 blocks each, and 6 convolutions where an identity changes the shape.
    operators = space_named("greedynas", resolution=resolution).operators
    assert len(operators) == 72
    assert sum(isinstance(op, Conv) for op in operators) == 6


def test_greedynas_spans_51_to_693_million_operations() -> None:
    space = space_named("greedynas")
    fixed = total_macs((*space.before, *space.after))
    smallest = fixed + sum(min(map(macs, layer)) for layer in space.layers)
    largest = fixed + sum(max(map(macs, layer)) for layer in space.layers)
    assert (round(smallest / 1e6), round(largest / 1e6)) == (51, 693)


@pytest.mark.parametrize("resolution", [224, 160])
def test_greedynas_ends_in_1000_classes(resolution: int) -> None:
    space = space_named("greedynas", resolution=resolution)
    chain = space.chain(space.sample(np.random.default_rng(0)))
    check_chain(chain)
    assert chain[-1].input_shape == (1, 320, resolution // 32, resolution // 32)
    assert chain[-1].output_shape == (1, 1000)


def test_greedynas_skips_where_the_shape_stays_and_only_there() -> None:
    def skips(layer: tuple[OpSpec, ...]) -> bool:
        return any(isinstance(op, Skip) for op in layer)

    layers = space_named("greedynas").layers
    changing = [i for i, layer in enumerate(layers) if not skips(layer)]
    assert changing == [0, 4, 8, 12, 16, 20]  # the first layer of every stage


def test_greedynas_se_has_21_layers_of_13_choices() -> None:
    space = space_named("greedynas-se")
    assert [len(layer) for layer in space.layers] == [13] * 21
    assert space.size == 13**21
    # 11 kinds of layer with 12 blocks each, and 6 convolutions for identities.
    assert len(space.operators) == 11 * 12 + 6


def test_greedynas_se_is_greedynas_with_hard_swish_and_then_with_squeeze_excite() -> None:
    small, large = space_named("greedynas"), space_named("greedynas-se")
    assert (large.before, large.after) == (small.before, small.after)
    for few, many in zip(small.layers, large.layers, strict=True):
        blocks = [replace(op, activation="hswish") for op in few if isinstance(op, MBConv)]
        squeezed = [op for op in many[6:] if isinstance(op, MBConv)]
        assert [*many[:6]] == blocks == [replace(op, squeeze=0) for op in squeezed]
        assert all(op.squeeze for op in squeezed)
        assert many[-1] == few[-1]


@pytest.mark.parametrize(
    ("layer", "squeezes"),
    [(0, [12, 24]), (1, [24, 48]), (5, [30, 60]), (13, [72, 144]), (20, [144, 288])],
)
def test_squeeze_excite_has_a_quarter_of_the_hidden_channels(
    layer: int, squeezes: list[int]
) -> None:
    # Into these layers go 16, 32, 40, 96 and 192 channels; e3 and e6 in turn.
    ops = space_named("greedynas-se").layers[layer][6:12]
    assert [op.squeeze for op in ops if isinstance(op, MBConv)] == 3 * squeezes


PUBLISHED_COSTS = [
    ("greedynas-a", 6_503_082, "6.50", 369_983_648, "369.98"),
    ("greedynas-b", 5_207_804, "5.21", 323_520_704, "323.52"),
    ("greedynas-c", 4_740_746, "4.74", 284_284_064, "284.28"),
]
"""Parameters and multiply-accumulates at 224 pixels, squeeze-excite and classifier included."""


@pytest.mark.parametrize(
    ("name", "parameters", "params_m", "operations", "macs_m"), PUBLISHED_COSTS
)
def test_greedynas_a_b_and_c_have_the_published_parameters_and_operations(
    name: str, parameters: int, params_m: str, operations: int, macs_m: str
) -> None:
    chain = space_named("greedynas-se").chain(PUBLISHED[name].arch)
    assert (total_parameters(chain), total_macs(chain)) == (parameters, operations)
    assert (f"{parameters / 1e6:.2f}", f"{operations / 1e6:.2f}") == (params_m, macs_m)


def test_the_paper_counts_greedynas_a_without_squeeze_excite_and_classifier() -> None:
    chain = space_named("greedynas-se").chain(PUBLISHED["greedynas-a"].arch)
    plain = [replace(op, squeeze=0) if isinstance(op, MBConv) else op for op in chain]
    counted = total_macs(plain) - 1280 * 1000
    assert counted == 366_460_416
    assert f"{counted / 1e6:.2f}" == "366.46"
