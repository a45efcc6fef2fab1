"""docs/lut-file.md says what a file holds, and its five lines run."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from devices import DeviceSpec
from lut import Conditions, create_table
from lut.files.storage import SCHEMA_VERSION
from profiler import MBConv, Slice, in_context

PAGE = (Path(__file__).parent.parent / "docs/lut-file.md").read_text()
OP = MBConv(input_shape=(1, 16, 14, 14), channels=16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cpu.lut"
    device = DeviceSpec(name="mine", backend="simulated")
    with create_table(path, Conditions(device=device, environment={}).as_meta()) as file:
        for process, seconds in enumerate((0.002, 0.003)):
            piece = Slice(process=process, round=0, repeats=1, samples_s=(seconds,) * 3)
            file.add_slice(in_context(OP), "operator", piece)
    return path


def test_every_table_and_column_is_described(path: Path) -> None:
    sections = re.findall(r"\*\*`(\w+)`\*\*(.*?)(?=\n\*\*`|\n## )", PAGE, re.DOTALL)
    described = {name: set(re.findall(r"^\| `(\w+)` \|", text, re.M)) for name, text in sections}
    with closing(sqlite3.connect(path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE sql NOTNULL")]
        columns = {
            name: {row[1] for row in db.execute(f"SELECT * FROM pragma_table_info('{name}')")}
            for name in names
        }
    assert described == columns


def test_the_history_ends_with_this_version() -> None:
    versions = [int(version) for version in re.findall(r"^\| (\d+) \| ", PAGE, re.MULTILINE)]
    assert versions == list(range(1, SCHEMA_VERSION + 1))


def test_the_five_lines_print_the_medians_of_processes(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(path.parent)
    names: dict[str, object] = {}
    exec(lines, names)
    medians = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert medians == [2.0, 3.0]
    database = names["db"]
    assert isinstance(database, sqlite3.Connection)
    database.close()
