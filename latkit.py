"""The command line: assembles the verbs of the packages. The only module that prints."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console, RenderableType

from devices import InvalidFile, LatkitError, UnknownName, device_named, known_devices
from lut import Effort, latency_model, load_table

if TYPE_CHECKING:
    from search.answers import Answer

OK, MISSED, REFUSED, CRASHED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit statuses: done; target missed or check failed; a deliberate error; a bug; Ctrl-C."""

TRAIN_METHODS = ("uniform",)

EXTRAS = {
    **dict.fromkeys(("torch", "timm", "sklearn", "PIL", "pymoo", "onnxscript"), "train"),
    "matplotlib": "report",
}
"""Modules that a plain install lacks, and the extra that brings each."""

TABLE_VERBS = ("show", "check")

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
TablePath = Annotated[Path, typer.Argument(metavar="T.lut", help="A latency table.")]


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
    as_json: Json = False,
) -> None:
    """Known search spaces, their sizes, and how many operators a table of each measures."""
    from export.views import space_facts, spaces_view
    from search.spaces import SPACES, space_named

    known = [space_named(each, resolution=resolution) for each in ([name] if name else SPACES)]
    facts = [space_facts(space, closely=name is not None) for space in known]
    _show(as_json, facts if name is None else facts[0], lambda: spaces_view(facts))


