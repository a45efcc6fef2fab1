import csv
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from devices import DeviceSpec, InvalidFile, UnknownName
from lut import Conditions, MissingLatency, NotCalibrated, Role, latency_model, load_table
from lut.exchange.content import Content, read_content, write_content
from lut.exchange.foreign import foreign_meta, load_foreign
from lut.exchange.formats import export_table, from_csv, from_json, import_table, to_csv, to_json
from lut.exchange.ofa import ofa_key, ofa_operator, squeeze_width
from lut.files.storage import ForeignRow, StoredSlice
from profiler import (
    Chain,
    Conv,
    Gate,
    Head,
    MBConv,
    OpSpec,
    Pool,
    Skip,
    Slice,
    carrier,
    contexts,
    in_context,
)
from search.spaces import space_named

SHAPE = (1, 16, 14, 14)
OP = MBConv(input_shape=SHAPE, channels=16, kernel=5)
DOWN = Conv(input_shape=SHAPE, channels=32, stride=2)
HERE = Conditions(
    device=DeviceSpec(name="mine", backend="simulated"), environment={"runtime": "1.0"}
)
META = json.loads(json.dumps(HERE.as_meta()))  # as a file keeps it
THEIRS = json.loads(json.dumps(foreign_meta("theirs", "list.csv", "0" * 64)))

seconds = st.floats(min_value=1e-12, max_value=1e6, allow_nan=False)
chains = st.sampled_from([carrier(SHAPE, 1), in_context(DOWN), (Skip(input_shape=SHAPE),)])
texts = st.text(max_size=20)


@st.composite
def pieces(draw: st.DrawFn) -> Slice:
    samples_s = draw(st.lists(seconds, min_size=1, max_size=5))
    beside = st.lists(seconds, min_size=len(samples_s), max_size=len(samples_s))
    return Slice(
        process=draw(st.integers(0, 99)),
        round=draw(st.integers(0, 99)),
        repeats=draw(st.integers(1, 2**20)),
        samples_s=tuple(samples_s),
        reference_s=tuple(draw(beside | st.just([]))),
        gate=draw(st.sampled_from(get_args(Gate))),
    )


measured = st.builds(
    Content,
    meta=st.just(META),
    labels=st.dictionaries(texts, texts | st.integers() | st.lists(texts), max_size=3),
    roles=st.lists(st.tuples(chains, st.sampled_from(get_args(Role))), max_size=4).map(tuple),
    refusals=st.dictionaries(chains, texts, max_size=2),
    slices=st.lists(
        st.builds(
            StoredSlice,
            chain=chains,
            role=st.sampled_from(get_args(Role)),
            slice=pieces(),
            taken_at=st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-02-03T04:05:06+00:00"]),
        ),
        max_size=6,
    ).map(tuple),
)
published = st.builds(
    Content,
    meta=st.just(THEIRS),
    foreign=st.lists(
        st.builds(
            ForeignRow,
            key=st.text(min_size=1, max_size=30),
            latency_s=seconds,
            count=st.none() | st.integers(1, 999),
            spread_s=st.none() | seconds,
            op=st.sampled_from([None, OP, DOWN]),
        ),
        max_size=6,
        unique_by=lambda row: row.key,
    ).map(tuple),
)


def table(path: Path, ops: list[OpSpec], *, processes: int = 2) -> Path:
    """Write a table in which operator ``i`` takes ``5 + i`` ms in process 0, 0.2 ms more in 1."""
    timed: dict[Chain, float] = {}
    for i, op in enumerate(ops):
        for chain in contexts(op):
            timed[chain] = 0.010 if len(chain) == 2 else 0.013
        timed[in_context(op)] = 0.010 + 0.005 + 0.001 * i
    rows = [
        StoredSlice(
            chain=chain,
            role="operator",
            slice=Slice(
                process=process,
                round=0,
                repeats=1,
                samples_s=(value + 0.0002 * process * (chain in {in_context(op) for op in ops}),),
            ),
            taken_at="2026-01-01T00:00:00+00:00",
        )
        for process in range(processes)
        for chain, value in timed.items()
    ]
    write_content(path, Content(meta=META, slices=tuple(rows)))
    return path


