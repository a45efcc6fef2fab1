"""The command line: assembles the verbs of the packages. The only module that prints."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console, Group, RenderableType

from devices import (
    DeviceSpec,
    InvalidFile,
    LatkitError,
    Precision,
    UnknownName,
    device_named,
    known_devices,
)
from lut import Effort, LatencyTable, latency_model, load_table

if TYPE_CHECKING:
    from export.children import Splitting
    from export.roads import Within
    from lut.promises import Promise
    from search.answers import Answer
    from search.data import ImageData
    from search.runs import TrainedRun
    from search.solve import Search
    from search.space import Architecture, SearchSpace

OK, MISSED, REFUSED, CRASHED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit statuses: done; target missed or check failed; a deliberate error; a bug; Ctrl-C."""

TRAIN_METHODS = ("uniform", "fair", "sandwich", "greedynas", "sgnas", "fewshot", "darts", "final")

EXTRAS = {
    **dict.fromkeys(("torch", "timm", "sklearn", "PIL", "pymoo", "onnxscript"), "train"),
    "matplotlib": "report",
    "pyarrow": "parquet",
}
"""Modules that a plain install lacks, and the extra that brings each."""

PROFILED = {
    "space": {"output", "resolution", "classes", "rounds", "seed", "snap"},
    "onnx": {"shape", "save_optimized"},
    "steps": {"output"},
}
"""What ``profile`` takes one of, with the options that not all of them know."""

TRAINED = {
    "final": {"archs", "index"},
    "supernet": {"space", "resolution", "snap", "table", "limit_ms", "confidence", "source"},
}
"""What ``train`` trains, with the arguments that only it knows."""

WITHIN = {"table", "limit_ms"}
"""What a method that trains within limits needs, both or neither."""

PROXY_GRID = "c4r2s0e4,c4r2s1e8,c4r0s0e4,c2r2s0e4,c2r2s0e8,c0r0s0e8"
"""What ``proxies`` compares if it is not told: cheap settings, and a full one of few epochs."""

SPLITTING = {"split", "choose", "children"}
"""What says where a supernet is split."""

TRAINS_CANDIDATES = {"data", "settings", "work", "workers"}
"""What only a search knows that trains its candidates."""

SEARCHES_OTHERWISE = {"run", "truth", "dataset", "latency", "rounds", "population"}
"""What such a search does not know: its sizes are in its settings."""

TABLE_VERBS = ("show", "check", "diff", "merge", "export", "import")

# Click's, or of the copy of click that newer releases of typer bring along.
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

app = typer.Typer(
    help="Measure how long a network's operators take on your device, search for the most "
    "accurate network within a latency budget, export it and verify that it keeps the promise.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print figures only, for machines.")]
Device = Annotated[str, typer.Option("--device", help="A known device, or a .yaml file.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random draw.")]
Resolution = Annotated[
    int | None, typer.Option(min=8, help="Side of the images in pixels; the published one if left.")
]
Snap = Annotated[
    str | None, typer.Option(help="Round widths up to multiples: 16, or a file of --steps.")
]
OnnxPath = Annotated[Path | None, typer.Option(help="Instead of a space: any ONNX file.")]
Steps = Annotated[
    bool, typer.Option("--steps", help="Instead of a space: where latency jumps with channels.")
]
Shapes = Annotated[
    list[str] | None, typer.Option(help="NAME=1,3,224,224: an input whose sizes are open.")
]
SaveOptimized = Annotated[
    Path | None, typer.Option(help="Where to leave the graph as the runtime optimised it.")
]
TablePath = Annotated[Path, typer.Argument(metavar="T.lut", help="A latency table.")]
Network = Annotated[
    str, typer.Argument(help="One digit a layer, a published name, or an ARCH.json.")
]
LearningTable = Annotated[
    Path | None, typer.Option("--table", help="A table of the device, to learn from the verdict.")
]


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    # Threads that spin long while they wait stall each other wherever cores are shared; torch's
    # OpenMP reads this when it is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["table"] and args[1:2] and args[1] not in (*TABLE_VERBS, "--help"):
        args.insert(1, "show")  # latkit table T.lut
    if args in ([], ["table"]):
        args.append("--help")
    try:
        return int(app(args=args, prog_name="latkit", standalone_mode=False) or OK)
    except LatkitError as error:
        return _complain(str(error), REFUSED)
    except ModuleNotFoundError as error:
        return _missing_module(error)
    except UsageError as error:
        return _complain(f"{error.format_message()} See: latkit --help", REFUSED)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted; run the same command again to go on", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not read as "missed"
        return _crash(error)


def _complain(message: str, status: int) -> int:
    print(f"latkit: {' '.join(message.split())}", file=sys.stderr)
    return status


