"""``latkit train``: a command for each method; what each trains is made elsewhere."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group

from export.verbs.options import (
    Archs,
    Confidence,
    Images,
    Index,
    Json,
    LimitsMs,
    LimitTable,
    NewSpace,
    Resolution,
    RunFolder,
    Settings,
    SkipCorrupt,
    Snap,
    SupernetSpace,
)
from export.verbs.report import Methods, Report, UsageError, one_of, refuse

if TYPE_CHECKING:
    from search.answers import Answer

PATHS = {
    "uniform": "A supernet; one random path is trained a step.",
    "fair": "A supernet; every choice of a layer is trained once a step.",
    "sandwich": "A supernet; largest, smallest and two random paths a step.",
}
"""Methods of ``train`` that differ in how paths are drawn alone."""

train_app = typer.Typer(
    cls=Methods,
    rich_markup_mode=None,
    subcommand_metavar="METHOD ...",
    help="Train a supernet, or one network alone (final); each METHOD has options of its own.\n\n"
    "The same command goes on where it stopped. For several GPUs: torchrun -m latkit train METHOD.",
)


def train_paths(
    context: typer.Context,
    output: RunFolder,
    space: SupernetSpace,
    data: Images = "digits",
    resolution: Resolution = None,
    snap: Snap = None,
    settings: Settings = None,
    skip_corrupt: SkipCorrupt = False,
    as_json: Json = False,
) -> Report | None:
    """Train a supernet whose paths are drawn by a rule: the method's name."""
    from export.figures.run_views import run_facts
    from export.figures.steps_file import snapped_name
    from export.roads.supernet import train_run

    run, images = train_run(
        output,
        method=str(context.info_name),
        space=snapped_name(space, snap),
        source=data,
        resolution=resolution,
        settings=settings,
        skip_corrupt=skip_corrupt,
        quiet=_quietly(as_json),
    )
    return _report(lambda: run_facts(output, run, images), as_json=as_json)


for _name, _help in PATHS.items():
    train_app.command(_name, help=_help)(train_paths)


@train_app.command("greedynas")
def train_greedynas(
    context: typer.Context,
    output: RunFolder,
    space: SupernetSpace,
    data: Images = "digits",
    table: Annotated[Path | None, typer.Option(help="Of the device of --limit-ms.")] = None,
    limit_ms: LimitsMs = None,
    confidence: Confidence = 0.95,
    resolution: Resolution = None,
    snap: Snap = None,
    settings: Settings = None,
    skip_corrupt: SkipCorrupt = False,
    as_json: Json = False,
) -> Report | None:
    """A supernet; good paths are drawn more and more often."""
    if (table is None) != (not limit_ms):
        raise UsageError(
            "A limit needs the table that prices it: --table T.lut --limit-ms 8", ctx=context
        )
    from export.figures.run_views import run_facts
    from export.figures.steps_file import snapped_name
    from export.roads.supernet import Within, train_run
    from search.limits import limits_from

    limits_s = limits_from(limit_ms) if limit_ms else ()
    run, images = train_run(
        output,
        method="greedynas",
        space=snapped_name(space, snap),
        source=data,
        resolution=resolution,
        settings=settings,
        skip_corrupt=skip_corrupt,
        quiet=_quietly(as_json),
        within=Within(table=table, limits_s=limits_s, confidence=confidence) if table else None,
    )
    return _report(lambda: run_facts(output, run, images), as_json=as_json)


@train_app.command("sgnas")
def train_sgnas(
    context: typer.Context,
    output: RunFolder,
    table: Annotated[Path, typer.Option(help="Table of the device that is generated for.")],
    space: NewSpace = None,
    source: Annotated[Path | None, typer.Option("--from", help="A run of a supernet.")] = None,
    data: Images = "digits",
    resolution: Resolution = None,
    snap: Snap = None,
    settings: Settings = None,
    skip_corrupt: SkipCorrupt = False,
    as_json: Json = False,
) -> Report | None:
    """A generator that answers all limits at once, over a supernet."""
    wanted = "Name the supernet: a new one of --space S, or that of a run, --from RUN"
    if one_of(context, "space", "source", otherwise=wanted) == "source":
        said = ("data", "resolution", "snap", "skip_corrupt")
        refuse(context, *said, beside="--from: the run says it")
    from export.figures.steps_file import snapped_name
    from export.roads import generate
    from export.roads.supernet import train_run

    quiet = _quietly(as_json)
    made = generate.train_sgnas(
        output,
        source=source,
        table=table,
        settings=settings,
        quiet=quiet,
        train_supernet=lambda: train_run(
            output,
            method="sgnas",
            space=snapped_name(space or "", snap),
            source=data,
            resolution=resolution,
            settings=settings,
            skip_corrupt=skip_corrupt,
            quiet=quiet,
        ),
    )
    if made is None:
        return None
    return _report(lambda: generate.generator_facts(*made, output), as_json=as_json)


