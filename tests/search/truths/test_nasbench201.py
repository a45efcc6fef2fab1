import csv
import gzip
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latkit
from devices import InvalidFile, UnknownName
from lut import LatencyBudget, LatencyModel, LatencyTarget, within
from profiler.operators.cells import CONV1, CONV3, EDGES, POOL, choices_from_code, pruned
from search import Architecture, NoFeasibleArchitecture, RandomSearch, as_choices, run_search
from search.exact import NotAdditive, best_additive, feasible_range
from search.greedynas.within import PathsWithin
from search.metrics import kendall_tau
from search.spaces.nasbench201 import (
    cell_text,
    class_text,
    every_cell,
    nasbench201,
)
from search.truths.nasbench201 import NasBench201, read_latencies, read_nas_bench_201
from search.truths.truth import Truth

SPACE = nasbench201()
CELLS = [Architecture(choices) for choices in every_cell()]


def made_up_rows() -> list[dict[str, Any]]:
    """Return a benchmark whose accuracies say how many operations a class has; shuffled."""
    order = np.random.default_rng(0).permutation(len(CELLS))
    first: dict[str, int] = {}
    for idx, i in enumerate(order):
        first.setdefault(class_text(CELLS[i].choices), idx)
    rows = []
    for idx, i in enumerate(order):
        arch = CELLS[i]
        size = sum(choice > 1 for choice in pruned(SPACE.canonical(arch).choices))
        figures = {f"{p}_test_200": 10.0 * size + 1 for p in ("c10", "c100", "in16")}
        figures |= {f"{p}_val_12": 10.0 * size for p in ("c10", "c100", "in16")}
        rows.append(
            {
                "idx": idx,
                "arch": cell_text(arch),
                "iso_rep_idx": first[class_text(arch.choices)],
                **figures,
            }
        )
    return rows


def as_csv(rows: Iterable[dict[str, Any]]) -> bytes:
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode())