def _missing_module(error: ModuleNotFoundError) -> int:
    if error.name not in EXTRAS:
        return _crash(error)
    extra = EXTRAS[error.name]
    message = f"this needs {error.name}, which is not installed: pip install 'latkit[{extra}]'"
    return _complain(message, REFUSED)


def _crash(error: Exception) -> int:
    traceback.print_exception(error)
    return _complain("this is a bug in latkit; what was measured is kept", CRASHED)


def _show(as_json: bool, figures: Any, view: Callable[[], RenderableType]) -> None:
    """Print figures for machines, or make and print a view for people."""
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        Console().print(view())


@app.command()
def devices(
    name: Annotated[str | None, typer.Argument(help="One device: look closely.")] = None,
    as_json: Json = False,
) -> None:
    """Known devices, what is usable here and why not; with NAME: conditions and doubts."""
    from export.views import device_facts, devices_view

    chosen = known_devices() if name is None else {name: device_named(name)}
    facts = [device_facts(device, closely=name is not None) for device in chosen.values()]
    _show(as_json, facts if name is None else facts[0], lambda: devices_view(facts))


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="One space: its layers.")] = None,
    resolution: Resolution = None,
    snap: Snap = None,
    as_json: Json = False,
) -> None:
    """Known search spaces, their sizes, and how many operators a table of each measures."""
    from export.steps_file import snap_from_text
    from export.views import space_facts, spaces_view
    from search.spaces import SPACES, space_named

    step, names = snap_from_text(snap), [name] if name else SPACES
    known = [space_named(each, resolution=resolution, snap=step) for each in names]
    facts = [space_facts(space, closely=name is not None) for space in known]
    _show(as_json, facts if name is None else facts[0], lambda: spaces_view(facts))


@app.command()
def profile(
    context: typer.Context,
    space: Annotated[str | None, typer.Option(help="The search space to cover.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The table to make or to fill; the file of --steps."),
    ] = None,
    onnx: OnnxPath = None,
    steps: Steps = False,
    device: Device = "cpu",
    resolution: Resolution = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes; the published.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes to measure in.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Slices of each operator per process.")] = 1,
    seed: Seed = 0,
    snap: Snap = None,
    shape: Shapes = None,
    save_optimized: SaveOptimized = None,
    as_json: Json = False,
) -> None:
    """Measure what a table lacks of a space (--space S -o T.lut), or any model whole (--onnx).

    With --steps: the channel counts at which latency jumps, for each kind of operator.
    Stop a table at any time; the same command goes on.
    """
    _check_profile(context)
    spec = device_named(device)
    if space is not None and output is not None:
        from export.steps_file import snap_from_text
        from search.spaces import space_named

        wanted = space_named(
            space,
            resolution=resolution,
            batch=spec.batch,
            classes=classes,
            snap=snap_from_text(snap),
        )
        effort = Effort(processes=processes, rounds=rounds, seed=seed)
        _profile_space(output, wanted, spec, effort=effort, as_json=as_json)
    if onnx is not None:
        from export.model_views import model_view
        from export.profile_file import profile_file

        facts = profile_file(
            onnx,
            spec,
            shapes=shape or [],
            processes=processes,
            save=save_optimized,
            quiet=as_json,
        )
        _show(as_json, facts, lambda: model_view(facts))
    if steps:
        _profile_steps(spec, processes=processes, output=output, as_json=as_json)


def _profile_steps(
    device: DeviceSpec, *, processes: int, output: Path | None, as_json: bool
) -> None:
    from export.steps_file import profile_hardware_steps, steps_view

    facts = profile_hardware_steps(device, processes=processes, output=output, quiet=as_json)
    _show(as_json, facts, lambda: steps_view(facts))


def _profile_space(
    output: Path, space: "SearchSpace", device: DeviceSpec, *, effort: Effort, as_json: bool
) -> None:
    from export.progress import measuring
    from lut.views import summary, table_view
    from search.tables import profile_space

    with measuring(f"profiling {space.name} on {device.name}", quiet=as_json) as on_progress:
        table, progress = profile_space(
            output, space, device, effort=effort, on_progress=on_progress
        )
    figures = summary(table)
    spent = {"table": str(output), "device_s": progress.device_s}
    _show(as_json, figures | spent, lambda: table_view(table, figures))


table_app = typer.Typer(rich_markup_mode=None)
app.add_typer(
    table_app,
    name="table",
    help="Look at a table, check it, compare, merge or convert it: latkit table T.lut",
)


@table_app.command("show")
def table_show(path: TablePath, as_json: Json = False) -> None:
    """Coverage, slowest operators, conditions and doubts of a table."""
    from lut.foreign import load_foreign
    from lut.views import foreign_facts, foreign_view, summary, table_view

    table, foreign = load_table(path), load_foreign(path)
    figures = summary(table) | foreign_facts(foreign)
    if foreign:
        _show(as_json, figures, lambda: foreign_view(foreign, figures))
    else:
        _show(as_json, figures, lambda: table_view(table, figures))


