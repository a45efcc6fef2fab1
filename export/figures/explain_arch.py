"""A network that took another time than predicted: from its table to the figures."""

from pathlib import Path

from devices.places import check_place
from export.figures.explain_views import Facts, explanation_facts
from export.progress import counting
from lut import LatencyTable, latency_model
from lut.explanations.counterfactuals import Case
from lut.explanations.explain import explain_network, explain_steps
from search.exact import check_additive
from search.space import Architecture, SearchSpace


def explain_arch(
    table: LatencyTable,
    space: SearchSpace,
    arch: Architecture,
    *,
    plot: Path | None = None,
    quiet: bool,
) -> Facts:
    """Measure a network, split the gap to its prediction, and draw it.

    Args:
        table: What predicts it.
        space: What it is of.
        arch: The network.
        plot: Where to write the picture, a PNG; None for none.
        quiet: Whether to show no progress.

    Raises:
        CannotWrite: ``plot`` is no place for a picture.
        InvalidFile: The network is not of the space.
        NotAdditive: Latency is no sum over its layers.
        LatkitError: The table does not predict it, or the device cannot run it.
    """
    space.check(arch)
    check_additive(space, latency_model(table, space))
    if plot is not None:
        from export.figures.plots import plot_gap  # complain of a lacking library before measuring

        check_place(plot, ".png")
    case = Case(table=table, space=space, choices=arch.choices)
    device = table.conditions.device.name
    with counting(f"explaining {arch} on {device}", explain_steps(case), quiet=quiet) as on_step:
        explanation = explain_network(case, on_step=on_step)
    if plot is not None:
        plot_gap(plot, explanation, title=f"{arch} ({space.name}) on {device}")
    return {
        "arch": str(arch),
        "space": space.name,
        "device": device,
        **explanation_facts(explanation),
        "plot": None if plot is None else str(plot),
    }
