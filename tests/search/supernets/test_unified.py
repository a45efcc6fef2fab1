from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from devices import DeviceSpec, InvalidFile, backend_for
from export.bundle.onnx_file import network_graph, parity, reference_outputs
from profiler import Conv, Head, Unified
from profiler.operators.costs import total_parameters
from search.images.data import Split
from search.images.decoding import ArrayImages
from search.space import Architecture, SearchSpace
from search.spaces import space_named
from search.spaces.unified import (
    CODES,
    GROUPS,
    KERNELS,
    MULTISETS,
    SKIPPED,
    code_of,
    digits_of,
    multiset_index,
)
from search.supernets.evaluation import Evaluator, final_weights
from search.supernets.supernet import Supernet
from search.supernets.supernet_for import supernet_for
from search.supernets.unified import (
    UnifiedSupernet,
    expansion_probabilities,
    multiset_probabilities,
)
from search.training.path_samplers import fair_codes

CHANNELS, SIDE = 8, 6


def small_space(*, squeezed: bool = False) -> SearchSpace:
    """Two layers of a unified space: one that halves the image, one with a shortcut."""
    shape: tuple[int, ...] = (1, CHANNELS, SIDE, SIDE)
    stem = Conv(input_shape=(1, 3, SIDE, SIDE), channels=CHANNELS, kernel=3, activation="relu")
    layers = []
    for stride in (2, 1):
        first = Unified(input_shape=shape, channels=CHANNELS, kernels=(3,), stride=stride)
        blocks = [
            replace(
                first,
                kernels=kernels,
                squeeze=2 * len(kernels) if squeezed else 0,
                activation="hswish" if squeezed else "relu",
            )
            for kernels in MULTISETS
        ]
        layers.append(tuple(blocks[i] for i in multiset_index()))
        shape = first.output_shape
    head = Head(input_shape=shape, channels=16, classes=5)
    return SearchSpace(name="small unified", before=(stem,), layers=tuple(layers), after=(head,))


SPACE, SQUEEZED = small_space(), small_space(squeezed=True)
both = pytest.mark.parametrize("space", [SPACE, SQUEEZED], ids=["plain", "squeeze-excite"])
IMAGES = torch.from_numpy(
    np.random.default_rng(0).normal(size=(6, 3, SIDE, SIDE)).astype(np.float32)
)
MIXED = Architecture((code_of((2, 0, 3, 1, 0, 3)), code_of((1, 3, 0, 3, 3, 2))))
ENDS = [
    Architecture((code_of((2, 3, 3, 3, 3, 3)), code_of((0, 3, 3, 3, 3, 3)))),
    Architecture((code_of((1,) * 6), code_of((0, 1, 2, 0, 1, 2)))),
]


def trained(space: SearchSpace) -> UnifiedSupernet:
    """Return a supernet with weights and statistics as after training: nothing is 0 or 1."""
    supernet = supernet_for(space)
    assert isinstance(supernet, UnifiedSupernet)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
        for norm in supernet.modules():
            if isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                norm.running_mean.normal_(0.0, 0.3, generator=rng)
                norm.running_var.uniform_(0.5, 2.0, generator=rng)
    return supernet.eval()


def one_hot(arch: Architecture) -> Tensor:
    digits = torch.tensor([digits_of(code) for code in arch.choices])
    return nn.functional.one_hot(digits, SKIPPED + 1).float()  # (layers, 6, 4)


