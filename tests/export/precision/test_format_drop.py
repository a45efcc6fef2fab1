"""What a format costs, said of as many networks as were measured."""

from types import SimpleNamespace
from typing import Any

import pytest

from export.precision.format_drop import mean_cost


def tried(drop_points: float, loss_rise: float) -> Any:
    held_out = SimpleNamespace(drop_points=drop_points, images=50)
    return SimpleNamespace(held_out=held_out, loss_rise=loss_rise)


def test_the_mean_and_its_interval_are_of_the_networks_that_were_measured() -> None:
    cost = mean_cost([tried(1.0, 0.01), tried(3.0, 0.03)])
    assert cost.drop_points == pytest.approx(2.0)
    assert cost.loss_rise == pytest.approx(0.02)
    # the deviation of 1 and 3 is the root of 2, and Student's t of one degree of freedom is 6.31
    assert cost.known_from == (
        "the mean of 2 networks on 50 validation images is 2.00 (-4.31 to 8.31, each 1.00 to "
        "3.00), and 0.0200 of loss (each 0.0100 to 0.0300)"
    )


def test_one_network_alone_has_no_interval() -> None:
    assert "the mean of 1 networks on 50 validation images is 1.00 (each 1.00 to 1.00), and" in (
        mean_cost([tried(1.0, 0.01)]).known_from
    )
