"""Published architectures: what they are, by what name, and that they run like all others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import latkit
from devices import DeviceSpec, InvalidFile, UnknownName, backend_for
from export.bundle.onnx_file import network_graph, parity, reference_outputs
from lut import table_for
from profiler import MBConv, OpSpec, Skip, Slice, check_chain, total_macs, total_parameters
from profiler.operators.builders import INPUT, chain_graph
from search import SPACES, Architecture, architecture_from_text, space_named
from search.answers import Answer, read_answers
from search.pricing.coverage import chains_to_measure
from search.spaces import space_label
from search.spaces.published import PUBLISHED, network_from_text, published_in
from search.supernets.evaluation import final_weights
from search.supernets.supernet import Supernet
from tests.command_line.typed import figures

# "k,e" of a block, s: with squeeze-excite, id: identity; || between stages. As released.
LAYERS = {
    "greedynas-a": "5,3s|3,3|id|3,3s||5,3|7,3|3,6s|5,6s||5,3s|7,3s|7,6|5,3||"
    "5,3s|3,3s|3,6|7,3s||7,3s|7,6s|5,3|3,6s||7,6s",
    "greedynas-b": "5,3s|5,3s|5,3s|id||5,3s|7,3s|5,3s|3,3||5,6|id|7,3s|7,3s||"
    "3,3s|5,3|5,3|7,3s||5,6s|7,3s|3,3s|7,3s||7,6s",
    "greedynas-c": "7,3|id|id|3,3s||5,3s|id|3,3s|3,3s||7,3s|5,6s|5,3s|id||"
    "5,3s|5,3|3,6|7,3||5,3s|3,3|7,3s|5,3||7,6s",
}
SMALL = space_named("greedynas-se", resolution=32, classes=4)
CPU = DeviceSpec(name="cpu", backend="onnxruntime")
every_published = pytest.mark.parametrize("name", LAYERS)


def notation(op: OpSpec) -> str:
    match op:
        case MBConv(kernel=kernel, expand=expand, squeeze=squeeze):
            return f"{kernel},{expand}{'s' if squeeze else ''}"
        case Skip():
            return "id"
        case _:
            return str(op)


@every_published
def test_a_published_architecture_has_the_layers_of_its_authors(name: str) -> None:
    space = space_named(PUBLISHED[name].space)
    picked = zip(space.layers, PUBLISHED[name].arch.choices, strict=True)
    assert [notation(layer[choice]) for layer, choice in picked] == (
        LAYERS[name].replace("||", "|").split("|")
    )


@every_published
@pytest.mark.parametrize("resolution", [224, 33])
def test_a_published_architecture_belongs_to_its_space_at_any_resolution(
    name: str, resolution: int
) -> None:
    space = space_named(PUBLISHED[name].space, resolution=resolution, batch=2, classes=7)
    chain = space.chain(PUBLISHED[name].arch)
    check_chain(chain)
    assert chain[-1].output_shape == (2, 7)


def test_no_architecture_is_called_like_a_space() -> None:
    assert PUBLISHED.keys().isdisjoint(SPACES)


def test_a_space_knows_what_was_published_of_it() -> None:
    assert [*published_in("greedynas-se")] == ["greedynas-a", "greedynas-b", "greedynas-c"]
    assert published_in("macro") == published_in("greedynas-se-snap16") == {}


# The text of an architecture


@given(choices=st.lists(st.integers(0, 12), min_size=21, max_size=21).map(tuple))
def test_an_architecture_of_13_choices_reads_back(choices: tuple[int, ...]) -> None:
    text = str(Architecture(choices))
    assert network_from_text(text, among=["greedynas-se"]) == (Architecture(choices), None)


@given(choices=st.lists(st.integers(0, 9), min_size=21, max_size=21).map(tuple))
def test_it_reads_back_without_a_choice_of_two_digits_too(choices: tuple[int, ...]) -> None:
    assert str(Architecture(choices)) == "".join(map(str, choices))
    assert architecture_from_text(str(Architecture(choices))) == Architecture(choices)
    assert architecture_from_text("-".join(map(str, choices))) == Architecture(choices)


@every_published
def test_a_name_stands_for_its_architecture_and_space(name: str) -> None:
    published = PUBLISHED[name]
    read = network_from_text(name, among=["macro", published.space])
    assert read == (published.arch, published.space)


@pytest.mark.parametrize("among", [["macro"], ["greedynas-se-snap16", "greedynas"], []])
def test_a_name_of_another_space_says_which(among: list[str]) -> None:
    says = "greedynas-b is an architecture of space 'greedynas-se', not of "
    says += " or ".join(map(repr, among)) or "any here"
    with pytest.raises(InvalidFile, match=f"^{says}. Profile its own: latkit profile --space"):
        network_from_text("greedynas-b", among=among)


def test_a_misspelt_name_lists_those_of_the_space() -> None:
    names = "greedynas-a, greedynas-b, greedynas-c"
    with pytest.raises(InvalidFile, match=rf"'greedynas-d' is no architecture.*by name: {names}$"):
        network_from_text("greedynas-d", among=["greedynas-se"])
    with pytest.raises(InvalidFile, match=r"'deep' is no architecture.*12-0-3$"):
        network_from_text("deep", among=["macro"])


@pytest.mark.parametrize("name", ["greedynas-b", "greedynas-b-snap16"])
def test_an_architecture_where_a_space_is_asked_for_names_its_space(name: str) -> None:
    with pytest.raises(UnknownName, match=r"nearest is 'greedynas-se'. That is the space of this"):
        space_named(name)


# The command line


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, exact: DeviceSpec) -> Path:
    """A table of two spaces where latency is a microsecond and a nanosecond an operation."""
    path = tmp_path_factory.mktemp("tables") / "both.lut"
    with table_for(path, exact) as file, file.at_once():
        for space in (space_named("macro", resolution=16), SMALL):
            file.set_label(f"space {space.name}", space_label(space))
            for chain, role in chains_to_measure(space).items():
                seconds = 1e-6 + 1e-9 * total_macs(chain)
                piece = Slice(process=0, round=0, repeats=1, samples_s=(seconds,))
                file.add_slice(chain, role, piece)
    return path


@every_published
def test_predict_takes_a_published_name(
    table: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    named = figures(capsys, f"predict {table} {name}")
    spelt = figures(capsys, f"predict {table} {PUBLISHED[name].arch} --space greedynas-se")
    assert named == spelt
    assert named["space"] == "greedynas-se"
    chain = SMALL.chain(PUBLISHED[name].arch)
    assert named["latency_ms"] == pytest.approx(1e-3 + 1e-6 * total_macs(chain), rel=1e-3)


def test_predict_refuses_a_name_of_another_space_in_one_line(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert latkit.main(["predict", str(table), "greedynas-b", "--space", "macro"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "greedynas-b is an architecture of space 'greedynas-se', not of 'macro'" in line


def test_a_file_of_architectures_may_use_the_name(tmp_path: Path) -> None:
    answer = Answer(
        arch=PUBLISHED["greedynas-b"].arch,
        space=SMALL,
        devices=("cpu",),
        limits_s=(8e-3,),
        confidence=0.95,
        predicted_s=(7.5e-3,),
        interval_s=((7e-3, 8e-3),),
        table_hashes=("a",),
        revisions=(0,),
        accuracy=None,
        accuracy_from="the paper",
        method="published",
        seed=0,
    )
    path = tmp_path / "arch.json"
    path.write_text(json.dumps([answer.as_json() | {"arch": "greedynas-b"}]))
    assert read_answers(path) == [answer]


def test_spaces_lists_what_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    published = figures(capsys, "spaces greedynas-se")["published"]
    assert [each["name"] for each in published] == [*LAYERS]
    assert [each["parameters"] for each in published] == [6_503_082, 5_207_804, 4_740_746]
    assert [each["macs"] for each in published] == [369_983_648, 323_520_704, 284_284_064]
    assert figures(capsys, "spaces macro")["published"] == []


def test_people_see_what_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert latkit.main(["spaces", "greedynas-se"]) == 0
    assert "greedynas-b 323.52 5.21" in " ".join(capsys.readouterr().out.split())
    assert latkit.main(["spaces", "macro"]) == 0
    assert "published" not in capsys.readouterr().out


# They run


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    """A supernet with batch norms as after training: no branch is switched off."""
    supernet = Supernet(SMALL, seed=0)
    torch.manual_seed(0)
    for module in supernet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return supernet


def images(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(count, 3, 32, 32)).astype(np.float32)


@every_published
def test_a_published_network_is_a_path_of_the_supernet(supernet: Supernet, name: str) -> None:
    arch = PUBLISHED[name].arch
    with torch.no_grad():
        assert supernet(torch.from_numpy(images(2)), arch).shape == (2, 4)
    own = supernet.subnetwork(arch).parameters()
    assert sum(p.numel() for p in own) == total_parameters(SMALL.chain(arch))


def test_a_published_network_computes_in_onnx_what_it_computes_in_torch(
    supernet: Supernet,
) -> None:
    arch = PUBLISHED["greedynas-c"].arch
    network = final_weights(supernet, arch, (torch.from_numpy(images(16)),))
    with backend_for(CPU).open(network_graph(network, SMALL.input_shape)) as session:
        (logits,) = session.run({"images": images(1)}).values()
    assert np.ptp(logits) > 1e-3  # the images went through
    assert parity(logits, reference_outputs(network, images(1))) < 1e-4


@every_published
def test_a_published_network_can_be_measured(name: str) -> None:
    graph = chain_graph(SMALL.chain(PUBLISHED[name].arch))
    with backend_for(CPU).open(graph) as session:
        (logits,) = session.run({INPUT: images(1)}).values()
    assert logits.shape == (1, 4)
    assert np.isfinite(logits).all()
