import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec
from lut import Conditions, LatencyTable, create_table
from lut.differences.diff import Change, Rule, conditions_apart, diff_files, diff_tables
from lut.exchange.content import Content, write_content
from lut.exchange.foreign import foreign_meta
from lut.files.storage import ForeignRow
from lut.spread import Uncertain, moderated, spread_of, total
from profiler import Chain, Conv, MBConv, Measurement, OpSpec, Slice, carrier, contexts, in_context

SHAPE, HALF = (1, 16, 14, 14), (1, 32, 7, 7)
KERNELS = [
    MBConv(input_shape=SHAPE, channels=16, kernel=kernel, expand=expand)
    for kernel in (3, 5, 7, 9, 11)
    for expand in (4, 6)
]
DOWN = MBConv(input_shape=SHAPE, channels=32, stride=2)
OPERATORS: list[OpSpec] = [*KERNELS, DOWN]
NETWORKS: list[Chain] = [(KERNELS[i], KERNELS[i + 1], DOWN) for i in range(8)]

# One neighbour takes 3 s at SHAPE and 5 s at HALF, an operator twice to four times as much.
TRUE_S: dict[Chain, float] = {
    carrier(SHAPE, 1): 10.0,
    carrier(SHAPE, 2): 13.0,
    carrier(HALF, 1): 12.0,
    carrier(HALF, 2): 17.0,
    **{in_context(op): 16.0 + i for i, op in enumerate(OPERATORS)},
    **{chain: 25.0 + i for i, chain in enumerate(NETWORKS)},
}
HERE = Conditions(device=DeviceSpec(name="mine", backend="simulated"), environment={"os": "none"})


def timed(values_s: Mapping[int, float]) -> Measurement:
    """Return one slice of one sample for every process."""
    return Measurement(
        slices=tuple(
            Slice(process=process, round=0, repeats=1, samples_s=(value,))
            for process, value in values_s.items()
        )
    )


def table(
    rng: np.random.Generator | None = None,
    *,
    true_s: Mapping[Chain, float] = TRUE_S,
    processes: int = 6,
    speed_noise: float = 0.01,
    noise: float = 0.002,
    conditions: Conditions = HERE,
) -> LatencyTable:
    """Time rows in processes that are faster or slower as a whole; no noise without ``rng``."""

    def drawn(spread: float) -> float:
        return 1.0 + spread * float(rng.standard_normal()) if rng else 1.0

    speeds = [drawn(speed_noise) for _ in range(processes)]
    rows = {
        chain: timed({p: seconds * speed * drawn(noise) for p, speed in enumerate(speeds)})
        for chain, seconds in true_s.items()
    }
    networks = {chain: rows.pop(chain) for chain in NETWORKS if chain in rows}
    return LatencyTable(name="mine.lut", conditions=conditions, chains=rows, networks=networks)


def slower(ops: Mapping[OpSpec, float]) -> dict[Chain, float]:
    """Return what is true where operators take so many times as long."""
    plain = table()
    return {
        **TRUE_S,
        **{
            in_context(op): TRUE_S[in_context(op)] + (factor - 1) * plain[op]
            for op, factor in ops.items()
        },
    }


def changes(changed: tuple[Change, ...]) -> dict[str, Change]:
    return {change.name: change for change in changed}


def test_a_table_against_its_repetition_calls_less_than_one_operator_in_a_hundred(
    rng: np.random.Generator,
) -> None:
    diffs = [diff_tables(table(rng), table(rng)) for _ in range(40)]
    verdicts = [change.found.verdict for diff in diffs for change in diff.operators]
    assert len(verdicts) == 40 * 11
    assert sum(verdict in ("FASTER", "SLOWER") for verdict in verdicts) <= 0.01 * len(verdicts)
    assert verdicts.count("SAME") > 0.5 * len(verdicts)


def test_nine_of_ten_operators_that_became_five_percent_slower_are_found(
    rng: np.random.Generator,
) -> None:
    found = 0
    for i in range(30):
        some = [OPERATORS[i % 11], OPERATORS[(i + 4) % 11], OPERATORS[(i + 7) % 11]]
        after = table(rng, true_s=slower(dict.fromkeys(some, 1.05)))
        called = changes(diff_tables(table(rng), after).operators)
        found += sum(called[str(op)].found.verdict == "SLOWER" for op in some)
    assert found >= 0.9 * 3 * 30