@table_app.command("check")
def table_check(
    path: TablePath,
    nets: Annotated[int, typer.Option(min=3, help="Whole networks to measure.")] = 32,
    space: Annotated[str | None, typer.Option(help="Where a table is for several spaces.")] = None,
    processes: Annotated[int, typer.Option(min=2, help="Fresh processes to measure in.")] = 6,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Measure unseen whole networks and compare with the predictions; exit 1 unless all is well."""
    from export.progress import measuring
    from lut.views import check_json, check_view
    from search.tables import CHECK_EFFORT, check_space, space_of

    effort = replace(CHECK_EFFORT, processes=processes)
    with measuring(f"checking {path}", quiet=as_json) as on_progress:
        report = check_space(
            path,
            space_of(load_table(path), space),
            nets=nets,
            seed=seed,
            effort=effort,
            on_progress=on_progress,
        )
    _show(as_json, check_json(report), lambda: check_view(report))
    raise typer.Exit(OK if report.status == "ok" else MISSED)


@table_app.command("diff")
def table_diff(
    a: Annotated[Path, typer.Argument(metavar="A.lut", help="The table to compare with.")],
    b: Annotated[Path, typer.Argument(metavar="B.lut", help="The table in question.")],
    archs: Annotated[
        list[Path] | None, typer.Option(help="ARCH.json: which of them change their verdict?")
    ] = None,
    margin: Annotated[float, typer.Option(min=0.0, help="Relative changes that matter.")] = 0.02,
    false_positives: Annotated[
        float,
        typer.Option(min=1e-6, max=0.5, help="Probability that anything unchanged is called."),
    ] = 0.05,
    as_json: Json = False,
) -> None:
    """SAME, FASTER, SLOWER or UNDECIDED for every operator; what that does to architectures."""
    from lut.diff import Rule, diff_files
    from lut.diff_views import diff_json, diff_view
    from lut.promises import kept_promises

    diff = diff_files(a, b, rule=Rule(margin=margin, false_positives=false_positives))
    tables = load_table(a), load_table(b)
    kept = kept_promises(*tables, _promises(archs or [], tables[0].conditions.device.name))
    _show(as_json, diff_json(diff, kept), lambda: diff_view(diff, kept))


@table_app.command("merge")
def table_merge(
    a: Annotated[Path, typer.Argument(metavar="A.lut", help="A latency table.")],
    b: Annotated[Path, typer.Argument(metavar="B.lut", help="Another, of equal conditions.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new table.")],
    as_json: Json = False,
) -> None:
    """All measurements of two tables in a new one; those in both once."""
    from lut.merge import merge_tables

    done = merge_tables(a, b, output)
    figures = {"table": str(output), **asdict(done)}
    text = (
        f"{output}: {done.slices} slices, {done.added} of them from {b} alone; {done.shared} "
        f"were in both; {done.renumbered} processes got another number"
    )
    _show(as_json, figures, lambda: text)


@table_app.command("export")
def table_export(
    path: TablePath,
    to: Annotated[str, typer.Option("--to", help="csv, json, parquet or ofa.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    as_json: Json = False,
) -> None:
    """Everything as CSV, JSON or Parquet; latencies as YAML of Once-for-All and ProxylessNAS."""
    from lut.formats import export_table

    done = export_table(path, output, to=to)
    figures = {"file": str(output), "rows": done.rows, "left_out": list(done.left_out)}
    text = f"{output}: {done.rows} rows"
    if done.left_out:
        text += f"; {len(done.left_out)} have no name there: {'; '.join(done.left_out)}"
    _show(as_json, figures, lambda: text)


@table_app.command("import")
def table_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A table in another format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new table.")],
    as_json: Json = False,
) -> None:
    """A new table of what was exported, or of what others published.

    What can be read: CSV, JSON and Parquet of latkit; YAML or JSON of Once-for-All and
    ProxylessNAS; the JSON lines of FBNet's operator list; any CSV with a column latency_s,
    latency_ms or latency_us. What others published is looked up by their keys and prices no space.
    """
    from lut.formats import import_table

    done = import_table(source, output)
    text = f"{output}: {done.rows} rows of a {done.kind}"
    if done.operators is not None:
        text += f"; {done.operators} are operators of ours; none prices a space"
    _show(as_json, {"table": str(output), **asdict(done)}, lambda: text)


def _promises(paths: list[Path], device: str) -> "list[Promise]":
    """Return the stored architectures with a limit on a device."""
    from lut.promises import Promise
    from search.answers import read_answers

    found = [
        Promise(
            name=f"{answer.arch} ({path}, --index {index})",
            space=answer.space,
            choices=answer.arch.choices,
            limit_s=limit_s,
            confidence=answer.confidence,
        )
        for path in paths
        for index, answer in enumerate(read_answers(path))
        for name, limit_s in zip(answer.devices, answer.limits_s, strict=True)
        if name == device
    ]
    if paths and not found:
        files = ", ".join(map(str, paths))
        raise InvalidFile(f"no architecture of {files} has a limit on {device!r}, the device of A")
    return found


@app.command()
def predict(
    path: TablePath,
    arch: Network,
    space: Annotated[str | None, typer.Option(help="Where a table is for several spaces.")] = None,
    index: Annotated[int, typer.Option(min=0, help="Which of an ARCH.json.")] = 0,
    as_json: Json = False,
) -> None:
    """Predicted latency of one network, its error bar, and the share of each layer."""
    from export.views import prediction_facts, prediction_view

    table = load_table(path)
    network, where = _network(table, arch, space=space, index=index)
    facts = prediction_facts(latency_model(table, where), where, network)
    _show(as_json, facts, lambda: prediction_view(facts))


@app.command()
def explain(
    path: TablePath,
    arch: Network,
    space: Annotated[str | None, typer.Option(help="Where a table is for several spaces.")] = None,
    index: Annotated[int, typer.Option(min=0, help="Which of an ARCH.json.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to draw it: a PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure one network, and split the gap to its prediction by cause: a minute or two."""
    from export.explain_arch import explain_arch
    from export.explain_views import explanation_view

    table = load_table(path)
    network, where = _network(table, arch, space=space, index=index)
    facts = explain_arch(table, where, network, plot=output, quiet=as_json)
    _show(as_json, facts, lambda: explanation_view(facts))


@app.command()
def train(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help=f"One of: {', '.join(TRAIN_METHODS)}.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory of the run.")],
    archs: Annotated[
        Path | None, typer.Argument(metavar="[ARCH.json]", help="For final: what a search found.")
    ] = None,
    index: Annotated[int, typer.Option(min=0, help="For final: which of the file, from 0.")] = 0,
    space: Annotated[str, typer.Option(help="The search space of a supernet.")] = "",
    data: Annotated[str, typer.Option(help="digits, or a path to images.")] = "digits",
    resolution: Resolution = None,
    snap: Snap = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    skip_corrupt: Annotated[bool, typer.Option(help="Leave corrupt images out.")] = False,
    table: Annotated[
        Path | None,
        typer.Option(help="For greedynas, sgnas, darts: table of the device to train for."),
    ] = None,
    limit_ms: Annotated[
        list[float] | None,
        typer.Option(min=1e-6, help="For greedynas, darts: a limit to search for; several times."),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999)] = 0.95,
    source: Annotated[
        Path | None, typer.Option("--from", help="A run: sgnas, fewshot, darts take it as theirs.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="For fewshot: a layer, 3, or groups of its choices, 3:0,1/2."),
    ] = None,
    choose: Annotated[
        str, typer.Option(help="For fewshot: where to split, by conflict or exhaustive.")
    ] = "",
    children: Annotated[int, typer.Option(min=2, help="For --choose: how many children.")] = 2,
    as_json: Json = False,
) -> None:
    """Train a supernet, or the chosen network alone (final); resumes from its checkpoint.

    For several GPUs: torchrun -m latkit train.
    """
    if method not in TRAIN_METHODS:
        raise UnknownName("training method", method, TRAIN_METHODS)
    _check_train(context, method)
    if archs is not None:
        answer = _answer(archs, index)
        _train_final(
            answer, output, data, settings=settings, skip_corrupt=skip_corrupt, as_json=as_json
        )
        return
    from export.roads import Within, train_run
    from export.steps_file import snap_from_text
    from export.views import run_facts, run_view
    from search.limits import limits_from
    from search.spaces import space_named
    from search.workers import leads

    limits_s = limits_from(limit_ms) if limit_ms else ()
    within = Within(table=table, limits_s=limits_s, confidence=confidence) if table else None
    if method == "fewshot" and source is not None:
        from export.children import Splitting

        splitting = Splitting(
            splits=tuple(split or ()), choose=choose, children=children if choose else 0
        )
        images_from = data if "data" in _typed(context) else None
        _train_fewshot(
            output, source, splitting, space, images_from, settings, skip_corrupt, as_json=as_json
        )
        return
    if method == "darts" and within is not None:
        _train_darts(context, output, within, as_json=as_json)
        return

    def train_supernet() -> "tuple[TrainedRun, ImageData]":
        return train_run(
            output,
            method=method,
            space=space_named(space, snap=snap_from_text(snap)).name,
            source=data,
            resolution=resolution,
            settings=settings,
            skip_corrupt=skip_corrupt,
            quiet=as_json or not leads(),
            within=within,
        )

    if method == "sgnas" and table is not None:
        _train_sgnas(output, source, table, settings, train_supernet, as_json=as_json)
        return
    run, images = train_supernet()
    if leads():
        facts = run_facts(output, run, images)
        _show(as_json, facts, lambda: run_view(facts))


