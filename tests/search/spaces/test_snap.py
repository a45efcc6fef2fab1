"""Spaces whose widths are snapped to a device's steps: other widths, another name, nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, InvalidFile, UnknownName
from lut import Effort, MissingLatency, latency_model, load_table
from profiler import Conv, Head, MBConv, OpSpec, Skip, Unified
from search import Architecture, SearchSpace, space_named
from search.answers import Answer, read_answers, write_answers
from search.pricing.tables import profile_space, space_of
from search.spaces import SPACES, space_from_label, space_label

SNAPS = [16, 32, 48]
every_space = pytest.mark.parametrize("name", SPACES)


def widths(space: SearchSpace) -> list[int]:
    """Return the channels of all operators between the images and the logits."""
    ops = [
        *space.before,
        *(op for layer in space.layers for op in dict.fromkeys(layer)),
        *space.after,
    ]
    inner = [op.output_shape[1] for op in ops if len(op.output_shape) == 4]  # and not logits
    return inner + [op.channels for op in space.after if isinstance(op, Head)]


def but_for_widths(op: OpSpec) -> tuple[object, ...]:
    match op:
        case MBConv() | Unified():  # the squeeze follows from the widths
            rest = replace(op, input_shape=(1, 1, *op.input_shape[2:]), channels=1, squeeze=0)
            return (rest, op.squeeze > 0)
        case Conv():
            return (replace(op, input_shape=(1, 1, *op.input_shape[2:]), channels=1),)
        case Head():
            return (op.classes, op.activation, op.input_shape[2:])
        case _:
            return (type(op), op.input_shape[2:])


@every_space
@pytest.mark.parametrize("snap", SNAPS)
def test_widths_are_the_next_multiples(name: str, snap: int) -> None:
    published, snapped = space_named(name), space_named(name, snap=snap)
    for before, after in zip(widths(published), widths(snapped), strict=True):
        assert after % snap == 0
        assert before <= after < before + snap


@every_space
@pytest.mark.parametrize("snap", SNAPS)
def test_layers_and_choices_stay(name: str, snap: int) -> None:
    published, snapped = space_named(name), space_named(name, snap=snap)
    assert snapped.size == published.size
    assert (snapped.input_shape, snapped.classes) == (published.input_shape, published.classes)
    for before, after in zip(published.layers, snapped.layers, strict=True):
        pairs = dict.fromkeys(zip(before, after, strict=True))  # choices may share an operator
        assert all(but_for_widths(one) == but_for_widths(other) for one, other in pairs)


def test_expansions_follow_from_the_widths() -> None:
    layer = space_named("greedynas", snap=16).layers[5]  # of the stage of 40 channels
    hidden = [op.primitives[0].out_channels for op in layer[:2] if isinstance(op, MBConv)]  # type: ignore[union-attr]
    assert hidden == [3 * 48, 6 * 48]


def test_two_stages_of_one_width_keep_the_convolution_between_them() -> None:
    layer = space_named("greedynas", snap=32).layers[12]  # 80 and 96 channels, both 96 now
    assert layer[0].input_shape == layer[0].output_shape == (1, 96, 14, 14)
    assert isinstance(layer[-1], Conv)
    assert not any(isinstance(op, Skip) for op in layer)


@every_space
def test_a_snap_of_1_is_the_published_space(name: str) -> None:
    assert space_named(name, snap=1) == space_named(name)
    assert "snap" not in space_label(space_named(name))
    assert space_named(name).name == name


@every_space
def test_a_snapped_space_says_so_in_its_name_and_label_and_comes_back_from_both(name: str) -> None:
    space = space_named(name, resolution=64, batch=2, classes=3, snap=16)
    label = space_label(space)
    assert space.name == label["name"] == f"{name}-snap16"
    assert label["snap"] == space.snap == 16
    assert space_from_label(label) == space
    assert space_named(f"{name}-snap16", resolution=64, batch=2, classes=3) == space
    assert space != space_named(name, resolution=64, batch=2, classes=3)


def test_a_label_of_an_older_file_is_a_published_space() -> None:
    label = {"name": "macro", "resolution": 16, "batch": 1, "classes": 10}
    assert space_from_label(label) == space_named("macro", resolution=16)


def test_two_snaps_of_one_space_are_refused() -> None:
    with pytest.raises(InvalidFile, match="'macro-snap16' is snapped to 16 by its name, not to 8"):
        space_named("macro-snap16", snap=8)
    assert space_named("macro-snap16", snap=16).snap == 16


@pytest.mark.parametrize("name", ["macro-snap", "macro-snap0", "marco-snap16"])
def test_a_misspelt_snap_names_the_nearest_space(name: str) -> None:
    with pytest.raises(UnknownName, match="the nearest is 'macro'"):
        space_named(name)


def test_a_snap_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 1 or more, got 0"):
        space_named("macro", snap=0)


@pytest.mark.usefixtures("in_process")
def test_a_table_keeps_both_widths_apart(tmp_path: Path, exact: DeviceSpec) -> None:
    path, effort = tmp_path / "both.lut", Effort(processes=1)
    published = space_named("macro", resolution=16)
    snapped = space_named("macro", resolution=16, snap=48)
    profile_space(path, published, exact, effort=effort)
    with pytest.raises(
        MissingLatency, match=r"no latency for \[conv 1x48x16x16 -> 96 .* on 'exact'"
    ):
        latency_model(load_table(path), snapped)
    profile_space(path, snapped, exact, effort=effort)
    table = load_table(path)
    assert space_of(table, "macro") == published
    assert space_of(table, "macro-snap48") == snapped
    with pytest.raises(InvalidFile, match=r"is for space macro at .*, space macro-snap48 at 16"):
        space_of(table)
    largest = np.array([[2] * 8])
    narrow, wide = (latency_model(table, each).latency_s(largest) for each in (published, snapped))
    assert wide > narrow


def answer(space: SearchSpace) -> Answer:
    return Answer(
        arch=Architecture((2, 2, 2, 1, 2, 2, 2, 0)),
        space=space,
        devices=("cpu",),
        limits_s=(8e-3,),
        confidence=0.95,
        predicted_s=(7.5e-3,),
        interval_s=((7e-3, 8e-3),),
        table_hashes=("a",),
        revisions=(0,),
        accuracy=0.9,
        accuracy_from="seen",
        method="evolution",
        seed=3,
    )


def test_an_answer_keeps_the_widths_it_was_found_with(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    spaces = [space_named("macro", resolution=16, snap=snap) for snap in (1, 48)]
    write_answers(path, [answer(space) for space in spaces])
    assert [each.space for each in read_answers(path)] == spaces
    assert '"space": "macro-snap48"' in path.read_text()
