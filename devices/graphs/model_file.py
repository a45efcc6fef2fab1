"""Any ONNX file as what a device eats.

Needs onnx; import it by name, where a file is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from devices.errors import InvalidFile, LatkitError, UnknownName, UnsupportedGraph
from devices.graph import Graph, Shape
from devices.graphs.inputs import INPUT_TYPES

LARGEST = 2**31
"""Bytes at which an ONNX file ends; larger networks keep their weights in files beside it."""

SHAPE_HINT = "write NAME=1,3,224,224, or 1,3,224,224 alone where there is one input"


class UnfitShape(LatkitError):
    """The inputs of a model need other sizes than were given, or more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A network as somebody brought it.

    Attributes:
        graph: The file as it is, with a shape for every input.
        assumed: What was settled without being asked for, one sentence each.
    """

    graph: Graph
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """An input as the file declares it.

    Attributes:
        name: In the file.
        dims: Sizes; where one is open, its name there or an empty text. None for any rank.
        dtype: NumPy name of the type.
    """

    name: str
    dims: tuple[int | str, ...] | None
    dtype: str

    def __str__(self) -> str:
        if self.dims is None:
            return f"{self.name} (any rank)"
        return f"{self.name} [{', '.join(str(size or '?') for size in self.dims)}]"

    @property
    def flag(self) -> str:
        """What to type on the command line, with names where numbers are missing."""
        sizes = ("...",) if self.dims is None else (str(size or "?") for size in self.dims)
        return f"--shape {self.name}={','.join(sizes)}"

    def takes(self, shape: Shape) -> bool:
        """Whether a shape has the right rank and the sizes that are fixed."""
        if self.dims is None:
            return True
        return len(shape) == len(self.dims) and all(
            isinstance(size, str) or size == given
            for size, given in zip(self.dims, shape, strict=True)
        )

    def filled(self, sizes: Mapping[str, int]) -> tuple[int | str, ...] | None:
        """Return the sizes with what is known of the open ones."""
        if self.dims is None:
            return None
        return tuple(sizes.get(d, d) if isinstance(d, str) else d for d in self.dims)


def shapes_from_text(texts: Sequence[str]) -> dict[str, Shape]:
    """Read ``images=1,3,224,224``; a shape without a name is kept under the empty one.

    Raises:
        UnfitShape: A text is no shape, or two are for the same input.
    """
    shapes: dict[str, Shape] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")  # names of inputs may have an = of their own
        numbers = sizes.split(",") if sizes else []
        if not (numbers or name) or not all(number.strip().isdecimal() for number in numbers):
            raise UnfitShape(f"--shape {text}: {SHAPE_HINT}")
        if name in shapes:
            raise UnfitShape(f"--shape {text}: this input has a shape already; {SHAPE_HINT}")
        shapes[name] = tuple(map(int, numbers))
    return shapes


def read_model(
    path: Path, *, shapes: Mapping[str, Shape] | None = None, batch: int = 1
) -> ModelFile:
    """Read an ONNX file, whatever exporter wrote it.

    Open sizes that have a name are the same in every input, so one shape may settle several. A
    leading size that is open in the inputs and looks like the batch needs no shape.

    Args:
        path: The file; weights that it keeps outside lie beside it.
        shapes: Input name to shape; the empty name stands for the only input.
        batch: What an open batch is taken to be.

    Raises:
        InvalidFile: The file cannot be read, or is no ONNX, or a part of it is missing.
        UnfitShape: Sizes are open, or do not fit the file.
        UnknownName: A shape is for an input that the file does not have.
        UnsupportedGraph: An input is no tensor of numbers.
    """
    content = _content(path)
    model = _parsed(content, path)
    inputs = _inputs(model, path)
    given = _by_name(shapes or {}, inputs, path)
    settled, assumed = _settled(inputs, given, batch)
    open_ = [each for each in inputs if each.name not in settled]
    if open_:
        raise UnfitShape(
            f"{path} leaves sizes open: {', '.join(map(str, open_))}. "
            f"Give them as numbers: {' '.join(each.flag for each in open_)}"
        )
    graph = Graph(
        onnx=content,
        inputs=tuple((each.name, settled[each.name]) for each in inputs),
        dtypes=tuple(each.dtype for each in inputs),
        folder=_weights_folder(model, path),
    )
    return ModelFile(graph=graph, assumed=assumed)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size >= LARGEST:
            raise InvalidFile(f"{path} is no ONNX file: those end at 2 GB, it is larger")
        return path.read_bytes()
    except OSError as error:
        raise InvalidFile(f"cannot read {path}: {error.strerror}") from error


def _parsed(content: bytes, path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise InvalidFile(f"{path} is no ONNX file, or only a part of one") from error
    # Protocol buffers take almost anything, and a file may be cut off where a field ends.
    missing = [
        what
        for what, there in (
            ("nodes", model.graph.node),
            ("outputs", model.graph.output),
            ("operator set", model.opset_import),
        )
        if not there
    ]
    if missing:
        raise InvalidFile(f"{path} is no ONNX network: it has no {', no '.join(missing)}")
    return model


def _inputs(model: onnx.ModelProto, path: Path) -> list[_Input]:
    """Return what has to be fed: not the weights, which old files list as inputs, too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [_input(value, path) for value in model.graph.input if value.name not in weights]


