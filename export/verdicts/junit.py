"""Claims of a bundle as JUnit XML, which servers of continuous integration show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from devices import InvalidFile, LatkitError
from devices.files import write_atomically
from export.bundle.engine_file import WrongEngine
from export.bundle.manifest import NewerBundle
from export.bundle.onnx_file import ParityFailed
from export.verdicts.accuracy_check import AccuracyFailed
from export.verdicts.verdict import Verdict

CLAIMS = ("files", "parity", "accuracy", "latency")
"""What is claimed of a bundle, in the order in which it is tested."""

Outcome: TypeAlias = Literal["passed", "failure", "error", "skipped"]
"""JUnit's words: a failure is a claim that is not so, an error one that could not be tested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim of a bundle and what became of it.

    Attributes:
        name: Of `CLAIMS`.
        outcome: What became of it.
        reason: Why, in one line; what was found, where it passed.
    """

    name: str
    outcome: Outcome
    reason: str


def claims_of(verdict: Verdict) -> tuple[Claim, ...]:
    """Return what became of each claim where all were tested."""
    found = {
        "files": "every file is as it was exported",
        "parity": f"largest difference of the outputs {verdict.parity_max_abs:.2g}",
        "latency": verdict.line,
    }
    if verdict.test_accuracy is not None:
        found["accuracy"] = f"top-1 on the test split {verdict.test_accuracy:.2%}"
    outcomes: dict[str, Outcome] = {"latency": "passed" if verdict.met else "failure"}
    return tuple(
        Claim(name=name, outcome=outcomes.get(name, "passed"), reason=found[name])
        for name in CLAIMS
        if name in found
    )


def claims_after(
    error: LatkitError, *, passed: Sequence[str], tested: Sequence[str]
) -> tuple[Claim, ...]:
    """Return what became of each claim where testing ended early.

    Args:
        error: How it ended.
        passed: Claims that had been tested by then.
        tested: All that were to be tested, in this order.
    """
    open_ = [name for name in tested if name not in passed]
    outcome: Outcome = "failure" if _is_false(error) else "error"
    return (
        *(Claim(name=name, outcome="passed", reason="") for name in passed),
        Claim(name=open_[0], outcome=outcome, reason=" ".join(str(error).split())),
        *(
            Claim(name=name, outcome="skipped", reason=f"not tested after {open_[0]}")
            for name in open_[1:]
        ),
    )


def _is_false(error: LatkitError) -> bool:
    """Whether an error says that a claim is not so, rather than that nobody can tell."""
    false = isinstance(error, InvalidFile | ParityFailed | AccuracyFailed)
    return false and not isinstance(error, NewerBundle | WrongEngine)


def write_junit(path: Path, claims: Sequence[Claim], *, bundle: str, elapsed_s: float) -> None:
    """Write claims as a test suite.

    Args:
        path: Where.
        claims: What became of each.
        bundle: Name of the bundle, for people.
        elapsed_s: Seconds that testing took.

    Raises:
        CannotWrite: The place is not writable.
    """
    outcomes = [claim.outcome for claim in claims]
    suite = Element(
        "testsuite",
        name="latkit verify",
        tests=str(len(claims)),
        failures=str(outcomes.count("failure")),
        errors=str(outcomes.count("error")),
        skipped=str(outcomes.count("skipped")),
        time=f"{elapsed_s:.3f}",
    )
    for claim in claims:
        case = SubElement(suite, "testcase", classname=_printable(bundle), name=claim.name)
        reason = _printable(claim.reason)
        if claim.outcome == "passed":
            SubElement(case, "system-out").text = reason
        else:
            SubElement(case, claim.outcome, message=reason)
    suites = Element("testsuites")
    suites.append(suite)
    indent(suites)
    write_atomically(path, tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n")


def _printable(text: str) -> str:
    """Leave out what XML has no way to write: names of files may hold anything."""
    return "".join(character for character in text if character.isprintable())
