"""The answers of a search, as a view."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from search.answers import Answer

FRONT_SHOWN = 4
"""Networks of a front that people are shown beside the answer."""


def answers_view(answers: Sequence[Answer], *, notes: Sequence[str] = ()) -> RenderableType:
    """Show what a search found for each limit, and what is to be known of the limits."""
    by_loss = any(answer.loss is not None for answer in answers)
    view = Table("limit, ms", "architecture", "predicted, ms", "interval, ms", "accuracy", box=None)
    if by_loss:
        view.add_column("loss")
    for answer in answers:
        view.add_row(
            ", ".join(f"{limit * 1e3:.4g}" for limit in answer.limits_s),
            str(answer.arch),
            ", ".join(f"{seconds * 1e3:.4g}" for seconds in answer.predicted_s),
            ", ".join(f"{low * 1e3:.4g} to {high * 1e3:.4g}" for low, high in answer.interval_s),
            "-" if answer.accuracy is None else f"{answer.accuracy:.1%}",
            *([loss_text(answer.loss)] if by_loss else []),
        )
    note = f"Accuracy: {answers[0].accuracy_from}; selected by it, so optimistic."
    fronts = [line for answer in answers if (line := _front_line(answer))]
    return Group(view, note, *fronts, *filter(None, notes))


def loss_text(loss: float | None) -> str:
    """Return a loss for people; a dash where it is not known."""
    return "-" if loss is None else f"{loss:.4g}"


def _front_line(answer: Answer) -> str:
    """Say what else a search had to choose from, fastest last; empty where nothing."""
    others = [each for each in answer.front if each.arch != answer.arch]
    if not others:
        return ""
    limits = ", ".join(f"{limit * 1e3:.4g}" for limit in answer.limits_s)
    shown = "; ".join(
        f"{each.accuracy or 0:.1%} in {', '.join(f'{s * 1e3:.4g}' for s in each.latency_s)} ms"
        for each in others[:FRONT_SHOWN]
    )
    more = len(others) - FRONT_SHOWN
    rest = f"; {more} more in the file" if more > 0 else ""
    return f"Also on the front within {limits} ms: {shown}{rest}."
