from dataclasses import replace
from pathlib import Path

import pytest

from devices import InvalidFile
from search.answers import Answer, read_answers, write_answers
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


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1]", '[{"arch": "22"}]', "null"])
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "arch.json"
    path.write_text(content)
    with pytest.raises(InvalidFile, match="holds no architectures") as caught:
        read_answers(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_verb_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="Make it: latkit search"):
        read_answers(tmp_path / "none.json")
