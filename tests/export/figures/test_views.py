"""What people are shown of runs and answers."""

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType

from export.figures.answers_views import answers_view
from export.figures.run_views import run_facts
from search import Architecture, space_named
from search.answers import Answer
from search.greedynas.sampler import GreedySettings, train_greedynas
from search.images.data import load_data
from search.searcher import Candidate
from search.training.loop import train_uniform
from search.training.settings import TrainSettings

SPACE = space_named("macro", resolution=8, classes=10)
SETTINGS = TrainSettings(epochs=2, batch=32, warmup_epochs=0.5, augment=False, threads=1)


def shown(view: RenderableType) -> str:
    text = StringIO()
    Console(width=200, file=text).print(view)
    return text.getvalue()


def candidate(text: str, milliseconds: float, accuracy: float) -> Candidate:
    seconds = milliseconds * 1e-3
    return Candidate(
        arch=Architecture(tuple(map(int, text))),
        latency_s=(seconds,),
        interval_s=((seconds * 0.9, seconds * 1.1),),
        accuracy=accuracy,
    )


def answer(*front: Candidate) -> Answer:
    best = front[0]
    return Answer(
        arch=best.arch,
        space=SPACE,
        devices=("sim",),
        limits_s=(8e-3,),
        confidence=0.95,
        predicted_s=best.latency_s,
        interval_s=best.interval_s,
        table_hashes=("of no table",),
        revisions=(0,),
        accuracy=best.accuracy,
        accuracy_from="a table",
        method="nsga2",
        seed=0,
        front=front,
    )


def test_a_greedy_run_says_what_its_pool_holds(tmp_path: Path) -> None:
    data = load_data("digits", resolution=8)
    few = replace(data.training, rows=data.training.rows[:128], labels=data.training.labels[:128])
    data = replace(data, training=few)
    greedy = GreedySettings(surrogate=20, pool=5, warmup=0.1)
    run = train_greedynas(SPACE, data, SETTINGS, greedy, tmp_path / "greedy")
    facts = run_facts(tmp_path / "greedy", run, data)
    assert facts["pool"]["paths"] == facts["pool"]["capacity"] == 5
    (best,) = facts["pool"]["best_loss"]
    SPACE.check(Architecture(tuple(map(int, best))))
    plain = train_uniform(SPACE, data, SETTINGS, tmp_path / "uniform")
    assert "pool" not in run_facts(tmp_path / "uniform", plain, data)


def test_the_front_beside_an_answer_is_shown_in_short() -> None:
    front = [candidate(f"{i % 3}{i // 3}000000", 8.0 - i, 0.9 - 0.1 * i) for i in range(6)]
    text = shown(answers_view([answer(*front)]))
    assert "Also on the front within 8 ms: 80.0% in 7 ms; 70.0% in 6 ms" in text
    assert "1 more in the file." in text


def test_answers_in_several_number_formats_say_which_each_is_in() -> None:
    floats = answer(candidate("00000000", 8.0, 0.9))
    known = "a test, in fp32; less 0.40 points"
    integers = replace(floats, devices=("sim-int8",), limits_s=(2e-3,), accuracy_from=known)
    text = shown(answers_view([floats, integers], notes=["", "of two formats"]))
    assert re.search(r"90.0%\s+sim\s", text)
    assert re.search(r"90.0%\s+sim-int8\s", text)
    assert "Accuracy on sim: " in text
    assert f"Accuracy on sim-int8: {known}" in text
    assert "Within 2 ms: of two formats" in text
    assert "Within 8 ms" not in text


def test_where_accuracies_are_from_is_said_once_for_all_that_say_the_same() -> None:
    floats = answer(candidate("00000000", 8.0, 0.9))
    half, whole = (
        replace(floats, devices=(name,), accuracy_from="the same") for name in ("a-fp16", "a-int8")
    )
    text = shown(answers_view([floats, half, whole]))
    assert "Accuracy on a-fp16 and a-int8: the same;" in text
    other = replace(floats, limits_s=(2e-3,), accuracy_from="two epochs")
    text = shown(answers_view([floats, other]))
    assert "Accuracy within 8 ms: a table;" in text
    assert "Accuracy within 2 ms: two epochs;" in text


def test_an_answer_that_is_all_of_its_front_says_nothing_of_it() -> None:
    text = shown(answers_view([answer(candidate("00000000", 1.0, 0.5))]))
    assert "00000000" in text
    assert "front" not in text
