"""``latkit search``: a command for each method; what each searches is found elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from export.verbs.options import (
    Also,
    Answers,
    Capability,
    Confidence,
    Emulated,
    Estimated,
    Formats,
    Json,
    LimitMb,
    LimitRanges,
    LimitsMs,
    LimitTable,
    Plans,
    Population,
    Rounds,
    Seed,
    SpaceOfTable,
    Supernet,
    Workers,
)
from export.verbs.report import Methods, Report, UsageError, one_of, refuse, typed

if TYPE_CHECKING:
    from export.precision.format_drop import FormatAsked
    from export.roads.on_truth import Judged
    from lut.table import Origin
    from search.memory import MemoryAsked
    from search.solve import Search, Solution

SCORED = {
    "evolution": "Crossover and mutation of the most accurate.",
    "nsga2": "Accuracy against latency; the answers keep the front.",
    "random": "Random networks: the baseline.",
}
"""Methods of ``search`` that ask for accuracies, wherever they are from."""

TRIED = {
    "econas": "Candidates trained under a proxy, promising ones longer.",
    "flat": "As econas, but all candidates trained alike: its rival.",
    "asha": "Successive halving of random candidates: a rival too.",
}
"""Methods of ``search`` that train their candidates, and so need no supernet."""

SomeRun = Annotated[Path | None, typer.Option(help="Directory of a trained supernet.")]
SomeTable = Annotated[Path | None, typer.Option(help="Table of the device to keep the limits on.")]
Truth = Annotated[
    Path | None, typer.Option(help="Instead of --run: true accuracies of a whole --space.")
]
TruthSpace = Annotated[str, typer.Option("--space", help="Of --truth: macro or nasbench201.")]
Dataset = Annotated[str | None, typer.Option(help="Of --truth: cifar10, cifar100 or imagenet16.")]
Latencies = Annotated[
    str | None, typer.Option(help="With --truth: FILE:COLUMN of published latencies.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What every answer of a search has to keep.

    Attributes:
        tables: One for each device that has limits, ``FILE:COLUMN`` among them.
        limits_s: Sets of limits, each in the order of the tables.
        memory: What its engine may take; None for no limit.
    """

    tables: tuple[Path, ...]
    limits_s: tuple[tuple[float, ...], ...]
    memory: "MemoryAsked | None"


search_app = typer.Typer(
    cls=Methods,
    rich_markup_mode=None,
    subcommand_metavar="METHOD ...",
    help="Find the most accurate networks within limits; each METHOD has options of its own.\n\n"
    "Every --limit-ms has an answer of its own in the ARCH.json that is written.",
)


def search_scored(
    context: typer.Context,
    output: Answers,
    run: SomeRun = None,
    truth: Truth = None,
    space: TruthSpace = "",
    dataset: Dataset = None,
    table: SomeTable = None,
    latency: Latencies = None,
    limit_ms: LimitsMs = None,
    limit_range: LimitRanges = None,
    also: Also = None,
    formats: Formats = None,
    confidence: Confidence = 0.95,
    rounds: Rounds = 20,
    population: Population = 50,
    seed: Seed = 0,
    limit_mb: LimitMb = None,
    plans: Plans = None,
    capability: Capability = None,
    estimated: Estimated = False,
    emulated: Emulated = False,
    as_json: Json = False,
) -> Report:
    """Search a trained supernet, or networks that others have trained, by the method's name."""
    _check_sources(context)
    bounds = _bounds(context, table, limit_ms, limit_range, also, limit_mb, plans, capability)
    how = _how(context, confidence, rounds, population, seed, estimated, emulated)
    if run is not None:
        return _search_run(how, run, bounds, formats, output=output, as_json=as_json)
    assert truth is not None  # see _check_sources
    from export.roads.on_truth import search_truth

    judged = search_truth(
        how,
        truth,
        space=space,
        dataset=dataset,
        tables=bounds.tables,
        latency=latency,
        limits_s=bounds.limits_s,
        quiet=as_json,
        memory=bounds.memory,
    )
    return _report(judged, output=output, as_json=as_json)


