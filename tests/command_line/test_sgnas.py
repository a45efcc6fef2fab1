"""The generator on the command line, and many limits at once: on the simulated device."""

import json
import shutil
from pathlib import Path

import pytest

from tests.command_line.typed import complaint, figures, run

SETTINGS = """
epochs = 1
warmup_epochs = 0
threads = 1
batch = 256
[sgnas]
paths = "uniform"
epochs = 2
steps = 2
batch = 16
"""


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, and a run with a supernet and a generator, made by the verbs themselves."""
    folder = tmp_path_factory.mktemp("sgnas")
    (folder / "quick.toml").write_text(SETTINGS)
    run(f"profile --device sim --space macro --resolution 8 --processes 1 -o {folder}/sim.lut")
    run(
        f"train sgnas --space macro --data digits --resolution 8 --table {folder}/sim.lut "
        f"--settings {folder}/quick.toml -o {folder}/run"
    )
    return folder


def test_a_limit_on_memory_holds_beside_that_on_latency(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"profile --device rtx-aot --space macro --resolution 8 -o {road}/macro.plan")
    (answer,) = figures(
        capsys,
        f"search sgnas --run {road}/run --table {road}/sim.lut --limit-ms 100 --population 12 "
        f"--limit-mb 10 --plans {road}/macro.plan -o {road}/light.json",
    )
    assert answer["memory"]["built_mb"] <= 10.0
    assert "was built and takes" in answer["note"]


def test_a_range_of_limits_is_answered_and_nothing_falls(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = figures(
        capsys,
        f"search sgnas --run {road}/run --table {road}/sim.lut --limit-range 0.1:0.3:0.05 "
        f"--population 10 -o {road}/arch.json",
    )
    assert [answer["limits_ms"][0] for answer in answers] == pytest.approx(
        [0.1, 0.15, 0.2, 0.25, 0.3]
    )
    latencies = [answer["predicted_ms"][0] for answer in answers]
    losses = [answer["loss"] for answer in answers]
    assert latencies == sorted(latencies)
    assert losses == sorted(losses, reverse=True)
    for answer in answers:
        assert answer["method"] == "sgnas"
        assert answer["predicted_ms"][0] < answer["limits_ms"][0]


def test_an_answer_is_exported_and_verified_as_any_other(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = f"search sgnas --run {road}/run --table {road}/sim.lut --limit-ms 0.2"
    run(f"{search} --population 3 -o {tmp_path}/arch.json")
    run(f"export {tmp_path}/arch.json --run {road}/run -o {tmp_path}/deploy")
    verdict = figures(capsys, f"verify {tmp_path}/deploy --device sim --processes 3")
    assert verdict["verdict"] == "met"
    assert verdict["limit_ms"] == 0.2


def test_a_limit_beyond_the_slowest_says_so(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = (
        f"search sgnas --run {road}/run --table {road}/sim.lut --limit-ms 50 --limit-ms 0.15 "
        f"--population 4 -o {tmp_path}/a"
    )
    beyond, within = figures(capsys, search)
    assert beyond["note"].startswith("50 ms on 'sim' exclude no network of space 'macro': the slow")
    assert "note" not in within
    assert beyond["loss"] <= within["loss"]
    run(search)
    assert "So this is the best of all" in " ".join(capsys.readouterr().out.split())


def test_the_same_training_again_has_nothing_to_do(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = next((road / "run").glob("generator-*.pt"))
    before = generator.read_bytes()
    facts = figures(
        capsys,
        f"train sgnas --space macro --data digits --resolution 8 --table {road}/sim.lut "
        f"--settings {road}/quick.toml -o {road}/run",
    )
    assert (facts["epochs"], facts["generator_epochs"]) == (1, 2)
    assert generator.read_bytes() == before


def test_a_supernet_that_is_there_gets_a_generator_for_another_device(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slow.yaml").write_text(
        "name: slow\nbackend: simulated\nsimulation:\n  dense_macs_per_s: 1.0e+10\n"
    )
    run(
        f"profile --device {tmp_path}/slow.yaml --space macro --resolution 8 --processes 1 "
        f"-o {tmp_path}/slow.lut"
    )
    search = f"search sgnas --table {tmp_path}/slow.lut --limit-ms 0.5 --population 3"
    line = complaint(capsys, f"{search} --run {road}/run -o {tmp_path}/a")
    assert "holds only generators for 'sim'" in line
    assert f"train one: latkit train sgnas --from {road}/run --table T.lut -o {road}/run" in line
    run(
        f"train sgnas --from {road}/run --table {tmp_path}/slow.lut "
        f"--settings {road}/quick.toml -o {tmp_path}/both"
    )
    (answer,) = figures(capsys, f"{search} --run {tmp_path}/both -o {tmp_path}/a")
    assert answer["devices"] == ["slow"]
    assert answer["predicted_ms"][0] < 0.5
    (answer,) = figures(
        capsys, f"{search} --also {road}/sim.lut:0.06 --run {tmp_path}/both -o {tmp_path}/a"
    )
    assert answer["devices"] == ["slow", "sim"]
    assert answer["predicted_ms"][1] < 0.06


def test_another_supernet_is_not_replaced(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(road / "run", tmp_path / "other")
    settings = json.loads((tmp_path / "other" / "settings.json").read_text())
    settings["settings"]["seed"] = 7
    (tmp_path / "other" / "settings.json").write_text(json.dumps(settings))
    line = complaint(
        capsys, f"train sgnas --from {road}/run --table {road}/sim.lut -o {tmp_path}/other"
    )
    assert f"{tmp_path}/other holds another supernet than {road}/run" in line


def test_a_range_of_limits_works_for_every_method(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("random", "evolution", "nsga2"):
        answers = figures(
            capsys,
            f"search {method} --run {road}/run --table {road}/sim.lut --limit-range 0.1:0.2:0.05 "
            f"--rounds 1 --population 3 -o {tmp_path}/{method}.json",
        )
        assert len(answers) == 3


SEARCH = "search sgnas --run {road}/run --table {road}/sim.lut -o {tmp}/a"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (f"{SEARCH} --limit-ms 0.001", "the fastest, 00000000, is predicted to take"),
        (f"{SEARCH} --limit-ms nan", "--limit-ms nan: a limit is a positive number"),
        (f"{SEARCH} --limit-ms 1 --limit-ms 1", "limit 1 ms is given twice: give each once"),
        (f"{SEARCH} --limit-range 12:4:0.1", "runs backwards: write --limit-range 4:12:0.1"),
        (f"{SEARCH} --limit-range 4:12", "write START:STOP:STEP in milliseconds"),
        (SEARCH, "a search needs a limit: --limit-ms 8, or --limit-range 4:12:0.1"),
        ("train sgnas --space macro -o {tmp}/r", "Missing option '--table'"),
        (
            "train sgnas --table {road}/sim.lut -o {tmp}/r",
            "a new one of --space S, or that of a run",
        ),
        ("train sgnas --space macro --table {tmp}/no.lut -o {tmp}/r", "there is no table"),
        (
            "train sgnas --from {road}/run --space macro --table {road}/sim.lut -o {tmp}/r",
            "a new one of --space S, or that of a run, --from RUN",
        ),
        (
            "train sgnas --from {road}/run --resolution 8 --table {road}/sim.lut -o {tmp}/r",
            "--resolution does not go with --from: the run says it",
        ),
        (
            "train sgnas --space macro --table {road}/sim.lut --limit-ms 8 -o {tmp}/r",
            "No such option: --limit-ms. See: latkit train sgnas --help",
        ),
        ("train uniform --from {road}/run --space macro -o {tmp}/r", "No such option: --from"),
        ("train sgnas --from {tmp} --table {road}/sim.lut -o {tmp}/r", "holds no run"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, says: str
) -> None:
    assert says in complaint(capsys, command.format(road=road, tmp=tmp_path))
