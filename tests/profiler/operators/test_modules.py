import pytest
import torch
from torch import nn

from profiler import Conv, Head, MBConv, OpSpec, Pool, Skip, Unified, parameters
from profiler.operators.modules import ACTIVATIONS, DepthwiseParts, build, deployed
from profiler.operators.primitives import Activation

OPERATORS: list[OpSpec] = [
    Conv(input_shape=(1, 3, 15, 9), channels=6, kernel=3, stride=2, activation="relu"),
    Conv(input_shape=(1, 4, 7, 7), channels=6, stride=2),
    Conv(input_shape=(2, 4, 1, 1), channels=5, kernel=5, stride=2),
    MBConv(input_shape=(1, 4, 7, 7), channels=4, kernel=5, expand=3),
    MBConv(input_shape=(1, 4, 7, 11), channels=6, kernel=7, stride=2, expand=6),
    MBConv(input_shape=(3, 4, 8, 8), channels=6, kernel=3, stride=2, expand=1),
    MBConv(input_shape=(1, 4, 7, 7), channels=4, squeeze=2, activation="hswish"),
    Unified(input_shape=(1, 4, 7, 11), channels=6, kernels=(3, 3, 7), stride=2),
    Unified(input_shape=(1, 4, 7, 7), channels=4, kernels=(3, 5), squeeze=2, lowering="split"),
    Unified(input_shape=(1, 4, 7, 7), channels=4, kernels=(5,), activation="relu6"),
    Skip(input_shape=(2, 4, 7, 5)),
    Pool(input_shape=(2, 4, 7, 5)),
    Head(input_shape=(2, 4, 3, 5), channels=8, classes=10, activation="relu6"),
]
every_operator = pytest.mark.parametrize("op", OPERATORS, ids=str)


def built(op: OpSpec) -> nn.Module:
    torch.manual_seed(0)
    return build(op).eval()


@every_operator
def test_torch_gives_the_output_shape_that_the_operator_says(op: OpSpec) -> None:
    with torch.no_grad():
        assert built(op)(torch.rand(op.input_shape)).shape == op.output_shape


@every_operator
def test_torch_has_as_many_parameters_as_are_counted(op: OpSpec) -> None:
    assert sum(weight.numel() for weight in built(op).parameters()) == parameters(op)


@every_operator
def test_a_module_takes_any_batch(op: OpSpec) -> None:
    with torch.no_grad():
        assert len(built(op)(torch.rand(5, *op.input_shape[1:]))) == 5


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (4, 2), (6, 1)])
def test_a_block_adds_its_input_only_where_the_shape_stays(channels: int, stride: int) -> None:
    op = MBConv(input_shape=(1, 4, 6, 6), channels=channels, stride=stride)
    module = built(op)
    for weight in module.parameters():
        nn.init.zeros_(weight)  # the branch gives zeros
    x = torch.rand(op.input_shape)
    with torch.no_grad():
        expected = x if op.residual else torch.zeros(op.output_shape)
        torch.testing.assert_close(module(x), expected)


def test_a_skip_returns_its_input_and_has_no_weights() -> None:
    x = torch.rand(1, 4, 6, 6)
    module = built(Skip(input_shape=(1, 4, 6, 6)))
    assert module(x) is x
    assert not list(module.state_dict())


def test_a_pool_is_the_mean_over_the_image() -> None:
    x = torch.rand(2, 4, 6, 5)
    pooled = built(Pool(input_shape=(2, 4, 6, 5)))(x)
    torch.testing.assert_close(pooled, x.mean(dim=(2, 3), keepdim=True))


def test_squeeze_excite_weights_each_channel_by_one_gate_in_0_to_1() -> None:
    op = MBConv(input_shape=(1, 4, 6, 6), channels=4, squeeze=2)
    attention = built(op).get_submodule("body.attention")
    x = 1.0 + torch.rand(1, 24, 6, 6)
    with torch.no_grad():
        gate = attention(x) / x
    torch.testing.assert_close(gate, gate[:, :, :1, :1].expand_as(gate))
    assert 0.0 <= float(gate.min()) <= float(gate.max()) <= 1.0


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("none", [-4.0, 1.0, 8.0]),
        ("relu", [0.0, 1.0, 8.0]),
        ("relu6", [0.0, 1.0, 6.0]),
        ("hswish", [0.0, 1.0 * 4 / 6, 8.0]),
    ],
)
def test_activations_are_what_their_names_say(
    activation: Activation, expected: list[float]
) -> None:
    given = torch.tensor([-4.0, 1.0, 8.0])
    torch.testing.assert_close(ACTIVATIONS[activation]()(given), torch.tensor(expected))


def test_submodules_are_named_after_what_they_do() -> None:
    op = MBConv(input_shape=(1, 4, 6, 6), channels=4, squeeze=2)
    names = [name for name, _ in built(op).get_submodule("body").named_children()]
    assert names == ["expand", "depthwise", "attention", "project"]


def with_statistics(module: nn.Module) -> nn.Module:
    """Return a module whose batch norms have statistics and weights unlike the fresh ones."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values, low in (
                (norm.running_var, 0.5),
                (norm.weight, 0.5),
                (norm.running_mean, -1.0),
                (norm.bias, -1.0),
            ):
                assert values is not None
                nn.init.uniform_(values, low, 1.5)
    return module


@pytest.mark.parametrize("stride", [1, 2])
def test_a_unified_block_as_deployed_computes_the_same_with_one_convolution(stride: int) -> None:
    op = Unified(input_shape=(2, 4, 9, 7), channels=4, kernels=(3, 3, 5, 7), stride=stride)
    module = with_statistics(built(op))
    shipped = deployed(module)
    x = torch.rand(op.input_shape)
    with torch.no_grad():
        torch.testing.assert_close(shipped(x), module(x))
    convs = [each.kernel_size for each in shipped.modules() if isinstance(each, nn.Conv2d)]
    assert convs == [(1, 1), (7, 7), (1, 1)]
    assert any(isinstance(each, DepthwiseParts) for each in module.modules())  # as it was


def test_a_unified_block_that_is_split_is_deployed_as_it_is() -> None:
    op = Unified(input_shape=(1, 4, 7, 7), channels=4, kernels=(3, 5), lowering="split")
    assert any(isinstance(each, DepthwiseParts) for each in deployed(built(op)).modules())


def test_every_kernel_of_a_unified_block_sees_its_own_channels() -> None:
    op = Unified(input_shape=(1, 2, 5, 5), channels=2, kernels=(3, 5))
    depthwise = built(op).get_submodule("body.depthwise")
    x = torch.zeros(op.input_shape).repeat(1, 2, 1, 1)
    x[0, 0, 0, 0] = 1.0  # a corner of the first group
    with torch.no_grad():
        reached = (depthwise(x) - depthwise(torch.zeros_like(x)))[0].abs().sum(dim=(1, 2)) > 0
    assert not reached[1:].any()