@train_app.command("fewshot")
def train_fewshot(
    output: RunFolder,
    source: Annotated[Path, typer.Option("--from", help="The run of the supernet to split.")],
    split: Annotated[
        list[str] | None,
        typer.Option(help="A layer, 3, or groups of its choices, 3:0,1/2; several: products."),
    ] = None,
    choose: Annotated[
        str, typer.Option(help="Instead of --split: chosen by conflict, or exhaustive.")
    ] = "",
    children: Annotated[int | None, typer.Option(min=2, help="How many, for --choose.")] = None,
    space: Annotated[str, typer.Option(help="What the run has to be of; any if left out.")] = "",
    data: Annotated[
        str | None, typer.Option(help="digits, or a path; what --from had if left out.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file; those of --from, half as long, if left out.")
    ] = None,
    skip_corrupt: SkipCorrupt = False,
    as_json: Json = False,
) -> Report | None:
    """Children of a supernet that is split at a layer."""
    from export.figures.run_views import run_facts
    from export.roads.children import Splitting, children_facts, train_children_run

    run, images = train_children_run(
        output,
        parent_dir=source,
        space=space,
        splitting=Splitting(splits=tuple(split or ()), choose=choose, children=children or 0),
        source=data,
        settings=settings,
        skip_corrupt=skip_corrupt,
        quiet=_quietly(as_json),
    )
    return _report(lambda: run_facts(output, run, images) | children_facts(output), as_json=as_json)


@train_app.command("darts")
def train_darts(
    context: typer.Context,
    output: RunFolder,
    table: LimitTable,
    limit_ms: Annotated[
        list[float], typer.Option(help="A latency limit; several times, as many answers.")
    ],
    space: NewSpace = None,
    source: Annotated[Path | None, typer.Option("--from", help="A few-shot run.")] = None,
    data: Annotated[
        str | None, typer.Option(help="digits (the default), or a path; that of --from, if given.")
    ] = None,
    confidence: Confidence = 0.95,
    resolution: Resolution = None,
    snap: Snap = None,
    settings: Settings = None,
    skip_corrupt: SkipCorrupt = False,
    as_json: Json = False,
) -> Report | None:
    """Choices relaxed under limits; a network for each limit."""
    wanted = "Relax a space, --space S, or the children of a run, --from RUN"
    if one_of(context, "space", "source", otherwise=wanted) == "source":
        refuse(context, "resolution", "snap", beside="--from: the run says it")
    from export.figures.run_views import run_facts
    from export.roads.children import relax_run
    from export.roads.supernet import Within
    from search.limits import limits_from

    run, images, answers = relax_run(
        output,
        space=space or "",
        snap=snap,
        fewshot_dir=source,
        within=Within(table=table, limits_s=limits_from(limit_ms), confidence=confidence),
        source=data,
        resolution=resolution,
        settings=settings,
        skip_corrupt=skip_corrupt,
        quiet=_quietly(as_json),
    )
    return _report(lambda: run_facts(output, run, images), as_json=as_json, answers=answers)


@train_app.command("final")
def train_final(
    archs: Archs,
    output: RunFolder,
    index: Index = 0,
    data: Images = "digits",
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="A run whose largest network it learns from, too: a supernet's, or final."
        ),
    ] = None,
    settings: Settings = None,
    skip_corrupt: SkipCorrupt = False,
    as_json: Json = False,
) -> Report | None:
    """One network alone, from scratch: what a search found."""
    from export.figures.run_views import run_facts
    from export.roads.retrain import retrain, retrained_facts
    from export.verbs.stored import answer_at

    run, images = retrain(
        answer_at(archs, index),
        output,
        source=data,
        settings=settings,
        skip_corrupt=skip_corrupt,
        quiet=_quietly(as_json),
        teacher_dir=teacher,
    )
    return _report(lambda: run_facts(output, run, images) | retrained_facts(run), as_json=as_json)


def _quietly(as_json: bool) -> bool:
    """Whether a training shows no progress: for machines, and in all processes but the first."""
    from search.training.workers import leads

    return as_json or not leads()


def _report(
    run_facts: Callable[[], dict[str, Any]],
    *,
    as_json: bool,
    answers: "Sequence[Answer]" = (),
) -> Report | None:
    """Return what a training came to, in the process that leads."""
    from export.figures.answers_views import answers_view
    from export.figures.run_views import run_view
    from search.training.workers import leads

    if not leads():
        return None
    facts = run_facts()
    if not answers:
        return Report(figures=facts, view=lambda: run_view(facts), as_json=as_json)
    return Report(
        figures=facts | {"answers": [answer.as_json() for answer in answers]},
        view=lambda: Group(run_view(facts), answers_view(answers)),
        as_json=as_json,
    )