def test_without_noise_the_change_is_what_was_done() -> None:
    diff = diff_tables(table(), table(true_s=slower({DOWN: 1.1})))
    change = changes(diff.operators)[str(DOWN)]
    assert change.found.change == pytest.approx(0.1)
    assert change.found.interval == pytest.approx((0.1, 0.1))
    assert change.found.verdict == "SLOWER"
    assert change.b_s == pytest.approx(1.1 * change.a_s)
    assert diff.counts == {"SAME": 10, "SLOWER": 1}
    assert {change.found.verdict for change in diff.networks} == {"SAME"}
    assert diff.shift.change == pytest.approx(0.0)


def test_a_change_within_the_margin_is_none() -> None:
    after = table(true_s=slower({KERNELS[0]: 1.03}))
    name = str(KERNELS[0])
    assert changes(diff_tables(table(), after).operators)[name].found.verdict == "SLOWER"
    lenient = diff_tables(table(), after, rule=Rule(margin=0.05))
    assert changes(lenient.operators)[name].found.verdict == "SAME"


def test_faster_is_the_other_way_round(rng: np.random.Generator) -> None:
    before, after = table(rng), table(rng, true_s=slower({KERNELS[4]: 1.2}))
    there = changes(diff_tables(before, after).operators)[str(KERNELS[4])].found
    back = changes(diff_tables(after, before).operators)[str(KERNELS[4])].found
    assert (there.verdict, back.verdict) == ("SLOWER", "FASTER")
    assert there.change is not None
    assert back.change is not None
    assert (1 + there.change) * (1 + back.change) == pytest.approx(1.0, abs=0.01)


def test_what_all_share_is_said_once_and_belongs_to_each(rng: np.random.Generator) -> None:
    after = table(rng, true_s={chain: 1.06 * seconds for chain, seconds in TRUE_S.items()})
    diff = diff_tables(table(rng), after)
    assert diff.shift.verdict == "SLOWER"
    assert diff.shift.change == pytest.approx(0.06, abs=0.02)
    assert diff.counts["SLOWER"] == len(diff.operators)


def test_a_shift_that_may_be_chance_is_held_against_no_operator(rng: np.random.Generator) -> None:
    def wild() -> LatencyTable:
        return table(rng, speed_noise=0.1, noise=0.001)

    diffs = [diff_tables(wild(), wild()) for _ in range(20)]
    shifts = [diff.shift for diff in diffs]
    assert max(abs(shift.change or 0.0) for shift in shifts) > 0.05
    uncertain = [diff for diff in diffs if diff.shift.verdict == "UNDECIDED"]
    assert len(uncertain) >= 18
    assert all(diff.counts["SAME"] == len(diff.operators) for diff in uncertain)


def test_contexts_that_differ_by_chance_add_no_noise(rng: np.random.Generator) -> None:
    # Five rows make an operator that changes the shape; alone they would add up to 7 % of it.
    down = changes(diff_tables(table(rng), table(rng)).operators)[str(DOWN)].found
    assert down.interval is not None
    assert down.interval[1] - down.interval[0] < 0.035


@pytest.mark.parametrize("exactly", [False, True])
def test_a_context_that_changed_is_no_change_of_the_operators(
    rng: np.random.Generator, exactly: bool
) -> None:
    # The neighbour takes 4 s in place of 3 wherever it is; the operators beside it do not care.
    after = {
        chain: seconds + sum(op == carrier(SHAPE, 1)[0] for op in chain)
        for chain, seconds in TRUE_S.items()
    }
    draws = None if exactly else rng
    diff = diff_tables(table(draws), table(draws, true_s=after))
    called = {c.name for c in diff.operators if c.found.verdict in ("FASTER", "SLOWER")}
    assert called == set()


def test_one_process_is_too_few_for_any_verdict(rng: np.random.Generator) -> None:
    diff = diff_tables(table(rng, processes=1), table(rng))
    assert diff.counts == {"UNDECIDED": len(diff.operators)}
    assert {change.found.interval for change in diff.operators} == {None}
    assert diff.shift.verdict == "UNDECIDED"


