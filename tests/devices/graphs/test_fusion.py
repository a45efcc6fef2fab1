from collections.abc import Sequence

import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper

from devices.graphs.fusion import fusion


def graph(nodes: Sequence[NodeProto]) -> GraphProto:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
    return helper.make_graph(nodes, "a graph", [x], [y])


def model(*nodes: NodeProto) -> bytes:
    made: onnx.ModelProto = helper.make_model(graph(nodes))
    return made.SerializeToString()


def node(op: str, result: str, *, name: str = "", **attributes: object) -> NodeProto:
    return helper.make_node(op, ["x"], [result], name=name, **attributes)


BEFORE = model(node("Conv", "a", name="conv"), node("Relu", "b"), node("Conv", "y", name="last"))


def test_operators_are_counted_before_and_after() -> None:
    after = model(node("FusedConv", "b"), node("Conv", "y"))
    change = fusion(BEFORE, after)
    assert change.before == {"Conv": 2, "Relu": 1}
    assert change.after == {"FusedConv": 1, "Conv": 1}


def test_a_node_whose_result_nobody_computes_is_gone() -> None:
    assert fusion(BEFORE, BEFORE).gone == ()
    assert fusion(BEFORE, model(node("FusedConv", "b"), node("Conv", "y"))).gone == ("conv",)
    assert fusion(BEFORE, model(node("All", "y"))).gone == ("conv", "b")


def test_a_node_that_moved_to_another_layout_is_not_gone() -> None:
    blocked = model(node("Conv", "t0", name="b_nchwc"), node("Conv", "t1", name="y_nchwc"))
    assert fusion(BEFORE, blocked).gone == ("conv",)


def test_constants_are_no_computation() -> None:
    value = helper.make_tensor("c", TensorProto.FLOAT, [1], [0.0])
    before = model(helper.make_node("Constant", [], ["c"], value=value), node("Relu", "y"))
    assert fusion(before, model(node("Relu", "y"))).gone == ()


def test_branches_count_too() -> None:
    both = {f"{side}_branch": graph([node("Relu", "y", name=side)]) for side in ("then", "else")}
    change = fusion(model(node("If", "y", **both)), model(node("If", "y")))
    assert change.before == {"If": 1, "Relu": 2}
    assert change.gone == ()  # what has the same name cannot be told apart
