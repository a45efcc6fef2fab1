"""Whether a deployed model keeps its promise: right numbers, within the limit, on the device.

Needs no torch: the outputs are compared with those that were stored at export.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from devices import DeviceSpec, Graph, InvalidFile, LatkitError, Precision
from devices.files import CannotWrite, write_atomically
from export.bundle.deployment import Deployment, read_deployment, read_graph, read_reference
from export.bundle.engine_file import read_engine
from export.bundle.manifest import VERDICT
from export.bundle.onnx_file import parity
from export.logits import logits_on
from export.verdicts.accuracy_check import check_accuracy
from export.verdicts.history import append, read
from export.verdicts.verdict import Verdict, accept, decision
from lut import Conditions, current_conditions
from lut.table import conditions_from_meta
from profiler import Measurement, Pace, measure_sustained, measure_together
from profiler.whole_models.acceptance import Acceptance
from profiler.whole_models.single_runs import SingleRuns, runs_in_each, take_single_runs

PROCESSES, MOST_PROCESSES = 5, 15
"""Fresh processes to measure in: at least, and at most while the verdict is open."""

LOOKS = 3
"""Times that a measurement is compared with the limit while it grows: each look costs width."""

ROUNDS = 8
"""Slices in each process."""


class NoLimit(LatkitError):
    """Nothing was promised of a latency, so there is nothing to verify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How hard to look.

    Attributes:
        processes: Fresh processes at least.
        most: Fresh processes at most, while the verdict is undecided; see `looks`.
        rounds: Slices in each.
        pace: Time for each slice.
        single_runs: Whether more processes take single runs to say percentiles. Where one has to
            be within the limit, they do.
        load_s: Seconds without a pause, at whose end the limit has to hold, too; 0 for none.
    """

    processes: int = PROCESSES
    most: int = MOST_PROCESSES
    rounds: int = ROUNDS
    pace: Pace = field(default_factory=Pace)
    single_runs: bool = True
    load_s: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= self.most:
            raise ValueError(f"processes are 1 to {self.most}, got {self.processes}")

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of processes after which the verdict may be spoken, the least first."""
        between = (self.most - self.processes) / (LOOKS - 1)
        return tuple(sorted({self.processes + round(between * look) for look in range(LOOKS)}))


