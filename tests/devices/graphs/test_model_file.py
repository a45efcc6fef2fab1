"""Model files as people have them, and what is said about those that cannot be read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from devices import (
    IR_VERSION,
    OPSET,
    Graph,
    InvalidFile,
    LatkitError,
    Shape,
    UnknownName,
    UnsupportedGraph,
)
from devices.graphs.model_file import UnfitShape, read_model, shapes_from_text, weight_files

Dims = Sequence[int | str | None] | None


def model_of(
    inputs: Mapping[str, tuple[int, Dims]], *, listed: Sequence[str] = ()
) -> onnx.ModelProto:
    """Return a model that needs these inputs; ``listed`` weights are among its inputs, too."""
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    declared = [helper.make_tensor_value_info(n, *kind) for n, kind in inputs.items()]
    declared += [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 4]) for n in listed]
    nodes = [helper.make_node("Identity", [n], [f"{n}_out"]) for n in (*inputs, "w")]
    outputs = [helper.make_tensor_value_info("w_out", TensorProto.FLOAT, None)]
    return helper.make_model(
        helper.make_graph(nodes, "a model", declared, outputs, [weight]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def floats(**inputs: Dims) -> onnx.ModelProto:
    return model_of({name: (TensorProto.FLOAT, dims) for name, dims in inputs.items()})


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def shapes(path: Path, batch: int = 1, **given: Shape) -> dict[str, Shape]:
    return dict(read_model(path, shapes=given, batch=batch).graph.inputs)


def complaint(path: Path, shapes: Mapping[str, Shape] | None = None) -> tuple[LatkitError, str]:
    """Return what is said about a file: one line."""
    with pytest.raises(LatkitError) as raised:
        read_model(path, shapes=shapes)
    assert "\n" not in str(raised.value)
    return raised.value, str(raised.value).replace(str(path), "FILE")


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, floats(images=[1, 3, 8, 8]))
    read = read_model(path)
    assert read.graph == Graph(
        onnx=path.read_bytes(), inputs=(("images", (1, 3, 8, 8)),), dtypes=("float32",)
    )
    assert read.assumed == ()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.INT64, "int64"),
        (TensorProto.UINT8, "uint8"),
        (TensorProto.BOOL, "bool"),
    ],
)
def test_every_input_has_its_type(tmp_path: Path, kind: int, name: str) -> None:
    model = model_of({"x": (TensorProto.FLOAT, [2]), "y": (kind, [])})
    graph = read_model(saved(tmp_path, model)).graph
    assert graph.typed_inputs == (("x", (2,), "float32"), ("y", (), name))


def test_weights_that_are_listed_as_inputs_are_none(tmp_path: Path) -> None:
    model = model_of({"x": (TensorProto.FLOAT, [2])}, listed=["w"])
    assert shapes(saved(tmp_path, model)) == {"x": (2,)}


@pytest.mark.parametrize("name", ["batch", "batch_size", "N", None])
def test_an_open_batch_is_that_of_the_device_and_said(tmp_path: Path, name: str | None) -> None:
    path = saved(tmp_path, floats(images=[name, 3, 8, 8], other=[name, 2]))
    assert shapes(path, batch=4) == {"images": (4, 3, 8, 8), "other": (4, 2)}
    (said,) = read_model(path, batch=4).assumed
    assert "is open in the file and was taken as 4" in said


@pytest.mark.parametrize(
    "dims", [["sequence", 8], ["batch"], ["batch", "width"], [8, "batch"], ["s0", 3, 8, 8]]
)
def test_nothing_else_is_assumed(tmp_path: Path, dims: Dims) -> None:
    error, said = complaint(saved(tmp_path, floats(x=dims)))
    assert isinstance(error, UnfitShape)
    assert "FILE leaves sizes open: x [" in said


def test_open_sizes_are_named_with_what_to_type(tmp_path: Path) -> None:
    path = saved(tmp_path, floats(ids=["batch", "length"], mask=[None, 8, 2], fixed=[3], any=None))
    _, said = complaint(path)
    assert said == (
        "FILE leaves sizes open: ids [batch, length], mask [?, 8, 2], any (any rank). "
        "Give them as numbers: --shape ids=batch,length --shape mask=?,8,2 --shape any=..."
    )


def test_a_shape_settles_the_sizes_of_the_same_name(tmp_path: Path) -> None:
    path = saved(tmp_path, floats(ids=["batch", "length"], mask=["batch", 1, "length"]))
    assert shapes(path, ids=(2, 7)) == {"ids": (2, 7), "mask": (2, 1, 7)}


def test_a_shape_leaves_a_lone_batch_elsewhere_to_the_device(tmp_path: Path) -> None:
    path = saved(tmp_path, floats(tokens=["length"], images=["batch", 4]))
    assert shapes(path, batch=3, tokens=(5,)) == {"tokens": (5,), "images": (3, 4)}


def test_a_shape_without_a_name_is_of_the_only_input(tmp_path: Path) -> None:
    path = saved(tmp_path, floats(x=["n", 3, "h", "w"]))
    assert dict(read_model(path, shapes={"": (1, 3, 5, 6)}).graph.inputs) == {"x": (1, 3, 5, 6)}
    _, said = complaint(saved(tmp_path, floats(x=["a"], y=["b"])), {"": (1,)})
    assert said.startswith("FILE has 2 inputs (x, y): write NAME=1,3,224,224")


def test_any_rank_takes_any_shape(tmp_path: Path) -> None:
    assert shapes(saved(tmp_path, floats(x=None)), x=(2, 0, 3)) == {"x": (2, 0, 3)}


@pytest.mark.parametrize("shape", [(1, 3), (1, 4, 8), (1, 3, 8, 8)])
def test_a_shape_that_does_not_fit_is_refused(tmp_path: Path, shape: Shape) -> None:
    error, said = complaint(saved(tmp_path, floats(x=["n", 3, "w"])), {"x": shape})
    assert isinstance(error, UnfitShape)
    assert said.endswith("does not fit input x [n, 3, w] of FILE: --shape x=n,3,w")


def test_a_shape_for_an_unknown_input_names_the_nearest(tmp_path: Path) -> None:
    error, said = complaint(saved(tmp_path, floats(images=["n", 3])), {"image": (1, 3)})
    assert isinstance(error, UnknownName)
    assert said == "no input is called 'image'; the nearest is 'images'. The file is FILE."


def test_shapes_are_read_from_text() -> None:
    texts = ["x:0=1,3", "a=b=4", "1, 2", "scalar="]
    assert shapes_from_text(texts) == {"x:0": (1, 3), "a=b": (4,), "": (1, 2), "scalar": ()}


@pytest.mark.parametrize("text", ["", "x=1,a", "x=1,,2", "x=-1,3", "x", "x=1.5"])
def test_a_text_that_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(UnfitShape, match=r"write NAME=1,3,224,224"):
        shapes_from_text([text])


def test_two_shapes_for_one_input_are_refused() -> None:
    with pytest.raises(UnfitShape, match="has a shape already"):
        shapes_from_text(["x=1", "x=2"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "FILE is no ONNX network: it has no nodes, no outputs, no operator set"),
        (b"version https://git-lfs.github.com/spec/v1\n", "FILE is no ONNX file"),
        (b"\xff\xfe\x00", "FILE is no ONNX file"),
    ],
)
def test_what_is_no_onnx_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    error, text = complaint(path)
    assert isinstance(error, InvalidFile)
    assert text.startswith(said)


def test_a_file_that_was_cut_off_is_refused_wherever_that_was(tmp_path: Path) -> None:
    path = saved(tmp_path, floats(x=[1, 3]))
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert isinstance(complaint(path)[0], InvalidFile), length


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none.onnx")[1] == "cannot read FILE: No such file or directory"
    assert complaint(tmp_path)[1] == "cannot read FILE: Is a directory"


def test_a_file_beyond_the_limit_of_the_format_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # takes no space
    assert complaint(path)[1] == "FILE is no ONNX file: those end at 2 GB, it is larger"


@pytest.mark.parametrize(
    ("kind", "said"),
    [(TensorProto.STRING, "takes string"), (TensorProto.BFLOAT16, "takes bfloat16")],
)
def test_an_input_that_is_no_plain_number_is_refused(tmp_path: Path, kind: int, said: str) -> None:
    error, text = complaint(saved(tmp_path, model_of({"x": (kind, [2])})))
    assert isinstance(error, UnsupportedGraph)
    assert f"input 'x' of FILE {said}" in text


def test_an_input_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    model = floats(x=[1])
    several = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1]))
    model.graph.input[0].type.CopyFrom(several)
    _, said = complaint(saved(tmp_path, model))
    assert said == "input 'x' of FILE is a sequence: only tensors are fed"


def outside(folder: Path) -> Path:
    """Save a model with its weights in ``weights.bin`` beside it."""
    path = folder / "model.onnx"
    onnx.save(
        floats(x=[1]), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return path


def test_weights_outside_are_looked_for_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = outside(tmp_path)
    monkeypatch.chdir(tmp_path)
    for spelling in (path, Path("model.onnx")):
        assert read_model(spelling).graph.folder == tmp_path.resolve()
    assert read_model(saved(tmp_path, floats(x=[1]))).graph.folder is None


def test_missing_and_cut_off_weights_are_named(tmp_path: Path) -> None:
    path, weights = outside(tmp_path), tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:10])
    assert complaint(path)[1] == f"{weights} is too short for the weights that FILE keeps in it"
    weights.unlink()
    assert complaint(path)[1] == "FILE keeps weights in weights.bin, which is not beside it"


def test_weights_outside_are_found_in_branches(tmp_path: Path) -> None:
    path = outside(tmp_path)
    inner = onnx.load(path, load_external_data=False).graph
    node = helper.make_node("If", ["x"], ["w_out"], then_branch=inner, else_branch=inner)
    model = floats(x=[1])
    model.graph.node.append(node)
    path.write_bytes(model.SerializeToString())
    assert read_model(path).graph.folder == tmp_path.resolve()
    (tmp_path / "weights.bin").unlink()
    assert "weights.bin, which is not beside it" in complaint(path)[1]


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret"])
def test_weights_that_leave_the_folder_of_the_model_are_refused(
    tmp_path: Path, location: str
) -> None:
    (tmp_path / "model" / "a").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(100))
    path = outside(tmp_path / "model")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    error, said = complaint(path)
    assert isinstance(error, InvalidFile)
    assert said.startswith(f"FILE keeps weights in {location}, outside of its own folder: put them")
    graph = Graph(onnx=path.read_bytes(), inputs=(("x", (1,)),), folder=path.parent)
    with pytest.raises(InvalidFile, match=f"keeps weights in {location}, outside of its own"):
        weight_files(graph)


def test_weights_below_the_folder_of_the_model_are_found(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    path = tmp_path / "model.onnx"
    model, where = floats(x=[1]), "weights/all.bin"
    onnx.save(model, path, save_as_external_data=True, location=where, size_threshold=0)
    assert weight_files(read_model(path).graph) == [where]


def test_types_that_do_not_match_the_inputs_are_no_graph() -> None:
    with pytest.raises(ValueError, match="1 inputs have 2 types"):
        Graph(onnx=b"", inputs=(("x", (1,)),), dtypes=("float32", "int64"))