def _train_fewshot(
    output: Path,
    parent: Path,
    splitting: "Splitting",
    space: str,
    data: str | None,
    settings: Path | None,
    skip_corrupt: bool,
    *,
    as_json: bool,
) -> None:
    from export.children import children_facts, train_children_run
    from export.views import run_facts, run_view
    from search.workers import leads

    run, images = train_children_run(
        output,
        parent_dir=parent,
        space=space,
        splitting=splitting,
        source=data,
        settings=settings,
        skip_corrupt=skip_corrupt,
        quiet=as_json or not leads(),
    )
    if leads():
        facts = run_facts(output, run, images) | children_facts(output)
        _show(as_json, facts, lambda: run_view(facts))


def _train_darts(context: typer.Context, output: Path, within: "Within", *, as_json: bool) -> None:
    from export.children import relax_run
    from export.views import answers_view, run_facts, run_view
    from search.workers import leads

    given = context.params
    run, images, answers = relax_run(
        output,
        space=given["space"],
        snap=given["snap"],
        fewshot_dir=given["source"],
        within=within,
        source=given["data"],
        resolution=given["resolution"],
        settings=given["settings"],
        skip_corrupt=given["skip_corrupt"],
        quiet=as_json or not leads(),
    )
    if leads():
        facts = run_facts(output, run, images)
        found = {"answers": [answer.as_json() for answer in answers]}
        _show(as_json, facts | found, lambda: Group(run_view(facts), answers_view(answers)))


