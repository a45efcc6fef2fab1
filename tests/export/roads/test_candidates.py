"""Studies of proxies and searches that train their candidates, by the verbs themselves."""

from pathlib import Path

import pytest

from devices import InvalidFile
from export.roads.retrain import refuse_without_weights
from search.answers import read_answers
from tests.command_line.typed import complaint, figures, run

SETTINGS = """
batch = 32
[econas]
initial = 3
cycles = 1
epochs = [1, 2]
promoted = [1]
mothers = [1, 1]
images = 128
validation = 64
channels = 6
resolution = 0
"""
GRID = "c6r0s0e1,c6r0s1e2,c6r0s0e2"


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the macro space, an answer that was found without a supernet, and a study."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "small.toml").write_text(SETTINGS)
    run(
        f"profile --device sim --space macro --resolution 16 --processes 1 --json -o {folder}/t.lut"
    )
    run(
        f"search econas --data digits --table {folder}/t.lut --limit-ms 0.7 --limit-ms 0.5 "
        f"--settings {folder}/small.toml -o {folder}/arch.json --json"
    )
    run(
        f"proxies --space macro --resolution 16 --data digits --nets 3 --grid {GRID} "
        f"--settings {folder}/small.toml -o {folder}/study --json"
    )
    return folder


def test_every_limit_has_an_answer_that_keeps_it(road: Path) -> None:
    answers = read_answers(road / "arch.json")
    assert [answer.limits_s for answer in answers] == [(0.7e-3,), (0.5e-3,)]
    for answer in answers:
        assert answer.method == "econas"
        assert answer.predicted_s[0] <= answer.limits_s[0]
        assert answer.space.name == "macro"
        assert "train final before export" in answer.accuracy_from


def test_the_same_command_again_trains_nothing(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in road.glob("arch.work/*/*/*")}
    again = figures(
        capsys,
        f"search econas --data digits --table {road}/t.lut --limit-ms 0.7 --limit-ms 0.5 "
        f"--settings {road}/small.toml -o {road}/again.json --work {road}/arch.work",
    )
    assert [answer.as_json() for answer in read_answers(road / "arch.json")] == again
    assert {path: path.stat().st_mtime_ns for path in road.glob("arch.work/*/*/*")} == before


def test_an_answer_without_weights_is_not_exported(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    candidate = next((road / "arch.work" / "c6r0s0e2").iterdir())
    message = complaint(
        capsys, f"export {road}/arch.json --run {candidate} --to onnx -o {road}/deploy"
    )
    assert "holds no weights that it inherits. Train it, then export that run: " in message
    assert message.endswith("latkit train final ARCH.json --data DATA -o RUN")
    answer = read_answers(road / "arch.json")[0]
    with pytest.raises(InvalidFile, match="econas found"):
        refuse_without_weights(answer, candidate)


def test_a_candidate_is_no_supernet_to_search(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    candidate = next((road / "arch.work" / "c6r0s0e2").iterdir())
    message = complaint(
        capsys,
        f"search random --run {candidate} --table {road}/t.lut --limit-ms 1 -o {road}/no.json",
    )
    assert f"trained one candidate of a search, {candidate.name} under proxy c6r0s0e2" in message


def test_a_study_names_cost_reliability_and_the_best(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(
        capsys,
        f"proxies --space macro --resolution 16 --data digits --nets 3 --grid {GRID} "
        f"--settings {road}/small.toml -o {road}/study",
    )
    assert found["reference"] == found["full"].replace("c0", "c6") == "c6r0s0e2"
    assert [row["name"] for row in found["proxies"]] == ["c6r0s0e1", "c6r0s1e2"]  # of equal cost
    assert [row["paper_share"] for row in found["proxies"]] == [1 / 128, 1 / 128]
    for row in found["proxies"]:
        assert row["interval"][0] <= row["spearman"] <= row["interval"][1]
        assert row["train_s"] > 0
    assert (road / "study" / "reliability.png").stat().st_size > 10_000
    assert len(list(road.glob("study/*/*/stage-*.json"))) == 9


def test_a_study_is_shown_to_people(road: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    run(
        f"proxies --space macro --resolution 16 --data digits --nets 3 --grid {GRID} "
        f"--settings {road}/small.toml -o {road}/study"
    )
    out = " ".join(capsys.readouterr().out.split())
    assert "c6r0s0e1" in out
    assert "3 networks, ranked against c6r0s0e2, with 95 % intervals over networks" in out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "search econas --table {t} --limit-ms 1 -o {o}",
            "Missing option '--data'. Images to train on",
        ),
        ("search econas --data digits --limit-ms 1 -o {o}", "Missing option '--table'"),
        (
            "search econas --data digits --table {t} --run {o} --limit-ms 1 -o {o}",
            "No such option: --run",
        ),
        (
            "search random --run {o} --table {t} --workers 2 --limit-ms 1 -o {o}",
            "No such option: --workers",
        ),
        ("search econas --data digits --table {t} --limit-ms 0.001 -o {o}", "Allow 0.0"),
        (
            "proxies --space macro --resolution 16 --grid c0r4s0e1 -o {o}",
            "below one pixel of a feature map: 16 pixels become 4",
        ),
        ("proxies --space macro --resolution 16 --grid c4 -o {o}", "'c4' is no proxy"),
        (
            "proxies --space macro --resolution 16 --grid c4r0s0e1 -o {o}",
            "would be compared with itself",
        ),
        (
            "proxies --space greedynas --resolution 32 --grid c4r0s0e1 --truth {t} -o {o}",
            "cannot be the truth of space 'greedynas'",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    road: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    given = command.format(t=road / "t.lut", o=road / "out")
    assert message in complaint(capsys, given)
