import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from export.figures.explain_views import CURES, advice, explanation_facts, explanation_view
from export.figures.plots import plot_gap
from lut.explanations.explain import Explanation, Part
from profiler import Measurement, Slice

PREDICTED_MS = 10.0


def explanation(
    *processes_ms: float, differences: tuple[str, ...] = (), band: float = 0.01, **parts_ms: float
) -> Explanation:
    """Return a prediction of 10 ms and what was measured; what no part explains is noise."""
    measurement = Measurement(
        slices=tuple(
            Slice(process=i, round=0, repeats=1, samples_s=(ms * 1e-3,), gate="clean")
            for i, ms in enumerate(processes_ms)
        )
    )
    left_ms = float(np.median(processes_ms)) - PREDICTED_MS - sum(parts_ms.values())
    named = {name.replace("_", " "): ms for name, ms in parts_ms.items()} | {"noise": left_ms}
    return Explanation(
        sum_s=8e-3,
        predicted_s=PREDICTED_MS * 1e-3,
        predicted_interval_s=(
            PREDICTED_MS * (1 - band) * 1e-3,
            PREDICTED_MS * (1 + band) * 1e-3,
        ),
        measurement=measurement,
        parts=tuple(
            Part(
                cause=name,
                seconds=ms * 1e-3,
                interval_s=None if name == "layout" else ((ms - 0.1) * 1e-3, (ms + 0.1) * 1e-3),
                evidence="not run: refused" if name == "layout" else f"what was run for {name}",
            )
            for name, ms in named.items()
        ),
        differences=differences,
    )


SLOWER = explanation(11.0, 11.0, 11.0, speed=0.9, cold_weights=0.0, layout=0.0)


def test_the_figures_are_milliseconds_and_add_up() -> None:
    facts = json.loads(json.dumps(explanation_facts(SLOWER)))
    assert facts["sum_ms"] == pytest.approx(8.0)
    assert facts["predicted_ms"] == pytest.approx(10.0)
    assert facts["predicted_interval_ms"] == pytest.approx([9.9, 10.1])
    assert facts["measured_ms"] == pytest.approx(11.0)
    assert facts["gap_ms"] == pytest.approx(1.0)
    assert sum(part["ms"] for part in facts["parts"]) == pytest.approx(facts["gap_ms"])
    speed, _, layout, noise = facts["parts"]
    assert speed["cause"] == "speed"
    assert speed["share"] == pytest.approx(0.9)
    assert speed["interval_ms"] == pytest.approx([0.8, 1.0])
    assert layout["interval_ms"] is None
    assert noise["share"] == pytest.approx(0.1)
    assert facts["status"] == "ok"
    assert "no gate" not in " ".join(facts["doubts"])


def test_no_gap_has_no_shares() -> None:
    facts = explanation_facts(explanation(10.0, 10.0, 10.0))
    assert [part["share"] for part in facts["parts"]] == [None]


def test_the_largest_cause_is_named_with_its_cure() -> None:
    assert advice(SLOWER) == f"The largest cause is speed (+0.9 of +1 ms): {CURES['speed']}."


def test_a_prediction_whose_interval_holds_the_measurement_kept_its_word() -> None:
    said = advice(explanation(11.0, 11.0, 11.0, band=0.2, state=1.0))
    assert CURES["state"] in said
    assert said.endswith(
        "The interval of the prediction holds what was measured: the table is fine."
    )


def test_a_gap_within_noise_leaves_the_table_fine() -> None:
    fine = "Measured again it might take what was predicted: the table is fine."
    assert advice(explanation(9.0, 10.2, 11.0)) == f"Nothing can be told from noise. {fine}"
    said = advice(explanation(9.0, 11.0, 11.0, speed=0.3))
    assert said.startswith("Most is noise; beside that, the largest cause is speed (+0.3 of +1 ms)")
    assert said.endswith(fine)


def test_a_gap_that_is_nothing_but_noise_asks_for_a_quieter_machine() -> None:
    assert advice(explanation(10.5, 10.5, 10.5)) == (
        "Nothing can be told from noise, so measure on a quieter machine."
    )


def test_other_conditions_come_before_every_cause() -> None:
    there = explanation(11.0, 11.0, 11.0, differences=("threads: 1 in the table, 2 here",), speed=1)
    assert "(threads: 1 in the table, 2 here)" in advice(there)
    assert "a table of its own" in advice(there)


def test_every_cause_has_a_cure_that_names_what_to_do() -> None:
    for cure in CURES.values():
        assert any(word in cure for word in ("profile", "learn", "measure"))


def test_people_see_every_cause_and_what_was_run() -> None:
    printed = StringIO()
    console = Console(width=120, file=printed)
    facts = {"arch": "22", "device": "cpu", "plot": "w.png", **explanation_facts(SLOWER)}
    console.print(explanation_view(facts))
    text = printed.getvalue()
    assert "22 on cpu: predicted 10 ms (9.9 to 10.1), measured 11 ms" in text
    assert "the gap of +1.0000 ms (+10.0%) is made of:" in text
    (speed,) = (line for line in text.splitlines() if line.strip().startswith("speed"))
    assert " ".join(speed.split()) == (
        "speed +0.9000 90% +0.8000 to +1.0000 what was run for speed"
    )
    (layout,) = (line for line in text.splitlines() if line.strip().startswith("layout"))
    assert " ".join(layout.split()) == "layout 0 not run: refused"
    assert "The picture is in w.png." in text


@pytest.mark.parametrize(
    "shown",
    [
        SLOWER,
        explanation(9.0, 9.0, 9.0, speed=-0.5, operators=-0.5, calibration=1.0, rest=-1.0),
        explanation(10.0, 10.0, 10.0),
    ],
    ids=["slower", "faster", "no gap"],
)
def test_a_gap_is_drawn(tmp_path: Path, shown: Explanation) -> None:
    path = tmp_path / "gap.png"
    plot_gap(path, shown, title="22 on cpu")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
