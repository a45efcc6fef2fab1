"""The answers of a search, as a view."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from search.answers import Answer

FRONT_SHOWN = 4
"""Networks of a front that people are shown beside the answer."""


def answers_view(answers: Sequence[Answer], *, notes: Sequence[str] = ()) -> RenderableType:
    """Show what a search found for each limit, and what is to be known of the limits.

    Args:
        answers: One for each set of limits; of one device, or in several number formats of it.
        notes: One for each answer, empty where there is nothing to say; none at all, likewise.
    """
    by_loss = any(answer.loss is not None for answer in answers)
    by_device = len({answer.devices for answer in answers}) > 1
    view = Table("limit, ms", "architecture", "predicted, ms", "interval, ms", "accuracy", box=None)
    if by_loss:
        view.add_column("loss")
    if by_device:
        view.add_column("device")
    for answer in answers:
        view.add_row(
            _limits(answer),
            str(answer.arch),
            ", ".join(f"{seconds * 1e3:.4g}" for seconds in answer.predicted_s),
            ", ".join(f"{low * 1e3:.4g} to {high * 1e3:.4g}" for low, high in answer.interval_s),
            "-" if answer.accuracy is None else f"{answer.accuracy:.1%}",
            *([loss_text(answer.loss)] if by_loss else []),
            *([", ".join(answer.devices)] if by_device else []),
        )
    fronts = [line for answer in answers if (line := _front_line(answer))]
    said = [
        f"Within {_limits(answer)} ms: {note}" if len(answers) > 1 else note
        for answer, note in zip(answers, notes, strict=False)
        if note
    ]
    return Group(view, *accuracy_lines(answers), *fronts, *said)


def _limits(answer: Answer) -> str:
    return ", ".join(f"{limit * 1e3:.4g}" for limit in answer.limits_s)


def accuracy_lines(answers: Sequence[Answer]) -> list[str]:
    """Say where accuracies are from, once for all answers that say the same."""
    saying: dict[str, list[Answer]] = {}
    for answer in answers:
        saying.setdefault(answer.accuracy_from, []).append(answer)
    if len(saying) == 1:
        return [f"Accuracy: {answers[0].accuracy_from}; selected by it, so optimistic."]
    by_device = len({answer.devices for answer in answers}) > 1
    return [
        f"Accuracy {_where(same, by_device=by_device)}: {known}; selected by it, so optimistic."
        for known, same in saying.items()
    ]


def _where(answers: Sequence[Answer], *, by_device: bool) -> str:
    """Name answers by their devices, or by their limits where all are of the same devices."""
    if by_device:
        return f"on {' and '.join(dict.fromkeys(', '.join(each.devices) for each in answers))}"
    return f"within {' and '.join(map(_limits, answers))} ms"


def loss_text(loss: float | None) -> str:
    """Return a loss for people; a dash where it is not known."""
    return "-" if loss is None else f"{loss:.4g}"


def _front_line(answer: Answer) -> str:
    """Say what else a search had to choose from, fastest last; empty where nothing."""
    others = [each for each in answer.front if each.arch != answer.arch]
    if not others:
        return ""
    shown = "; ".join(
        f"{each.accuracy or 0:.1%} in {', '.join(f'{s * 1e3:.4g}' for s in each.latency_s)} ms"
        for each in others[:FRONT_SHOWN]
    )
    more = len(others) - FRONT_SHOWN
    rest = f"; {more} more in the file" if more > 0 else ""
    return f"Also on the front within {_limits(answer)} ms: {shown}{rest}."
