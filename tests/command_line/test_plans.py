"""Plans at the command line: kernels and memory, never a latency; limits on memory in a search."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import latkit
from devices import device_named
from lut.plans.plan_table import load_plans
from search.pricing.planning import plan_space
from search.space import Architecture, SearchSpace
from search.spaces import space_named

Run = Callable[..., tuple[int, str]]
SIDE = 8
TRUTH = "nas_bench_macro/nas-bench-macro_cifar10.json.gz"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit status and what it said."""

    def call(*args: object) -> tuple[int, str]:
        status = latkit.main([*map(str, args)])
        streams = capsys.readouterr()
        return status, " ".join((streams.out + streams.err).split())

    return call


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return space_named("macro", resolution=SIDE)


@pytest.fixture(scope="module")
def plans(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "macro.plan"
    plan_space(path, space, device_named("rtx-aot"), ["8.6"])
    return path


def test_profiling_goes_on_where_it_stopped(plans: Path, run: Run) -> None:
    rows = len(load_plans(plans).rows)
    how = ("--device", "rtx-aot", "--space", "macro", "--resolution", SIDE, "-o", plans)
    status, said = run("profile", *how, "--capability", "SM86")
    assert status == 0
    assert f"{rows} of {rows} engines" in said
    assert "nothing is lacking" in said
    two = ("--capability", "86", "--capability", "89")
    status, said = run("profile", *how[:-1], plans.with_name("more.plan"), *two)
    assert f"{2 * rows} engines to plan: about " in said
    assert len(load_plans(plans).rows) == rows


def test_a_table_of_plans_shows_kernels_and_memory_and_no_latency(plans: Path, run: Run) -> None:
    status, said = run("table", plans)
    assert status == 0
    assert "Compute capability 8.6: 17 operators; 8 whole networks" in said
    assert "they hold no latency" in said
    assert " ms" not in said
    assert " us" not in said
    figures = json.loads(run("table", plans, "--json")[1])
    operator = figures["capabilities"]["8.6"]["operators"]["mbconv 1x64x4x4 -> 64 k5 s1 e6"]
    assert ["1.project"] not in operator["fused"]
    assert operator["kernels"] >= 3
    assert operator["weight_mb"] > 2 * 2 * 64 * 384 / 1e6  # two 1x1 convolutions of fp16


@pytest.mark.parametrize(
    "verb", [("predict",), ("table", "check"), ("explain",)], ids=lambda verb: verb[-1]
)
def test_what_needs_latencies_refuses_plans(verb: tuple[str, ...], plans: Path, run: Run) -> None:
    more = () if verb[-1] == "check" else ("22222222",)
    status, said = run(*verb, plans, *more)
    assert status == 2
    assert "is a table of plans, and no latency table" in said


def test_a_gpu_that_nobody_plans_for_is_named(run: Run, tmp_path: Path) -> None:
    how = ("--device", "rtx-aot", "--space", "macro", "-o", tmp_path / "x.plan")
    status, said = run("profile", *how, "--capability", "90")
    assert status == 2
    assert "no compute capability that can be planned for is called '9.0'" in said
    assert not (tmp_path / "x.plan").exists()


def test_a_device_that_measures_takes_no_capability(run: Run, tmp_path: Path) -> None:
    how = ("--device", "sim", "--space", "macro", "-o", tmp_path / "x.lut")
    status, said = run("profile", *how, "--capability", "86")
    assert status == 2
    assert "--capability does not go with --device sim" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--plans", "x.plan"), "--plans does not go with a search without --limit-mb"),
        (("--limit-mb", "9"), "--limit-mb goes with --plans T.plan"),
    ],
)
@pytest.mark.parametrize("method", ["random", "sgnas", "econas"])
def test_half_a_limit_on_memory_is_refused(
    method: str, options: tuple[str, ...], said: str, run: Run, tmp_path: Path
) -> None:
    images = ("--data", "digits") if method == "econas" else ("--run", tmp_path)
    search = ("search", method, *images, "--table", "x.lut", "--limit-ms", 9)
    status, answer = run(*search, "-o", tmp_path / "arch.json", *options)
    assert status == 2
    assert said in answer


@pytest.mark.skipif("LATKIT_DATA" not in os.environ, reason="LATKIT_DATA is unset: no truth here")
def test_a_search_keeps_a_limit_on_memory(
    plans: Path, space: SearchSpace, run: Run, tmp_path: Path
) -> None:
    table, output = tmp_path / "t4.lut", tmp_path / "arch.json"
    where = ("--space", "macro", "--resolution", SIDE)
    assert run("profile", "--device", "t4-roofline", *where, "-o", table)[0] == 0
    truth = Path(os.environ["LATKIT_DATA"]) / TRUTH
    search = ("search", "evolution", "--truth", truth, "--space", "macro", "--table", table)
    how = (*search, "--limit-ms", 3, "--estimated", "--rounds", 4, "--plans", plans, "-o", output)
    status, said = run(*how, "--limit-mb", 10.5)
    assert status == 0
    assert "Its engine for compute capability 8.6 was built and takes" in said
    (answer,) = json.loads(output.read_text())
    assert answer["memory"]["built_mb"] <= answer["memory"]["limit_mb"] == 10.5
    space.check(Architecture(tuple(map(int, answer["arch"]))))
    assert np.isclose(answer["memory"]["predicted_mb"], answer["memory"]["built_mb"], rtol=0.02)
    status, said = run(*how, "--limit-mb", 1)
    assert status == 2
    assert "no network of space 'macro' keeps 1 MB on compute capability 8.6: the smallest" in said
