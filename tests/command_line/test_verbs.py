"""The command line: its verbs on the simulated device, and its answers to bad input."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import latkit
from devices import IR_VERSION, OPSET, device_named
from export.verbs import measure as measure_verbs
from lut import table_for
from search.econas.hierarchy import PROXY_METHODS
from search.solve import SEARCHERS
from tests.command_line.typed import complaint, figures, run

TRAINED = {"uniform", "fair", "sandwich", "greedynas", "sgnas", "fewshot", "darts", "final"}
SETTINGS = "epochs = 1\nwarmup_epochs = 0\nthreads = 1\n"


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a run, answers and a deployment, made by the verbs themselves."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "quick.toml").write_text(SETTINGS)
    run(f"profile --device sim --space macro --resolution 16 -o {folder}/sim.lut")
    run(
        f"train uniform --space macro --data digits --resolution 16 "
        f"--settings {folder}/quick.toml -o {folder}/run"
    )
    run(
        f"search random --run {folder}/run --table {folder}/sim.lut --limit-ms 0.4 --limit-ms 0.8 "
        f"--rounds 1 --population 4 -o {folder}/arch.json"
    )
    run(f"export {folder}/arch.json --index 1 --run {folder}/run -o {folder}/deploy")
    return folder


def test_devices_says_what_is_usable(capsys: pytest.CaptureFixture[str]) -> None:
    by_name = {device["name"]: device for device in figures(capsys, "devices")}
    assert by_name["sim"]["usable"]
    closely = figures(capsys, "devices sim-troubled")
    assert any("throttles" in doubt for doubt in closely["doubts"])


def test_usable_devices_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    usable = [bool(device["usable"]) for device in figures(capsys, "devices")]
    assert usable == sorted(usable, reverse=True)
    assert False in usable


def test_spaces_says_what_a_table_measures(capsys: pytest.CaptureFixture[str]) -> None:
    by_name = {space["name"]: space for space in figures(capsys, "spaces")}
    assert by_name["greedynas"]["operators"] == 72
    assert by_name["macro"]["architectures"] == 6561
    assert len(figures(capsys, "spaces macro")["choices"]) == 8


def test_a_complete_table_is_not_measured_again(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = figures(capsys, f"profile --device sim --space macro --resolution 16 -o {road}/sim.lut")
    assert again["device_s"] == 0.0
    assert again["calibration networks"] == 20


def brought(path: Path, opset: int = OPSET) -> Path:
    """Write a model with an open batch, integers, a branch and an output of unknown size."""
    node, value = helper.make_node, helper.make_tensor_value_info
    ids = value("ids", TensorProto.INT64, ["batch", 5])
    x = value("x", TensorProto.FLOAT, ["batch", 5, 4])
    floats = value("chosen", TensorProto.FLOAT, None)
    branches = {
        f"{side}_branch": helper.make_graph(
            [node(kind, ["rows", "x"], ["chosen"], name=side)], side, [], [floats]
        )
        for side, kind in (("then", "Add"), ("else", "Mul"))
    }
    nodes = [
        node("Gather", ["table", "ids"], ["rows"], name="gather"),
        node("If", ["yes"], ["y"], name="if", **branches),
        node("NonZero", ["ids"], ["places"], name="places"),
    ]
    weights = {"table": np.ones((2, 4), np.float32), "yes": np.array(True)}
    outputs = [
        value("y", TensorProto.FLOAT, ["batch", 5, 4]),
        value("places", TensorProto.INT64, [2, "found"]),
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "brought", [ids, x], outputs, tensors)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION
    )
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("device", ["sim", "cpu"])
def test_profile_takes_any_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    path = brought(tmp_path / "model.onnx")
    save = tmp_path / "optimised.onnx"
    facts = figures(
        capsys,
        f"profile --device {device} --onnx {path} --shape ids=3,5 --processes 1 "
        f"--save-optimized {save}",
    )
    promised = (
        "latency_ms interval_ms percentiles_ms kernels kernels_raw_sum_ms processes status doubts "
        "optimized"
    )
    assert set(promised.split()) <= set(facts)
    assert facts["inputs"][1] == {"name": "x", "shape": [3, 5, 4], "dtype": "float32"}
    low, high = facts["interval_ms"]
    assert 0.0 < low <= facts["latency_ms"] <= high
    assert facts["processes"] == 1
    value, low, high = facts["percentiles_ms"]["p99"]
    assert low <= value <= high
    assert {"gather", "places"} <= {kernel["name"] for kernel in facts["kernels"]}
    assert sum(k["ms"] for k in facts["kernels"]) == pytest.approx(facts["latency_ms"])
    assert facts["optimized"]["operators_before"] == {
        "Gather": 1, "If": 1, "Add": 1, "Mul": 1, "NonZero": 1,
    }  # fmt: skip
    assert save.is_file()


def test_a_profile_of_a_model_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"profile --device sim --onnx {brought(tmp_path / 'm.onnx')} --processes 1")
    said = " ".join(capsys.readouterr().out.split())
    assert "the batch (batch) is open in the file and was taken as 1" in said
    assert "from one process only" in said
    assert "NonZero" in said


def test_a_file_that_is_too_new_for_the_runtime_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = brought(tmp_path / "m.onnx", opset=99)
    line = complaint(capsys, f"profile --device cpu --onnx {path}")
    assert "device 'cpu' cannot time the graph: ONNX Runtime refuses the graph" in line
    assert "Opset 99 is under development" in line


def test_table_shows_by_default(road: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert figures(capsys, f"table {road}/sim.lut")["operators"] == 15
    run(f"table {road}/sim.lut")
    assert "slowest" in capsys.readouterr().out


def test_table_check_gives_the_promised_keys(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(road / "sim.lut", tmp_path / "sim.lut")
    report = figures(capsys, f"table check {tmp_path}/sim.lut --nets 8 --processes 2")
    promised = "nets mape bias within_5 within_10 spearman floor coverage_90 flops device_s status"
    assert set(promised.split()) <= set(report)
    assert report["nets"] == 8
    assert report["status"] == "ok"
    assert report["mape"] < report["flops"]["mape"]


def test_predict_gives_the_share_of_every_layer(
    road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = figures(capsys, f"predict {road}/sim.lut 22212220")
    low, high = facts["interval_ms"]
    assert low < facts["latency_ms"] < high
    assert len(facts["layers"]) == 9
    assert sum(layer["share"] for layer in facts["layers"]) == pytest.approx(1.0)
    from_file = figures(capsys, f"predict {road}/sim.lut {road}/arch.json")
    assert from_file["arch"] == json.loads((road / "arch.json").read_text())[0]["arch"]


def test_search_answers_every_limit_and_keeps_each(road: Path) -> None:
    tight, loose = json.loads((road / "arch.json").read_text())
    assert tight["predicted_ms"][0] < 0.4
    assert loose["predicted_ms"][0] < 0.8
    assert 0.0 <= tight["accuracy"] <= 1.0


def test_a_limit_on_another_device_holds_too(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slow.yaml").write_text(
        "name: slow\nbackend: simulated\nsimulation:\n  dense_macs_per_s: 1.0e+10\n"
    )
    run(
        f"profile --device {tmp_path}/slow.yaml --space macro --resolution 16 -o {tmp_path}/s.lut"
        " --processes 1"
    )
    (answer,) = figures(
        capsys,
        f"search random --run {road}/run --table {road}/sim.lut --limit-ms 0.9 "
        f"--also {tmp_path}/s.lut:1.0 --rounds 1 --population 4 -o {tmp_path}/arch.json",
    )
    assert answer["devices"] == ["sim", "slow"]
    assert answer["predicted_ms"][0] < 0.9
    assert answer["predicted_ms"][1] < 1.0


def test_verify_exits_by_its_verdict(road: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = figures(capsys, f"verify {road}/deploy --device sim --processes 3")
    promised = (
        "verdict met limit_ms predicted_ms measured_ms interval_ms processes parity_max_abs status"
    )
    assert set(promised.split()) <= set(verdict)
    assert verdict["verdict"] == "met"
    assert verdict["measured_ms"] == pytest.approx(verdict["predicted_ms"], rel=0.05)
    missed = figures(
        capsys, f"verify {road}/deploy --device sim --processes 3 --limit-ms 0.01", expect=1
    )
    assert missed["met"] is False


def test_a_search_of_two_formats_measures_what_the_other_one_costs(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nbackend: simulated\nprecision: int8\nsimulation: {}\n")
    run(f"profile --device {mine} --space macro --resolution 16 -o {tmp_path}/int8.lut")
    search = (
        f"search nsga2 --run {road}/run --table {road}/sim.lut --limit-ms 0.05 --limit-ms 0.4 "
        f"--rounds 1 --population 4 -o {tmp_path}/arch.json --or {tmp_path}/int8.lut"
    )
    tight, loose = figures(capsys, search)
    assert tight["devices"] == ["mine"]  # fp32 cannot be as fast
    assert "the mean of 4 networks on 359 validation images" in tight["accuracy_from"]
    assert loose["loss"] <= tight["loss"]
    assert re.search(r"is best; else [\d.]+% \(loss [\d.]+\) on '(sim|mine)'", loose["note"])
    _, given = figures(capsys, f"{search}:99")
    assert given["devices"] == ["sim"]


def test_a_limit_that_nothing_keeps_is_refused_before_images_are_decoded(
    road: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("images are decoded")

    monkeypatch.setattr("export.roads.supernet.load_run_data", never)
    monkeypatch.setattr("export.roads.candidates.images_of", never)
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nbackend: simulated\nprecision: int8\nsimulation: {}\n")
    run(f"profile --device {mine} --space macro --resolution 16 -o {tmp_path}/int8.lut")
    limit = f"--table {road}/sim.lut --limit-ms 0.4 --limit-ms 0.0001 -o {tmp_path}/arch.json"
    for search in (
        f"nsga2 --run {road}/run",
        f"nsga2 --run {road}/run --or {tmp_path}/int8.lut",
        "econas --data digits",
    ):
        assert "0.0001 ms" in complaint(capsys, f"search {search} {limit}")


def test_an_answer_for_integers_is_exported_and_verified_in_integers(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nbackend: simulated\nprecision: int8\n")
    answers = json.loads((road / "arch.json").read_text())
    (tmp_path / "arch.json").write_text(json.dumps([answers[0] | {"devices": ["mine"]}]))
    export = f"export {tmp_path}/arch.json --run {road}/run -o {tmp_path}/deploy"
    assert "name its file, --device FILE.yaml" in complaint(capsys, export)
    export += f" --device {mine} --precision int8 --max-drop 5"
    facts = figures(capsys, export)
    assert facts["precision"] == "int8"
    assert facts["side_by_side"]["device"] == "mine"
    assert facts["facts"]["validation_drop"]["max_drop_points"] == 5.0
    assert 0.0 < facts["test_accuracy_fp32"] <= 1.0
    assert abs(facts["test_accuracy"] - facts["test_accuracy_fp32"]) < 0.05
    run(f"verify {tmp_path}/deploy --device {mine} --processes 3")
    run(f"report {tmp_path}/deploy -o {tmp_path}/page.html")
    assert "the test split of digits" in (tmp_path / "page.html").read_text()
    assert "5 calibration images say too little" in complaint(
        capsys, f"{export} --calibration-images 5"
    )
    np.save(tmp_path / "small.npy", np.zeros((64, 3, 8, 8), np.float32))
    assert "the network takes float32 of (n, 3, 16, 16)" in complaint(
        capsys, f"{export} --calibrate {tmp_path}/small.npy"
    )


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("devices cpux", "no device is called 'cpux'; the nearest is 'cpu'"),
        ("spaces macr", "no space is called 'macr'; the nearest is 'macro'"),
        ("profile --device sim --space greedy -o {tmp}/t.lut", "the nearest is 'greedynas'"),
        ("profile --device sim --space macro", "Missing option '-o'"),
        ("profile --device sim", "Name what to profile: --space S -o T.lut, or else --onnx"),
        ("profile --space macro --onnx m.onnx -o t", "Name what to profile"),
        ("profile --onnx m.onnx -o {tmp}/t.lut", "--output does not go with --onnx"),
        ("profile --onnx m.onnx --seed 3", "--seed does not go with --onnx"),
        ("profile --space macro -o t --save-optimized o", "--save-optimized does not go with"),
        ("profile --device sim --onnx {tmp}/none.onnx", "none.onnx: No such file or directory"),
        ("profile --device sim --onnx {road}/quick.toml", "quick.toml is no ONNX file"),
        ("train unifrom --space macro -o {tmp}/r", "the nearest is 'uniform'"),
        ("train -o {tmp}/r uniform", "Name the method before its options: latkit train METHOD -o"),
        ("train uniform --spac macro -o {tmp}/r", "No such option: --spac (Possible options: --s"),
        (
            "train greedynas --space macro --limit-ms 1 -o {tmp}/r",
            "A limit needs the table that prices it: --table T.lut --limit-ms 8",
        ),
        ("search random --run {road}/run --limit-ms 1 -o {tmp}/a", "Name the device of the limit"),
        (
            "search evolutoin --run {road}/run --table {road}/sim.lut --limit-ms 1 -o {tmp}/a",
            "the nearest is 'evolution'",
        ),
        (
            "search nsga2 --run {road}/run --space macro --table {road}/sim.lut --limit-ms 1 -o a",
            "--space does not go with --run",
        ),
        (
            "search greedynas --run {road}/run --table {road}/sim.lut --or {road}/sim.lut "
            "--limit-ms 1 -o {tmp}/a",
            "sim.lut is in fp32, as another table is: give one",
        ),
        (
            "search evolution --run {road}/run --table {road}/sim.lut --or {road}/sim.lut "
            "--limit-ms 1 -o {tmp}/a",
            "sim.lut is in fp32, as another table is: give one",
        ),
        (
            "search greedynas --run {road}/run --table {road}/sim.lut --limit-ms 1 -o {tmp}/a",
            "was trained by 'uniform', which keeps no pool of paths: search it with nsga2, or",
        ),
        ("export {road}/arch.json --run {road}/run --to onx -o {tmp}/d", "nearest is 'onnx'"),
        ("export {road}/arch.json --index 7 --run {road}/run -o {tmp}/d", "no --index 7"),
        (
            "export {road}/arch.json --run {road}/run --precision int8 -o {tmp}/d",
            "priced by tables of 'sim' (fp32), which say nothing of int8",
        ),
        ("export {road}/arch.json --run {road}/run --precision fp8 -o {tmp}/d", "'fp8' is not one"),
        (
            "export {road}/arch.json --run {road}/run --max-drop 1 -o {tmp}/d",
            "--max-drop is of int8, and device 'sim' is fp32",
        ),
        ("verify {road}/deploy --device cpu-int8 --limit-ms 1", "the model is fp32, device 'cpu-"),
        ("table {tmp}/none.lut", "there is no table"),
        ("table {road}/quick.toml", "no latency table"),
        ("predict {road}/sim.lut 22", "has 2 choices; space 'macro' has 8 layers"),
        ("predict {road}/sim.lut 22212229", "layer 7 of space 'macro' has choices 0 to 2, not 9"),
        ("predict {road}/sim.lut deep", "is no architecture"),
        ("verify {tmp} --device sim", "is no deployment directory"),
        ("verify {road}/deploy --device sim --processes 99", "15"),
        (
            "search random --run {road}/run --table {road}/sim.lut --limit-ms 0.001 -o {tmp}/a",
            "the fastest, 00000000, is predicted to take",
        ),
        (
            "search random --run {road}/run --table {road}/sim.lut --limit-ms 1 "
            "--also {road}/sim.lut:1 -o {tmp}/a",
            "two tables are of one device",
        ),
        (
            "search random --run {road}/run --table {road}/sim.lut --limit-ms 1 "
            "--also {road}/sim.lut -o {tmp}/a",
            "write TABLE:MS",
        ),
        ("search random --run {tmp} --table {road}/sim.lut --limit-ms 1 -o {tmp}/a", "no run"),
        ("train uniform --space macro --data {tmp}/pics -o {tmp}/r", "pics"),
        ("nonsense", "No such command 'nonsense'"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, says: str
) -> None:
    assert says in complaint(capsys, command.format(road=road, tmp=tmp_path))


def test_an_unknown_key_in_a_device_file_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nbackend: simulated\nthread: 2\n")
    line = complaint(capsys, f"devices {tmp_path}/mine.yaml")
    assert "no key of a device is called 'thread'; the nearest is 'threads'" in line


def test_an_unknown_setting_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text("epoch = 3\n")
    command = f"train uniform --space macro --settings {tmp_path}/s.toml -o {tmp_path}/r"
    assert "the nearest is 'epochs'" in complaint(capsys, command)


@pytest.mark.parametrize("change", ["threads: 2", "precision: int8", "batch: 4"])
def test_a_table_of_another_condition_is_not_filled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    mine, table = tmp_path / "mine.yaml", tmp_path / "mine.lut"
    mine.write_text("name: mine\nbackend: simulated\n")
    with table_for(table, device_named(str(mine))):
        pass
    mine.write_text(f"{mine.read_text()}{change}\n")
    line = complaint(capsys, f"profile --device {mine} --space macro -o {table}")
    assert f"{change.partition(':')[0]}: " in line
    assert "in the table" in line


def test_a_table_that_lacks_operators_names_them_and_the_cure(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = json.loads((road / "arch.json").read_text())
    answers[0]["space_label"]["resolution"] = 64
    (tmp_path / "arch.json").write_text(json.dumps(answers))
    line = complaint(capsys, f"predict {road}/sim.lut {tmp_path}/arch.json")
    assert "no latency for [" in line
    assert "and 14 more" in line
    assert "Measure it: latkit profile --device sim" in line


def test_a_bug_is_status_3_and_never_reads_as_a_missed_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(measure_verbs, "known_devices", broken)
    assert latkit.main(["devices"]) == 3
    assert "this is a bug in latkit" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "search"])
def test_every_method_is_shown_in_one_sentence(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(verb)
    known = {"train": TRAINED, "search": {*SEARCHERS, *PROXY_METHODS}}[verb]
    methods = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert {line.split()[0] for line in methods} == known
    assert [line for line in methods if not line.endswith(".") or line.endswith("...")] == []


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("train uniform", "output space data resolution snap settings skip-corrupt"),
        ("train fair", "output space data resolution snap settings skip-corrupt"),
        ("train final", "output index data teacher settings skip-corrupt"),
        ("train fewshot", "output from split choose children space data settings skip-corrupt"),
        (
            "search sgnas",
            "output run table limit-ms limit-range also confidence limit-mb plans capability "
            "population seed",
        ),
        (
            "search asha",
            "output data table space limit-ms limit-range also confidence limit-mb plans "
            "capability settings work workers seed",
        ),
    ],
)
def test_a_method_shows_its_own_options_alone(
    method: str, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"{method} --help")
    shown = re.findall(r"^  (?:-\w, )?--([\w-]+)", capsys.readouterr().out, flags=re.MULTILINE)
    assert set(shown) == {*options.split(), "json", "help"}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(options: list[str]) -> None:
    command = [sys.executable, "-m", "latkit", "spaces", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()  # long before anything is printed
        _, said = process.communicate()
    assert (process.returncode, said) == (0, b"")


def test_a_full_disk_behind_the_output_is_said_in_one_line() -> None:
    command = [sys.executable, "-m", "latkit", "spaces"]
    with Path("/dev/full").open("w") as full:
        said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert said.returncode == 2
    assert said.stderr == ("latkit: cannot print: No space left on device; what was made is kept\n")


def test_an_interrupted_verb_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure_verbs, "known_devices", interrupted)
    assert latkit.main(["devices"]) == 130
    said = "latkit: interrupted; run the same command again to go on\n"
    assert capsys.readouterr().err.endswith(said)


def test_a_file_that_ends_too_early_is_no_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended() -> None:
        raise EOFError("no data left")

    monkeypatch.setattr(measure_verbs, "known_devices", ended)
    assert latkit.main(["devices"]) == 3
    said = capsys.readouterr().err
    assert "EOFError: no data left" in said
    assert "this is a bug in latkit" in said


def test_brackets_in_a_path_are_no_markup(
    road: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "a[red]b[" / "z[/b].html"
    page.parent.mkdir(parents=True)
    run(f"report {road}/sim.lut -o {page}")
    assert page.is_file()
    assert "a[red]b[/z[/b].html" in capsys.readouterr().out.replace("\n", "")


def test_help_is_shown_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert latkit.main([]) == 0
    out = capsys.readouterr().out
    assert "  verify" in out
    assert "  table" in out
