"""Children and relaxations by two processes of torchrun, which run this file as a program."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from devices import LatkitError
from latkit import main
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from profiler import total_macs
from search.darts.alphas import DartsSettings
from search.darts.training import train_darts
from search.fewshot.settings import FewShotSettings, SplitRule
from search.fewshot.training import train_fewshot
from search.spaces import SPACES
from search.splits.routed import child_dir
from search.splits.split import Part, split_from_text
from search.training.loop import train_uniform
from search.training.runs import read_checkpoint
from search.training.settings import TrainSettings
from tests.tiny_macro import few_digits, known, shallow

SPACE = shallow()
SETTINGS = TrainSettings(
    epochs=1, batch=32, warmup_epochs=0.0, learning_rate=0.05, augment=False, threads=1
)
TOML = "epochs = 1\nbatch = 64\nlearning_rate = 0.05\nwarmup_epochs = 0.0\nthreads = 1\n"
RULE = SplitRule(splits=(split_from_text("0", SPACE),))
"""Three children: the first of two processes has two of them."""

COST_S = np.array([[total_macs((op,)) * 1e-6 for op in layer] for layer in SPACE.layers])
BUDGET = LatencyBudget(
    model=LatencyModel(
        device="counter",
        base_s=0.0,
        cost_s=COST_S,
        band=ErrorBand(ratios=(1.0,) * 20),
        table_hash="of no table",
    ),
    target=LatencyTarget(device="counter", limit_s=float(COST_S.max(axis=1).sum())),
)


def children(folder: Path, name: str, **given: Any) -> None:
    """Train children of the parent in a folder."""
    settings = replace(SETTINGS, **given.pop("settings", {}))
    fewshot = FewShotSettings(**given)
    train_fewshot(folder / "parent", few_digits(), settings, fewshot, folder / name, rule=RULE)


def relaxation(run_dir: Path, **given: Any) -> None:
    """Relax the whole space, for both halves of the images two steps of 32."""
    settings = replace(SETTINGS, **given)
    train_darts(
        Part(space=SPACE), few_digits(), settings, DartsSettings(), run_dir, budgets=[BUDGET]
    )


def error_of(action: Callable[[], None]) -> str:
    try:
        action()
    except LatkitError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def typed(*args: str) -> dict[str, Any]:
    """Return what a command said in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main([*args, "--json"])
    return {"status": status, "out": out.getvalue()}


def as_a_process(folder: Path) -> None:
    """Go through all situations as one of the processes; leave what was seen in a file."""
    SPACES["shallow"] = f"{shallow.__module__}:shallow"
    how = ["--settings", str(folder / "s.toml")]
    fewshot = ["train", "fewshot", "--split", "0:0,1/2", "--from", str(folder / "parent"), *how]
    limit = ["--table", str(folder / "sim.lut"), "--limit-ms", "1000"]
    darts = ["train", "darts", "--space", "shallow", "--resolution", "8", *limit, *how]
    seen = {
        "shared": error_of(lambda: children(folder, "shared")),
        "apart": error_of(lambda: children(folder, "apart", processes=2)),
        "three": error_of(lambda: children(folder, "three", processes=3)),
        "diverged": error_of(
            lambda: children(
                folder, "diverged", processes=2, settings={"learning_rate": 1e30, "epochs": 2}
            )
        ),
        "relaxed": error_of(lambda: relaxation(folder / "relaxed")),
        "typed fewshot": typed(*fewshot, "-o", str(folder / "few")),
        "typed darts": typed(*darts, "-o", str(folder / "darts")),
    }
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(seen))


@pytest.fixture(scope="module", autouse=True)
def _known() -> Any:
    with known("shallow"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left; tests read it only."""
    path = tmp_path_factory.mktemp("two")
    (path / "s.toml").write_text(TOML)
    train_uniform(SPACE, few_digits(), SETTINGS, path / "parent")
    table = ["--device", "sim", "--space", "shallow", "--resolution", "8", "--processes", "1"]
    assert main(["profile", *table, "-o", str(path / "sim.lut"), "--json"]) == 0
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *launch, __file__, str(path)],
        check=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return path


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank{i}.json").read_text()) for i in range(2)]


def assert_close(one: Path, other: Path, **how: Any) -> None:
    """Compare the weights of two runs; statistics of batch norm are those of shares."""
    mine, others = read_checkpoint(one).model, read_checkpoint(other).model
    assert mine.keys() == others.keys()
    for name, weight in mine.items():
        if not name.rpartition(".")[2].startswith(("running", "num")):
            torch.testing.assert_close(weight, others[name], **how)


def test_processes_that_share_every_batch_train_the_children_of_one_that_accumulates(
    folder: Path, ranks: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert [seen["shared"] for seen in ranks] == ["", ""]
    (tmp_path / "parent").symlink_to(folder / "parent")
    children(tmp_path, "one", settings={"accumulate": 2})
    for number in range(3):
        mine, one = (child_dir(run, number) for run in (folder / "shared", tmp_path / "one"))
        assert_close(mine, one, rtol=1e-3, atol=1e-5)


def test_children_of_their_own_are_bit_by_bit_those_of_one_process(
    folder: Path, ranks: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert [seen["apart"] for seen in ranks] == ["", ""]
    (tmp_path / "parent").symlink_to(folder / "parent")
    children(tmp_path, "one")
    for number in range(3):
        mine, one = (child_dir(run, number) for run in (folder / "apart", tmp_path / "one"))
        assert_close(mine, one, rtol=0, atol=0)


def test_another_number_of_processes_than_torchrun_started_is_refused(
    folder: Path, ranks: list[dict[str, Any]]
) -> None:
    for seen in ranks:
        assert seen["three"].startswith("UnevenShares: processes = 3 in [fewshot], and torchrun")
    assert not (folder / "three").exists()


def test_what_one_process_meets_in_its_own_child_is_said_by_all(
    ranks: list[dict[str, Any]],
) -> None:
    errors = [seen["diverged"] for seen in ranks]
    assert errors[0] == errors[1]
    assert errors[0].startswith("TrainingDiverged")


def test_a_relaxation_by_two_processes_is_that_of_one_that_accumulates(
    folder: Path, ranks: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert [seen["relaxed"] for seen in ranks] == ["", ""]
    relaxation(tmp_path / "one", accumulate=2)
    assert_close(folder / "relaxed", tmp_path / "one", rtol=1e-3, atol=1e-5)
    mine, one = (read_checkpoint(run).sampler for run in (folder / "relaxed", tmp_path / "one"))
    torch.testing.assert_close(mine["alphas"], one["alphas"], rtol=1e-3, atol=1e-6)
    assert mine["macs"] == one["macs"]


@pytest.mark.parametrize("method", ["fewshot", "darts"])
def test_the_first_process_alone_reports(ranks: list[dict[str, Any]], method: str) -> None:
    first, second = (seen[f"typed {method}"] for seen in ranks)
    assert (first["status"], second) == (0, {"status": 0, "out": ""})
    facts = json.loads(first["out"])
    assert facts["epochs"] == 1
    assert ("children" in facts) == (method == "fewshot")


def test_the_first_process_alone_writes_what_a_relaxation_comes_to(
    folder: Path, ranks: list[dict[str, Any]]
) -> None:
    facts = json.loads(ranks[0]["typed darts"]["out"])
    assert json.loads((folder / "darts" / "arch.json").read_text()) == facts["answers"]


if __name__ == "__main__":
    as_a_process(Path(sys.argv[1]))
