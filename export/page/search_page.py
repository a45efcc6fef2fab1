"""The page of a search: what it found for each limit, and what it had to choose from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from export.figures.answers_views import accuracy_lines, loss_text
from export.page.bars import Bar, Row, interval_chart
from export.page.document import Page, Section
from export.page.elements import Node, el, listing, paragraph, rows_of_cells, unfolding
from export.page.frame import Look, figure
from export.page.ink import flat, ms, ms_range, percent, short, without_paths
from export.page.network_layers import Sources, layer_parts
from export.page.scatter import Point, pareto_chart
from export.page.table_parts import counted
from search.answers import Answer, read_answers
from search.searcher import Candidate, non_dominated
from search.space import Architecture
from search.spaces import space_label

KIND = "Search"

LOOKS: dict[Look, str] = {
    "second": "chosen for a limit",
    "first": "on the front",
    "faint": "beaten",
}
"""What marks of the front mean."""

MOST_ROWS = 24
"""Answers that the chart of limits shows."""

MOST_LAYERED = 4
"""Answers whose layers are shown."""


def search_page(path: Path, sources: Sources) -> Page:
    """Make the page of what a search answered.

    Args:
        path: An ``ARCH.json``.
        sources: What knows of layers.

    Raises:
        InvalidFile: It is missing or no file of answers.
    """
    answers = read_answers(path)
    first, groups = answers[0], _by_devices(answers)
    accuracies = [each.accuracy for each in answers if each.accuracy is not None]
    return Page(
        kind=KIND,
        title=path.name,
        lead=f"{counted(len(answers), 'answer')} of {first.method} in the space "
        f"{first.space.name}, for {' or '.join(map(', '.join, groups))}; each limit holds with "
        f"{first.confidence:.0%} confidence.",
        tiles={
            **({"best accuracy": percent(max(accuracies))} if accuracies else {}),
            "fastest prediction": ms(min(each.predicted_s[0] for each in answers)),
            "networks in the file": str(len(_everything(answers))),
            "seed": str(first.seed),
        },
        sections=(
            Section(name="Answers", content=_answers(answers)),
            Section(name="Pareto front", content=_each(groups, _fronts)),
            Section(name="Predictions and limits", content=_each(groups, _limits)),
            Section(name="Layers", content=_layers(answers, sources)),
            Section(name="Conditions", content=_each(groups, _conditions)),
        ),
    )


Groups: TypeAlias = Mapping[tuple[str, ...], Sequence[Answer]]
"""Answers by the devices of their limits: several where number formats were searched, too."""


def _by_devices(answers: Sequence[Answer]) -> Groups:
    groups: dict[tuple[str, ...], list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.devices, []).append(answer)
    return groups


def _each(groups: Groups, part: Callable[[Sequence[Answer]], list[Node]]) -> list[Node]:
    """Show a part for each group, under the name of its devices where there are several."""
    if len(groups) == 1:
        return [node for answers in groups.values() for node in part(answers)]
    named = ((el("h3", None, ", ".join(name)), part(each)) for name, each in groups.items())
    return [node for heading, nodes in named for node in (heading, *nodes)]


def _everything(answers: Sequence[Answer]) -> list[Candidate]:
    """Return every network that the file knows, best first; each once."""
    found: dict[Architecture, Candidate] = {}
    for answer in answers:
        for each in (answer.chosen, *answer.front, *answer.runners_up):
            found.setdefault(each.arch, each)
    return sorted(found.values(), key=lambda each: each.rank)


def _answers(answers: Sequence[Answer]) -> list[Node]:
    by_loss = any(answer.loss is not None for answer in answers)
    by_device = len(_by_devices(answers)) > 1
    rows = [
        (
            str(answer.arch),
            ", ".join(f"{limit * 1e3:.4g}" for limit in answer.limits_s),
            ", ".join(f"{seconds * 1e3:.4g}" for seconds in answer.predicted_s),
            ", ".join(map(ms_range, answer.interval_s)),
            "-" if answer.accuracy is None else percent(answer.accuracy),
            *([loss_text(answer.loss)] if by_loss else []),
            *([", ".join(answer.devices)] if by_device else []),
        )
        for answer in answers
    ]
    headers = (
        *("architecture", "limit, ms", "predicted, ms", "90 % interval, ms", "accuracy"),
        *(["loss"] if by_loss else []),
        *(["device"] if by_device else []),
    )
    notes = [paragraph(without_paths(line)) for line in accuracy_lines(answers)]
    return [rows_of_cells(headers, rows, caption="One network for each limit"), *notes]


def _fronts(answers: Sequence[Answer]) -> list[Node]:
    """Show accuracy against latency, one chart a device."""
    judged = [each for each in _everything(answers) if each.accuracy is not None]
    if not judged:
        return [paragraph("Nothing is known of accuracies.")]
    by_loss = any(each.loss is not None for each in judged)
    charts = [_front(answers, judged, place) for place in range(len(answers[0].devices))]
    devices = answers[0].devices
    rows = [
        (
            str(each.arch),
            *(f"{seconds * 1e3:.4g}" for seconds in each.latency_s),
            percent(each.accuracy or 0.0),
            *([loss_text(each.loss)] if by_loss else []),
        )
        for each in judged
    ]
    headers = (
        "architecture",
        *(f"{device}, ms" for device in devices),
        *(["accuracy", "loss"] if by_loss else ["accuracy"]),
    )
    table = rows_of_cells(headers, rows, caption="Networks, best first")
    return [*charts, unfolding(f"The {len(rows)} networks as a table", table)]


def _front(answers: Sequence[Answer], judged: Sequence[Candidate], place: int) -> Node:
    here = [
        replace(each, latency_s=(each.latency_s[place],), interval_s=(each.interval_s[place],))
        for each in judged
    ]
    front = non_dominated(sorted(here, key=lambda each: each.rank))
    limits: dict[Architecture, list[str]] = {}
    for answer in answers:
        limits.setdefault(answer.arch, []).append(f"{answer.limits_s[place] * 1e3:.4g}")
    points = [_point(each, limits.get(each.arch, []), front) for each in here]
    used = {point.look for point in points}
    return pareto_chart(
        points,
        front=[(each.latency_s[0] * 1e3, 100 * (each.accuracy or 0.0)) for each in reversed(front)],
        limits_ms=sorted({answer.limits_s[place] * 1e3 for answer in answers}),
        device=answers[0].devices[place],
        names=[(look, name) for look, name in LOOKS.items() if look in used],
        by_loss=front[0].loss is not None,
    )


def _point(each: Candidate, limits: Sequence[str], front: Sequence[Candidate]) -> Point:
    """Return a network of one device as a mark; only what was chosen has its interval drawn."""
    (seconds,), (interval_s,) = each.latency_s, each.interval_s
    says = [
        str(each.arch),
        f"accuracy {percent(each.accuracy or 0.0)}",
        *([] if each.loss is None else [f"loss {each.loss:.4g}"]),
        f"predicted {ms(seconds)}, {ms_range(interval_s)}",
        *([f"answer to {', '.join(limits)} ms"] if limits else []),
    ]
    return Point(
        x=seconds * 1e3,
        y=100 * (each.accuracy or 0.0),
        says="\n".join(says),
        look="second" if limits else "first" if each in front else "faint",
        reach=(interval_s[0] * 1e3, interval_s[1] * 1e3) if limits else None,
    )


def _limits(answers: Sequence[Answer]) -> list[Node]:
    """Show each prediction with its interval beside its limit, one chart a device."""
    shown = answers[:MOST_ROWS]
    more = f" The first {len(shown)} of {len(answers)}." if len(answers) > len(shown) else ""
    return [
        figure(
            f"Predicted latency on {device} with its 90 % interval, and the limit.{more}",
            interval_chart(
                [_limit_row(answer, place) for answer in shown],
                unit=f"predicted latency on {device}, ms",
                says=f"Predictions, their intervals and limits on {device}, in milliseconds",
            ),
            legend=(("dot predicted", "predicted"), ("whisker", "interval"), ("limit", "limit")),
        )
        for place, device in enumerate(answers[0].devices)
    ]


def _limit_row(answer: Answer, place: int) -> Row:
    predicted_s, limit_s = answer.predicted_s[place], answer.limits_s[place]
    low, high = answer.interval_s[place]
    says = (
        str(answer.arch),
        f"predicted {ms(predicted_s)}, {ms_range((low, high))}",
        f"limit {ms(limit_s)}",
    )
    bar = Bar(value=predicted_s * 1e3, interval=(low * 1e3, high * 1e3), kind="predicted")
    return Row(
        name=str(answer.arch),
        figure=f"{predicted_s * 1e3:.4g} of {limit_s * 1e3:.4g} ms",
        bars=(bar,),
        says="\n".join(says),
        limit=limit_s * 1e3,
    )


def _layers(answers: Sequence[Answer], sources: Sources) -> list[Node]:
    if sources.table is None:
        said = "To see what each layer is predicted to take: "
        return [paragraph(said, el("code", None, "latkit report ARCH.json --table T.lut"))]
    found: list[Node] = []
    for answer in answers[:MOST_LAYERED]:
        predicted = Sources(table=sources.table)  # kernels are of one exported network
        found.append(el("h3", None, short(str(answer.arch))))
        found += layer_parts(answer.arch, answer.space, predicted, priced_by=answer.table_hashes)
    return found


def _conditions(answers: Sequence[Answer]) -> list[Node]:
    answer = answers[0]
    facts = {
        "method": answer.method,
        "seed": answer.seed,
        "confidence": answer.confidence,
        "accuracy from": answer.accuracy_from,
        "devices": answer.devices,
        "hashes of the tables": answer.table_hashes,
        "calibration revisions": answer.revisions,
        "space": space_label(answer.space),
        "memory": None if answer.memory is None else answer.memory.as_json(),
    }
    return [paragraph("What the answers rest on."), listing(flat(facts))]