def _train_sgnas(
    output: Path,
    source: Path | None,
    table: Path,
    settings: Path | None,
    train_supernet: Callable[[], object],
    *,
    as_json: bool,
) -> None:
    from export.generate import generator_facts, train_sgnas
    from export.views import run_view
    from search.workers import leads

    made = train_sgnas(
        output,
        source=source,
        table=table,
        settings=settings,
        quiet=as_json or not leads(),
        train_supernet=train_supernet,
    )
    if made is not None:
        facts = generator_facts(*made, output)
        _show(as_json, facts, lambda: run_view(facts))


def _train_final(
    answer: "Answer",
    output: Path,
    data: str,
    *,
    settings: Path | None,
    skip_corrupt: bool,
    as_json: bool,
) -> None:
    from export.retrain import retrain, retrained_facts
    from export.views import run_facts, run_view
    from search.workers import leads

    run, images = retrain(
        answer,
        output,
        source=data,
        settings=settings,
        skip_corrupt=skip_corrupt,
        quiet=as_json or not leads(),
    )
    if leads():
        facts = run_facts(output, run, images) | retrained_facts(run)
        _show(as_json, facts, lambda: run_view(facts))


@app.command()
def proxies(
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory of the study.")],
    space: Annotated[str, typer.Option(help="The search space.")],
    data: Annotated[str, typer.Option(help="digits, or a path to images.")] = "digits",
    nets: Annotated[int, typer.Option(min=3, help="Networks to train under each setting.")] = 30,
    grid: Annotated[
        str, typer.Option(help="Settings with commas between them, the dearest is the reference.")
    ] = PROXY_GRID,
    truth: Annotated[
        Path | None, typer.Option(help="True accuracies to compare with, in place of the dearest.")
    ] = None,
    resolution: Resolution = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file as of search econas.")] = None,
    skip_corrupt: Annotated[bool, typer.Option(help="Leave corrupt images out.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train at once.")] = 1,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Which cheap settings of training keep the ranking of networks, and at what cost.

    Stop it at any time; the same command goes on.
    """
    from export.proxies import Ask, proxies_view, study_proxies
    from search.proxies import proxies_from_text

    ask = Ask(
        space=space,
        source=data,
        resolution=resolution,
        nets=nets,
        grid=proxies_from_text(grid),
        settings=settings,
        truth=truth,
        skip_corrupt=skip_corrupt,
        seed=seed,
        workers=workers,
    )
    facts = study_proxies(ask, output, quiet=as_json)
    _show(as_json, facts, lambda: proxies_view(facts))


@app.command()
def search(
    context: typer.Context,
    method: Annotated[
        str,
        typer.Argument(
            help="evolution, nsga2, greedynas, sgnas or random; econas, flat or asha with --data."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write ARCH.json.")],
    run: Annotated[Path | None, typer.Option(help="Directory of a trained supernet.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Table of the device to keep the limit on.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Instead of --run: true accuracies of a whole --space.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="Of --truth: macro or nasbench201; of --data: which of the table."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Of --truth: cifar10, cifar100 or imagenet16.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(help="With --truth: FILE:COLUMN of published latencies.")
    ] = None,
    limit_ms: Annotated[
        list[float] | None, typer.Option(help="Latency limit; each has an answer of its own.")
    ] = None,
    limit_range: Annotated[
        list[str] | None, typer.Option(help="START:STOP:STEP, so many limits: 4:12:0.1.")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="TABLE:MS, a limit on another device that also holds.")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999)] = 0.95,
    rounds: Annotated[int, typer.Option(min=1, help="Generations of a search.")] = 20,
    population: Annotated[int, typer.Option(min=3, help="Networks in each generation.")] = 50,
    seed: Seed = 0,
    data: Annotated[
        str | None, typer.Option(help="Instead of --run: train candidates on digits, or a path.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="With --data: a TOML file; the small preset if left out.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="With --data: where candidates stay; beside -o if left out.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="With --data: processes that train.")] = 1,
    as_json: Json = False,
) -> None:
    """The most accurate networks within the limits, by a supernet, a table of truths, or training.

    With --data candidates are trained alone, under a proxy; the same command again goes on.
    """
    from export.views import answers_view
    from search.answers import write_answers
    from search.limits import limits_from
    from search.solve import Search

    limits_s = limits_from(limit_ms or [], limit_range or [])
    others = [_table_limit(text) for text in also or []]
    if _trains_candidates(context, method):
        _search_candidates(context, limits_s=limits_s, others=others)
        return
    how = Search(
        method=method, confidence=confidence, rounds=rounds, population=population, seed=seed
    )
    sets = [(limit_s, *(other_s for _, other_s in others)) for limit_s in limits_s]
    tables = [*((table,) if table else ()), *(path for path, _ in others)]
    _check_search(run=run, table=table, truth=truth, space=space, latency=latency, dataset=dataset)
    if truth is not None:
        _search_truth(
            how,
            truth,
            output,
            space=space or "",
            dataset=dataset,
            tables=tables,
            latency=latency,
            limits_s=sets,
            as_json=as_json,
        )
        return
    assert run is not None  # see _check_search
    from export.roads import search_run

    solutions = search_run(how, run, tables=tables, limits_s=sets, quiet=as_json)
    answers = [solution.answer for solution in solutions]
    notes = [solution.note for solution in solutions]
    write_answers(output, answers)
    figures = [
        answer.as_json() | ({"note": note} if note else {})
        for answer, note in zip(answers, notes, strict=True)
    ]
    _show(as_json, figures, lambda: answers_view(answers, notes=notes))


def _search_candidates(
    context: typer.Context,
    *,
    limits_s: tuple[float, ...],
    others: list[tuple[Path, float]],
) -> None:
    from export.candidates import Ask, candidates_view, search_by_training
    from search.answers import write_answers

    given = context.params
    output, source, as_json = given["output"], given["data"], given["as_json"]
    solutions, spent = search_by_training(
        Ask(
            method=given["method"],
            space=given["space"] or "",
            source=source,
            tables=(given["table"], *(path for path, _ in others)),
            limits_s=tuple((limit_s, *(each for _, each in others)) for limit_s in limits_s),
            confidence=given["confidence"],
            settings=given["settings"],
            seed=given["seed"],
            workers=given["workers"],
        ),
        given["work"] or output.with_suffix(".work"),
        quiet=as_json,
    )
    write_answers(output, [each.answer for each in solutions])
    _show(
        as_json,
        [each.answer.as_json() | ({"note": each.note} if each.note else {}) for each in solutions],
        lambda: candidates_view(solutions, spent, output=output, source=source),
    )


def _search_truth(
    how: "Search",
    truth: Path,
    output: Path,
    *,
    space: str,
    dataset: str | None,
    tables: list[Path],
    latency: str | None,
    limits_s: list[tuple[float, ...]],
    as_json: bool,
) -> None:
    from export.on_truth import answers_of, search_truth
    from export.views import answers_view
    from search.answers import write_answers

    judged = search_truth(
        how,
        truth,
        space=space,
        dataset=dataset,
        tables=tables,
        latency=latency,
        limits_s=limits_s,
        quiet=as_json,
    )
    answers, notes = answers_of(judged), [each.note for each in judged]
    write_answers(output, answers)
    figures = [each.as_json() for each in judged]
    _show(as_json, figures, lambda: answers_view(answers, notes=notes))


@app.command()
def export(
    archs: Annotated[Path, typer.Argument(metavar="ARCH.json", help="What a search found.")],
    run: Annotated[Path, typer.Option(help="Directory of the supernet it was searched with.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Deployment directory.")],
    to: Annotated[str, typer.Option("--to", help="onnx")] = "onnx",
    index: Annotated[int, typer.Option(min=0, help="Which of the file, from 0.")] = 0,
    precision: Annotated[
        Precision | None, typer.Option(help="What the device of the table runs, if left out.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="The .yaml file of a device that the catalog lacks.")
    ] = None,
    measure: Annotated[
        int, typer.Option(min=0, max=4, help="Verify it, then its runners-up until one is met.")
    ] = 0,
    table: LearningTable = None,
    as_json: Json = False,
) -> None:
    """Write one network alone as a file, with what is needed to verify it elsewhere."""
    if to != "onnx":
        raise UnknownName("export format", to, ["onnx"])
    if table and not measure:
        raise UsageError("--table learns from what is measured: give --measure 1 or more, too.")
    answer = _answer(archs, index)
    from export.roads import device_of, export_run, ship_run
    from export.views import exported_facts, exported_view, shipped_facts, shipped_view

    given = None if device is None else device_named(device)
    target = device_of(answer, precision=precision, given=given)
    if not measure:
        facts = exported_facts(output, export_run(answer, output, run_dir=run, device=target))
        _show(as_json, facts, lambda: exported_view(facts))
        return
    shipped = ship_run(
        answer, run, output, device=target, tries=measure, table=table, quiet=as_json
    )
    _show(as_json, shipped_facts(output, shipped), lambda: shipped_view(output, shipped))
    raise typer.Exit(OK if shipped.verdict.met else MISSED)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A deployment directory.")],
    device: Device = "cpu",
    limit_ms: Annotated[
        float | None, typer.Option(min=1e-6, help="Limit; the promised one if left out.")
    ] = None,
    processes: Annotated[int, typer.Option(min=3, max=15, help="Fresh processes at least.")] = 5,
    table: LearningTable = None,
    as_json: Json = False,
) -> None:
    """Right outputs, and within the limit on this device? Exit 1 unless both are certain."""
    from export.learn import learn
    from export.progress import counting
    from export.verify import Plan
    from export.verify import verify as check
    from export.views import verdict_view

    plan = Plan(processes=processes)
    with counting(f"verifying {folder} on {device}", plan.processes, quiet=as_json) as on_process:
        verdict = check(
            folder,
            device_named(device),
            limit_s=None if limit_ms is None else limit_ms * 1e-3,
            plan=plan,
            on_process=on_process,
        )
    if table is not None:
        learn(table, folder, verdict)
    _show(as_json, verdict.as_json(), lambda: verdict_view(verdict))
    raise typer.Exit(OK if verdict.met else MISSED)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to leave it all.")] = Path(
        "demo"
    ),
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Everything above, small and real, on this CPU: about five minutes."""
    from export.demo import run_demo
    from export.views import demo_view

    rows = run_demo(output, device_named(device), quiet=as_json)
    _show(as_json, [row.as_json() for row in rows], lambda: demo_view(output, rows))
    raise typer.Exit(OK if all(row.met for row in rows) else MISSED)


def _check_profile(context: typer.Context) -> None:
    """Refuse a profile of several things, of nothing, or with options of another."""
    typed = _typed(context)
    if len(typed & PROFILED.keys()) != 1:
        raise UsageError(
            "Name what to profile: --space S -o T.lut, or else --onnx MODEL.onnx, or --steps."
        )
    (what,) = typed & PROFILED.keys()
    for name in typed & set().union(*PROFILED.values()) - PROFILED[what]:
        raise UsageError(f"--{name.replace('_', '-')} does not go with --{what}.")
    if what == "space" and "output" not in typed:
        raise UsageError("Missing option '-o' / '--output': the table to make or to fill.")


def _check_train(context: typer.Context, method: str) -> None:
    """Refuse to train nothing, or with the arguments of another kind of training."""
    typed = _typed(context)
    final = method == "final"
    for name in sorted(typed & TRAINED["supernet" if final else "final"]):
        argument = "ARCH.json" if name == "archs" else f"--{name.replace('_', '-')}"
        raise UsageError(f"{argument} does not go with {method!r}.")
    if final and "archs" not in typed:
        raise UsageError("Name the network: latkit train final ARCH.json -o RUN.")
    if typed & SPLITTING and method != "fewshot":
        raise UsageError(f"--split, --choose and --children do not go with {method!r}.")
    if method in ("sgnas", "fewshot", "darts"):
        checks = {
            "sgnas": _check_train_sgnas,
            "fewshot": _check_train_fewshot,
            "darts": _check_train_darts,
        }
        checks[method](typed)
        return
    _check_train_alone(typed, method)


def _check_train_alone(typed: set[str], method: str) -> None:
    """Refuse what goes with a method that starts from another run, or knows limits."""
    if "source" in typed:
        raise UsageError(f"--from does not go with {method!r}.")
    if typed & WITHIN and method != "greedynas":
        raise UsageError(f"--table and --limit-ms do not go with {method!r}.")
    if len(typed & WITHIN) == 1:
        raise UsageError("A limit needs the table that prices it: --table T.lut --limit-ms 8.")
    if method != "final" and "space" not in typed:
        raise UsageError("Missing option '--space': the search space of the supernet.")


def _check_train_fewshot(typed: set[str]) -> None:
    """Refuse to split nothing, nowhere, or with what the parent says."""
    if "source" not in typed:
        raise UsageError("Missing option '--from': the run of the supernet to split.")
    for name in sorted(typed & {"resolution", "snap", *WITHIN, "confidence"}):
        raise UsageError(f"--{name.replace('_', '-')} does not go with 'fewshot'.")
    if not typed & {"split", "choose"}:
        raise UsageError("Say where to split: --split 3, or --choose conflict --children 3.")
    if {"split", "choose"} <= typed or ("children" in typed) != ("choose" in typed):
        raise UsageError("Give --split, or --choose with --children.")


def _check_train_darts(typed: set[str]) -> None:
    """Refuse to relax nothing, or for no limit."""
    if not typed >= WITHIN:
        raise UsageError("A relaxation needs limits: --table T.lut --limit-ms 8.")
    if ("space" in typed) == ("source" in typed):
        raise UsageError("Relax a space, --space S, or the children of a run, --from RUN.")
    for name in sorted(typed & {"resolution", "snap"}):
        if "source" in typed:
            raise UsageError(f"--{name} does not go with --from: the run says it.")


def _check_train_sgnas(typed: set[str]) -> None:
    """Refuse to train a generator for no device, or over a supernet that is two things."""
    if "limit_ms" in typed:
        raise UsageError("--limit-ms does not go with 'sgnas': a generator knows all limits.")
    if "table" not in typed:
        raise UsageError("Missing option '--table': the device that is generated for.")
    if "source" not in typed and "space" not in typed:
        raise UsageError("Missing option '--space': of a new supernet; or --from RUN.")
    for name in sorted(typed & {"space", "data", "resolution", "snap", "skip_corrupt"}):
        if "source" in typed:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} does not go with --from: the run says it.")