@app.command()
def profile(
    output: Annotated[Path, typer.Option("-o", "--output", help="The table to make or to fill.")],
    space: Annotated[str, typer.Option(help="The search space to cover.")],
    device: Device = "cpu",
    resolution: Resolution = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes; the published.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes to measure in.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Slices of each operator per process.")] = 2,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure what a table lacks of a space. Stop it at any time; the same command goes on."""
    from export.progress import measuring
    from lut.views import summary, table_view
    from search.spaces import space_named
    from search.tables import profile_space

    spec = device_named(device)
    wanted = space_named(space, resolution=resolution, batch=spec.batch, classes=classes)
    effort = Effort(processes=processes, rounds=rounds, seed=seed)
    with measuring(f"profiling {space} on {device}", quiet=as_json) as on_progress:
        table, progress = profile_space(
            output, wanted, spec, effort=effort, on_progress=on_progress
        )
    figures = summary(table)
    spent = {"table": str(output), "device_s": progress.device_s}
    _show(as_json, figures | spent, lambda: table_view(table, figures))


table_app = typer.Typer(rich_markup_mode=None)
app.add_typer(table_app, name="table", help="Look at a table, or check it: latkit table T.lut")


@table_app.command("show")
def table_show(path: TablePath, as_json: Json = False) -> None:
    """Coverage, slowest operators, conditions and doubts of a table."""
    from lut.views import summary, table_view

    table = load_table(path)
    figures = summary(table)
    _show(as_json, figures, lambda: table_view(table, figures))


@table_app.command("check")
def table_check(
    path: TablePath,
    nets: Annotated[int, typer.Option(min=3, help="Whole networks to measure.")] = 32,
    space: Annotated[str | None, typer.Option(help="Where a table is for several spaces.")] = None,
    processes: Annotated[int, typer.Option(min=2, help="Fresh processes to measure in.")] = 5,
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


@app.command()
def predict(
    path: TablePath,
    arch: Annotated[str, typer.Argument(help="One digit a layer, or an ARCH.json.")],
    space: Annotated[str | None, typer.Option(help="Where a table is for several spaces.")] = None,
    index: Annotated[int, typer.Option(min=0, help="Which of an ARCH.json.")] = 0,
    as_json: Json = False,
) -> None:
    """Predicted latency of one network, its error bar, and the share of each layer."""
    from export.views import prediction_facts, prediction_view
    from search.space import architecture_from_text
    from search.tables import space_of

    table = load_table(path)
    if arch.endswith(".json"):
        answer = _answer(Path(arch), index)
        network, where = answer.arch, answer.space
    else:
        network, where = architecture_from_text(arch), space_of(table, space)
    facts = prediction_facts(latency_model(table, where), where, network)
    _show(as_json, facts, lambda: prediction_view(facts))


@app.command()
def train(
    method: Annotated[str, typer.Argument(help=f"One of: {', '.join(TRAIN_METHODS)}.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory of the run.")],
    space: Annotated[str, typer.Option(help="The search space.")],
    data: Annotated[str, typer.Option(help="digits, or a path to images.")] = "digits",
    resolution: Resolution = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    skip_corrupt: Annotated[bool, typer.Option(help="Leave corrupt images out.")] = False,
    as_json: Json = False,
) -> None:
    """Train a supernet; resumes from its checkpoint."""
    if method not in TRAIN_METHODS:
        raise UnknownName("training method", method, TRAIN_METHODS)
    from export.roads import train_run
    from export.views import run_facts, run_view

    run, images = train_run(
        output,
        space=space,
        source=data,
        resolution=resolution,
        settings=settings,
        skip_corrupt=skip_corrupt,
        quiet=as_json,
    )
    facts = run_facts(output, run, images)
    _show(as_json, facts, lambda: run_view(facts))


@app.command()
def search(
    method: Annotated[str, typer.Argument(help="evolution or random.")],
    run: Annotated[Path, typer.Option(help="Directory of a trained supernet.")],
    table: Annotated[Path, typer.Option(help="Table of the device to keep the limit on.")],
    limit_ms: Annotated[
        list[float], typer.Option(min=1e-6, help="Latency limit; each is a search of its own.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write ARCH.json.")],
    also: Annotated[
        list[str] | None, typer.Option(help="TABLE:MS, a limit on another device that also holds.")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999)] = 0.95,
    rounds: Annotated[int, typer.Option(min=1, help="Generations of a search.")] = 20,
    population: Annotated[int, typer.Option(min=3, help="Networks in each generation.")] = 50,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """The most accurate networks within the limits, by a trained supernet."""
    from export.roads import search_run
    from export.views import answers_view
    from search.answers import write_answers
    from search.solve import Search

    others = [_table_limit(text) for text in also or []]
    how = Search(
        method=method, confidence=confidence, rounds=rounds, population=population, seed=seed
    )
    solutions = search_run(
        how,
        run,
        tables=[table, *(path for path, _ in others)],
        limits_s=[(limit * 1e-3, *(limit_s for _, limit_s in others)) for limit in limit_ms],
        quiet=as_json,
    )
    answers = [solution.answer for solution in solutions]
    write_answers(output, answers)
    _show(as_json, [answer.as_json() for answer in answers], lambda: answers_view(answers))


@app.command()
def export(
    archs: Annotated[Path, typer.Argument(metavar="ARCH.json", help="What a search found.")],
    run: Annotated[Path, typer.Option(help="Directory of the supernet it was searched with.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Deployment directory.")],
    to: Annotated[str, typer.Option("--to", help="onnx")] = "onnx",
    index: Annotated[int, typer.Option(min=0, help="Which of the file, from 0.")] = 0,
    as_json: Json = False,
) -> None:
    """Write one network alone as a file, with what is needed to verify it elsewhere."""
    if to != "onnx":
        raise UnknownName("export format", to, ["onnx"])
    answer = _answer(archs, index)
    from export.roads import export_run
    from export.views import exported_facts, exported_view

    facts = exported_facts(output, export_run(answer, run, output))
    _show(as_json, facts, lambda: exported_view(facts))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A deployment directory.")],
    device: Device = "cpu",
    limit_ms: Annotated[
        float | None, typer.Option(min=1e-6, help="Limit; the promised one if left out.")
    ] = None,
    processes: Annotated[int, typer.Option(min=3, max=15, help="Fresh processes at least.")] = 5,
    as_json: Json = False,
) -> None:
    """Right outputs, and within the limit on this device? Exit 1 unless both are certain."""
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