def _input(value: onnx.ValueInfoProto, path: Path) -> _Input:
    kind = value.type.WhichOneof("value")
    tensor = value.type.tensor_type
    if kind != "tensor_type":
        what = (kind or "value of unknown type").removesuffix("_type").replace("_", " ")
        raise UnsupportedGraph(f"input {value.name!r} of {path} is a {what}: only tensors are fed")
    onnx_names = {number: text.lower() for text, number in onnx.TensorProto.DataType.items()}
    dtype = onnx_names.get(tensor.elem_type, f"type {tensor.elem_type}")
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    if dtype not in INPUT_TYPES:
        raise UnsupportedGraph(
            f"input {value.name!r} of {path} takes {dtype}: only numbers of the types "
            f"{', '.join(INPUT_TYPES)} are fed"
        )
    dims = tuple(map(_size, tensor.shape.dim)) if tensor.HasField("shape") else None
    return _Input(name=value.name, dims=dims, dtype=dtype)


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    """Return a size, or the name of an open one; some exporters write -1 for those."""
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return str(dim.dim_param)


def _by_name(shapes: Mapping[str, Shape], inputs: Sequence[_Input], path: Path) -> dict[str, Shape]:
    """Check the shapes that were given, and give the nameless one its name."""
    names = [each.name for each in inputs]
    if "" in shapes and len(names) != 1:
        raise UnfitShape(f"{path} has {len(names)} inputs ({', '.join(names)}): {SHAPE_HINT}")
    given = {name or names[0]: shape for name, shape in shapes.items()}
    for name in given:
        if name not in names:
            raise UnknownName("input", name, names, cure=f"The file is {path}.")
    for each in inputs:
        if each.name in given and not each.takes(given[each.name]):
            shape = ",".join(map(str, given[each.name]))
            raise UnfitShape(f"--shape {shape} does not fit input {each} of {path}: {each.flag}")
    return given


def _settled(
    inputs: Sequence[_Input], given: Mapping[str, Shape], batch: int
) -> tuple[dict[str, Shape], tuple[str, ...]]:
    """Return the shapes that are known, and what had to be assumed for them."""
    sizes = _named_sizes(inputs, given)
    others = [each for each in inputs if each.name not in given]
    assumed: tuple[str, ...] = ()
    batch_name = _lone_batch([each.filled(sizes) for each in others])
    if batch_name is not None:
        sizes[batch_name] = batch
        called = f" ({batch_name})" if batch_name else ""
        assumed = (f"the batch{called} is open in the file and was taken as {batch}",)
    settled = dict(given)
    for each in others:
        filled = each.filled(sizes)
        if filled is not None and not any(map(_open, filled)):
            settled[each.name] = tuple(map(int, filled))
    return settled, assumed


def _named_sizes(inputs: Sequence[_Input], given: Mapping[str, Shape]) -> dict[str, int]:
    """Return what the given shapes say about sizes that have a name in the file."""
    sizes: dict[str, int] = {}
    for each in inputs:
        for name, size in zip(each.dims or (), given.get(each.name, ()), strict=False):
            if isinstance(name, str) and name:
                sizes.setdefault(name, size)
    return sizes


def _lone_batch(shapes: Sequence[tuple[int | str, ...] | None]) -> str | None:
    """Return the name of the open batch, if that alone is open: first, and called like one."""
    if None in shapes:
        return None
    spots = [(i, d) for dims in shapes for i, d in enumerate(dims or ()) if isinstance(d, str)]
    labels = {label for _, label in spots}
    images = any(len(dims) > 1 and _open(dims[0]) for dims in shapes if dims)
    if len(labels) != 1 or any(i for i, _ in spots) or not images:
        return None
    (label,) = labels
    likely = label.lower() in ("", "n", "b", "bs", "none") or "batch" in label.lower()
    return label if likely else None


def _open(size: int | str) -> bool:
    return isinstance(size, str)


def _weights_folder(model: onnx.ModelProto, path: Path) -> Path | None:
    """Return where outside weights lie, if there are any and all of them are there.

    Raises:
        InvalidFile: A file of weights is missing or too short, or lies elsewhere.
    """
    outside = [tensor for tensor in _tensors(model.graph) if uses_external_data(tensor)]
    for tensor in outside:
        data = ExternalDataInfo(tensor)
        beside = path.parent / _within(data.location, whose=str(path))
        if not beside.is_file():
            raise InvalidFile(f"{path} keeps weights in {data.location}, which is not beside it")
        if (data.offset or 0) + (data.length or 0) > beside.stat().st_size:
            raise InvalidFile(f"{beside} is too short for the weights that {path} keeps in it")
    return path.parent.resolve() if outside else None


def weight_files(graph: Graph) -> list[str]:
    """Return the files in which a graph's weights lie, relative to its folder, each once.

    Raises:
        InvalidFile: One lies elsewhere.
    """
    model = onnx.load_model_from_string(graph.onnx)
    outside = [tensor for tensor in _tensors(model.graph) if uses_external_data(tensor)]
    names = {ExternalDataInfo(tensor).location for tensor in outside}
    return sorted(_within(name, whose=f"a graph in {graph.folder}") for name in names)


def _within(location: str, *, whose: str) -> str:
    """Return where weights lie if that is in the model's folder: a stranger's file names it.

    Raises:
        InvalidFile: It is elsewhere.
    """
    if location.startswith("/") or ".." in location.split("/"):
        raise InvalidFile(
            f"{whose} keeps weights in {location}, outside of its own folder: put them beside it, "
            "or below, and save it anew with that location"
        )
    return location


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every constant of a graph, of its branches and of its loops."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from _tensors(attribute.g)
