import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lut.files.sqlite_file
from devices import InvalidFile, LatkitError
from lut import Role, StorageFull, TableFile, create_table, open_table
from lut.files.sqlite_file import FileKind
from lut.files.storage import APPLICATION_ID, SCHEMA_VERSION, StoredSlice
from profiler import Chain, Conv, Gate, MBConv, Skip, Slice, carrier

SHAPE = (1, 16, 14, 14)
CHAIN = carrier(SHAPE, 1)
OTHER = carrier(SHAPE, 2)
META = {"device": {"name": "sim"}, "environment": {"runtime": "none"}}
ONE_PIECE = Slice(
    process=0,
    round=0,
    repeats=4,
    samples_s=(0.1, 0.2, 0.30000000000000004),
    reference_s=(0.01, 0.02, 0.03),
)

seconds = st.floats(min_value=1e-12, max_value=1e6, allow_nan=False)
pieces = st.builds(
    Slice,
    process=st.integers(0, 99),
    round=st.integers(0, 99),
    repeats=st.integers(1, 2**20),
    samples_s=st.lists(seconds, min_size=1, max_size=20).map(tuple),
    gate=st.sampled_from(get_args(Gate)),
)
chains = st.sampled_from([CHAIN, OTHER, (Conv(input_shape=SHAPE, channels=5),)])
stored = st.builds(StoredSlice, chain=chains, role=st.sampled_from(get_args(Role)), slice=pieces)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty table."""
    path = tmp_path / "mine.lut"
    with create_table(path, META):
        pass
    return path


def slices(path: Path) -> list[StoredSlice]:
    with open_table(path) as file:
        return list(file.slices())


def refusal(path: Path) -> str:
    """Return why a file is no table: one line that names it."""
    with pytest.raises(InvalidFile) as raised, open_table(path):
        pass
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@settings(max_examples=25)  # each of them waits for the disk
@given(rows=st.lists(stored, max_size=8))
def test_slices_come_back_as_they_were_stored(
    tmp_path_factory: pytest.TempPathFactory, rows: list[StoredSlice]
) -> None:
    path = tmp_path_factory.mktemp("storage") / "mine.lut"
    with create_table(path, META) as file:
        for row in rows:
            file.add_slice(row.chain, row.role, row.slice)
    assert slices(path) == rows


def test_what_the_file_was_made_for_comes_back(path: Path) -> None:
    with open_table(path) as file:
        assert file.meta() == META


def test_chains_keep_their_roles_and_their_order(path: Path) -> None:
    with open_table(path) as file:
        file.add_chains({OTHER: "operator", CHAIN: "context"})
        file.add_chains({CHAIN: "context", (Skip(input_shape=SHAPE),): "check"})
        file.add_chains({OTHER: "check"})
    with open_table(path) as file:
        assert file.roles() == [
            (OTHER, "check"),
            (OTHER, "operator"),
            (CHAIN, "context"),
            ((Skip(input_shape=SHAPE),), "check"),
        ]


def test_a_verdict_is_kept_with_its_slices_and_no_others(path: Path) -> None:
    with open_table(path) as file:
        rows = [file.add_slice(CHAIN, "operator", ONE_PIECE) for _ in range(3)]
        file.judge(rows[:2], "steal")
        file.judge([], "load")
    assert [row.slice.gate for row in slices(path)] == ["steal", "steal", "open"]


def test_a_refusal_is_kept_with_its_reason(path: Path) -> None:
    with open_table(path) as file:
        file.refuse(CHAIN, "no such operator")
        file.refuse(CHAIN, "still no such operator")
    with open_table(path) as file:
        assert file.refusals() == {CHAIN: "still no such operator"}


def test_labels_are_replaced_by_key(path: Path) -> None:
    with open_table(path) as file:
        file.set_label("spaces", ["macro"])
        file.set_label("spaces", ["macro", "greedynas"])
    with open_table(path) as file:
        assert file.labels() == {"spaces": ["macro", "greedynas"]}


def test_a_label_that_cannot_be_kept_leaves_nothing_behind(path: Path) -> None:
    with open_table(path) as file:
        with pytest.raises(TypeError):
            file.set_label("spaces", object())
        file.add_chains({CHAIN: "operator"})
        assert file.labels() == {}


def test_every_slice_is_committed_at_once(path: Path) -> None:
    with open_table(path) as file:
        file.add_slice(CHAIN, "operator", ONE_PIECE)
        assert [row.slice for row in slices(path)] == [ONE_PIECE]  # through a second connection
        file.judge([1], "clean")
        assert [row.slice.gate for row in slices(path)] == ["clean"]


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"PRAGMA {name}").fetchone()[0]


def test_the_file_says_what_it_is_and_of_which_version(path: Path) -> None:
    assert pragma(path, "application_id") == APPLICATION_ID == int.from_bytes(b"LATK")
    assert pragma(path, "user_version") == SCHEMA_VERSION


def test_the_file_is_all_there_is_while_it_is_open(path: Path) -> None:
    with open_table(path) as file:
        file.add_slice(CHAIN, "operator", ONE_PIECE)
        assert [p.name for p in path.parent.iterdir()] == ["mine.lut"]  # no -wal, no -shm
    assert pragma(path, "journal_mode") == "delete"


def test_a_new_table_does_not_replace_another(path: Path) -> None:
    with pytest.raises(ValueError, match="exists already"), create_table(path, META):
        pass
    assert slices(path) == []


def test_half_a_new_table_is_made_again(tmp_path: Path) -> None:
    (tmp_path / f"mine.lut.{os.getpid()}.partial").write_bytes(b"what a kill left behind")
    with create_table(tmp_path / "mine.lut", META) as file:
        assert file.meta() == META
    assert [p.name for p in tmp_path.iterdir()] == ["mine.lut"]


@pytest.mark.parametrize("parent", ["missing folder", "mine.txt"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, parent: str) -> None:
    (tmp_path / "mine.txt").write_text("a file, no folder")
    with (
        pytest.raises(InvalidFile, match=r"cannot .*mine\.lut"),
        create_table(tmp_path / parent / "mine.lut", META),
    ):
        pass


def test_a_missing_table_names_the_command_that_makes_one(tmp_path: Path) -> None:
    assert "Make one: latkit profile" in refusal(tmp_path / "mine.lut")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    assert "there is no table" in refusal(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a table with some pages of rows."""
    path = tmp_path_factory.mktemp("whole") / "mine.lut"
    with create_table(path, META) as file:
        for turn in range(30):
            samples_s = tuple(1.0 + i / 1_000 for i in range(100))
            piece = Slice(process=0, round=turn, repeats=1, samples_s=samples_s)
            file.add_slice(CHAIN, "operator", piece)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, whole: bytes, share: float) -> None:
    path = tmp_path / "mine.lut"
    path.write_bytes(whole[: int(share * len(whole))])
    said = refusal(path)
    assert "damaged" in said
    assert "measure again into a new file" in said


