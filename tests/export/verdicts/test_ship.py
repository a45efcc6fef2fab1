"""Shipping what the device confirms; the networks are tiny and their device is simulated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, backend_for
from export import Plan
from export.bundle.deployment import Deployment, read_deployment, write_deployment
from export.bundle.manifest import MODEL
from export.deploy import Exported
from export.verdicts.learn import learn
from export.verdicts.ship import ship
from export.verdicts.verify import verify
from lut import create_table, current_conditions, load_table
from profiler import Pace
from profiler.operators.builders import chain_graph
from search import Architecture, space_named
from search.answers import Answer
from search.searcher import Candidate
from search.spaces import space_label

SPACE = space_named("macro", resolution=16)
ARCHS = ("22222222", "22222220", "22222200", "22222000")
PLAN = Plan(processes=3, most=3, rounds=1, pace=Pace(slice_s=0.005))


def arch(text: str) -> Architecture:
    return Architecture(tuple(map(int, text)))


def true_s(device: DeviceSpec, text: str) -> float:
    with backend_for(device).open(chain_graph(SPACE.chain(arch(text)))) as session:
        return session.time(1)


def export(answer: Answer, folder: Path) -> Exported:
    """Write a network with random weights, as if it had been trained."""
    from hashlib import sha256

    from export.logits import logits_on

    folder.mkdir(exist_ok=True)
    graph = chain_graph(SPACE.chain(answer.arch))
    (folder / MODEL).write_bytes(graph.onnx)
    images = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    deployment = Deployment(
        arch=str(answer.arch),
        space=space_label(SPACE),
        sha256=sha256(graph.onnx).hexdigest(),
        input_shape=SPACE.input_shape,
        precision="fp32",
        device=answer.devices[0],
        limit_s=answer.limits_s[0],
        predicted_s=answer.predicted_s[0],
        interval_s=answer.interval_s[0],
        parity_max_abs=0.0,
        facts={},
    )
    logits = logits_on(DeviceSpec(name="exact", backend="simulated"), graph, images)
    write_deployment(folder, deployment, images, logits)
    return Exported(deployment=deployment, test_accuracy=0.5)


@pytest.fixture(scope="module")
def answer(exact: DeviceSpec) -> Answer:
    """Promise a limit that only the third network keeps."""
    limit_s = (true_s(exact, ARCHS[1]) + true_s(exact, ARCHS[2])) / 2

    def candidate(text: str) -> Candidate:
        return Candidate(
            arch=arch(text),
            latency_s=(0.9 * limit_s,),
            interval_s=((0.8 * limit_s, limit_s),),
            accuracy=0.9,
        )

    first, *others = map(candidate, ARCHS)
    return Answer(
        arch=first.arch,
        space=SPACE,
        devices=("exact",),
        limits_s=(limit_s,),
        confidence=0.95,
        predicted_s=first.latency_s,
        interval_s=first.interval_s,
        table_hashes=("a",),
        revisions=(0,),
        accuracy=0.9,
        accuracy_from="nowhere",
        method="random",
        seed=0,
        runners_up=tuple(others),
    )


def test_the_first_runner_up_that_the_device_confirms_is_shipped(
    exact: DeviceSpec, answer: Answer, tmp_path: Path
) -> None:
    tried: list[tuple[int, str]] = []
    shipped = ship(
        answer,
        tmp_path / "deploy",
        export=export,
        device=exact,
        tries=4,
        plan=PLAN,
        on_try=lambda number, each: tried.append((number, str(each.arch))),
    )
    assert tried == [(1, ARCHS[0]), (2, ARCHS[1]), (3, ARCHS[2])]
    assert shipped.tries == 3
    assert shipped.verdict.verdict == "met"
    assert read_deployment(tmp_path / "deploy").arch == ARCHS[2]
    assert shipped.exported.deployment.arch == ARCHS[2]


def test_what_is_not_faster_by_as_much_as_the_device_was_too_slow_is_not_tried(
    exact: DeviceSpec, answer: Answer, tmp_path: Path
) -> None:
    hopeless, fast = answer.runners_up[0], answer.runners_up[1]
    limit_s = answer.limits_s[0]
    needed_s = 0.9 * limit_s * limit_s / true_s(exact, ARCHS[0])
    barely = replace(hopeless, latency_s=(0.89 * limit_s,))
    enough = replace(fast, latency_s=(0.99 * needed_s,))
    tried: list[str] = []
    shipped = ship(
        replace(answer, runners_up=(barely, enough)),
        tmp_path / "deploy",
        export=export,
        device=exact,
        tries=3,
        plan=PLAN,
        on_try=lambda _, each: tried.append(str(each.arch)),
    )
    assert tried == [ARCHS[0], ARCHS[2]]
    assert shipped.verdict.verdict == "met"


def test_when_the_tries_are_used_up_the_promise_is_not_met(
    exact: DeviceSpec, answer: Answer, tmp_path: Path
) -> None:
    shipped = ship(answer, tmp_path / "deploy", export=export, device=exact, tries=2, plan=PLAN)
    assert (shipped.tries, shipped.verdict.verdict) == (2, "missed")
    assert read_deployment(tmp_path / "deploy").arch == ARCHS[1]


def test_an_answer_without_runners_up_is_tried_once(
    exact: DeviceSpec, answer: Answer, tmp_path: Path
) -> None:
    alone = replace(answer, runners_up=())
    shipped = ship(alone, tmp_path / "deploy", export=export, device=exact, tries=4, plan=PLAN)
    assert (shipped.tries, shipped.verdict.verdict) == (1, "missed")


def test_a_table_learns_from_every_try(exact: DeviceSpec, answer: Answer, tmp_path: Path) -> None:
    path = tmp_path / "mine.lut"
    with create_table(path, current_conditions(exact).as_meta()):
        pass
    ship(answer, tmp_path / "deploy", export=export, device=exact, tries=4, plan=PLAN, table=path)
    table = load_table(path)
    assert table.revision == 3
    assert list(table.verified) == [SPACE.chain(arch(text)) for text in ARCHS[:3]]
    for text in ARCHS[:3]:
        measured_s = table.verified[SPACE.chain(arch(text))].median_s
        assert measured_s == pytest.approx(true_s(exact, text), rel=1e-6)


def test_a_verdict_on_its_own_teaches_too(
    exact: DeviceSpec, answer: Answer, tmp_path: Path
) -> None:
    path, folder = tmp_path / "mine.lut", tmp_path / "deploy"
    with create_table(path, current_conditions(exact).as_meta()):
        pass
    export(answer, folder)
    assert learn(path, folder, verify(folder, exact, plan=PLAN)) == 1
