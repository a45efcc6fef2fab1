"""What was exported, and what the device says of it: figures and views."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape

from export.figures.listing import Facts, listing
from export.figures.model_views import percentiles_line
from export.precision.views import precision_lines
from export.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from export.deploy import Exported
    from export.verdicts.ship import Shipped


def exported_facts(folder: Path, exported: "Exported") -> Facts:
    """Return what an export wrote; a quantised model's accuracy beside that of its floats."""
    facts: Facts = {
        "directory": str(folder),
        **exported.deployment.as_json(),
        "test_accuracy": exported.test_accuracy,
    }
    known = exported.deployment.facts
    if "test_accuracy_fp32" in known:
        facts["test_accuracy_fp32"] = known["test_accuracy_fp32"]
    return facts | ({"shortfall": exported.shortfall} if exported.shortfall else {})


def exported_view(facts: Facts) -> RenderableType:
    """Show what an export wrote, and what its number format costs and gains."""
    beside = facts.get("side_by_side")
    lines = precision_lines(facts["precision"], facts["facts"], beside)
    return Group(listing(facts, leave={"facts", "space", "side_by_side"}), *map(escape, lines))


def verdict_view(verdict: Verdict) -> RenderableType:
    """Show a verdict."""
    facts = verdict.as_json()
    lines = [
        verdict.line,
        f"{facts['processes']} fresh processes, status {verdict.status}; "
        f"largest difference of the outputs {verdict.parity_max_abs:.2g}",
        *([f"single runs: {percentiles_line(facts)}"] if verdict.single_runs else []),
        *_accuracy(verdict),
        *_elsewhere(verdict),
        *(f"  {doubt}" for doubt in verdict.doubts()),
    ]
    return Group(*map(escape, lines))


def _accuracy(verdict: Verdict) -> list[str]:
    """Say what was measured of the accuracy, where its images were given."""
    found = verdict.test_accuracy
    return [] if found is None else [f"accuracy on the test split as promised: {found:.2%}"]


def _elsewhere(verdict: Verdict) -> list[str]:
    """Say so where a verdict is of another device or runtime than those before."""
    if not verdict.differences:
        return []
    return [f"measured anew, since this is another device: {'; '.join(verdict.differences)}"]


def shipped_facts(folder: Path, shipped: "Shipped") -> Facts:
    """Return what was shipped, and what the device says of it."""
    return {
        **exported_facts(folder, shipped.exported),
        "tries": shipped.tries,
        "verdict": shipped.verdict.as_json(),
    }


def shipped_view(folder: Path, shipped: "Shipped") -> RenderableType:
    """Show what was shipped, and what the device says of it."""
    tried = f"network {shipped.tries} of those that the search named"
    return Group(
        exported_view(exported_facts(folder, shipped.exported)),
        tried,
        verdict_view(shipped.verdict),
    )
