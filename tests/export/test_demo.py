"""The demo, the first thing that anyone runs, on a simulated device and with little training."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from devices import DeviceSpec, Simulation
from export.demo import BUDGETS, DemoRow, demo_view, run_demo
from export.verdicts.verify import Plan
from search.answers import read_answers
from search.solve import Search
from search.training.settings import TrainSettings

DEVICE = DeviceSpec(name="sim", backend="simulated", simulation=Simulation())
PICTURES = ("agreement.png", "pareto.png")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[DemoRow]]:
    folder = tmp_path_factory.mktemp("demo")
    rows = run_demo(
        folder,
        DEVICE,
        quiet=True,
        settings=TrainSettings(epochs=1, warmup_epochs=0, augment=False, threads=1),
        search=Search(rounds=1, population=6),
        plan=Plan(processes=3, most=3, rounds=2),
    )
    return folder, rows


def test_every_budget_has_a_network_that_is_exported_and_measured(
    demo: tuple[Path, list[DemoRow]],
) -> None:
    folder, rows = demo
    assert [row.name for row in rows] == list(BUDGETS)
    assert [row.limit_s for row in rows] == sorted({row.limit_s for row in rows})
    for row in rows:
        assert row.predicted_s < row.limit_s
        assert row.verdict.measured_s == pytest.approx(row.predicted_s, rel=0.1)
        assert row.met
        assert (folder / row.name / "model.onnx").is_file()
        assert 0.0 < row.test_accuracy <= 1.0
    assert [str(each.arch) for each in read_answers(folder / "architectures.json")] == [
        row.arch for row in rows
    ]


def test_what_was_promised_stands_beside_what_was_measured(
    demo: tuple[Path, list[DemoRow]],
) -> None:
    folder, rows = demo
    text = StringIO()
    Console(width=160, file=text).print(demo_view(folder, rows))
    for row in rows:
        assert f"{row.verdict.measured_s * 1e3:.3g}" in text.getvalue()
        assert row.arch in text.getvalue()
    assert str(folder) in text.getvalue().replace("\n", "")
    for picture in PICTURES:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
