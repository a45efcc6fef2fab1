"""From a chosen architecture to a file with weights of its own, by the verbs themselves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import device_named
from export.bundle.deployment import read_deployment, read_reference
from export.bundle.manifest import DESCRIPTION, MANIFEST
from export.bundle.onnx_file import reference_outputs
from export.roads.ship import ship_run
from search.answers import Answer, write_answers
from search.final.files import load_final_run
from search.searcher import Candidate
from search.space import architecture_from_text
from search.spaces import space_named
from tests.command_line.typed import complaint, figures, run

ANSWER = Answer(
    arch=architecture_from_text("10101100"),
    space=space_named("macro", resolution=16, classes=10),
    devices=("sim",),
    limits_s=(2.0,),
    confidence=0.95,
    predicted_s=(1.0,),
    interval_s=((0.9, 1.1),),
    table_hashes=("a",),
    revisions=(0,),
    accuracy=0.25,
    accuracy_from="inherited weights",
    method="random",
    seed=0,
)
SAME = replace(ANSWER, arch=architecture_from_text("10110100"))
"""The same network in canonical form."""

OTHER = replace(ANSWER, arch=architecture_from_text("22212220"))
SETTINGS = "epochs = 2\nwarmup_epochs = 1\nbatch = 128\nthreads = 1\n"


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Architectures, a run that trained one of them alone, and its deployment."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "quick.toml").write_text(SETTINGS)
    write_answers(folder / "arch.json", [OTHER, ANSWER, SAME])
    run(
        f"train final {folder}/arch.json --index 1 --data digits "
        f"--settings {folder}/quick.toml -o {folder}/run"
    )
    run(f"export {folder}/arch.json --index 1 --run {folder}/run -o {folder}/deploy")
    return folder


def test_the_average_that_was_trained_alone_is_what_ships(road: Path) -> None:
    trained, deployment = load_final_run(road / "run"), read_deployment(road / "deploy")
    assert deployment.weights == "final"
    assert deployment.facts["test_accuracy"] == trained.test_accuracy
    assert deployment.facts["validation_accuracy"] == trained.validation.averaged
    assert deployment.facts["validation_accuracy_inherited"] == 0.25
    assert "trained alone for 2 of 2 epochs" in deployment.facts["accuracy_from"]
    images, logits = read_reference(road / "deploy")
    np.testing.assert_array_equal(reference_outputs(trained.network, images), logits)
    assert deployment.parity_max_abs < 1e-3


def test_a_finished_run_is_shown_again_with_its_accuracies(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = figures(
        capsys,
        f"train final {road}/arch.json --index 2 --settings {road}/quick.toml -o {road}/run",
    )
    assert (facts["method"], facts["arch"], facts["epochs"]) == ("final", "10110100", 2)
    trained = load_final_run(road / "run")
    assert facts["test_accuracy"] == trained.test_accuracy
    assert facts["validation_accuracy"] == trained.validation.averaged
    assert facts["validation_accuracy_raw"] == trained.validation.raw


def test_the_same_network_in_another_form_is_exported(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = figures(capsys, f"export {road}/arch.json --index 2 --run {road}/run -o {tmp_path}/d")
    assert facts["weights"] == "final"
    assert facts["arch"] == "10110100"


def test_a_runner_up_has_no_weights_there_and_is_not_tried(road: Path, tmp_path: Path) -> None:
    faster = Candidate(arch=OTHER.arch, latency_s=(0.5,), interval_s=((0.4, 0.6),), accuracy=0.2)
    answer = replace(ANSWER, limits_s=(1e-6,), runners_up=(faster,))
    shipped = ship_run(
        answer,
        road / "run",
        tmp_path / "d",
        device=device_named("sim"),
        tries=3,
        table=None,
        quiet=True,
    )
    assert (shipped.tries, shipped.verdict.verdict) == (1, "missed")
    assert read_deployment(tmp_path / "d").arch == "10101100"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            "export {road}/arch.json --index 0 --run {road}/run -o {tmp}/d",
            "the run trained 10110100 alone and holds no weights of 22212220",
        ),
        (
            "search random --run {road}/run --table {tmp}/t.lut --limit-ms 1 -o {tmp}/a",
            "trained one network alone, 10110100, and there is nothing to search",
        ),
        ("train final -o {tmp}/r", "Missing argument 'ARCH.json'"),
        ("train final {road}/arch.json --space macro -o {tmp}/r", "No such option: --space"),
        ("train final {road}/arch.json --resolution 32 -o {tmp}/r", "No such option: --resolution"),
        ("train uniform {road}/arch.json --space macro -o {tmp}/r", "unexpected extra argument"),
        ("train uniform --index 1 --space macro -o {tmp}/r", "No such option: --index"),
        ("train uniform -o {tmp}/r", "Missing option '--space'"),
        ("train finale {road}/arch.json -o {tmp}/r", "the nearest is 'final'"),
        ("train final {road}/arch.json --index 7 -o {tmp}/r", "there is no --index 7"),
        ("train final {tmp}/none.json -o {tmp}/r", "none.json: No such file"),
        ("train final {tmp}/three.json -o {tmp}/r", "'digits' has 10 classes, the architecture"),
        (
            "train final {road}/arch.json --settings {road}/quick.toml -o {road}/run",
            "has option arch '10110100', not '22212220'",
        ),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, says: str
) -> None:
    three = space_named("macro", resolution=16, classes=3)
    write_answers(tmp_path / "three.json", [replace(ANSWER, space=three)])
    assert says in complaint(capsys, command.format(road=road, tmp=tmp_path))


def test_a_deployment_of_before_there_were_final_runs_has_inherited_weights(
    road: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(road / "deploy", tmp_path / "old")
    (old / MANIFEST).unlink()  # nor were there manifests
    values = json.loads((old / DESCRIPTION).read_text())
    assert (values.pop("format"), values.pop("weights")) == (2, "final")
    (old / DESCRIPTION).write_text(json.dumps(values))
    assert read_deployment(old).weights == "inherited"
