from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import DeviceSpec, InvalidFile
from lut import Conditions, Role, WrongConditions, load_table
from lut.exchange.content import Content, read_content, write_content
from lut.exchange.foreign import foreign_meta
from lut.files.engines import ENGINE
from lut.files.storage import ForeignRow, StoredSlice
from lut.fill import CAMPAIGN
from lut.merge import merge, merge_tables
from lut.table import REVISION
from profiler import Gate, MBConv, Slice, carrier, chain_to_key, contexts, in_context

SHAPE = (1, 16, 14, 14)
OP = MBConv(input_shape=SHAPE, channels=16, kernel=5)
META = Conditions(
    device=DeviceSpec(name="mine", backend="simulated"), environment={"runtime": "1.0"}
).as_meta()

chains = st.sampled_from([carrier(SHAPE, 1), carrier(SHAPE, 2), in_context(OP)])
slices = st.builds(
    Slice,
    process=st.integers(0, 3),
    round=st.integers(0, 1),
    repeats=st.just(1),
    samples_s=st.sampled_from([(1.0,), (2.0, 3.0)]),
    gate=st.sampled_from(get_args(Gate)),
)
rows = st.builds(
    StoredSlice,
    chain=chains,
    role=st.sampled_from(get_args(Role)),
    slice=slices,
    taken_at=st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00"]),
)
contents = st.builds(
    Content,
    meta=st.just(META),
    labels=st.dictionaries(st.just(REVISION), st.integers(1, 3)),
    roles=st.lists(st.tuples(chains, st.just("operator")), unique=True, max_size=3).map(tuple),
    slices=st.lists(rows, max_size=12).map(tuple),
)


def row(
    process: int, seconds: float, *, role: Role = "operator", gate: Gate = "clean"
) -> StoredSlice:
    piece = Slice(process=process, round=0, repeats=1, samples_s=(seconds,), gate=gate)
    at = "2026-01-01T00:00:00+00:00"
    return StoredSlice(chain=in_context(OP), role=role, slice=piece, taken_at=at)


def content(*pieces: StoredSlice, **others: Any) -> Content:
    return Content(meta=META, slices=pieces, **others)


def told_apart(whole: Content) -> Counter[Hashable]:
    """Return the slices of every process of every campaign, without the number of the process."""
    processes: dict[Hashable, Counter[Hashable]] = {}
    for each in whole.slices:
        campaign = each.role if each.role in ("check", "verified") else "table"
        bare = (each.chain, each.role, each.taken_at, replace(each.slice, process=0))
        processes.setdefault((campaign, each.slice.process), Counter())[bare] += 1
    return Counter((key[0], frozenset(p.items())) for key, p in processes.items())  # type: ignore[index]


def bare(whole: Content) -> Counter[Hashable]:
    """Return the slices, but for the number of the process and the verdict of the gate."""
    return Counter(
        (each.chain, each.role, each.taken_at, replace(each.slice, process=0, gate="open"))
        for each in whole.slices
    )


@given(a=contents, b=contents)
def test_it_does_not_matter_which_table_comes_first(a: Content, b: Content) -> None:
    ab, ba = merge(a, b)[0], merge(b, a)[0]
    assert told_apart(ab) == told_apart(ba)
    assert set(ab.roles) == set(ba.roles)
    assert ab.labels == ba.labels


@given(a=contents)
def test_a_table_merged_with_itself_is_itself(a: Content) -> None:
    again, numbers = merge(a, a)
    assert Counter(again.slices) == Counter(a.slices)
    assert again.roles == a.roles
    assert again.labels == a.labels
    assert all(old == new for (_, old), new in numbers.items())


@given(a=contents, b=contents)
def test_merging_once_more_changes_nothing(a: Content, b: Content) -> None:
    ab, _ = merge(a, b)
    assert Counter(merge(ab, a)[0].slices) == Counter(ab.slices)
    assert told_apart(merge(ab, b)[0]) == told_apart(ab)


@given(a=contents, b=contents)
def test_no_slice_is_lost(a: Content, b: Content) -> None:
    ab, _ = merge(a, b)
    assert bare(a) <= bare(ab)
    assert bare(b) <= bare(ab)
    assert len(ab.slices) <= len(a.slices) + len(b.slices)


@given(a=contents, b=contents)
def test_processes_of_different_tables_never_become_one(a: Content, b: Content) -> None:
    _, numbers = merge(a, b)
    renumbered = [(campaign, new) for (campaign, _), new in numbers.items()]
    assert len(set(renumbered)) == len(renumbered)


def test_processes_with_the_same_number_stay_two() -> None:
    union, numbers = merge(content(row(0, 1.0), row(1, 1.1)), content(row(0, 2.0), row(7, 2.1)))
    found = [(each.slice.process, each.slice.samples_s) for each in union.slices]
    assert found == [(0, (1.0,)), (1, (1.1,)), (2, (2.0,)), (7, (2.1,))]
    assert numbers == {("table", 0): 2, ("table", 7): 7}


def test_a_copy_that_was_measured_further_is_the_same_process() -> None:
    before = content(row(0, 1.0), row(1, 1.1))
    after = content(row(0, 1.0), row(1, 1.1), row(1, 1.2), row(2, 1.3))
    union, _ = merge(before, after)
    assert Counter(union.slices) == Counter(after.slices)
    assert Counter(merge(after, before)[0].slices) == Counter(after.slices)


def test_checks_of_two_copies_are_processes_of_their_own() -> None:
    mine = content(row(0, 1.0), row(100, 3.0, role="check"))
    theirs = content(row(0, 1.0), row(100, 4.0, role="check"))
    union, _ = merge(mine, theirs)
    assert [(each.role, each.slice.process) for each in union.slices] == [
        ("operator", 0),
        ("check", 100),
        ("check", 101),
    ]


