"""Batches that are made ahead are the same batches."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from search.images.data import load_data
from search.training.prefetch import AHEAD, ahead, prefetched


def test_what_is_made_ahead_comes_in_its_order() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead(iter(()))) == []


def test_no_more_is_made_than_is_asked_for_and_a_few() -> None:
    made: list[int] = []
    asked = ahead(made.append(i) or i for i in range(100))  # type: ignore[func-returns-value]
    assert next(asked) == 0
    asked.close()  # type: ignore[attr-defined]
    assert made == list(range(AHEAD + 1))


def test_what_the_maker_raises_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("of the maker")

    asked = ahead(items())
    assert next(asked) == 1
    with pytest.raises(ZeroDivisionError, match="of the maker"):
        next(asked)


def test_a_thread_ends_when_nobody_asks_any_more() -> None:
    before = threading.active_count()
    asked = ahead(iter(range(1000)))
    next(asked)
    asked.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_epochs_that_are_made_ahead_draw_the_same_images() -> None:
    split = load_data("digits", resolution=16).training
    plain, early = np.random.default_rng(3), np.random.default_rng(3)
    straight = split.batches(32, rng=plain, augment=True, drop_last=True)
    made = ahead(split.batches(32, rng=early, augment=True, drop_last=True))
    for (images, labels), (others, answers) in zip(straight, made, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, answers)
    assert plain.bit_generator.state == early.bit_generator.state


def test_on_a_cpu_nothing_runs_beside() -> None:
    batches = iter([(torch.zeros(1), torch.zeros(1))])
    assert prefetched(batches, torch.device("cpu")) is batches
