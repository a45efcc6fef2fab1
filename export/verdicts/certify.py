"""Verify a bundle for the command line: progress for people, JUnit XML for machines."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from devices import LatkitError, device_named
from devices.files import CannotWrite
from devices.places import check_place
from export.bundle.deployment import read_deployment
from export.progress import counting
from export.verdicts.junit import CLAIMS, Claim, claims_after, claims_of, write_junit
from export.verdicts.learn import check_table
from export.verdicts.verdict import Verdict
from export.verdicts.verify import PROCESSES, Plan, verify
from profiler.whole_models.acceptance import Acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be verified of a bundle.

    Attributes:
        device: Name or file of the device; None for the one that the bundle was made for.
        limit_s: Seconds; None for what was promised.
        acceptance: Which percentile has to be within the limit; None for the median.
        processes: Fresh processes for the latency, at least.
        load_s: Seconds without a pause, at whose end the limit has to hold, too; 0 for none.
        images: Source of the images that the accuracy was promised for; empty for none.
        junit: Where to write the claims as JUnit XML; None for nowhere.
        table: That is to learn from the verdict; None for none.
    """

    device: str | None = None
    limit_s: float | None = None
    acceptance: Acceptance | None = None
    processes: int = PROCESSES
    load_s: float = 0.0
    images: str = ""
    junit: Path | None = None
    table: Path | None = None


def certify(folder: Path, asked: Asked, *, quiet: bool) -> Verdict:
    """Verify a bundle, see `verify`, and write down what became of each claim, whatever it is.

    Args:
        folder: The bundle.
        asked: What is to be verified.
        quiet: Whether to show no progress.

    Raises:
        CannotWrite: There is no place for the JUnit XML; found before anything is measured.
        LatkitError: What `verify` raises.
    """
    if asked.junit is not None:
        check_place(asked.junit)
        asked.junit.unlink(missing_ok=True)  # a kill must not leave what was claimed before
    began_s, passed = perf_counter(), dict[str, None]()
    try:
        verdict = _verified(folder, asked, passed, quiet=quiet)
    except LatkitError as error:
        tested = [name for name in CLAIMS if name != "accuracy" or asked.images]
        claims = claims_after(error, passed=tuple(passed), tested=tested)
        with suppress(CannotWrite):  # a disk that filled up meanwhile hides no failed claim
            _note(folder, asked, claims, elapsed_s=perf_counter() - began_s)
        raise
    _note(folder, asked, claims_of(verdict), elapsed_s=perf_counter() - began_s)
    return verdict


def _note(folder: Path, asked: Asked, claims: Sequence[Claim], *, elapsed_s: float) -> None:
    """Write the claims where somebody asked for them."""
    if asked.junit is not None:
        write_junit(asked.junit, claims, bundle=folder.resolve().name, elapsed_s=elapsed_s)


def _verified(folder: Path, asked: Asked, passed: dict[str, None], *, quiet: bool) -> Verdict:
    """Verify a bundle; claims that were found true are added to ``passed``."""
    promised_on = read_deployment(folder).device
    passed.setdefault("files")
    device = device_named(asked.device or promised_on)
    if asked.table is not None:
        check_table(asked.table, device)
    plan = Plan(processes=asked.processes, load_s=asked.load_s)
    total = processes_of(plan, asked.acceptance)
    with counting(f"verifying {folder} on {device.name}", total, quiet=quiet) as on_process:
        return verify(
            folder,
            device,
            limit_s=asked.limit_s,
            plan=plan,
            acceptance=asked.acceptance,
            images=asked.images,
            on_claim=passed.setdefault,
            on_process=on_process,
        )


def processes_of(plan: Plan, acceptance: Acceptance | None = None) -> int:
    """Return how many fresh processes a verdict takes, if it is not open for long."""
    if acceptance is not None:
        return plan.processes + acceptance.most_blocks
    return plan.processes * (2 if plan.single_runs else 1)
