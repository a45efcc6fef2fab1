import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from devices import DeviceSpec
from lut import Conditions, LatencyTable, MissingLatency, WrongConditions, conditions_from_meta
from profiler import (
    Chain,
    Conv,
    MBConv,
    Measurement,
    OpSpec,
    Skip,
    Slice,
    carrier,
    contexts,
    in_context,
)
from profiler.operators.probes import neighbour

SHAPE, HALF = (1, 16, 14, 14), (1, 32, 7, 7)
SAME = MBConv(input_shape=SHAPE, channels=16, kernel=5, expand=6)
DOWN = MBConv(input_shape=SHAPE, channels=32, stride=2)
USUAL = neighbour(SHAPE)
DEVICE = DeviceSpec(name="mine", backend="simulated")
HERE = Conditions(device=DEVICE, environment={"runtime": "none 1.0"})

# Carriers of one and two neighbours at each shape: one takes 3 s at SHAPE and 5 s at HALF.
CARRIERS: dict[Chain, float] = {
    carrier(SHAPE, 1): 10.0,
    carrier(SHAPE, 2): 13.0,
    carrier(HALF, 1): 12.0,
    carrier(HALF, 2): 17.0,
}
TIMED = {**CARRIERS, in_context(SAME): 18.0, in_context(DOWN): 21.0}


def took(seconds: float) -> Measurement:
    return Measurement(slices=(Slice(process=0, round=0, repeats=1, samples_s=(seconds,)),))


def table(
    timed: Mapping[Chain, float] = TIMED,
    *,
    conditions: Conditions = HERE,
    checks: Mapping[Chain, float] | None = None,
    networks: Mapping[Chain, float] | None = None,
    refusals: Mapping[Chain, str] | None = None,
) -> LatencyTable:
    return LatencyTable(
        name="mine.lut",
        conditions=conditions,
        chains={chain: took(seconds) for chain, seconds in timed.items()},
        networks={chain: took(seconds) for chain, seconds in (networks or {}).items()},
        checks={chain: took(seconds) for chain, seconds in (checks or {}).items()},
        refusals=refusals or {},
    )


def test_an_operator_is_what_its_context_leaves() -> None:
    # K = 13 - 10 = 3; P = 10 - 3 = 7; 18 - 3 - 7 = 8
    assert table()[SAME] == pytest.approx(8.0)


def test_an_operator_that_changes_the_shape_ends_in_the_carrier_of_the_other() -> None:
    # K(in) = 3; P(out) = 12 - (17 - 12) = 7; 21 - 3 - 7 = 11
    assert table()[DOWN] == pytest.approx(11.0)


def test_the_neighbour_itself_takes_what_one_more_of_it_takes() -> None:
    assert table()[USUAL] == pytest.approx(3.0)


def test_a_skip_takes_nothing_and_needs_no_row() -> None:
    skip = Skip(input_shape=(1, 99, 3, 3))
    assert table()[skip] == 0.0
    assert skip in table()


def test_a_table_is_a_mapping_of_what_it_can_price() -> None:
    mine = table()
    assert set(mine) == {SAME, DOWN}
    assert len(mine) == 2
    assert USUAL in mine  # the neighbour is a context: it has a price, and is not listed
    assert dict(mine)[SAME] == mine[SAME]
    assert mine.get(Conv(input_shape=SHAPE, channels=3)) is None
    assert mine.get(SAME) == mine[SAME]
    assert SAME in mine
    assert "mbconv" not in mine  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("lacking", [in_context(DOWN), *contexts(DOWN)])
def test_an_operator_without_one_of_its_chains_is_not_in_the_table(lacking: Chain) -> None:
    mine = table({chain: seconds for chain, seconds in TIMED.items() if chain != lacking})
    assert DOWN not in mine
    assert DOWN not in set(mine)
    assert all(math.isfinite(seconds) for seconds in mine.values())  # what it names it can price
    with pytest.raises(MissingLatency, match=r"no latency for \[mbconv 1x16x14x14 -> 32 k3 s2 e6"):
        mine[DOWN]