def refusal(action: Callable[[], object]) -> str:
    """Return why a file is refused: one line."""
    with pytest.raises(InvalidFile) as raised:
        action()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Our own formats.


@given(whole=measured | published)
def test_json_loses_nothing(whole: Content) -> None:
    back = from_json(to_json(whole).decode())
    assert back == whole
    assert [row.taken_at for row in back.slices] == [row.taken_at for row in whole.slices]


@given(whole=measured | published)
def test_csv_loses_nothing(whole: Content) -> None:
    back = from_csv(to_csv(whole).decode())
    assert back == whole
    assert [row.taken_at for row in back.slices] == [row.taken_at for row in whole.slices]


@pytest.mark.parametrize("to", ["csv", "json", "parquet"])
def test_a_table_comes_back_from_a_file_as_it_was(tmp_path: Path, to: str) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: no Parquet here")
    before = table(tmp_path / "before.lut", [OP, DOWN])
    done = export_table(before, tmp_path / f"table.{to}", to=to)
    back = import_table(tmp_path / f"table.{to}", tmp_path / "after.lut")
    assert done.rows == back.rows == len(read_content(before).slices)
    assert back.operators is None
    assert load_table(tmp_path / "after.lut").hash == load_table(before).hash
    assert read_content(tmp_path / "after.lut") == read_content(before)


@pytest.mark.parametrize("to", ["csv", "json"])
def test_a_compressed_export_comes_back_too(tmp_path: Path, to: str) -> None:
    before = table(tmp_path / "before.lut", [OP])
    export_table(before, tmp_path / "plain", to=to)
    (tmp_path / "small.gz").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    import_table(tmp_path / "small.gz", tmp_path / "after.lut")
    assert load_table(tmp_path / "after.lut").hash == load_table(before).hash


def test_other_programs_read_the_csv(tmp_path: Path) -> None:
    export_table(table(tmp_path / "a.lut", [OP]), tmp_path / "a.csv", to="csv")
    with (tmp_path / "a.csv").open() as file:
        assert file.readline().startswith('# {"latkit_table": 1')
        rows = list(csv.DictReader(file))
    named = [row for row in rows if "k5 s1 e6" in row["operators"]]
    assert [(row["process"], json.loads(row["samples_s"])) for row in named] == [
        ("0", [0.015]),
        ("1", [0.0152]),
    ]


def test_parquet_without_pyarrow_names_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        export_table(table(tmp_path / "a.lut", [OP]), tmp_path / "a.parquet", to="parquet")
    assert raised.value.name == "pyarrow"
    assert not (tmp_path / "a.parquet").exists()


def test_an_export_never_replaces_the_table(tmp_path: Path) -> None:
    path = table(tmp_path / "a.lut", [OP])
    said = refusal(lambda: export_table(path, tmp_path / "." / "a.lut", to="csv"))
    assert "is the table itself" in said
    assert len(load_table(path)) == 1


def test_an_import_replaces_nothing(tmp_path: Path) -> None:
    path = table(tmp_path / "a.lut", [OP])
    export_table(path, tmp_path / "a.json", to="json")
    assert "exists already" in refusal(lambda: import_table(tmp_path / "a.json", path))


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="the nearest is 'parquet'"):
        export_table(table(tmp_path / "a.lut", [OP]), tmp_path / "a", to="parket")