def _trains_candidates(context: typer.Context, method: str) -> bool:
    """Return whether a search trains its candidates, and refuse options of another kind."""
    from search.econas import PROXY_METHODS

    typed = _typed(context)
    if method not in PROXY_METHODS:
        for name in sorted(typed & TRAINS_CANDIDATES):
            raise UsageError(f"--{name} does not go with {method!r}.")
        return False
    if "data" not in typed:
        raise UsageError(f"{method} trains its candidates: give it images, --data digits.")
    if "table" not in typed:
        raise UsageError("Missing option '--table': the device of the limit.")
    for name in sorted(typed & SEARCHES_OTHERWISE):
        raise UsageError(f"--{name} does not go with {method!r}.")
    return True


def _check_search(
    *,
    run: Path | None,
    table: Path | None,
    truth: Path | None,
    space: str | None,
    latency: str | None,
    dataset: str | None,
) -> None:
    """Refuse a search of two things, or of nothing, or without a device."""
    if (run is None) == (truth is None):
        raise UsageError("Name what to search: --run RUN, or --truth FILE --space S.")
    if truth is not None and space is None:
        raise UsageError("Missing option '--space': whose networks --truth holds.")
    if truth is None and (space or latency or dataset):
        raise UsageError("--space, --latency and --dataset go with --truth.")
    if (table is None) == (latency is None):
        raise UsageError("Name the device of the limit: --table T.lut, or --latency FILE:COLUMN.")


