"""Why a prediction was off, as plain figures for machines and as a view for people."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from lut.explanations.explain import WORTH_TELLING, Explanation, Part
from profiler import COVERAGE

Facts = dict[str, Any]

LEARN = "let the table learn from it (latkit verify DIR --table T.lut)"

UNLIKE = (
    "this network more, or less, than others of its size, and no sum of operators knows that, so "
    + LEARN
)

CURES = {
    "speed": "the device as a whole has another speed than when the table was made, so measure "
    "where it is as quiet as it was then, or profile again at this speed",
    "calibration": "the table is off for other networks of this size in the same way, so calibrate "
    "again: profile into a new file, or let the table learn from verdicts (latkit verify DIR "
    "--table T.lut)",
    "state": "other networks take another time now, too, at the same speed, so the device is in "
    "another state than when the table was made: profile again into a new file",
    "operators": "its operators do not take what the table says any more, or never did, so profile "
    "again into a new file",
    "cold weights": f"weights that do not stay in the caches cost {UNLIKE}",
    "layout": f"the layouts that the runtime chooses cost {UNLIKE}",
    "fusion": f"what the runtime fuses serves {UNLIKE}",
    "threads": f"more threads serve {UNLIKE}",
    "rest": "it is more than noise, and no cause that was looked for explains it alone, so "
    f"{LEARN}, and measure what you ship (latkit export --measure)",
}
"""Cause of a gap to what it means, and what to do about it."""


def explanation_facts(explanation: Explanation) -> Facts:
    """Return the promised keys of ``latkit explain --json``; times in milliseconds."""
    return {
        "sum_ms": explanation.sum_s * 1e3,
        "predicted_ms": explanation.predicted_s * 1e3,
        "predicted_interval_ms": _ms(explanation.predicted_interval_s),
        "measured_ms": explanation.measured_s * 1e3,
        "measured_interval_ms": _ms(explanation.measured_interval_s),
        "gap_ms": explanation.gap_s * 1e3,
        "coverage": COVERAGE,
        "parts": [_part_facts(part, explanation.gap_s) for part in explanation.parts],
        "advice": advice(explanation),
        "status": explanation.measurement.status,
        "doubts": explanation.doubts(),
    }


def _part_facts(part: Part, gap_s: float) -> Facts:
    return {
        "cause": part.cause,
        "ms": part.seconds * 1e3,
        "share": part.seconds / gap_s + 0.0 if gap_s else None,  # no minus before a 0
        "interval_ms": None if part.interval_s is None else _ms(part.interval_s),
        "evidence": part.evidence,
    }


def _ms(interval_s: tuple[float, float]) -> list[float]:
    return [end * 1e3 for end in interval_s]


def advice(explanation: Explanation) -> str:
    """Name the largest cause of a gap, and what to do about it, in a sentence or two."""
    if explanation.differences:
        return (
            f"The table holds for other conditions ({explanation.differences[0]}), so profile this "
            "device into a table of its own."
        )
    part, kept = explanation.largest, _kept(explanation)
    if part is None:
        return f"Nothing can be told from noise{kept or ', so measure on a quieter machine'}."
    size = f"{part.seconds * 1e3:+.3g} of {explanation.gap_s * 1e3:+.3g} ms"
    noisy = abs(explanation.noise_s) > abs(part.seconds)
    start = "Most is noise; beside that, the" if noisy else "The"
    return f"{start} largest cause is {part.cause} ({size}): {CURES[part.cause]}{kept}."


def _kept(explanation: Explanation) -> str:
    """Say so where the table is fine all the same."""
    if explanation.within_noise:
        return ". Measured again it might take what was predicted: the table is fine"
    if explanation.as_promised:
        return ". The interval of the prediction holds what was measured: the table is fine"
    return ""


def explanation_view(facts: Facts) -> RenderableType:
    """Show the way from the prediction to what was measured, cause by cause."""
    view = Table(
        "cause", "ms", "of the gap", f"{facts['coverage']:.0%} interval, ms", "what was run",
        box=None,
    )  # fmt: skip
    for part in facts["parts"]:
        view.add_row(
            part["cause"],
            f"{part['ms']:+.4f}" if part["ms"] else "0",
            f"{part['share']:.0%}" if part["ms"] and part["share"] is not None else "",
            "{:+.4f} to {:+.4f}".format(*part["interval_ms"]) if part["interval_ms"] else "",
            part["evidence"],
        )
    low, high = facts["measured_interval_ms"]
    least, most = facts["predicted_interval_ms"]
    return Group(
        f"{facts['arch']} on {facts['device']}: predicted {facts['predicted_ms']:.4g} ms "
        f"({least:.4g} to {most:.4g}), measured {facts['measured_ms']:.4g} ms "
        f"({low:.4g} to {high:.4g}), status {facts['status']}",
        f"the gap of {facts['gap_ms']:+.4f} ms ({facts['gap_ms'] / facts['predicted_ms']:+.1%}) "
        "is made of:",
        "",
        view,
        "",
        f"A cause counts where its interval leaves out 0 and it is {WORTH_TELLING:.0%} of the "
        "latency or more; else it stays in what is left.",
        *(f"  {doubt}" for doubt in facts["doubts"]),
        facts["advice"],
        *([f"The picture is in {facts['plot']}."] if facts["plot"] else []),
    )
