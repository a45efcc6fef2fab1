"""``latkit explain`` on the simulated device."""

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from search import Architecture, space_named
from search.answers import Answer, write_answers
from tests.command_line.typed import run


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    """Measure in this process, twice: starting one takes a second."""

    def here(
        stream: Callable[..., Generator[Any, None, None]], *args: Any, **kwargs: Any
    ) -> Generator[Any, None, None]:
        return stream(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lut.fill.in_fresh_process", here)
        patch.setattr("profiler.campaigns.together.in_fresh_process", here)
        patch.setattr("lut.explanations.explain.PROCESSES", 2)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of `sim`, and an ARCH.json of two answers."""
    folder = tmp_path_factory.mktemp("explain")
    run(f"profile --device sim --space macro --resolution 16 --processes 2 -o {folder}/sim.lut")
    answers = [
        Answer(
            arch=Architecture(choices),
            space=space_named("macro", resolution=16),
            devices=("sim",),
            limits_s=(1e-3,),
            confidence=0.95,
            predicted_s=(0.5e-3,),
            interval_s=((0.4e-3, 0.6e-3),),
            table_hashes=("0" * 16,),
            revisions=(0,),
            accuracy=None,
            accuracy_from="nothing",
            method="random",
            seed=0,
        )
        for choices in ((0,) * 8, (1, 0, 1, 0, 0, 1, 0, 0))
    ]
    write_answers(folder / "arch.json", answers)
    return folder


def test_the_parts_of_a_gap_are_printed_for_machines(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run(f"explain {folder}/sim.lut 10100100 --json")
    facts = json.loads(capsys.readouterr().out)
    assert facts["arch"] == "10100100"
    assert (facts["space"], facts["device"], facts["plot"]) == ("macro", "sim", None)
    assert facts["gap_ms"] == pytest.approx(facts["measured_ms"] - facts["predicted_ms"])
    assert sum(part["ms"] for part in facts["parts"]) == pytest.approx(facts["gap_ms"])
    causes = [part["cause"] for part in facts["parts"]]
    assert causes == [
        *("speed", "calibration", "state", "operators", "cold weights", "noise", "rest")
    ]
    assert abs(facts["gap_ms"]) < 0.02 * facts["predicted_ms"]
    assert facts["status"] in ("ok", "noisy")
    assert isinstance(facts["doubts"], list)


def test_an_architecture_of_a_file_is_explained_and_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run(f"explain {folder}/sim.lut {folder}/arch.json --index 1 -o {folder}/gap.png")
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("10100100 on sim: predicted ")
    assert "the gap of " in text
    assert (folder / "gap.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arch", "complaint"),
    [
        ("101", "architecture 101 has 3 choices; space 'macro' has 8 layers"),
        ("10100109", "layer 7 of space 'macro' has choices 0 to 2, not 9"),
        ("arch.json", "cannot read arch.json"),
    ],
)
def test_what_is_no_architecture_of_the_table_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], arch: str, complaint: str
) -> None:
    capsys.readouterr()
    run(f"explain {folder}/sim.lut {arch}", expect=2)
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("place", ["gap.txt", "nowhere/gap.png"])
def test_a_picture_that_has_no_place_is_refused_before_measuring(
    folder: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    capsys.readouterr()
    run(f"explain {folder}/sim.lut 10100100 -o {folder}/{place}", expect=2)
    error = capsys.readouterr().err
    assert "name a .png file in a folder that is there" in error
    assert "explaining" not in error