def test_what_is_cheaper_in_company_than_alone_has_no_ratio() -> None:
    free = {**TRUE_S, in_context(DOWN): 9.0}  # 9 - 3 - 7 = -1
    change = changes(diff_tables(table(), table(true_s=free)).operators)[str(DOWN)]
    assert change.b_s == pytest.approx(-1.0)
    assert change.found.change is None
    assert change.found.verdict == "UNDECIDED"


def test_operators_of_one_table_only_are_named() -> None:
    extra = Conv(input_shape=SHAPE, channels=16, activation="relu")
    more = {**TRUE_S, in_context(extra): 12.0}
    diff = diff_tables(table(), table(true_s=more))
    assert (diff.only_a, diff.only_b) == ((), (str(extra),))
    assert (diff_tables(table(true_s=more), table()).only_a) == (str(extra),)


def test_nothing_in_common_is_no_crash() -> None:
    diff = diff_tables(table(), table(true_s={}))
    assert diff.operators == diff.networks == ()
    assert len(diff.only_a) == 11
    assert diff.shift.verdict == "UNDECIDED"


def test_conditions_that_differ_are_there_with_both_values() -> None:
    there = Conditions(
        device=replace(HERE.device, threads=2), environment={"os": "none", "runtime": "2.0"}
    )
    assert conditions_apart(HERE, there) == {"threads": ("1", "2"), "runtime": ("None", "2.0")}
    assert diff_tables(table(), table(conditions=there)).conditions == conditions_apart(HERE, there)


def test_a_canary_gives_the_shift_and_leaves_the_operators() -> None:
    def paired(slowdown: float) -> LatencyTable:
        rows = {
            chain: Measurement(
                slices=tuple(
                    Slice(
                        process=process,
                        round=0,
                        repeats=1,
                        samples_s=(seconds * slowdown * (1 + process / 1000),),
                        reference_s=(slowdown * (1 + process / 1000),),
                    )
                    for process in range(6)
                )
            )
            for chain, seconds in TRUE_S.items()
            if chain not in NETWORKS
        }
        return LatencyTable(name="mine.lut", conditions=HERE, chains=rows)

    diff = diff_tables(paired(1.0), paired(1.01))
    assert diff.shift.change == pytest.approx(0.01)
    assert diff.shift.verdict == "SAME"
    own = [change.found.change for change in diff.operators]
    assert own == pytest.approx([0.0] * len(own), abs=1e-9)


@pytest.mark.parametrize("wrong", [{"margin": -0.1}, {"margin": math.nan}])
def test_a_margin_is_not_negative(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="margin"):
        Rule(**wrong)


@pytest.mark.parametrize("rate", [0.0, 0.6, math.nan])
def test_a_false_positive_rate_is_a_small_probability(rate: float) -> None:
    with pytest.raises(ValueError, match="false-positive"):
        Rule(false_positives=rate)


@pytest.mark.parametrize(
    ("change", "half_width", "verdict"),
    [
        (0.0, 0.01, "SAME"),
        (0.015, 0.001, "SAME"),
        (0.015, 0.01, "UNDECIDED"),
        (0.03, 0.02, "SLOWER"),
        (-0.03, 0.02, "FASTER"),
        (0.03, 0.04, "UNDECIDED"),
        (0.0, math.inf, "UNDECIDED"),
    ],
)
def test_a_verdict_takes_margin_and_certainty(
    change: float, half_width: float, verdict: str
) -> None:
    assert Rule(margin=0.02).find(change, half_width).verdict == verdict


# What the uncertainty is made of.


def test_an_interval_from_few_processes_is_wide() -> None:
    few = Uncertain(value=0.0, variance=4.0, degrees=4.0)
    many = Uncertain(value=0.0, variance=4.0, degrees=math.inf)
    assert few.half_width(0.05) == pytest.approx(2 * 2.776, rel=1e-3)
    assert many.half_width(0.05) == pytest.approx(2 * 1.960, rel=1e-3)


def test_a_sum_has_the_degrees_of_freedom_of_welch() -> None:
    part = Uncertain(value=0.0, variance=1.0, degrees=5.0)
    assert total(7.0, [part, part]) == Uncertain(value=7.0, variance=2.0, degrees=10.0)
    sure = Uncertain(value=0.0, variance=0.0, degrees=1.0)
    assert total(0.0, [part, sure]).degrees == 5.0