def verify(
    folder: Path,
    device: DeviceSpec,
    *,
    limit_s: float | None = None,
    plan: Plan | None = None,
    acceptance: Acceptance | None = None,
    images: str = "",
    on_claim: Callable[[str], None] = lambda _: None,
    on_process: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Check a deployment on a device, and write the verdict beside it.

    On another device than the one that was promised, or under other conditions than before, that is
    said, and the same limit is measured against anew.

    Args:
        folder: The deployment directory.
        device: Where to check; its prediction is quoted only on the device it was made for.
        limit_s: Seconds; None for the limit that was promised.
        plan: How hard to look; None for the usual.
        acceptance: Which percentile has to be within the limit; None for the median.
        images: Source of the images that the accuracy was promised for; empty for none.
        on_claim: Called with the name of each claim that was found true: files, parity, accuracy.
        on_process: Called with the number of fresh processes done.

    Raises:
        InvalidFile: The directory is damaged or a file was altered.
        WrongPrecision: The device runs networks of another precision.
        NoLimit: No limit is given, and none was promised.
        ParityFailed: The outputs are not those that were stored.
        AccuracyFailed: The accuracy is not what was promised.
        DeviceUnavailable: The device is not usable here.
    """
    deployment = read_deployment(folder)
    on_claim("files")
    deployment.require(device)
    limit = _limit(folder, deployment, limit_s)
    graph = deployed_graph(folder, deployment, device)
    conditions = current_conditions(device)
    parity_max_abs = check_numbers(folder, graph, device)
    on_claim("parity")
    accuracy = check_accuracy(deployment, graph, device, source=images) if images else None
    if images:
        on_claim("accuracy")
    plan = plan or Plan()
    by_median = partial(_decided, limit, plan) if acceptance is None else lambda _: True
    verdict = Verdict(
        limit_s=limit,
        predicted_s=deployment.predicted_s if device.name == deployment.device else None,
        measurement=_medians(graph, device, plan, enough=by_median, on_process=on_process),
        conditions=conditions,
        parity_max_abs=parity_max_abs,
        acceptance=acceptance,
        differences=differences_from_before(folder, deployment, conditions),
        looks=len(plan.looks) if acceptance is None else 1,
        test_accuracy=accuracy,
    )
    done = len(verdict.measurement.by_process)
    runs = _single_runs(graph, verdict, plan, on_process=lambda more: on_process(done + more))
    loaded = measure_sustained(graph, device, load_s=plan.load_s) if plan.load_s else None
    verdict = replace(verdict, single_runs=runs, sustained=loaded)
    try:
        _record(folder, deployment, verdict)
    except CannotWrite as error:  # as in a bundle on a read-only disk
        return replace(verdict, not_kept=str(error))
    return verdict


def _limit(folder: Path, deployment: Deployment, limit_s: float | None) -> float:
    """Return the limit that is asked for, or else what was promised, in seconds."""
    limit = deployment.limit_s if limit_s is None else limit_s
    if limit is None:
        raise NoLimit(f"{folder} promises no latency. Name the limit to verify: --limit-ms")
    return limit


def _medians(
    graph: Graph,
    device: DeviceSpec,
    plan: Plan,
    *,
    enough: Callable[[Measurement], bool],
    on_process: Callable[[int], None],
) -> Measurement:
    """Time a graph in fresh processes, as many as the plan says, and more until it is enough."""
    found = measure_together(
        [graph],
        device,
        processes=plan.processes,
        most=plan.most,
        rounds=plan.rounds,
        pace=plan.pace,
        enough=lambda found: enough(found.measured[graph]),
        on_process=on_process,
    )
    return found.measured[graph]


def _single_runs(
    graph: Graph, verdict: Verdict, plan: Plan, *, on_process: Callable[[int], None]
) -> tuple[SingleRuns, ...]:
    """Return single runs in fresh processes: enough to say percentiles, or to decide on one."""
    test, latency_s = verdict.acceptance, verdict.measured_s
    most = plan.processes if test is None else test.most_blocks
    runs = runs_in_each(latency_s, processes=most) if test is None else test.runs_in_block
    taken: tuple[SingleRuns, ...] = ()
    for process in range(most if plan.single_runs or test else 0):
        device = verdict.conditions.device
        part = take_single_runs(graph, device, process=process, runs=runs, latency_s=latency_s)
        taken += (part,)
        on_process(process + 1)
        if test and accept(test, taken, limit_s=verdict.limit_s).decision != "undecided":
            break
    return taken


def deployed_graph(folder: Path, deployment: Deployment, device: DeviceSpec) -> Graph:
    """Return what a deployment runs on a device: its engine on a GPU, its model elsewhere.

    Raises:
        InvalidFile: A file of the engine is damaged, or it is for another GPU.
    """
    engine = read_engine(folder) if device.gpu is not None else None
    if engine is not None:
        engine.require(device)
    return read_graph(folder, deployment.input_shape, engine=engine is not None)


def check_numbers(folder: Path, graph: Graph, device: DeviceSpec) -> float:
    """Compare a model's logits on a device with the stored ones.

    Returns:
        The largest absolute difference.

    Raises:
        ParityFailed: It is more than rounding explains.
        InvalidFile: The stored images do not fit the model.
    """
    images, logits = read_reference(folder)
    (_, shape), *_ = graph.inputs
    if images.shape[1:] != shape[1:] or len(images) % shape[0]:
        raise InvalidFile(f"{folder}: the stored images {images.shape} do not fit {shape}")
    return parity(logits_on(device, graph, images), logits, precision=_rounding(device))


def _rounding(device: DeviceSpec) -> Precision:
    """Return the precision that a device rounds like: fp32 in TF32 has no more bits than fp16."""
    rounded = device.precision == "fp32" and device.gpu is not None and device.gpu.tf32
    return "fp16" if rounded else device.precision


def _decided(limit_s: float, plan: Plan, measurement: Measurement) -> bool:
    """Whether it is time to look, and there is enough to see."""
    if len(measurement.by_process) not in plan.looks:
        return False
    return decision(limit_s, measurement, looks=len(plan.looks)) != "undecided"


def _record(folder: Path, deployment: Deployment, verdict: Verdict) -> None:
    """Write the verdict, and add it with its samples to the history."""
    summary = verdict.as_json() | {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": deployment.sha256,
        "conditions": verdict.conditions.as_meta(),
    }
    append(folder, summary, verdict)
    write_atomically(folder / VERDICT, (json.dumps(summary, indent=2) + "\n").encode())


def differences_from_before(
    folder: Path, deployment: Deployment, conditions: Conditions
) -> tuple[str, ...] | None:
    """Return what is other here than where a model was verified before.

    Where it never was, only the name of the device is known that it was promised for.

    Args:
        folder: The deployment directory.
        deployment: What it promises.
        conditions: Those here.

    Returns:
        A phrase each; empty if it was verified under these conditions before; None where it never
        was on the device that it was promised for, which this one is by its name.
    """
    known, here = _conditions_before(folder, deployment.sha256), conditions.device.name
    if here == deployment.device and all(each.device.name != here for each in known):
        return None
    apart = [tuple(each.differences(conditions, where="before")) for each in known]
    return min(apart, key=len, default=(f"name: {deployment.device} promised, {here} here",))


def _conditions_before(folder: Path, sha256: str) -> list[Conditions]:
    """Return under which conditions a model was verified, as far as this latkit knows them."""
    found = []
    for each in read(folder).verdicts:
        try:
            if each.sha256 == sha256:
                found.append(conditions_from_meta(dict(each.conditions)))
        except (KeyError, TypeError, ValueError, LatkitError):
            continue  # of a later latkit that knows other devices
    return found