def drawn_gates(layers: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw probabilities of every group; the first is never skipped."""
    logits = torch.randn(
        layers, GROUPS, SKIPPED + 1, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )
    logits[:, 0, SKIPPED] = -torch.inf
    return logits.softmax(dim=2)


def test_a_space_of_unified_blocks_has_the_unified_supernet_and_others_the_plain_one() -> None:
    assert type(supernet_for(space_named("unified-macro", resolution=16))) is UnifiedSupernet
    assert type(supernet_for(space_named("macro", resolution=16))) is Supernet
    with pytest.raises(ValueError, match="layer 0 of space 'macro' has no unified blocks"):
        UnifiedSupernet(space_named("macro", resolution=16))


@both
@pytest.mark.parametrize("arch", [MIXED, *ENDS], ids=["mixed", "small", "large"])
def test_the_subnetwork_computes_what_the_path_computes(
    space: SearchSpace, arch: Architecture
) -> None:
    supernet = trained(space)
    with torch.no_grad():
        alone, path = supernet.subnetwork(arch)(IMAGES), supernet(IMAGES, arch)
    torch.testing.assert_close(alone, path, rtol=1e-5, atol=1e-5)


@both
def test_the_subnetwork_is_the_chain_of_the_space_and_shares_no_weight(space: SearchSpace) -> None:
    supernet = trained(space)
    network = supernet.subnetwork(MIXED)
    assert sum(p.numel() for p in network.parameters()) == total_parameters(space.chain(MIXED))
    tensors = [*network.parameters(), *network.buffers()]
    shared = {t.data_ptr() for t in tensors} & {
        t.data_ptr() for t in (*supernet.parameters(), *supernet.buffers())
    }
    assert not shared
    assert not any(t.is_meta for t in tensors)
    assert all(p.requires_grad for p in network.parameters())


def test_extracting_a_network_leaves_the_random_state_of_the_process_alone() -> None:
    supernet, before = trained(SPACE), torch.get_rng_state()
    supernet.subnetwork(MIXED)
    assert torch.equal(torch.get_rng_state(), before)


def moved_by(supernet: UnifiedSupernet, arch: Architecture) -> set[str]:
    supernet.train()
    supernet.zero_grad(set_to_none=True)
    supernet(IMAGES, arch).square().sum().backward()
    return {n for n, p in supernet.layers.named_parameters() if p.grad is not None}


def test_a_path_trains_its_own_groups_kernels_and_batch_norm_and_no_other() -> None:
    moved = moved_by(trained(SPACE), MIXED)
    for layer, code in enumerate(MIXED.choices):
        digits = digits_of(code)
        for g, digit in enumerate(digits):
            found = {
                n.split(".")[4] for n in moved if n.startswith(f"{layer}.groups.{g}.depthwise")
            }
            assert found == ({str(KERNELS[digit])} if digit != SKIPPED else set())
            projects = f"{layer}.groups.{g}.project.weight" in moved
            assert projects == (digit != SKIPPED)
        count = sum(digit != SKIPPED for digit in digits)
        norms = {n.split(".")[2] for n in moved if n.startswith(f"{layer}.norms")}
        assert norms == {str(count - 1)}


def test_logits_do_not_depend_on_what_ran_before() -> None:
    supernet = trained(SPACE)
    with torch.no_grad():
        before = supernet(IMAGES, MIXED)
        supernet(IMAGES, ENDS[1])
        assert torch.equal(supernet(IMAGES, MIXED), before)


def test_codes_of_one_block_have_weights_of_their_own() -> None:
    supernet = trained(SPACE)
    other = code_of((0, 2, 3, 1, 0, 3))  # the kernels of MIXED's first layer, arranged otherwise
    arch = Architecture((other, MIXED.choices[1]))
    assert SPACE.chain(arch) == SPACE.chain(MIXED)
    with torch.no_grad():
        assert not torch.allclose(supernet(IMAGES, arch), supernet(IMAGES, MIXED), atol=1e-3)


def test_a_fresh_layer_with_a_shortcut_is_the_identity() -> None:
    supernet = supernet_for(SPACE).eval()
    first = MIXED.choices[0]
    logits = [supernet(IMAGES, Architecture((first, code))) for code in (0, 77, CODES - 1)]
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_an_architecture_of_another_space_is_refused() -> None:
    supernet = trained(SPACE)
    for run in (supernet.subnetwork, lambda arch: supernet(IMAGES, arch)):
        with pytest.raises(InvalidFile, match="space 'small unified' has"):
            run(Architecture((0, CODES)))


# Mixtures


@both
@pytest.mark.parametrize("arch", [MIXED, *ENDS], ids=["mixed", "small", "large"])
def test_a_mixture_of_certain_gates_is_the_path(space: SearchSpace, arch: Architecture) -> None:
    supernet = trained(space)
    with torch.no_grad():
        mixed, path = supernet.mixture(IMAGES, one_hot(arch)), supernet(IMAGES, arch)
    torch.testing.assert_close(mixed, path, rtol=1e-5, atol=1e-5)


@both
def test_a_mixture_has_a_gradient_in_every_gate_that_may_open(space: SearchSpace) -> None:
    supernet = trained(space)
    gates = one_hot(MIXED).requires_grad_()
    loss: Tensor = supernet.mixture(IMAGES, gates).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert gates.grad is not None
    may_open = torch.ones_like(gates, dtype=torch.bool)
    may_open[:, 0, SKIPPED] = False
    assert (gates.grad[may_open] != 0).all()


def test_a_mixture_depends_on_its_gates_without_a_jump() -> None:
    """The batch norm of a rounded number of skips, as published, would jump at a half."""
    supernet = trained(SPACE).double()
    logits = []
    for share in (0.5 - 1e-9, 0.5 + 1e-9):
        gates = one_hot(MIXED).double()
        gates[0, 1] = torch.tensor([1 - share, 0, 0, share])
        with torch.no_grad():
            logits.append(supernet.mixture(IMAGES.double(), gates))
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-7, atol=1e-7)


def test_a_mixture_leaves_the_statistics_of_paths_alone() -> None:
    supernet = trained(SPACE)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    supernet.mixture(IMAGES, drawn_gates(2, dtype=torch.float32))
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    with pytest.raises(ValueError, match="call eval"):
        supernet.train().mixture(IMAGES, drawn_gates(2, dtype=torch.float32))


# Probabilities of blocks


def by_enumeration(gates: np.ndarray) -> np.ndarray:
    """Return the probabilities of a layer's blocks, all 3,072 codes added up."""
    total = np.zeros(len(MULTISETS))
    for code, place in enumerate(multiset_index()):
        total[place] += np.prod([gates[g, d] for g, d in enumerate(digits_of(code))])
    return total


def test_probabilities_of_blocks_are_those_of_all_codes_added_up() -> None:
    gates = drawn_gates(3)
    expected = np.stack([by_enumeration(layer.numpy()) for layer in gates])
    found = multiset_probabilities(gates).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)