def test_a_missing_latency_names_operator_count_nearest_and_cure() -> None:
    with pytest.raises(MissingLatency) as raised:
        table()[replace(SAME, kernel=7)]
    assert str(raised.value) == (
        "no latency for [mbconv 1x16x14x14 -> 16 k7 s1 e6] on 'mine' among 2 operators of "
        "mine.lut; closest is [mbconv 1x16x14x14 -> 16 k5 s1 e6]. "
        "Measure it: latkit profile --device mine --space SPACE -o mine.lut"
    )


def test_the_nearest_is_never_the_operator_itself() -> None:
    mine = table({in_context(SAME): 18.0, carrier(SHAPE, 1): 10.0})
    assert "closest" not in str(mine.missing([SAME]))


def test_several_missing_operators_are_counted() -> None:
    lacking: list[OpSpec] = [replace(SAME, kernel=7), replace(SAME, kernel=9), DOWN]
    assert "k7 s1 e6] and 2 more on 'mine'" in str(table().missing(lacking))


def test_a_missing_latency_is_a_key_error_of_a_mapping() -> None:
    with pytest.raises(KeyError):
        table()[replace(SAME, kernel=7)]


@pytest.mark.parametrize("refused", [in_context(SAME), carrier(SHAPE, 2)])
def test_a_refused_operator_says_why_whichever_of_its_chains_it_was(refused: Chain) -> None:
    timed = {chain: seconds for chain, seconds in TIMED.items() if chain != refused}
    with pytest.raises(MissingLatency, match="the device refused it: no such kernel"):
        table(timed, refusals={refused: "no such kernel"})[SAME]


def test_raw_samples_are_there_for_who_wants_them() -> None:
    assert table().measurement(SAME).latency_s == 18.0
    with pytest.raises(MissingLatency, match="k7"):
        table().measurement(replace(SAME, kernel=7))


def test_the_hash_is_of_conditions_and_operators() -> None:
    original = table().hash
    assert len(original) == 16
    assert table(dict(reversed(TIMED.items()))).hash == original
    assert table({**TIMED, in_context(SAME): 18.5}).hash != original
    assert table({**TIMED, in_context(replace(SAME, kernel=7)): 20.0}).hash != original
    other = replace(HERE, environment={"runtime": "none 2.0"})
    assert table(conditions=other).hash != original
    faster = replace(HERE, device=replace(DEVICE, threads=2))
    assert table(conditions=faster).hash != original


def test_fields_that_devices_got_since_leave_the_hashes_of_old_tables_alone() -> None:
    assert table().hash == "c765ce4cf1a07ab9"  # as of latkit 0.2, before GPUs


def test_calibration_and_checks_do_not_change_the_hash() -> None:
    network = (SAME, DOWN)
    assert table(networks={network: 30.0}, checks={network: 31.0}).hash == table().hash


def test_equal_conditions_have_no_differences() -> None:
    assert HERE.differences(replace(HERE)) == []
    described = replace(HERE, device=replace(DEVICE, description="for people only"))
    assert HERE.differences(described) == []
    described.require(HERE, "mine.lut")


def test_conditions_survive_the_file() -> None:
    device = replace(DEVICE, threads=2, affinity=(1, 3), simulation=None)
    conditions = Conditions(device=device, environment={"runtime": "none"})
    assert conditions_from_meta(conditions.as_meta()) == conditions


def test_other_conditions_are_refused_with_every_difference_in_one_line() -> None:
    there = Conditions(device=replace(DEVICE, threads=2), environment={"runtime": "none 2.0"})
    with pytest.raises(WrongConditions) as raised:
        HERE.require(there, "mine.lut")
    assert str(raised.value) == (
        "mine.lut holds for other conditions (runtime: none 1.0 in the table, none 2.0 here; "
        "threads: 1 in the table, 2 here). Profile this device into a table of its own: "
        "latkit profile"
    )


def test_a_condition_that_one_side_lacks_is_a_difference() -> None:
    there = replace(HERE, environment={"runtime": "none 1.0", "governor": "performance"})
    assert HERE.differences(there) == ["governor: None in the table, performance here"]