ROWS = made_up_rows()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark, and two devices: milliseconds are operations, dead ones included in ``gpu``."""
    folder = tmp_path_factory.mktemp("nasbench201")
    (folder / "accuracy.csv.gz").write_bytes(as_csv(ROWS))
    latencies = []
    for row in ROWS:
        choices = choices_from_code(row["arch"])
        raw = 1 + sum(choice > 1 for choice in choices)
        live = 1 + sum(choice > 1 for choice in pruned(choices))
        latencies.append({"idx": row["idx"], "gpu": raw, "pixel3": live})
    (folder / "latency.csv.gz").write_bytes(as_csv(latencies))
    return folder


@pytest.fixture(scope="module")
def made_up(folder: Path) -> NasBench201:
    return read_nas_bench_201(folder / "accuracy.csv.gz")


def model_of(folder: Path, bench: NasBench201, column: str) -> LatencyModel:
    return read_latencies(folder / "latency.csv.gz", column, bench)


def budget_of(model: LatencyModel, limit_ms: float) -> LatencyBudget:
    target = LatencyTarget(device=model.device, limit_s=limit_ms * 1e-3)
    return LatencyBudget(model=model, target=target)


def test_a_search_sees_validation_and_is_judged_by_the_test(made_up: NasBench201) -> None:
    truth = made_up.truth("cifar100")
    assert len(truth.archs) == 6_466
    assert truth.space.classes == 100
    arch = Architecture((0, 0, 0, 3, 0, 0))
    assert truth.evaluator()([arch]) == pytest.approx([0.10])
    assert truth.judge([arch]) == pytest.approx([0.11])


def test_any_cell_of_a_class_has_the_accuracy_of_the_class(made_up: NasBench201) -> None:
    truth = made_up.truth()
    forms = [Architecture((1, 0, 0, 0, 3, 0)), Architecture((3, 0, 0, 0, 1, 0))]
    assert len(set(truth.rows(forms).tolist())) == 1


def test_latencies_are_those_of_the_raw_index_in_milliseconds(
    folder: Path, made_up: NasBench201
) -> None:
    archs = [Architecture((0, 0, 0, 3, 0, 0)), Architecture((3, 3, 3, 3, 3, 3))]
    for column in ("gpu", "pixel3"):
        latency_s = model_of(folder, made_up, column).latency_s(as_choices(archs))
        assert latency_s == pytest.approx([2e-3, 7e-3])


def test_dead_edges_that_a_device_ran_are_not_paid_for(folder: Path, made_up: NasBench201) -> None:
    dead = as_choices([Architecture((3, 0, 0, 3, 0, 0))])
    for column in ("gpu", "pixel3"):
        assert model_of(folder, made_up, column).latency_s(dead) == pytest.approx([2e-3])


def test_all_cells_of_a_class_have_the_latency_of_the_one_that_is_judged(
    folder: Path, made_up: NasBench201
) -> None:
    forms = as_choices([Architecture((2, 2, 0, 0, 2, 1)), Architecture((2, 0, 1, 0, 2, 1))])
    assert model_of(folder, made_up, "gpu").latency_s(forms) == pytest.approx([3e-3, 3e-3])


def test_cells_without_a_path_keep_no_budget(folder: Path, made_up: NasBench201) -> None:
    model = model_of(folder, made_up, "gpu")
    every = as_choices(CELLS)
    assert np.isinf(model.latency_s(every)).sum() == 341
    assert within([budget_of(model, 1e9)], every).sum() == 15_625 - 341
    assert np.isfinite(model.price(every[-1:]).high_s).all()


def test_the_fastest_and_the_slowest_are_found_among_all(
    folder: Path, made_up: NasBench201
) -> None:
    ends = feasible_range(model_of(folder, made_up, "gpu"))
    assert ends.fastest.latency_s == pytest.approx(1e-3)
    assert ends.slowest.latency_s == pytest.approx(7e-3)
    assert all(choice > 1 for choice in ends.slowest.arch.choices)


def test_what_needs_a_sum_over_layers_says_that_there_is_none(
    folder: Path, made_up: NasBench201
) -> None:
    model = model_of(folder, made_up, "gpu")
    with pytest.raises(NotAdditive, match="is no sum over its layers") as caught:
        best_additive(np.zeros((6, 5)), budget_of(model, 5), space=made_up.truth().space)
    assert "\n" not in str(caught.value)


def test_a_limit_below_the_minimum_is_refused_with_the_minimum(
    folder: Path, made_up: NasBench201, rng: np.random.Generator
) -> None:
    budgets = [budget_of(model_of(folder, made_up, "gpu"), 0.5)]
    truth = made_up.truth()
    searcher = RandomSearch(space=truth.space, budgets=budgets, rng=rng)
    with pytest.raises(NoFeasibleArchitecture, match="predicted to take 1 ms"):
        run_search(
            searcher, space=truth.space, budgets=budgets, accuracy=truth.evaluator(), rounds=1
        )


def test_draws_within_a_budget_are_uniform_among_all_that_keep_it(
    folder: Path, made_up: NasBench201, rng: np.random.Generator
) -> None:
    model = model_of(folder, made_up, "gpu")
    space = made_up.truth().space
    paths = PathsWithin(space=space, budgets=[budget_of(model, 2.0)])
    kept = int(within([budget_of(model, 2.0)], as_choices(CELLS)).sum())
    assert paths.share == pytest.approx(kept / 15_625)
    drawn = [paths.sample(rng) for _ in range(200)]
    assert within([budget_of(model, 2.0)], as_choices(drawn)).all()


def test_one_choice_that_makes_a_cell_faster_is_told_from_one_that_does_not(
    folder: Path, made_up: NasBench201
) -> None:
    model = model_of(folder, made_up, "gpu")
    faster = model.faster(np.array([[0, 0, 0, 3, 0, 0]]))
    assert faster.shape == (1, 6, 5)
    # Only the direct edge can be relieved, and only by a skip: without it there is no path.
    assert np.argwhere(faster[0]).tolist() == [[3, 1]]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no gzip", "accuracies"),
        (as_csv(ROWS[:100]), "100 rows"),
        (as_csv([{**row, "arch": ROWS[0]["arch"]} for row in ROWS]), "1 cells, not 15625"),
        (as_csv([{**row, "iso_rep_idx": 0} for row in ROWS]), "1 classes, not 6466"),
        (as_csv([{k: v for k, v in row.items() if k != "c10_val_12"} for row in ROWS]), "c10_val"),
    ],
    ids=["no gzip", "cut short", "one cell", "one class", "a column less"],
)
def test_a_damaged_benchmark_is_refused_in_one_line(
    tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / "truth.csv.gz").write_bytes(content)
    with pytest.raises(InvalidFile, match=why) as caught:
        read_nas_bench_201(tmp_path / "truth.csv.gz")
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_names_those_that_are(
    folder: Path, made_up: NasBench201
) -> None:
    with pytest.raises(UnknownName, match=r"no latency column is called 'pixel4'.*'pixel3'"):
        model_of(folder, made_up, "pixel4")


def test_a_missing_file_of_latencies_is_named(tmp_path: Path, made_up: NasBench201) -> None:
    with pytest.raises(InvalidFile, match=r"none\.csv cannot be read as latencies"):
        read_latencies(tmp_path / "none.csv", "gpu", made_up)


def search_truth(folder: Path, *more: str, method: str = "random") -> int:
    truth, out = str(folder / "accuracy.csv.gz"), str(folder / "arch.json")
    args = [
        "search",
        method,
        "--truth",
        truth,
        "--space",
        "nasbench201",
        "-o",
        out,
        "--rounds",
        "3",
    ]
    return latkit.main([*args, *more])


@pytest.mark.parametrize("method", ["random", "evolution", "nsga2"])
def test_a_search_on_true_accuracies_says_what_is_true_of_its_answer(
    folder: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    latency = f"{folder / 'latency.csv.gz'}:pixel3"
    limits = ("--limit-ms", "3", "--limit-ms", "7")
    assert search_truth(folder, "--latency", latency, *limits, "--json", method=method) == 0
    tight, loose = json.loads(capsys.readouterr().out)
    assert tight["predicted_ms"][0] <= 3.0
    assert tight["judged"] == pytest.approx(tight["accuracy"] + 0.01)
    assert tight["judged"] == pytest.approx(0.21)  # two operations are what 3 ms allow
    assert loose["judged"] > tight["judged"]


def test_columns_of_several_devices_are_kept_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "latency.csv.gz"
    given = ("--latency", f"{file}:pixel3", "--limit-ms", "7")
    assert search_truth(folder, *given, "--also", f"{file}:gpu:3", "--json", method="nsga2") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["devices"] == ["pixel3", "gpu"]
    assert max(answer["predicted_ms"]) <= 3.0  # cells take as long on both: the other limit holds


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            ("--latency", "{folder}/latency.csv.gz:gpu", "--also", "{folder}/latency.csv.gz:cpu:3"),
            "gpu",
        ),
        (("--latency", "x.csv:gpu", "--table", "t.lut"), "Name the device of the limit"),
        (("--latency", "gpu"), "write FILE:COLUMN"),
        (("--run", "runs/x", "--table", "t.lut"), "Name what to search"),
        (("--latency", "{folder}/latency.csv.gz:gpu", "--dataset", "mnist"), "known are: cifar10"),
    ],
)
def test_a_search_of_two_things_or_of_nothing_is_refused(
    folder: Path, more: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [each.replace("{folder}", str(folder)) for each in more]
    assert search_truth(folder, *given, "--limit-ms", "3") == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1


def test_a_method_that_needs_a_run_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latency = f"{folder / 'latency.csv.gz'}:gpu"
    assert search_truth(folder, "--latency", latency, "--limit-ms", "3", method="greedynas") == 2
    assert "No such option: --truth" in capsys.readouterr().err


# The published tables


@pytest.fixture(scope="module")
def data() -> Path:
    if "LATKIT_DATA" not in os.environ:
        pytest.skip("LATKIT_DATA is unset: no NAS-Bench-201 here")
    return Path(os.environ["LATKIT_DATA"]) / "nas_bench_201"


@pytest.fixture(scope="module")
def bench(data: Path) -> NasBench201:
    return read_nas_bench_201(data / "accuracy.csv.gz")


@pytest.fixture(scope="module")
def truth(bench: NasBench201) -> Truth:
    return bench.truth()


def test_the_optima_are_the_published_ones(bench: NasBench201) -> None:
    found = [bench.truth(name).mean.max() * 100 for name in ("cifar10", "cifar100", "imagenet16")]
    assert found == pytest.approx([94.373, 73.513, 47.311], abs=0.001)


def test_a_short_training_ranks_as_it_is_known_to(bench: NasBench201) -> None:
    tested = bench.columns["c10_test_200"]
    assert kendall_tau(bench.columns["c10_val_12"], tested) == pytest.approx(0.594, abs=0.001)
    assert kendall_tau(bench.columns["mflops_c10"], tested) == pytest.approx(0.578, abs=0.001)


def test_operations_that_are_live_rank_better(truth: Truth) -> None:
    assert kendall_tau(truth.macs, truth.mean) == pytest.approx(0.602, abs=0.001)


def fit_error(features: np.ndarray, latency_s: np.ndarray) -> float:
    """Return the mean relative error of a fit by least squares of it."""
    columns = np.column_stack([np.ones(len(features)), features]) / latency_s[:, None]
    fitted = columns @ np.linalg.lstsq(columns, np.ones(len(features)), rcond=None)[0]
    return float(np.abs(fitted - 1).mean())


def live_features(arch: Architecture) -> list[int]:
    """Count live 1x1, 3x3 and poolings, and the additions that join live edges."""
    live = pruned(arch.choices)
    targets = [target for choice, (_, target) in zip(live, EDGES, strict=True) if choice]
    return [*map(live.count, (CONV1, CONV3, POOL)), len(targets) - len(set(targets))]


@pytest.mark.parametrize(
    ("column", "by_edges", "by_live"),
    [
        ("pixel3", 0.220, 0.143),
        ("raspi4", 0.241, 0.149),
        ("samsung_a50", 0.033, 0.120),
        ("1080ti_1", 0.017, 0.082),
        ("2080ti_32", 0.020, 0.086),
        ("gold_6226", 0.029, 0.106),
    ],
)
def test_live_operators_explain_devices_that_prune_and_edges_the_others(
    data: Path, bench: NasBench201, column: str, by_edges: float, by_live: float
) -> None:
    with gzip.open(data / "latency_ms.csv.gz", "rt") as file:
        ms = {int(row["idx"]): float(row[column]) for row in csv.DictReader(file)}
    kept = [i for i, arch in enumerate(bench.archs) if any(pruned(arch.choices))]
    choices = as_choices([bench.archs[i] for i in kept])
    latency_s = np.array([ms[i] for i in kept]) * 1e-3
    edges = (choices[:, :, None] == np.arange(1, 5)).reshape(len(kept), -1).astype(float)
    live = np.array([live_features(bench.archs[i]) for i in kept], float)
    found = fit_error(edges, latency_s), fit_error(live, latency_s)
    assert found == pytest.approx((by_edges, by_live), abs=0.001)