def test_certain_gates_make_one_block_certain() -> None:
    found = multiset_probabilities(one_hot(MIXED))
    assert found.argmax(dim=1).tolist() == [multiset_index()[code] for code in MIXED.choices]
    assert torch.equal(found.amax(dim=1), torch.ones(2))


def test_probabilities_of_blocks_have_the_right_gradient() -> None:
    gates = drawn_gates(2)
    logits = gates[:, 1:].log().requires_grad_()

    def found(logits: Tensor) -> Tensor:
        return multiset_probabilities(torch.cat([gates[:, :1], logits.softmax(dim=2)], dim=1))

    assert torch.autograd.gradcheck(found, (logits,))


def test_the_number_of_kernels_has_the_probability_of_its_blocks() -> None:
    gates = drawn_gates(2)
    found = expansion_probabilities(gates)
    skips = gates[:, 1:, SKIPPED]
    assert found[:, 0].tolist() == pytest.approx(skips.prod(dim=1).tolist())
    assert found[:, 5].tolist() == pytest.approx((1 - skips).prod(dim=1).tolist())
    expected = 1 + (1 - skips).sum(dim=1)
    counts = torch.arange(1, 7, dtype=found.dtype)
    assert (found @ counts).tolist() == pytest.approx(expected.tolist())


def test_gates_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gates are \(layers, 6, 4\), got \(2, 6, 3\)"):
        multiset_probabilities(torch.ones(2, 6, 3))
    with pytest.raises(ValueError, match="the first group is never skipped"):
        multiset_probabilities(torch.full((2, 6, 4), 0.25))


# Fair paths


def dealt(count: int) -> list[list[tuple[int, ...]]]:
    rng = np.random.default_rng(0)
    return [[digits_of(code) for code in fair_codes(rng).tolist()] for _ in range(count)]


def test_six_fair_blocks_have_every_expansion_once() -> None:
    for blocks in dealt(50):
        kernels = [sum(digit != SKIPPED for digit in block) for block in blocks]
        assert sorted(kernels) == [1, 2, 3, 4, 5, 6]


