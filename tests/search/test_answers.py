import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import InvalidFile
from lut import ErrorBand, LatencyBudget, LatencyModel, LatencyTarget
from search.answers import Answer, answer_of, read_answers, write_answers
from search.searcher import Candidate
from search.space import Architecture
from search.spaces import space_named

ANSWER = Answer(
    arch=Architecture((2, 2, 2, 1, 2, 2, 2, 0)),
    space=space_named("macro", resolution=16),
    devices=("cpu", "gpu"),
    limits_s=(8e-3, 1e-3),
    confidence=0.95,
    predicted_s=(7.5e-3, 0.5e-3),
    interval_s=((7e-3, 8e-3), (0.4e-3, 0.6e-3)),
    table_hashes=("a", "b"),
    revisions=(2, 0),
    accuracy=0.9,
    accuracy_from="seen",
    method="evolution",
    seed=3,
)


def test_answers_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    write_answers(path, [ANSWER, replace(ANSWER, accuracy=None)])
    first, second = read_answers(path)
    assert first.arch == ANSWER.arch
    assert first.space == ANSWER.space
    assert first.limits_s == pytest.approx(ANSWER.limits_s)
    assert first.interval_s[1] == pytest.approx((0.4e-3, 0.6e-3))
    assert second.accuracy is None


def test_the_promised_keys_are_in_milliseconds() -> None:
    values = ANSWER.as_json()
    assert values["arch"] == "22212220"
    assert values["space"] == "macro"
    assert values["limits_ms"] == [8.0, 1.0]
    assert values["predicted_ms"] == [7.5, 0.5]
    assert values["interval_ms"][0] == [7.0, 8.0]


def candidate(arch: str, latency_s: float, accuracy: float) -> Candidate:
    return Candidate(
        arch=Architecture(tuple(map(int, arch))),
        latency_s=(latency_s,),
        interval_s=((0.9 * latency_s, 1.1 * latency_s),),
        accuracy=accuracy,
    )


def answered(*candidates: Candidate) -> Answer:
    model = LatencyModel(
        device="cpu",
        base_s=0.0,
        cost_s=np.ones((8, 3)),
        band=ErrorBand(ratios=(1.0,) * 3),
        table_hash="a",
        revision=4,
    )
    budget = LatencyBudget(model=model, target=LatencyTarget(device="cpu", limit_s=10.0))
    space = space_named("macro", resolution=16)
    return answer_of(candidates, space, [budget], accuracy_from="seen", method="evolution", seed=0)


def test_every_runner_up_is_faster_than_the_one_before_and_the_most_accurate_that_is() -> None:
    answer = answered(
        candidate("22222222", 8.0, 0.9),
        candidate("22222221", 8.5, 0.8),  # slower than the best
        candidate("22222220", 7.0, 0.7),
        candidate("22222212", 7.0, 0.6),  # no faster than the one before
        candidate("22222211", 5.0, 0.5),
        candidate("22222210", 4.0, 0.4),
        candidate("22222202", 3.0, 0.3),  # a fourth
    )
    assert str(answer.arch) == "22222222"
    assert [str(other.arch) for other in answer.runners_up] == ["22222220", "22222211", "22222210"]
    assert answer.revisions == (4,)


def test_a_runner_up_takes_the_place_of_the_answer() -> None:
    answer = answered(candidate("22222222", 8.0, 0.9), candidate("22222220", 7.0, 0.7))
    second = answer.next_best()
    assert second is not None
    assert (str(second.arch), second.predicted_s, second.accuracy) == ("22222220", (7.0,), 0.7)
    assert second.limits_s == answer.limits_s
    assert second.next_best() is None


def test_runners_up_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    answer = answered(candidate("22222222", 8.0, 0.9), candidate("22222220", 7.0, 0.7))
    write_answers(path, [answer])
    (read,) = read_answers(path)
    assert read.revisions == (4,)
    (other,) = read.runners_up
    assert other.arch == answer.runners_up[0].arch
    assert other.latency_s == pytest.approx((7.0,))


def test_the_front_is_kept_with_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    answer = answered(
        candidate("22222222", 8.0, 0.9),
        candidate("22222221", 8.5, 0.8),  # slower than the best
        candidate("22222220", 7.0, 0.7),
    )
    write_answers(path, [answer])
    (read,) = read_answers(path)
    assert [str(each.arch) for each in read.front] == ["22222222", "22222220"]
    assert [each.accuracy for each in read.front] == [0.9, 0.7]
    assert read.front[1].latency_s == pytest.approx((7.0,))


def test_the_loss_that_ranked_is_kept_and_ranks_what_comes_next(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    answer = answered(
        replace(candidate("22222222", 8.0, 0.5), loss=0.1),
        replace(candidate("22222220", 7.0, 0.7), loss=0.3),  # the more accurate by chance
        replace(candidate("22222200", 6.0, 0.6), loss=0.2),
    )
    write_answers(path, [answer])
    (read,) = read_answers(path)
    assert (read.loss, [each.loss for each in read.front]) == (0.1, [0.1, 0.3, 0.2])
    second = read.next_best(within_s=7.5)
    assert second is not None
    assert (str(second.arch), second.loss) == ("22222200", 0.2)


def test_a_file_from_before_there_were_fronts_still_loads(tmp_path: Path) -> None:
    values = ANSWER.as_json()
    for key in ("front", "runners_up", "revisions"):
        del values[key]
    (tmp_path / "arch.json").write_text(json.dumps([values]))
    (read,) = read_answers(tmp_path / "arch.json")
    assert (read.arch, read.front, read.runners_up) == (ANSWER.arch, (), ())


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1]", '[{"arch": "22"}]', "null"])
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "arch.json"
    path.write_text(content)
    with pytest.raises(InvalidFile, match="holds no architectures") as caught:
        read_answers(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("devices", "cpu"), ("devices", ["cpu"]), ("limits_ms", []), ("limits_ms", [8.0, "1"]),
        ("limits_ms", [8.0, math.nan]), ("predicted_ms", [-7.5, 0.5]), ("confidence", 7),
        ("accuracy", "high"), ("accuracy", 90.0), ("loss", "x"), ("loss", True), ("arch", 5),
    ],
)  # fmt: skip
def test_an_answer_that_no_search_gives_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "arch.json"
    path.write_text(json.dumps([ANSWER.as_json() | {key: value}]))
    with pytest.raises(InvalidFile, match="holds no architectures"):
        read_answers(path)


def test_a_missing_file_names_the_verb_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="Make it: latkit search"):
        read_answers(tmp_path / "none.json")


def test_the_network_that_answers_is_a_candidate_like_those_beside_it() -> None:
    best = replace(candidate("22222222", 8.0, 0.9), loss=0.2)
    assert answered(best, candidate("22222220", 7.0, 0.7)).chosen == best
