"""Few-shot supernets and relaxations as they are typed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latkit import REFUSED, main
from search.splits.routed import child_dir
from search.training.runs import CHECKPOINT
from tests.tiny_macro import known

SETTINGS = "epochs = 1\nbatch = 64\nlearning_rate = 0.05\nwarmup_epochs = 0.0\nthreads = 1\n"


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    with known("shallow"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a parent, and its two children; tests read them only."""
    path = tmp_path_factory.mktemp("typed")
    (path / "s.toml").write_text(SETTINGS)
    common = ["--settings", str(path / "s.toml"), "--json"]
    table = ["--device", "sim", "--space", "shallow", "--resolution", "8", "--processes", "1"]
    space = ["--space", "shallow", "--resolution", "8"]
    assert main(["profile", *table, "-o", str(path / "sim.lut"), "--json"]) == 0
    assert main(["train", "uniform", *space, "-o", str(path / "parent"), *common]) == 0
    assert main([*fewshot(path, "--split", "0:0,1/2"), "-o", str(path / "few"), *common]) == 0
    return path


def fewshot(folder: Path, *given: str) -> list[str]:
    return ["train", "fewshot", *given, "--from", str(folder / "parent")]


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    capsys.readouterr()
    assert main([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def limits_ms(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[float, float]:
    facts = printed(capsys, "predict", str(folder / "sim.lut"), "22")
    slowest = facts["latency_ms"]
    fastest = printed(capsys, "predict", str(folder / "sim.lut"), "00")["latency_ms"]
    return fastest + 0.6 * (slowest - fastest), 2 * slowest


def test_children_are_searched_as_any_supernet(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, loose = limits_ms(folder, capsys)
    (answer,) = printed(
        capsys,
        *("search", "random", "--run", str(folder / "few"), "--table", str(folder / "sim.lut")),
        *("--limit-ms", str(loose), "--rounds", "1", "--population", "8"),
        *("-o", str(tmp_path / "arch.json")),
    )
    assert answer["space"] == "shallow"


def test_the_same_command_says_what_there_is_and_what_it_cost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = printed(capsys, *fewshot(folder, "--split", "0:0,1/2"), "-o", str(folder / "few"))
    assert facts["children"] == ["0:0,1", "0:2"]
    assert facts["images_trained"] == 3 * (1079 // 64 * 64)  # the parent, and each child once


def test_a_relaxation_answers_within_every_limit(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tight, loose = limits_ms(folder, capsys)
    common = [
        *("--table", str(folder / "sim.lut"), "--limit-ms", str(tight)),
        *("--limit-ms", str(loose), "--settings", str(folder / "s.toml")),
    ]
    where = ("--space", "shallow", "--resolution", "8"), ("--from", str(folder / "few"))
    for i, given in enumerate(where):
        run = tmp_path / str(i)
        facts = printed(capsys, "train", "darts", *given, *common, "-o", str(run))
        found = [answer["predicted_ms"][0] for answer in facts["answers"]]
        assert found[0] <= tight
        assert json.loads((run / "arch.json").read_text()) == facts["answers"]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--split", "0:0/1"], "choices 2 are in no group"),
        (["--split", "0:0,1/1,2"], "may not overlap"),
        (["--split", "0:0,1//2"], "a group is empty"),
        (["--split", "7"], "has layers 0 to 1"),
        (["--split", "0", "--space", "macro"], "is of space 'shallow', not 'macro'"),
        (["--split", "0", "--choose", "conflict"], "say where to split: --split 3, or"),
        (["--choose", "conflict", "--children", "10"], "into 2 to 9 parts, not 10"),
        (["--choose", "conflicts", "--children", "3"], "nearest is 'conflict'"),
        (["--split", "0", "--children", "2"], "or --choose conflict --children 3"),
        ([], "say where to split: --split 3"),
        (["--split", "0", "--resolution", "16"], "No such option: --resolution"),
    ],
)
def test_a_wrong_split_is_one_line_and_leaves_nothing(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    complaint: str,
) -> None:
    capsys.readouterr()
    assert main([*fewshot(folder, *given), "-o", str(tmp_path / "run")]) == REFUSED
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert complaint in said[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["fewshot", "--split", "0"], "Missing option '--from'"),
        (["darts", "--space", "shallow"], "Missing option '--table'"),
        (["darts", "--table", "T.lut", "--limit-ms", "1"], "Relax a space, --space S, or"),
        (["uniform", "--space", "shallow", "--split", "0"], "No such option: --split"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], complaint: str
) -> None:
    assert main(["train", *args, "-o", str(tmp_path / "run")]) == REFUSED
    assert complaint in capsys.readouterr().err


def test_a_missing_child_is_trained_by_the_command_that_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    settings = ("--settings", str(folder / "s.toml"))
    assert main([*fewshot(folder, "--split", "0:0,1/2"), "-o", str(run), *settings, "--json"]) == 0
    (child_dir(run, 1) / CHECKPOINT).unlink()
    _, loose = limits_ms(folder, capsys)
    search = ["search", "random", "--run", str(run), "--table", str(folder / "sim.lut")]
    search += ["--limit-ms", str(loose), "--rounds", "1", "--population", "8"]
    search += ["-o", str(tmp_path / "arch.json"), "--json"]
    assert main(search) == REFUSED
    said = capsys.readouterr().err
    assert "child of part 0:2: it has been trained for 0 of 1 epochs" in said
    command = said[said.index("latkit train fewshot") :].split()[1:]
    assert main([*command, "--json"]) == 0
    assert main(search) == 0