def test_a_csv_without_its_end_is_refused(tmp_path: Path) -> None:
    export_table(table(tmp_path / "a.lut", [OP]), tmp_path / "a.csv", to="csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join(lines[:-2]))
    said = refusal(lambda: import_table(tmp_path / "a.csv", tmp_path / "b.lut"))
    assert "6 rows were written, 4 are left" in said
    assert not (tmp_path / "b.lut").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"latkit_table": 1', '"latkit_table": 2', "pip install -U latkit"),
        ('"backend": "simulated"', '"backend": 7', "backend"),
        ('"role": "operator"', '"role": "operatr"', "no chain has the role 'operatr'"),
        ('"gate": "open"', '"gate": "ajar"', "no gate says 'ajar'"),
        ("0.015", "-0.015", "longer than the clock's resolution"),
        ('"round"', '"turn"', "round"),
    ],
)
def test_a_changed_export_is_refused_with_what_is_wrong(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    export_table(table(tmp_path / "a.lut", [OP]), tmp_path / "a.json", to="json")
    text = (tmp_path / "a.json").read_text()
    assert old in text
    (tmp_path / "a.json").write_text(text.replace(old, new))
    assert says in refusal(lambda: import_table(tmp_path / "a.json", tmp_path / "b.lut"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"\x00\xff\xfe",
        b"a,b\n1,2\n",
        b"[1, 2]",
        b"{}",
        b"\x1f\x8bdamaged",
        b"a: [1\n",
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a").write_bytes(raw)
    said = refusal(lambda: import_table(tmp_path / "a", tmp_path / "b.lut"))
    assert str(tmp_path / "a") in said
    assert not (tmp_path / "b.lut").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    said = refusal(lambda: import_table(tmp_path / "none.csv", tmp_path / "b.lut"))
    assert "none.csv: No such file" in said


# Once-for-All and ProxylessNAS.

PLAIN = MBConv(input_shape=(1, 24, 56, 56), channels=40, kernel=5, stride=2, activation="relu6")
WIDE = MBConv(
    input_shape=(1, 40, 28, 28),
    channels=40,
    expand=4,
    squeeze=squeeze_width(160),
    activation="hswish",
)
KEYS: list[tuple[OpSpec, str, bool]] = [
    (
        PLAIN,
        "expanded_conv-input:56x56x24-output:28x28x40-expand:6-kernel:5-stride:2-idskip:0",
        False,
    ),
    (
        MBConv(input_shape=SHAPE, channels=16, expand=3, activation="relu6"),
        "expanded_conv-input:14x14x16-output:14x14x16-expand:3-kernel:3-stride:1-idskip:1",
        False,
    ),
    (
        WIDE,
        "expanded_conv-input:28x28x40-output:28x28x40-expand:160-kernel:3-stride:1-idskip:1"
        "-se:1-hs:1",
        True,
    ),
    (
        MBConv(input_shape=(1, 24, 56, 56), channels=40, stride=2, expand=3),
        "expanded_conv-input:56x56x24-output:28x28x40-expand:72-kernel:3-stride:2-idskip:0"
        "-se:0-hs:0",
        True,
    ),
    (
        Conv(input_shape=(1, 3, 224, 224), channels=32, kernel=3, stride=2, activation="relu6"),
        "Conv-input:224x224x3-output:112x112x32",
        False,
    ),
    (
        Conv(input_shape=(1, 320, 7, 7), channels=1280, activation="relu6"),
        "Conv_1-input:7x7x320-output:7x7x1280",
        False,
    ),
    (Pool(input_shape=(1, 960, 7, 7)), "AvgPool2D-input:7x7x960-output:1x1x960", True),
]


@pytest.mark.parametrize(("op", "key", "mobile_v3"), KEYS)
def test_operators_have_the_keys_of_these_projects_and_back(
    op: OpSpec, key: str, mobile_v3: bool
) -> None:
    assert ofa_key(op, mobile_v3=mobile_v3) == key
    assert ofa_operator(key, mobile_v3=mobile_v3) == op


@pytest.mark.parametrize(
    "op",
    [
        MBConv(input_shape=(2, 16, 14, 14), channels=16),
        Conv(input_shape=SHAPE, channels=32),
        Conv(input_shape=SHAPE, channels=32, kernel=3, stride=2, activation="relu"),
        MBConv(input_shape=SHAPE, channels=16, activation="hswish"),
        Head(input_shape=SHAPE, channels=64, classes=10),
        Pool(input_shape=SHAPE),
    ],
)
def test_what_proxylessnas_has_no_words_for_has_no_key(op: OpSpec) -> None:
    assert ofa_key(op, mobile_v3=False) is None


@pytest.mark.parametrize(
    "key",
    [
        "Logits-input:7x7x1280-output:1000",
        "Conv_2-input:1x1x960-output:1x1x1280",
        "expanded_conv-input:28x28x40-output:28x28x40-expand:6-kernel:3-stride:1-idskip:0",
        "expanded_conv-input:28x28x40-output:28x28x40-expand:6-kernel:4-stride:1-idskip:1",
        "expanded_conv-input:28x28x40-output:14x14x40-expand:6-kernel:3-stride:1-idskip:0",
        "expanded_conv-input:28x28x40-output:28x28x40-expand:100-kernel:3-stride:1-idskip:1"
        "-se:0-hs:0",
        "Conv-input:224x224x3-output:224x224x32",
        "something else",
    ],
)
def test_keys_that_are_no_operator_of_ours_are_known_by_name_only(key: str) -> None:
    assert ofa_operator(key, mobile_v3=False) is None


@pytest.mark.parametrize(
    ("channels", "width"), [(16, 8), (72, 24), (160, 40), (960, 240), (100, 24)]
)
def test_a_squeeze_is_a_quarter_in_eights(channels: int, width: int) -> None:
    assert squeeze_width(channels) == width


def test_an_export_for_these_projects_has_milliseconds_of_processes(tmp_path: Path) -> None:
    path = table(tmp_path / "a.lut", [OP, DOWN])
    done = export_table(path, tmp_path / "a.yaml", to="ofa")
    entries = yaml.safe_load((tmp_path / "a.yaml").read_text())
    key = "expanded_conv-input:14x14x16-output:14x14x16-expand:6-kernel:5-stride:1-idskip:1"
    assert entries[key] == {
        "count": 2,
        "mean": pytest.approx(5.1),
        "var": pytest.approx(0.02),  # of 5.0 and 5.2
    }
    assert entries[key]["mean"] == pytest.approx(load_table(path)[OP] * 1e3)
    assert str(DOWN) in done.left_out
    assert done.rows + len(done.left_out) == len(load_table(path))
    assert done.rows == len(entries)


def test_one_process_has_no_variance(tmp_path: Path) -> None:
    export_table(table(tmp_path / "a.lut", [OP], processes=1), tmp_path / "a.yaml", to="ofa")
    entries = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert all(set(entry) == {"count", "mean"} for entry in entries.values())


def test_a_table_with_squeeze_excite_is_in_the_other_dialect(tmp_path: Path) -> None:
    table(tmp_path / "a.lut", [WIDE, MBConv(input_shape=SHAPE, channels=16)])
    export_table(tmp_path / "a.lut", tmp_path / "a.yaml", to="ofa")
    assert all("-se:" in key for key in yaml.safe_load((tmp_path / "a.yaml").read_text()))


QUOTED = """
expanded_conv-input:7x7x192-output:7x7x320-expand:6-kernel:5-stride:1-idskip:0:
  count: 154
  mean: 5.264772727272727
  var: 0.19495998666150827
Logits-input:7x7x1280-output:1000:
  count: 154
  mean: 0.5
  var: 0.0
"""
"""The first as an issue of once-for-all quotes it."""


def test_their_table_is_looked_up_by_their_keys(tmp_path: Path) -> None:
    (tmp_path / "mobile_trim.yaml").write_text(QUOTED)
    done = import_table(tmp_path / "mobile_trim.yaml", tmp_path / "phone.lut")
    assert (done.rows, done.operators) == (2, 1)
    phone = load_foreign(tmp_path / "phone.lut")
    row = phone["expanded_conv-input:7x7x192-output:7x7x320-expand:6-kernel:5-stride:1-idskip:0"]
    assert row.latency_s == pytest.approx(5.264772727e-3)
    assert row.spread_s == pytest.approx(0.19495998666**0.5 * 1e-3)
    assert row.count == 154
    assert row.op == MBConv(input_shape=(1, 192, 7, 7), channels=320, kernel=5, activation="relu6")
    assert phone.conditions.device.name == "phone"
    assert phone.conditions.environment["source"] == "mobile_trim.yaml"
    assert phone.operators == {row.op: row}


def test_their_tables_as_json_with_a_deviation_are_read_too(tmp_path: Path) -> None:
    entry = {"AvgPool2D-input:5x5x1152-output:1x1x1152": {"count": 9, "mean": 2.0, "std": 0.5}}
    (tmp_path / "160.json").write_text(json.dumps(entry))
    import_table(tmp_path / "160.json", tmp_path / "jetson.lut")
    (row,) = load_foreign(tmp_path / "jetson.lut").values()
    assert (row.latency_s, row.spread_s) == (0.002, 0.0005)


def test_an_entry_without_a_mean_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("Conv-input:1x1x3-output:1x1x3: {count: 3}\n")
    said = refusal(lambda: import_table(tmp_path / "a.yaml", tmp_path / "b.lut"))
    assert "'Conv-input:1x1x3-output:1x1x3' has no mean" in said


def test_their_table_leaves_as_it_came(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(QUOTED)
    import_table(tmp_path / "a.yaml", tmp_path / "a.lut")
    export_table(tmp_path / "a.lut", tmp_path / "b.yaml", to="ofa")
    before, after = yaml.safe_load(QUOTED), yaml.safe_load((tmp_path / "b.yaml").read_text())
    assert after.keys() == before.keys()
    for key in before:
        assert after[key] == pytest.approx(before[key])


def test_what_was_imported_prices_no_space(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(QUOTED)
    import_table(tmp_path / "a.yaml", tmp_path / "a.lut")
    imported = load_table(tmp_path / "a.lut")
    assert len(imported) == 0
    with pytest.raises((MissingLatency, NotCalibrated)):
        latency_model(imported, space_named("macro"))


def test_a_key_that_is_not_there_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(QUOTED)
    import_table(tmp_path / "a.yaml", tmp_path / "a.lut")
    with pytest.raises(MissingLatency, match="the nearest is 'expanded_conv-input:7x7x192"):
        load_foreign(tmp_path / "a.lut")["expanded_conv-input:6x6x192"]
    with pytest.raises(MissingLatency, match="the nearest is 'expanded_conv-input:7x7x192"):
        load_foreign(tmp_path / "a.lut")["zzz"]


# Lists.


def fbnet(op_type: str, p50_us: float, **others: Any) -> str:
    return json.dumps(
        {
            "op_type": op_type,
            "op_args": ['name: "stride"\ni: 2\n'],
            "input_shapes": [[1, 224, 224, 3], [32, 3, 3, 3], [32]],
            "input_dtypes": [4, 4, 2],
            "device": "SM-G950U-7.0-24",
            "runtime_us_p50": p50_us,
            **others,
        }
    )


def test_fbnets_list_has_the_median_and_a_spread_of_deciles(tmp_path: Path) -> None:
    lines = [
        fbnet("Int8ConvRelu", 960.0, runtime_us_p10=940.0, runtime_us_p90=991.263),
        fbnet("Int8Quantize", 127.0),
    ]
    (tmp_path / "lut.json").write_text("\n".join(lines) + "\n")
    done = import_table(tmp_path / "lut.json", tmp_path / "s8.lut")
    assert (done.rows, done.operators) == (2, 0)
    convolution, quantize = load_foreign(tmp_path / "s8.lut").values()
    assert convolution.latency_s == pytest.approx(960e-6)
    assert convolution.spread_s == pytest.approx(20e-6, rel=1e-3)  # 51.263 / 2.563
    assert json.loads(convolution.key)["op_type"] == "Int8ConvRelu"
    assert quantize.latency_s == pytest.approx(127e-6)
    assert quantize.spread_s is None


def test_an_entry_that_comes_twice_is_a_mean_of_two(tmp_path: Path) -> None:
    (tmp_path / "lut.json").write_text(f"{fbnet('FC', 100.0)}\n{fbnet('FC', 200.0)}\n")
    assert import_table(tmp_path / "lut.json", tmp_path / "a.lut").rows == 1
    (row,) = load_foreign(tmp_path / "a.lut").values()
    assert row.latency_s == pytest.approx(150e-6)
    assert row.count == 2
    assert row.spread_s == pytest.approx(100e-6 / 2**0.5)


def test_a_line_of_fbnets_list_without_its_median_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lut.json").write_text(fbnet("FC", 1.0).replace("p50", "p5"))
    said = refusal(lambda: import_table(tmp_path / "lut.json", tmp_path / "a.lut"))
    assert "runtime_us_p50" in said


@pytest.mark.parametrize(
    ("unit", "latency"), [("latency_s", "0.002"), ("latency_ms", "2.0"), ("latency_us", "2000")]
)
def test_a_list_says_its_unit_in_the_name_of_the_column(
    tmp_path: Path, unit: str, latency: str
) -> None:
    (tmp_path / "a.csv").write_text(f"op,{unit}\nmine,{latency}\n")
    import_table(tmp_path / "a.csv", tmp_path / "a.lut")
    assert load_foreign(tmp_path / "a.lut")["mine"].latency_s == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("name", "op"),
    [
        (
            "ConvBlock_H28_W28_Cin40_Cout80_exp6_kernel5_stride2_group1",
            MBConv(input_shape=(1, 40, 28, 28), channels=80, kernel=5, stride=2, expand=6),
        ),
        (
            "ConvNorm_H64_W128_Cin3_Cout32_kernel3_stride2",
            Conv(input_shape=(1, 3, 64, 128), channels=32, kernel=3, stride=2, activation="relu"),
        ),
        ("ConvBlock_H28_W28_Cin40_Cout80_exp1_kernel5_stride2_group1", None),
        ("ConvBlock_H28_W28_Cin40_Cout80_exp6_kernel5_stride2_group2", None),
        ("FactorizedReduce_H28_W28_Cin40_Cout80_stride2", None),
    ],
)
def test_names_of_fbnets_blocks_are_read_where_they_are_ours(
    tmp_path: Path, name: str, op: OpSpec | None
) -> None:
    (tmp_path / "a.csv").write_text(f"op,latency_ms\n{name},1.5\n")
    import_table(tmp_path / "a.csv", tmp_path / "a.lut")
    assert load_foreign(tmp_path / "a.lut")[name].op == op


@pytest.mark.parametrize(
    "text",
    [
        "op,latency_ms\nmine\n",
        "op,latency_ms\nmine,1.0,2.0\n",
        "op,latency_ms\nmine,fast\n",
        "op,latency_ms\nmine,-1\n",
        "op,latency_ms\nmine,nan\n",
        "op,latency_ms,latency_us\nmine,1,1000\n",
        "latency_ms\n1\n",
    ],
)
def test_a_list_with_a_wrong_line_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    refusal(lambda: import_table(tmp_path / "a.csv", tmp_path / "a.lut"))
    assert not (tmp_path / "a.lut").exists()


shared_data = pytest.mark.skipif(
    "LATKIT_DATA" not in os.environ, reason="LATKIT_DATA is unset: no published lists here"
)


@shared_data
def test_the_convolutions_of_a_v100_through_tensorrt_come_in(tmp_path: Path) -> None:
    source = Path(os.environ["LATKIT_DATA"]) / "op_tables/v100_tensorrt_conv_fp16.csv.gz"
    done = import_table(source, tmp_path / "v100.lut")
    assert done.rows == 89_759
    rows = load_foreign(tmp_path / "v100.lut")
    key = "type=Regular batch=128 in_c=3 in_h=480 in_w=480 out_c=128 kernel=7 stride=2 fused=1"
    assert rows[key].latency_s == pytest.approx(14.6305e-3)
    assert rows[key].op is None  # an addition is fused into it
    plain = "type=Regular batch=1 in_c=160 in_h=6 in_w=6 out_c=160 kernel=5 stride=1 fused=0"
    assert rows[plain].op == Conv(input_shape=(1, 160, 6, 6), channels=160, kernel=5)


@shared_data
def test_the_blocks_of_fasterseg_come_in(tmp_path: Path) -> None:
    source = Path(os.environ["LATKIT_DATA"]) / "op_tables/fasterseg_1080ti_tensorrt.csv"
    done = import_table(source, tmp_path / "1080ti.lut")
    assert (done.rows, done.operators) == (667, 28)
    rows = load_foreign(tmp_path / "1080ti.lut")
    assert rows["ff_H128_W256_C288"].latency_s == pytest.approx(0.7570482510736463e-3)
    first = rows["ConvNorm_H1024_W2048_Cin3_Cout32_kernel3_stride2"]
    assert first.op is not None
    assert first.op.output_shape == (1, 32, 512, 1024)