def test_six_fair_blocks_train_every_kernel_of_a_group_equally_often() -> None:
    for blocks in dealt(50):
        for group, times in enumerate((2, 1, 1, 1, 1, 1)):
            digits = [block[group] for block in blocks if block[group] != SKIPPED]
            assert sorted(digits) == sorted([0, 1, 2] * times)


def test_fair_blocks_come_in_any_order_and_of_any_groups() -> None:
    every = dealt(600)
    first = [sum(digit != SKIPPED for digit in blocks[0]) for blocks in every]
    assert np.bincount(first, minlength=7)[1:].tolist() == pytest.approx([100] * 6, abs=35)
    pairs = [next(b for b in blocks if sum(d != SKIPPED for d in b) == 2)[1:] for blocks in every]
    partners = [int(np.flatnonzero(np.array(pair) != SKIPPED)[0]) for pair in pairs]
    assert np.bincount(partners).tolist() == pytest.approx([120] * 5, abs=40)


# What becomes of a trained supernet


def test_inherited_accuracy_is_of_the_code_and_not_of_its_block() -> None:
    supernet = trained(SPACE)
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(40, SIDE, SIDE, 3)).astype(np.uint8)
    split = Split(
        images=ArrayImages(pixels),
        rows=np.arange(40),
        labels=rng.integers(5, size=40),
        resolution=SIDE,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        flip=False,
    )
    images, _ = next(split.batches(40))
    judge = Evaluator(supernet, split, calibration=[images], batch_norm="inherit")
    archs = [MIXED, Architecture((code_of((0, 2, 3, 1, 0, 3)), MIXED.choices[1])), *ENDS]
    with torch.no_grad():
        expected = [own_accuracy(supernet, arch, split) for arch in archs]
    assert judge(archs) == expected


def own_accuracy(supernet: UnifiedSupernet, arch: Architecture, split: Split) -> float:
    images, labels = next(split.batches(40))
    right: int = (supernet(images, arch).argmax(dim=1) == labels).sum().item()
    return right / 40


@both
def test_an_exported_block_is_one_padded_convolution_and_gives_the_same_logits(
    space: SearchSpace,
) -> None:
    network = final_weights(trained(space), MIXED, (IMAGES,))
    images = IMAGES[:1].numpy()
    graph = network_graph(network, (1, 3, SIDE, SIDE))
    with backend_for(DeviceSpec(name="cpu", backend="onnxruntime")).open(graph) as session:
        logits = session.run({"images": images})["logits"]
    assert parity(logits, reference_outputs(network, images)) < 1e-5
    # the stem, and one in place of 3, 3, 5, 7 and of 3, 5, 7 side by side
    assert [size for size in kernel_sizes(graph.onnx) if size > 1] == [3, 7, 7]


def kernel_sizes(content: bytes) -> Sequence[int]:
    import onnx

    nodes = onnx.load_from_string(content).graph.node
    attributes = (a for node in nodes if node.op_type == "Conv" for a in node.attribute)
    return [a.ints[0] for a in attributes if a.name == "kernel_shape"]


def test_every_code_of_a_layer_can_be_extracted() -> None:
    supernet = trained(SPACE)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for arch in (SPACE.sample(rng) for _ in range(30)):
            network = supernet.subnetwork(arch)
            torch.testing.assert_close(
                network(IMAGES), supernet(IMAGES, arch), rtol=1e-5, atol=1e-5
            )


def test_the_squeezes_of_all_expansions_share_weights() -> None:
    supernet = trained(SQUEEZED)
    widths = {
        count: supernet.subnetwork(
            Architecture((code_of((0,) * count + (SKIPPED,) * (GROUPS - count)),) * 2)
        )[1]
        .get_parameter("body.attention.gate.1.bias")
        .detach()
        for count in range(1, 7)
    }
    assert {count: len(bias) for count, bias in widths.items()} == {n: 2 * n for n in range(1, 7)}
    assert all(torch.equal(bias, widths[6][: len(bias)]) for bias in widths.values())
