"""Tables of devices that run nothing: what a spec sheet says, or what a builder plans."""

from collections.abc import Sequence
from pathlib import Path

from devices import DeviceSpec
from export.progress import announce, bar
from export.verbs.report import Report
from search.space import SearchSpace

USUAL_CAPABILITIES = ("8.6",)
"""Of the GPUs that plans are for if nobody says."""


def profile_on_paper(
    output: Path,
    space: SearchSpace,
    device: DeviceSpec,
    *,
    calibrate: Path | None,
    capabilities: Sequence[str],
    as_json: bool,
) -> Report:
    """Fill the table of a device without a runtime.

    Args:
        output: The table to make or to fill.
        space: What to cover.
        device: Of a backend in `devices.backend.ON_PAPER`.
        calibrate: Measured operators to correct a spec sheet by; None to trust it.
        capabilities: Compute capabilities to plan for, as typed; none for the usual.
        as_json: Whether figures are asked for.
    """
    if device.sheet is None:
        return _planned(output, space, device, capabilities=capabilities, as_json=as_json)
    from lut.views import estimates_facts, estimates_view
    from search.pricing.tables import estimate_space

    table = estimate_space(output, space, device, calibrate=calibrate)
    facts = estimates_facts(table)
    return Report(
        figures={"table": str(output), **facts},
        view=lambda: estimates_view(table, facts),
        as_json=as_json,
    )


def _planned(
    output: Path,
    space: SearchSpace,
    device: DeviceSpec,
    *,
    capabilities: Sequence[str],
    as_json: bool,
) -> Report:
    from lut.plans.plan_table import capability_from_text
    from lut.plans.views import plans_facts, plans_view
    from search.pricing.planning import plan_outlook, plan_space

    asked = [capability_from_text(text) for text in capabilities or USUAL_CAPABILITIES]
    announce(plan_outlook(output, space, device, list(dict.fromkeys(asked))), quiet=as_json)
    with bar(f"planning {space.name}", quiet=as_json) as update:
        table = plan_space(
            output,
            space,
            device,
            list(dict.fromkeys(asked)),
            on_plan=lambda done, total: update(done, total, f"{done} of {total} engines"),
        )
    facts = plans_facts(table)
    return Report(
        figures={"table": str(output), **facts}, view=lambda: plans_view(facts), as_json=as_json
    )