for _name, _help in SCORED.items():
    search_app.command(_name, help=_help)(search_scored)


def _check_sources(context: typer.Context) -> None:
    """Refuse two sources of accuracies or of latencies, or none."""
    wanted = "Name what to search: --run RUN, or --truth FILE --space S"
    if one_of(context, "run", "truth", otherwise=wanted) == "run":
        refuse(context, "space", "dataset", "latency", beside="--run: it goes with --truth")
    else:
        if "formats" in typed(context):
            raise UsageError("--or does not go with --truth: it goes with --run", ctx=context)
        one_of(context, "space", otherwise="Missing option '--space': whose networks --truth holds")
    wanted = "Name the device of the limit: --table T.lut, or --latency FILE:COLUMN"
    one_of(context, "table", "latency", otherwise=wanted)


@search_app.command("greedynas")
def search_greedynas(
    context: typer.Context,
    output: Answers,
    run: Supernet,
    table: LimitTable,
    limit_ms: LimitsMs = None,
    limit_range: LimitRanges = None,
    also: Also = None,
    formats: Formats = None,
    confidence: Confidence = 0.95,
    rounds: Rounds = 20,
    population: Population = 50,
    seed: Seed = 0,
    limit_mb: LimitMb = None,
    plans: Plans = None,
    capability: Capability = None,
    estimated: Estimated = False,
    emulated: Emulated = False,
    as_json: Json = False,
) -> Report:
    """NSGA-II that starts from the pool of a run of train greedynas."""
    bounds = _bounds(context, table, limit_ms, limit_range, also, limit_mb, plans, capability)
    how = _how(context, confidence, rounds, population, seed, estimated, emulated)
    return _search_run(how, run, bounds, formats, output=output, as_json=as_json)


@search_app.command("sgnas")
def search_sgnas(
    context: typer.Context,
    output: Answers,
    run: Supernet,
    table: LimitTable,
    limit_ms: LimitsMs = None,
    limit_range: LimitRanges = None,
    also: Also = None,
    confidence: Confidence = 0.95,
    population: Annotated[
        int, typer.Option(min=3, help="Networks that are evaluated in all.")
    ] = 50,
    seed: Seed = 0,
    limit_mb: LimitMb = None,
    plans: Plans = None,
    capability: Capability = None,
    as_json: Json = False,
) -> Report:
    """What a run's generator proposes for all limits at once."""
    from search.solve import Search

    bounds = _bounds(context, table, limit_ms, limit_range, also, limit_mb, plans, capability)
    how = Search(method="sgnas", confidence=confidence, rounds=1, population=population, seed=seed)
    return _search_run(how, run, bounds, None, output=output, as_json=as_json)


def search_candidates(
    context: typer.Context,
    output: Answers,
    data: Annotated[str, typer.Option(help="Images to train on: digits, or a path.")],
    table: LimitTable,
    space: SpaceOfTable = None,
    limit_ms: LimitsMs = None,
    limit_range: LimitRanges = None,
    also: Also = None,
    confidence: Confidence = 0.95,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file; the small preset if left out.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Where candidates are kept; beside -o if left out.")
    ] = None,
    workers: Workers = 1,
    seed: Seed = 0,
    limit_mb: LimitMb = None,
    plans: Plans = None,
    capability: Capability = None,
    as_json: Json = False,
) -> Report:
    """Search by training candidates alone, by the method's name; the same command goes on."""
    from export.roads.candidates import Ask, candidates_view, search_by_training

    bounds = _bounds(context, table, limit_ms, limit_range, also, limit_mb, plans, capability)
    ask = Ask(
        method=str(context.info_name),
        space=space or "",
        source=data,
        tables=bounds.tables,
        limits_s=bounds.limits_s,
        confidence=confidence,
        settings=settings,
        seed=seed,
        workers=workers,
        memory=bounds.memory,
    )
    found, spent = search_by_training(ask, work or output.with_suffix(".work"), quiet=as_json)
    return _report(
        found,
        output=output,
        as_json=as_json,
        view=lambda: candidates_view(found, spent, output=output, source=data),
    )


