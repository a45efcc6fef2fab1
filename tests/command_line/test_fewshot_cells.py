"""Few-shot supernets of a space of cells, as they are typed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from latkit import REFUSED, main
from search.load_supernet import load_supernet
from search.space import Architecture
from search.spaces import SPACES
from search.spaces.nasbench201 import CellSpace, cell_space
from search.splits.routed import RoutedSupernet, child_dir
from search.training.runs import read_checkpoint


def cells(*, resolution: int = 8, batch: int = 1, classes: int = 10, snap: int = 1) -> CellSpace:
    """Return NAS-Bench-201's skeleton, as small as can be."""
    image = (batch, 3, resolution, resolution)
    return cell_space("cells", widths=(4, 8), depth=1, image=image, classes=classes, snap=snap)


SETTINGS = "epochs = 1\nbatch = 64\nlearning_rate = 0.05\nwarmup_epochs = 0.0\nthreads = 1\n"

SPLIT = "0:0/1-4"


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "cells", f"{__name__}:cells")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a parent, and its two children; tests read them only."""
    path = tmp_path_factory.mktemp("typed")
    (path / "s.toml").write_text(SETTINGS)
    common = ["--settings", str(path / "s.toml"), "--json"]
    space = ["--space", "cells", "--resolution", "8"]
    table = ["--device", "sim", *space, "--processes", "1", "-o", str(path / "sim.lut")]
    few = ["--split", SPLIT, "--from", str(path / "parent"), "-o", str(path / "few")]
    assert main(["profile", *table, "--json"]) == 0
    assert main(["train", "uniform", *space, "-o", str(path / "parent"), *common]) == 0
    assert main(["train", "fewshot", *few, *common]) == 0
    return path


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    capsys.readouterr()
    assert main([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_forms_of_a_cell_are_answered_by_one_child_alike(folder: Path) -> None:
    routed = load_supernet(folder / "few").supernet
    assert isinstance(routed, RoutedSupernet)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    # a 3x3 on the way to a node that leads nowhere: by its form of part 1, by its class of part 0
    dead, alive = Architecture((3, 0, 0, 2, 0, 0)), Architecture((0, 0, 0, 2, 0, 0))
    assert routed.child(dead) is routed.child(alive) is routed.by_part["0"]
    with torch.no_grad():
        assert torch.equal(routed(images, dead), routed(images, alive))


def test_the_operations_of_the_split_edge_are_trained_in_the_child_that_has_them(
    folder: Path,
) -> None:
    before = read_checkpoint(folder / "parent").model
    first, second = (read_checkpoint(child_dir(folder / "few", n)).model for n in range(2))
    edge = [name for name in before if name.startswith("layers.0.") and before[name].ndim == 4]
    assert edge
    assert not set(edge) & set(first)
    assert not any(torch.equal(before[name], second[name]) for name in edge)


def test_children_of_cells_are_searched_as_any_supernet(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = printed(
        capsys,
        *("search", "evolution", "--run", str(folder / "few"), "--table", str(folder / "sim.lut")),
        *("--limit-ms", "1000", "--rounds", "2", "--population", "4"),
        *("-o", str(tmp_path / "arch.json")),
    )
    assert answer["space"] == "cells"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["fewshot", "--choose", "conflict", "--children", "5"], "gradients cannot be compared"),
        (["darts", "--table", "sim.lut", "--limit-ms", "1000"], "is no sum over its layers"),
    ],
)
def test_what_cannot_be_had_for_cells_is_refused_in_one_line_and_leaves_nothing(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(folder)
    source = "few" if command[0] == "darts" else "parent"
    given = ["train", *command, "--from", source, "-o", str(tmp_path / "run"), "--json"]
    capsys.readouterr()
    assert main(given) == REFUSED
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert complaint in said
    assert not (tmp_path / "run").exists()