def _typed(context: typer.Context) -> set[str]:
    """Return the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _network(
    table: LatencyTable, arch: str, *, space: str | None, index: int
) -> "tuple[Architecture, SearchSpace]":
    """Read digits of the table's space, a published name, or one entry of an ARCH.json."""
    from search.spaces.published import network_from_text
    from search.tables import space_of, spaces_of

    if arch.endswith(".json"):
        answer = _answer(Path(arch), index)
        return answer.arch, answer.space
    among = [each.name for each in spaces_of(table)] if space is None else [space]
    network, home = network_from_text(arch, among=among)
    return network, space_of(table, home or space)


def _answer(path: Path, index: int) -> "Answer":
    from search.answers import read_answers

    answers = read_answers(path)
    if index >= len(answers):
        raise InvalidFile(f"{path} holds {len(answers)} architectures; there is no --index {index}")
    return answers[index]


def _table_limit(text: str) -> tuple[Path, float]:
    """Read ``U.lut:3`` as a table and seconds."""
    path, _, limit_ms = text.rpartition(":")
    try:
        limit_s = float(limit_ms) * 1e-3
    except ValueError:
        limit_s = 0.0
    if not path or not limit_s > 0.0:
        raise InvalidFile(f"--also {text}: write TABLE:MS, as in gpu.lut:3")
    return Path(path), limit_s


if __name__ == "__main__":
    sys.exit(main())