for _name, _help in TRIED.items():
    search_app.command(_name, help=_help)(search_candidates)


def _bounds(
    context: typer.Context,
    table: Path | None,
    limit_ms: Sequence[float] | None,
    limit_range: Sequence[str] | None,
    also: Sequence[str] | None,
    limit_mb: float | None,
    plans: Path | None,
    capability: str | None,
) -> Bounds:
    """Return what stands on the command line of limits, in the order of its options.

    Raises:
        InvalidLimit: There is no limit, or one is none.
        UsageError: A limit on memory is incomplete.
    """
    from search.limits import asked_from

    asked = asked_from(limit_ms or [], limit_range or [], also or [])
    return Bounds(
        tables=(*((table,) if table else ()), *asked.others),
        limits_s=asked.limits_s,
        memory=_memory(context, limit_mb, plans, capability),
    )


def _how(
    context: typer.Context,
    confidence: float,
    rounds: int,
    population: int,
    seed: int,
    estimated: bool,
    emulated: bool,
) -> "Search":
    """Return how the method of a command searches, in the order of its options."""
    from search.solve import Search

    return Search(
        method=str(context.info_name),
        confidence=confidence,
        rounds=rounds,
        population=population,
        seed=seed,
        origins=_origins(estimated=estimated, emulated=emulated),
    )


def _search_run(
    how: "Search",
    run: Path,
    bounds: Bounds,
    formats: Sequence[str] | None,
    *,
    output: Path,
    as_json: bool,
) -> Report:
    """Search a trained supernet, and return what is to be said of it."""
    from export.roads.supernet import search_run

    found = search_run(
        how,
        run,
        tables=bounds.tables,
        limits_s=bounds.limits_s,
        quiet=as_json,
        memory=bounds.memory,
        formats=_formats(formats),
    )
    return _report(found, output=output, as_json=as_json)


def _report(
    found: "Sequence[Solution] | Sequence[Judged]",
    *,
    output: Path,
    as_json: bool,
    view: Callable[[], RenderableType] | None = None,
) -> Report:
    """Write what a search found, and return what is to be said of it."""
    from export.figures.answers_views import answers_view
    from search.answers import write_answers

    answers, notes = [each.answer for each in found], [each.note for each in found]
    write_answers(output, answers)
    return Report(
        figures=[each.as_json() for each in found],
        view=view or (lambda: answers_view(answers, notes=notes)),
        as_json=as_json,
    )


def _formats(texts: Sequence[str] | None) -> "list[FormatAsked]":
    """Return the other number formats that stand on the command line."""
    from export.precision.format_drop import format_from_text

    return [format_from_text(text) for text in texts or ()]


def _memory(
    context: typer.Context, limit_mb: float | None, plans: Path | None, capability: str | None
) -> "MemoryAsked | None":
    """Return the limit on memory that stands on the command line; refuse half of one."""
    if limit_mb is None:
        refuse(context, "plans", "capability", beside="a search without --limit-mb")
        return None
    if plans is None:
        raise UsageError("--limit-mb goes with --plans T.plan: latkit profile --device rtx-aot")
    from lut.plans.plan_table import capability_from_text
    from search.memory import MemoryAsked

    wanted = None if capability is None else capability_from_text(capability)
    return MemoryAsked(plans=plans, limit_bytes=limit_mb * 1e6, capability=wanted)


def _origins(*, estimated: bool, emulated: bool) -> "tuple[Origin, ...]":
    """Return what tables may hold instead of measurements."""
    from devices.backend import EMULATED
    from lut.table import ESTIMATED

    return (*((ESTIMATED,) if estimated else ()), *((EMULATED,) if emulated else ()))