def test_variances_that_differ_by_chance_are_pooled() -> None:
    variances, degrees = moderated(np.array([1.0, 2.0, 3.0]), np.array([5.0, 5.0, 5.0]))
    assert variances.tolist() == [2.0, 2.0, 2.0]
    assert degrees.tolist() == [15.0, 15.0, 15.0]


def test_a_wild_row_keeps_its_variance_and_the_others_theirs() -> None:
    squares = np.array([1.0] * 39 + [400.0])
    variances, degrees = moderated(squares, np.full(40, 5.0))
    assert variances[-1] > 100.0
    assert variances[0] < 10.0
    assert 9.0 < degrees[0] < 10.0  # five of its own, and hardly more than four of the others


def test_rows_without_degrees_of_freedom_take_the_common_variance() -> None:
    variances, _ = moderated(np.array([2.0, 2.0, 0.0]), np.array([5.0, 5.0, 0.0]))
    assert variances.tolist() == [2.0, 2.0, 2.0]
    nothing, _ = moderated(np.array([0.0]), np.array([0.0]))
    assert nothing.tolist() == [math.inf]


def test_the_spread_of_rows_and_of_the_device_are_told_apart(rng: np.random.Generator) -> None:
    spread = spread_of(table(rng, processes=40, speed_noise=0.05, noise=0.004))
    row = spread.log_s[in_context(DOWN)]
    assert math.sqrt(40 * row.variance) == pytest.approx(0.004, rel=0.2)
    assert math.sqrt(40 * spread.speed.variance) == pytest.approx(0.05, rel=0.3)
    assert row.value == pytest.approx(math.log(TRUE_S[in_context(DOWN)]), abs=0.03)


def test_rows_of_other_processes_are_brought_to_the_same_speed() -> None:
    # Process 1 is twice as slow; the second row was timed in process 0 only.
    ops = contexts(DOWN)
    rows = {ops[0]: timed({0: 1.0, 1: 2.0}), ops[1]: timed({0: 3.0}), ops[2]: timed({0: 1, 1: 2})}
    spread = spread_of(LatencyTable(name="mine.lut", conditions=HERE, chains=rows))
    ratio = spread.log_s[ops[1]].value - spread.log_s[ops[0]].value
    assert math.exp(ratio) == pytest.approx(3.0)


# Lists that others published.


@pytest.fixture
def published(tmp_path: Path) -> Path:
    rows = [
        ForeignRow(key="first", latency_s=1.0, op=KERNELS[0]),
        ForeignRow(key="second", latency_s=2.0, op=replace(KERNELS[1], activation="relu6")),
        ForeignRow(key="third", latency_s=3.0),
    ]
    path = tmp_path / "list.lut"
    write_content(path, Content(meta=foreign_meta("list", "list.csv", "0"), foreign=tuple(rows)))
    return path


def test_lists_are_compared_by_key_and_get_no_verdict(published: Path, tmp_path: Path) -> None:
    meta = foreign_meta("other", "other.csv", "1")
    rows = (ForeignRow(key="second", latency_s=3.0), ForeignRow(key="fourth", latency_s=1.0))
    write_content(tmp_path / "other.lut", Content(meta=meta, foreign=rows))
    diff = diff_files(published, tmp_path / "other.lut")
    (change,) = diff.imported
    assert (change.name, change.a_s, change.b_s) == ("second", 2.0, 3.0)
    assert change.found.verdict == "UNDECIDED"
    assert (diff.only_a, diff.only_b) == (("first", "third"), ("fourth",))
    assert diff.operators == ()


def test_a_list_is_compared_with_a_table_by_the_operators_of_both(
    published: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.lut"
    with create_table(path, HERE.as_meta()) as file:
        for op in KERNELS[:2]:
            for chain in (in_context(op), *contexts(op)):
                for piece in table().chains[chain].slices:
                    file.add_slice(chain, "operator", piece)
    diff = diff_files(path, published)
    first, second = diff.imported
    assert (first.name, second.name) == (str(KERNELS[0]), str(KERNELS[1]))
    assert (first.a_s, first.b_s) == pytest.approx((6.0, 1.0))  # 16 - 10
    assert (second.a_s, second.b_s) == pytest.approx((7.0, 2.0))  # relu6 there, relu here
    assert diff.conditions["backend"] == ("simulated", "imported")
