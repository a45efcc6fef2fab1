"""The command line: assembles the verbs of the packages. The only module that prints."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from typer.core import TyperGroup

from devices import (
    DeviceSpec,
    LatkitError,
    Precision,
    UnknownName,
    device_named,
    known_devices,
)
from export.options import (
    Archs,
    Device,
    Images,
    Index,
    Json,
    Resolution,
    Seed,
    SkipCorrupt,
    Snap,
    SpaceOfTable,
    Workers,
)
from export.search_verbs import search_app
from export.train_verbs import train_app
from export.verbs import Report, UsageError, one_of, refuse, usage_line
from lut import Effort, latency_model, load_table

if TYPE_CHECKING:
    from search.space import SearchSpace

OK, MISSED, REFUSED, CRASHED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit statuses: done; target missed or check failed; a deliberate error; a bug; Ctrl-C."""

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

PROXY_GRID = "c4r2s0e4,c4r2s1e8,c4r0s0e4,c2r2s0e4,c2r2s0e8,c0r0s0e8"
"""What ``proxies`` compares if it is not told: cheap settings, and a full one of few epochs."""

ROAD = (
    *("devices", "spaces", "profile", "table", "predict", "explain"),
    *("train", "proxies", "search", "export", "verify", "demo"),
)
"""The verbs in the order in which they are needed, and shown."""

TABLE_VERBS = ("show", "check", "diff", "merge", "export", "import")


class Road(TyperGroup):
    """The verbs in the order of `ROAD`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return their names; fails where one has no place in the order."""
        return sorted(super().list_commands(ctx), key=ROAD.index)


app = typer.Typer(
    cls=Road,
    help="Measure how long a network's operators take on your device, search for the most "
    "accurate network within a latency budget, export it and verify that it keeps the promise.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

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
Network = Annotated[
    str, typer.Argument(help="One digit a layer, a published name, or an ARCH.json.")
]
LearningTable = Annotated[
    Path | None, typer.Option("--table", help="A table of the device, to learn from the verdict.")
]
TablePath = Annotated[Path, typer.Argument(metavar="T.lut", help="A latency table.")]


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    # Threads that spin long while they wait stall each other wherever cores are shared; torch's
    # OpenMP reads this when it is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["table"] and args[1:2] and args[1] not in (*TABLE_VERBS, "--help"):
        args.insert(1, "show")  # latkit table T.lut
    if args in ([], ["table"], ["train"], ["search"]):
        args.append("--help")
    try:
        return _run(args)
    except LatkitError as error:
        return _complain(str(error), REFUSED)
    except ModuleNotFoundError as error:
        return _missing_module(error)
    except UsageError as error:
        return _complain(usage_line(error), REFUSED)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted; run the same command again to go on", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not read as "missed"
        return _crash(error)


def _run(args: list[str]) -> int:
    said = app(args=args, prog_name="latkit", standalone_mode=False)
    if not isinstance(said, Report):
        return int(said or OK)
    _show(said.as_json, said.figures, said.view)
    return OK


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
    what = one_of(
        context,
        *PROFILED,
        otherwise="Name what to profile: --space S -o T.lut, or else --onnx MODEL.onnx, or --steps",
    )
    foreign = set().union(*PROFILED.values()) - PROFILED[what]
    refuse(context, *foreign, beside=f"--{what}")
    if what == "space" and output is None:
        raise UsageError("Missing option '-o' / '--output': the table to make or fill", ctx=context)
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
    space: SpaceOfTable = None,
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
    from export.stored import promises_of
    from lut.diff import Rule, diff_files
    from lut.diff_views import diff_json, diff_view
    from lut.promises import kept_promises

    diff = diff_files(a, b, rule=Rule(margin=margin, false_positives=false_positives))
    tables = load_table(a), load_table(b)
    promises = promises_of(archs or [], device=tables[0].conditions.device.name)
    kept = kept_promises(*tables, promises)
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


@app.command()
def predict(
    path: TablePath,
    arch: Network,
    space: SpaceOfTable = None,
    index: Index = 0,
    as_json: Json = False,
) -> None:
    """Predicted latency of one network, its error bar, and the share of each layer."""
    from export.stored import network_of
    from export.views import prediction_facts, prediction_view

    table = load_table(path)
    network, where = network_of(table, arch, space=space, index=index)
    facts = prediction_facts(latency_model(table, where), where, network)
    _show(as_json, facts, lambda: prediction_view(facts))


@app.command()
def explain(
    path: TablePath,
    arch: Network,
    space: SpaceOfTable = None,
    index: Index = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to draw it: a PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure one network, and split the gap to its prediction by cause: a minute or two."""
    from export.explain_arch import explain_arch
    from export.explain_views import explanation_view
    from export.stored import network_of

    table = load_table(path)
    network, where = network_of(table, arch, space=space, index=index)
    facts = explain_arch(table, where, network, plot=output, quiet=as_json)
    _show(as_json, facts, lambda: explanation_view(facts))


app.add_typer(train_app, name="train")


@app.command()
def proxies(
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory of the study.")],
    space: Annotated[str, typer.Option(help="The search space.")],
    data: Images = "digits",
    nets: Annotated[int, typer.Option(min=3, help="Networks to train under each setting.")] = 30,
    grid: Annotated[
        str, typer.Option(help="Settings with commas between them, the dearest is the reference.")
    ] = PROXY_GRID,
    truth: Annotated[
        Path | None, typer.Option(help="True accuracies to compare with, in place of the dearest.")
    ] = None,
    resolution: Resolution = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file as of search econas.")] = None,
    skip_corrupt: SkipCorrupt = False,
    workers: Workers = 1,
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


app.add_typer(search_app, name="search")


@app.command()
def export(
    archs: Archs,
    run: Annotated[Path, typer.Option(help="Directory of the supernet it was searched with.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Deployment directory.")],
    to: Annotated[str, typer.Option("--to", help="onnx")] = "onnx",
    index: Index = 0,
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
    from export.roads import device_of, export_run, ship_run
    from export.stored import answer_at
    from export.views import exported_facts, exported_view, shipped_facts, shipped_view

    given = None if device is None else device_named(device)
    answer = answer_at(archs, index)
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


if __name__ == "__main__":
    sys.exit(main())
