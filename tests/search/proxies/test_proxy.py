import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import Conv, Head, MBConv, Skip, total_macs
from search import Architecture, SearchSpace, space_named
from search.final.files import space_of_one
from search.proxies.narrow import narrow_width, narrowed, narrowest, total_stride
from search.proxies.proxy import InvalidProxy, Proxy, proxies_from_text, proxy_from_text

MACRO = space_named("macro")
NARROW_STEM = SearchSpace(
    name="narrow",
    before=(Conv(input_shape=(1, 3, 8, 8), channels=8),),
    layers=((Skip(input_shape=(1, 8, 8, 8)),),),
    after=(Head(input_shape=(1, 8, 8, 8), channels=16, classes=2),),
)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(1, 9999))
def test_a_proxy_is_read_as_it_is_written(c: int, r: int, s: int, e: int) -> None:
    proxy = Proxy(channels=c, resolution=r, samples=s, epochs=e)
    assert str(proxy) == f"c{c}r{r}s{s}e{e}"
    assert proxy_from_text(str(proxy)) == proxy


@pytest.mark.parametrize("text", ["", "c4r4s0", "c4r4e60", "r4c4s0e60", "c-1r0s0e1", "c4r4s0e6.5"])
def test_what_is_no_proxy_is_refused(text: str) -> None:
    with pytest.raises(InvalidProxy, match=r"is no proxy: write .* as c4r4s0e60"):
        proxy_from_text(text)


def test_a_list_of_proxies_has_commas_and_each_once() -> None:
    assert list(map(str, proxies_from_text("c4r4s0e60, c0r0s0e1,c4r4s0e60"))) == [
        "c4r4s0e60",
        "c0r0s0e1",
    ]


def test_the_chosen_proxy_of_the_paper_costs_a_2560th_of_the_full_setting() -> None:
    chosen, full = proxy_from_text("c4r4s0e60"), proxy_from_text("c0r0s0e600")
    assert full.paper_cost / chosen.paper_cost == 2560


def test_factors_cut_sides_and_samples() -> None:
    sides = [Proxy(resolution=x, epochs=1).side(32) for x in range(5)]
    assert sides == [32, 23, 16, 11, 8]
    assert [Proxy(samples=x, epochs=1).images(1000) for x in range(4)] == [1000, 500, 250, 125]


def test_widths_are_rounded_to_steps_of_8_and_never_below_one() -> None:
    assert [narrow_width(64, cut) for cut in range(7)] == [64, 48, 32, 24, 16, 8, 8]
    assert [narrow_width(36, cut) for cut in (0, 2)] == [36, 16]  # 18 is nearer to 16 than to 24
    assert narrow_width(6, 2) == 6  # never wider than it was


def test_the_twin_has_the_same_choices_on_fewer_channels_and_pixels() -> None:
    twin = proxy_from_text("c4r2s0e1").reduced(MACRO)
    assert twin.name == "macro-c4"
    assert twin.input_shape == (1, 3, 16, 16)
    assert [layer[1].output_shape[1:] for layer in twin.layers] == [
        *[(16, 8, 8)] * 2,
        *[(32, 4, 4)] * 3,
        *[(64, 2, 2)] * 3,
    ]
    assert [len(layer) for layer in twin.layers] == [3] * 8
    assert str(twin.layers[0][2]) == "mbconv 1x8x16x16 -> 16 k5 s2 e6"
    assert twin.after[0].output_shape == (1, 10)


def test_nothing_is_cut_by_a_full_proxy() -> None:
    assert proxy_from_text("c0r0s0e9").reduced(MACRO) is MACRO


def test_operations_fall_by_about_the_power_of_two() -> None:
    arch = Architecture((2,) * 8)
    full = total_macs(MACRO.chain(arch))
    assert full / total_macs(narrowed(MACRO, 2).chain(arch)) == pytest.approx(4, rel=0.15)
    assert full / total_macs(narrowed(MACRO, 0, resolution=16).chain(arch)) == pytest.approx(
        4, rel=0.01
    )


def test_squeezes_keep_their_share() -> None:
    block = MBConv(input_shape=(1, 32, 8, 8), channels=32, expand=6, squeeze=48)
    space = SearchSpace(
        name="squeezed",
        before=(Conv(input_shape=(1, 3, 8, 8), channels=32),),
        layers=((block,),),
        after=(Head(input_shape=(1, 32, 8, 8), channels=64, classes=2),),
    )
    (narrow,) = narrowed(space, 2).layers[0]
    assert narrow == MBConv(input_shape=(1, 16, 8, 8), channels=16, expand=6, squeeze=24)


@pytest.mark.parametrize(
    "name", ["greedynas", "greedynas-se", "nasbench201", "unified-macro", "darts", "darts-all"]
)
def test_networks_of_every_space_have_twins(name: str) -> None:
    space = space_named(name)
    arch = Architecture(tuple(len(layer) - 1 for layer in space.layers))
    alone = space_of_one(space, arch)
    proxy = proxy_from_text("c2r2s0e1")
    proxy.check_space(space)
    twin = proxy.reduced(alone)
    (full,), (reduced,) = (
        [each.chain(Architecture((0,) * len(each.layers)))] for each in (alone, twin)
    )
    assert [type(op) for op in full] == [type(op) for op in reduced]
    assert 8 < total_macs(full) / total_macs(reduced) < 32


def test_a_space_says_its_narrowest_operator_and_its_stride() -> None:
    assert (narrowest(MACRO), total_stride(MACRO)) == (32, 8)
    assert total_stride(space_named("greedynas")) == 32
    assert total_stride(space_named("nasbench201")) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "c11r0s0e1",
            r"^proxy c11r0s0e1 is below one channel: the 32 of space 'macro' become 0.71; "
            r"the smallest that works is c10$",
        ),
        (
            "c0r5s0e1",
            r"^proxy c0r5s0e1 is below one pixel of a feature map: 32 pixels become 6, and space "
            r"'macro' divides them by 8; the smallest that works is r4$",
        ),
    ],
)
def test_a_proxy_that_leaves_nothing_says_what_and_the_smallest_that_works(
    text: str, message: str
) -> None:
    with pytest.raises(InvalidProxy, match=message):
        proxy_from_text(text).check_space(MACRO)
    smallest = proxy_from_text(text.replace("c11", "c10").replace("r5", "r4"))
    smallest.check_space(MACRO)


def test_a_proxy_below_one_batch_says_the_smallest_that_works() -> None:
    with pytest.raises(InvalidProxy) as caught:
        proxy_from_text("c0r0s6e1").check_samples(1000, batch=32)
    assert str(caught.value) == (
        "proxy c0r0s6e1 is below one batch: 1000 training images become 16, and a batch has 32; "
        "the smallest that works is s4"
    )
    proxy_from_text("c0r0s4e1").check_samples(1000, batch=32)


def test_a_batch_that_no_share_fills_says_so() -> None:
    with pytest.raises(InvalidProxy, match="not even s0 works: take larger images, more of them"):
        proxy_from_text("c0r0s1e1").check_samples(20, batch=32)


def test_a_proxy_below_one_epoch_says_the_smallest_that_works() -> None:
    with pytest.raises(InvalidProxy, match=r"c4r4s0e0 is below one epoch; the smallest is e1"):
        proxy_from_text("c4r4s0e0")


def test_a_narrow_space_can_be_cut_to_one_channel_at_most() -> None:
    proxy_from_text("c6r0s0e1").check_space(NARROW_STEM)
    with pytest.raises(InvalidProxy, match="the smallest that works is c6"):
        proxy_from_text("c7r0s0e1").check_space(NARROW_STEM)
