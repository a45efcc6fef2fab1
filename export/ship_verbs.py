"""The verbs that ship a network: export it, verify it, and the whole road at once."""

from pathlib import Path
from typing import Annotated

import typer

from devices import Precision, UnknownName, device_named
from export.options import Archs, Device, Index, Json
from export.verbs import MISSED, OK, Report, UsageError

LearningTable = Annotated[
    Path | None, typer.Option("--table", help="A table of the device, to learn from the verdict.")
]


def export(
    archs: Archs,
    run: Annotated[Path, typer.Option(help="Directory of the supernet it was searched with.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Deployment directory.")],
    to: Annotated[
        str, typer.Option("--to", help="onnx, or tensorrt: an engine for one kind of GPU, too.")
    ] = "onnx",
    index: Index = 0,
    precision: Annotated[
        Precision | None, typer.Option(help="What the device of the table runs, if left out.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="The .yaml file of a device that the catalog lacks; any GPU of --to."),
    ] = None,
    measure: Annotated[
        int, typer.Option(min=0, max=4, help="Verify it, then its runners-up until one is met.")
    ] = 0,
    table: LearningTable = None,
    as_json: Json = False,
) -> Report:
    """Write one network alone as a file, with what is needed to verify it elsewhere."""
    if to not in ("onnx", "tensorrt"):
        raise UnknownName("export format", to, ["onnx", "tensorrt"])
    if table and not measure:
        raise UsageError("--table learns from what is measured: give --measure 1 or more, too.")
    from export.engines import Format, engine_device_of, engine_facts
    from export.roads import device_of, export_run, ship_run
    from export.stored import answer_at
    from export.views import exported_facts, exported_view, shipped_facts, shipped_view

    given = None if device is None else device_named(device)
    answer = answer_at(archs, index)
    form: Format = "tensorrt" if to == "tensorrt" else "onnx"
    pick = engine_device_of if form == "tensorrt" else device_of
    target = pick(answer, precision=precision, given=given)
    if not measure:
        exported = export_run(answer, output, run_dir=run, device=target, to=form)
        facts = exported_facts(output, exported)
        if form == "tensorrt":
            facts |= engine_facts(output, exported.deployment, target)
        return Report(figures=facts, view=lambda: exported_view(facts), as_json=as_json)
    shipped = ship_run(
        answer, run, output, device=target, tries=measure, table=table, quiet=as_json, to=form
    )
    return Report(
        figures=shipped_facts(output, shipped),
        view=lambda: shipped_view(output, shipped),
        as_json=as_json,
        status=OK if shipped.verdict.met else MISSED,
    )


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A deployment directory.")],
    device: Device = "cpu",
    limit_ms: Annotated[
        float | None, typer.Option(min=1e-6, help="Limit; the promised one if left out.")
    ] = None,
    processes: Annotated[int, typer.Option(min=3, max=15, help="Fresh processes at least.")] = 5,
    table: LearningTable = None,
    as_json: Json = False,
) -> Report:
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
    return Report(
        figures=verdict.as_json(),
        view=lambda: verdict_view(verdict),
        as_json=as_json,
        status=OK if verdict.met else MISSED,
    )


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to leave it all.")] = Path(
        "demo"
    ),
    device: Device = "cpu",
    as_json: Json = False,
) -> Report:
    """Everything above, small and real, on this CPU: about five minutes."""
    from export.demo import run_demo
    from export.views import demo_view

    rows = run_demo(output, device_named(device), quiet=as_json)
    return Report(
        figures=[row.as_json() for row in rows],
        view=lambda: demo_view(output, rows),
        as_json=as_json,
        status=OK if all(row.met for row in rows) else MISSED,
    )
