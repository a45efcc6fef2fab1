"""The dialogue with an agent, and what is sent to it, where something goes wrong in the middle."""

import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from devices import DeviceSpec, DeviceUnavailable, Graph, Transport, backend_for
from devices.remote.agent_site import Site
from devices.transport import Connection, LinkCut, connect


@pytest.fixture
def near(tmp_path: Path) -> DeviceSpec:
    """This machine, as if it were another one."""
    way = Transport(kind="local", python=sys.executable, folder=str(tmp_path / "there"))
    return DeviceSpec(name="near", backend="onnxruntime", transport=way)


def site_of(device: DeviceSpec) -> Site:
    assert device.transport is not None
    return Site(connect(device.transport), device)


def with_weights(folder: Path, *names: str) -> Graph:
    """Return a graph whose weights, one number each, lie in files of these names."""
    folder.mkdir()
    weights = []
    for name in names:
        (folder / name).write_bytes(bytes(4))
        weight = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=name)
        weights.append(weight)
    graph = helper.make_graph([], "weights alone", [], [], weights)
    made: onnx.ModelProto = helper.make_model(graph)
    return Graph(onnx=made.SerializeToString(), inputs=(), folder=folder)


def there(device: DeviceSpec, graph: Graph) -> list[str]:
    """Send a graph from a new process, as it were; return the files of its weights there."""
    assert device.transport is not None
    outside = site_of(device).send(graph)["outside"]
    return sorted(path.name for path in Path(device.transport.folder, "graphs", outside).iterdir())


def test_weights_that_were_sent_by_half_are_sent_anew(
    near: DeviceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, pushed = with_weights(tmp_path / "model", "a.bin", "b.bin"), Connection.push

    def cut(connection: Connection, source: Path, target: str) -> None:
        if source.name == "b.bin":
            raise LinkCut("somebody pulled the cable")
        pushed(connection, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "push", cut)
        with pytest.raises(LinkCut):
            site_of(near).send(graph)
    assert there(near, graph) == ["a.bin", "b.bin"]


def test_weights_are_sent_once(
    near: DeviceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = with_weights(tmp_path / "model", "a.bin")
    site_of(near).send(graph)
    monkeypatch.setattr(Connection, "push", None)
    assert there(near, graph) == ["a.bin"]


def test_the_same_weights_under_another_name_are_sent_under_that(
    near: DeviceSpec, tmp_path: Path
) -> None:
    assert there(near, with_weights(tmp_path / "one", "a.bin")) == ["a.bin"]
    assert there(near, with_weights(tmp_path / "other", "b.bin")) == ["b.bin"]


def test_an_answer_that_comes_late_is_not_that_of_the_next_question(
    near: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_for(near)
    before = backend.environment()
    with monkeypatch.context() as patch:
        patch.setattr("devices.remote.agent_site.ANSWER_S", -0.9)
        with pytest.raises(LinkCut, match="said nothing for 0 s"):
            backend.host.rest(1.0)  # which is waited for during 0.1 s
    assert backend.environment() == before


def test_a_device_that_was_refused_is_refused_again_for_the_same_reason(near: DeviceSpec) -> None:
    many = DeviceSpec(name="many", backend="onnxruntime", threads=1000, transport=near.transport)
    backend = backend_for(many)
    for _ in range(2):
        with pytest.raises(DeviceUnavailable, match="'many' wants 1000 threads"):
            backend.environment()
