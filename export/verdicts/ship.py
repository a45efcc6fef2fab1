"""Ship what the device says yes to: export, measure, and else take the next runner-up."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devices import DeviceSpec
from export.deploy import Exported
from export.verdicts.learn import check_table, learn
from export.verdicts.verdict import Verdict
from export.verdicts.verify import Plan, verify
from search.answers import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What was left in the deployment directory.

    Attributes:
        exported: The network that was shipped.
        verdict: What the device says of it; ``met`` unless no try was.
        tries: Networks that were measured, it included.
    """

    exported: Exported
    verdict: Verdict
    tries: int


def ship(
    answer: Answer,
    folder: Path,
    *,
    export: Callable[[Answer, Path], Exported],
    device: DeviceSpec,
    tries: int,
    plan: Plan | None = None,
    table: Path | None = None,
    on_try: Callable[[int, Answer], None] = lambda _, __: None,
) -> Shipped:
    """Export an answer, or the first of its runners-up that the device confirms.

    Predictions flatter what a search picks: of many networks it takes one whose latency is
    underestimated. So the device is asked, in fresh processes. Where it does not say ``met``, the
    most accurate runner-up is exported that is predicted to be faster by as much as the device was
    too slow, or the next one where none is.

    Args:
        answer: What to export.
        folder: The deployment directory; holds the last network that was tried.
        export: Writes an answer to a directory.
        device: Where the limit holds.
        tries: Networks to measure at most, 1 or more.
        plan: How hard to look at each; None for the usual.
        table: Learns from every measurement, see `lut.feed_back`; None for no table.
        on_try: Called before each try with its number, from 1, and the answer.
    """
    if table is not None:
        check_table(table, device)
    candidate: Answer | None = answer
    for number in range(1, tries + 1):
        assert candidate is not None  # the loop ends with the last of them
        on_try(number, candidate)
        exported = export(candidate, folder)
        verdict = verify(folder, device, plan=plan)
        if table is not None and not exported.deployment.facts.get("kept_float"):
            learn(table, folder, verdict)
        here = candidate.devices.index(device.name)
        too_slow = max(1.0, verdict.interval_s[1] / verdict.limit_s)
        within_s = candidate.predicted_s[here] / too_slow
        candidate = candidate.next_best(device=device.name, within_s=within_s)
        if verdict.met or candidate is None:
            break
    return Shipped(exported=exported, verdict=verdict, tries=number)
