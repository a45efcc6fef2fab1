"""The three kinds of page for tests, from a simulated device: a table's, a search's, a bundle's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from devices import DeviceSpec, backend_for
from devices.files import sha256_of
from export import Deployment, Plan, verify
from export.bundle.deployment import write_deployment
from export.logits import logits_on
from lut import Effort, LatencyBudget, LatencyTable, LatencyTarget, latency_model, open_table
from profiler.operators.builders import chain_graph
from search.answers import answer_of, write_answers
from search.searcher import Candidate
from search.space import Architecture, as_choices
from search.spaces import space_label, space_named
from tests.conftest import _in_this_process as in_this_process

SPACE = space_named("macro", resolution=16)

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
"""What a file from elsewhere may call something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What pages are made of.

    Attributes:
        table: The ``.lut`` file.
        answers: The ``ARCH.json`` of a search, with two limits and a front of six networks.
        deployment: The directory of a network that was verified twice, once in vain.
    """

    table: Path
    answers: Path
    deployment: Path


def reported(folder: Path, make_table: Callable[..., LatencyTable], device: DeviceSpec) -> Reported:
    """Write the files that pages are made of.

    Args:
        folder: Where answers and deployment go.
        make_table: The fixture.
        device: A simulated one.
    """
    table = make_table(device, SPACE, effort=Effort(processes=2, rounds=1))
    answers = _answers(folder / "arch.json", table)
    path = folder / "sim.lut"
    path.write_bytes(Path(table.name).read_bytes())
    with open_table(path) as file:
        file.refuse((SPACE.operators[0],), f"{HOSTILE} in /home/someone/kernels.so")
    return Reported(table=path, answers=answers, deployment=_deployment(folder / "deploy", device))


def _answers(path: Path, table: LatencyTable) -> Path:
    model = latency_model(table, SPACE)
    rng = np.random.default_rng(0)
    archs = [SPACE.canonical(SPACE.sample(rng)) for _ in range(6)]
    prices = model.price(as_choices(archs))
    candidates = [
        Candidate(
            arch=arch,
            latency_s=(float(latency_s),),
            interval_s=((float(low_s), float(high_s)),),
            accuracy=0.5 + 0.05 * number,
        )
        for number, (latency_s, low_s, high_s, arch) in enumerate(
            sorted(zip(prices.latency_s, prices.low_s, prices.high_s, archs, strict=True))
        )
    ]
    best_first = candidates[::-1]
    answers = [
        answer_of(
            best_first[skip:],
            SPACE,
            [LatencyBudget(model=model, target=_target(model.device, best_first[skip]))],
            accuracy_from=f"a file {HOSTILE} in {path.parent}/truth.json",
            method="random",
            seed=7,
        )
        for skip in (0, 2)
    ]
    write_answers(path, answers)
    return path


def _target(device: str, best: Candidate) -> LatencyTarget:
    return LatencyTarget(device=device, limit_s=1.1 * best.latency_s[0])


def _deployment(folder: Path, device: DeviceSpec) -> Path:
    folder.mkdir()
    arch = Architecture((2, 2, 2, 1, 2, 2, 2, 0))
    graph = chain_graph(SPACE.chain(arch))
    (folder / "model.onnx").write_bytes(graph.onnx)
    images = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    with backend_for(device).open(graph) as session:
        latency_s = session.time(1)
    deployment = Deployment(
        arch=str(arch),
        space=space_label(SPACE),
        sha256=sha256_of(folder / "model.onnx"),
        input_shape=SPACE.input_shape,
        precision="fp32",
        device=device.name,
        limit_s=1.2 * latency_s,
        predicted_s=1.02 * latency_s,
        interval_s=(0.97 * latency_s, 1.08 * latency_s),
        parity_max_abs=0.0,
        facts={"test_accuracy": 0.875, "classes": [HOSTILE], "from": "/home/someone/images"},
    )
    write_deployment(folder, deployment, images, logits_on(device, graph, images))
    plan = Plan(processes=2, most=2, rounds=2)
    with pytest.MonkeyPatch.context() as patch:  # starting a process takes a second
        for name in ("profiler.campaigns.together", "profiler.whole_models.single_runs"):
            patch.setattr(f"{name}.in_fresh_process", in_this_process)
        verify(folder, device, limit_s=0.5 * latency_s, plan=plan)
        verify(folder, device, plan=plan)
    return folder
