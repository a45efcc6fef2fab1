"""A CPU that a bench keeps busy: as much as was asked for, or an error."""

import operator
from collections.abc import Iterable
from multiprocessing import active_children
from multiprocessing.process import BaseProcess

import pytest

from bench.foreign_load import foreign_load


@pytest.mark.parametrize("cores", [-0.1, 1.5])
def test_there_is_one_core_to_take_from(cores: float) -> None:
    with pytest.raises(ValueError, match="others take 0 to 1 of the"), foreign_load(cores):
        pass


def join(children: Iterable[BaseProcess]) -> None:
    for child in children:
        child.join()


def test_load_that_ended_before_its_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.foreign_load._burn", operator.is_)  # which returns at once
    before = set(active_children())
    with pytest.raises(RuntimeError, match="exit code 0 before its time"), foreign_load(1.0):
        join(set(active_children()) - before)


def test_load_is_there_until_the_end() -> None:
    before = set(active_children())
    with foreign_load(0.1):
        (burner,) = set(active_children()) - before
        assert burner.is_alive()
    assert not burner.is_alive()