def test_a_page_of_rubbish_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "mine.lut"
    path.write_bytes(whole[:-4096] + b"\x7f" * 4096)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("text", ["not a table", "x" * 5_000])
def test_a_text_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.lut"
    path.write_text(text)
    assert "no latency table" in refusal(path)
    assert path.read_text() == text


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_foreign_database_is_refused_and_left_as_it_is(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mine.lut"
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute("CREATE TABLE songs (title TEXT)")
        db.commit()
    before = path.read_bytes()
    assert "no latency table of latkit" in refusal(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.lut"
    path.touch()
    assert "is empty: remove it, and it is made anew" in refusal(path)


def test_a_newer_table_is_refused_with_the_cure(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    said = refusal(path)
    assert f"has schema {SCHEMA_VERSION + 1}; this latkit reads up to {SCHEMA_VERSION}" in said
    assert "pip install -U latkit" in said


def test_a_table_of_the_first_schema_is_brought_up_to_date(path: Path) -> None:
    with open_table(path) as file:
        file.add_slice(CHAIN, "operator", ONE_PIECE)
    with closing(sqlite3.connect(path)) as db:
        db.executescript("ALTER TABLE slices DROP COLUMN reference; PRAGMA user_version = 1;")
    assert [row.slice for row in slices(path)] == [replace(ONE_PIECE, reference_s=())]
    assert pragma(path, "user_version") == SCHEMA_VERSION
    assert [row.slice for row in slices(path)] == [replace(ONE_PIECE, reference_s=())]  # once


# A full disk, by way of a database that may not grow.


def fill_up(db: sqlite3.Connection) -> int:
    """Allow no further page; return how many there are."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    return int(pages)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections that tables are opened with from here on."""
    opened: list[sqlite3.Connection] = []
    connect = lut.files.sqlite_file._connect

    def remembered(path: Path, kind: FileKind) -> sqlite3.Connection:
        opened.append(connect(path, kind))
        return opened[-1]

    monkeypatch.setattr("lut.files.sqlite_file._connect", remembered)
    return opened


def long_piece(turn: int) -> Slice:
    samples_s = tuple(1.0 + i / 100 for i in range(100))
    return Slice(process=0, round=turn, repeats=1, samples_s=samples_s)


def fill(file: TableFile, rows: list[tuple[Chain, Slice]]) -> tuple[int, StorageFull]:
    """Store rows until the disk is full; return how many went in, and what was said."""
    for count, (chain, piece) in enumerate(rows):
        try:
            file.add_slice(chain, "operator", piece)
        except StorageFull as error:
            return count, error
    pytest.fail("the disk never got full")


def test_a_full_disk_loses_the_slice_in_flight_and_no_other(
    path: Path, connections: list[sqlite3.Connection]
) -> None:
    with open_table(path) as file:
        file.add_slice(CHAIN, "operator", long_piece(0))
        pages = fill_up(connections[-1])
        taken, error = fill(file, [(CHAIN, long_piece(turn)) for turn in range(1, 50)])
        taken += 1
        assert f"cannot write {path}" in str(error)
        assert "free some space and run the same command again" in str(error)
        assert "\n" not in str(error)
        assert [row.slice.round for row in slices(path)] == list(range(taken))

        connections[0].execute(f"PRAGMA max_page_count = {pages + 100}")  # space was freed
        file.add_slice(CHAIN, "operator", long_piece(taken))
    assert [row.slice.round for row in slices(path)] == list(range(taken + 1))


def test_a_full_disk_takes_no_new_chain_and_forgets_it(
    path: Path, connections: list[sqlite3.Connection]
) -> None:
    def chain(channels: int) -> Chain:
        return (MBConv(input_shape=SHAPE, channels=channels),)

    with open_table(path) as file:
        pages = fill_up(connections[-1])
        entered, _ = fill(file, [(chain(channels), ONE_PIECE) for channels in range(1, 500)])
        connections[0].execute(f"PRAGMA max_page_count = {pages + 100}")
        file.add_slice(chain(entered + 1), "operator", ONE_PIECE)
    assert [row.chain for row in slices(path)] == [chain(i + 1) for i in range(entered + 1)]


def test_a_disk_without_space_for_a_new_table_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tiny(path: Path, _: FileKind) -> sqlite3.Connection:
        db = sqlite3.connect(path)
        db.execute("PRAGMA max_page_count = 2")
        return db

    monkeypatch.setattr("lut.files.sqlite_file._connect", tiny)
    with pytest.raises(LatkitError) as raised, create_table(tmp_path / "mine.lut", META):
        pass
    assert type(raised.value) is StorageFull
    assert not (tmp_path / "mine.lut").exists()
