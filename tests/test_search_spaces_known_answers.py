"""Published figures that the spaces and the counters must reproduce exactly."""

import gzip
import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler import (
    Conv,
    OpSpec,
    Skip,
    check_chain,
    macs,
    total_macs,
    total_parameters,
)
from search import Architecture, architecture_from_text, space_named

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