def test_a_verdict_on_a_slice_replaces_none() -> None:
    judged = merge(content(row(0, 1.0, gate="open")), content(row(0, 1.0, gate="steal")))[0]
    assert [each.slice.gate for each in judged.slices] == ["steal"]


def test_verdicts_of_both_make_another_revision_of_the_calibration() -> None:
    mine = content(row(0, 1.0, role="verified"), labels={REVISION: 1, "space": "x"})
    theirs = content(row(0, 2.0, role="verified"), labels={REVISION: 1})
    assert merge(mine, theirs)[0].labels == {REVISION: 2, "space": "x"}
    assert merge(mine, content())[0].labels[REVISION] == 1


def test_what_is_to_be_measured_and_what_cannot_be_is_united() -> None:
    other = carrier(SHAPE, 2)
    mine = content(roles=((in_context(OP), "operator"),), refusals={other: "no kernel"})
    theirs = content(roles=((other, "context"), (in_context(OP), "operator")))
    union, _ = merge(mine, theirs)
    assert union.roles == ((in_context(OP), "operator"), (other, "context"))
    assert union.refusals == {other: "no kernel"}


def test_engines_keep_the_processes_that_built_them() -> None:
    engine = f"{ENGINE} 0 {chain_to_key(in_context(OP))}"
    mine = content(row(0, 5.0), labels={engine: "mine"})
    theirs = content(row(0, 7.0), labels={engine: "theirs", "space": "x"})
    union, _ = merge(mine, theirs)
    assert union.labels == {engine: "mine", engine.replace(" 0 ", " 1 "): "theirs", "space": "x"}
    again, _ = merge(union, theirs)
    assert again.labels == union.labels


def test_a_union_has_no_name_that_another_file_has_on_a_device() -> None:
    mine, theirs = content(row(0, 5.0), labels={CAMPAIGN: "a"}), content(labels={CAMPAIGN: "b"})
    assert merge(mine, theirs)[0].labels == {}


# Files.


def complete(seconds: float, process: int) -> Content:
    """Return a table that prices one operator."""
    needed = (in_context(OP), *contexts(OP))
    rows = (replace(row(process, seconds + i), chain=chain) for i, chain in enumerate(needed))
    return content(*rows)


def test_merged_files_are_a_table(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.lut" for name in "abc")
    write_content(a, complete(5.0, 0))
    write_content(b, complete(7.0, 0))
    done = merge_tables(a, b, c)
    assert (done.slices, done.added, done.shared, done.renumbered) == (6, 3, 0, 1)
    measurement = load_table(c).chains[in_context(OP)]
    assert measurement.by_process == {0: 5.0, 1: 7.0}
    assert measurement.latency_s == 6.0


def test_a_merge_keeps_the_hash_where_nothing_is_new(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.lut" for name in "abc")
    write_content(a, complete(5.0, 0))
    write_content(b, complete(5.0, 3))  # a copy whose processes were renumbered
    assert merge_tables(a, b, c).added == 0
    assert load_table(c).hash == load_table(a).hash
    assert sorted(read_content(c).slices, key=str) == sorted(read_content(a).slices, key=str)


def test_other_conditions_are_refused_with_both_values(tmp_path: Path) -> None:
    device = DeviceSpec(name="mine", backend="simulated", threads=2)
    there = Conditions(device=device, environment={"runtime": "1.0"}).as_meta()
    write_content(tmp_path / "a.lut", complete(5.0, 0))
    write_content(tmp_path / "b.lut", replace(complete(5.0, 0), meta=there))
    with pytest.raises(WrongConditions, match=r"different conditions \(threads: 1 and 2\)"):
        merge_tables(tmp_path / "a.lut", tmp_path / "b.lut", tmp_path / "c.lut")
    assert not (tmp_path / "c.lut").exists()


def test_what_others_published_never_joins_what_was_measured(tmp_path: Path) -> None:
    foreign = (ForeignRow(key="conv", latency_s=1.0),)
    with pytest.raises(ValueError, match="never mix"):
        content(row(0, 1.0), foreign=foreign)
    meta = foreign_meta("theirs", "list.csv", "0" * 64)
    write_content(tmp_path / "a.lut", complete(5.0, 0))
    write_content(tmp_path / "b.lut", Content(meta=meta, foreign=foreign))
    with pytest.raises(WrongConditions, match="backend: simulated and imported"):
        merge_tables(tmp_path / "a.lut", tmp_path / "b.lut", tmp_path / "c.lut")


def test_one_key_has_one_row() -> None:
    row = ForeignRow(key="conv", latency_s=1.0)
    with pytest.raises(ValueError, match="one key"):
        Content(meta=META, foreign=(row, row))


def test_a_list_merged_with_its_copy_is_itself(tmp_path: Path) -> None:
    meta = foreign_meta("theirs", "list.csv", "0" * 64)
    whole = Content(meta=meta, foreign=(ForeignRow(key="conv", latency_s=1.0),))
    assert merge(whole, whole)[0].foreign == whole.foreign


def test_a_merge_replaces_no_file(tmp_path: Path) -> None:
    write_content(tmp_path / "a.lut", complete(5.0, 0))
    before = (tmp_path / "a.lut").read_bytes()
    with pytest.raises(InvalidFile, match="exists already"):
        merge_tables(tmp_path / "a.lut", tmp_path / "a.lut", tmp_path / "a.lut")
    assert (tmp_path / "a.lut").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.lut"]
