"""The verbs that ship a network: export it, verify it, and the whole road at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devices import DeviceSpec, Precision, UnknownName, device_named
from export.verbs.options import Archs, Device, Index, Json, folder_there
from export.verbs.report import MISSED, OK, UNDECIDED, Report, UsageError

if TYPE_CHECKING:
    from export.precision.number_format import PrecisionAsked
    from export.verdicts.engines import Format
    from search.answers import Answer

LearningTable = Annotated[
    Path | None, typer.Option("--table", help="A table of the device, to learn from the verdict.")
]

Calibrate = Annotated[
    str, typer.Option(help="Of int8: images that ranges come from; the run's, if left out.")
]
CalibrationImages = Annotated[
    int | None, typer.Option(help="Of int8: how many of them; 256 if left out.")
]
MaxDrop = Annotated[
    float | None,
    typer.Option(min=0.0, help="Of int8: points of top-1 it may cost; 0.5 if left out."),
]

BundleDevice = Annotated[
    str | None,
    typer.Option("--device", help="A known device, or a .yaml file; the bundle's own if left out."),
]
Percent = Annotated[
    float | None,
    typer.Option("--percentile", min=50.0, max=99.9, help="That has to be within the limit: 99."),
]
PercentConfidence = Annotated[
    float | None,
    typer.Option(
        "--confidence", min=50.0, max=99.9, help="Of --percentile, in percent; 95 if left out."
    ),
]
UnderLoad = Annotated[
    str | None,
    typer.Option("--sustained", help="10min: the limit holds after so long without a pause, too."),
]
TestImages = Annotated[
    str, typer.Option("--data", help="Images of the training, to measure the accuracy anew.")
]
Junit = Annotated[
    Path | None,
    typer.Option("--junit", help="Write what became of each claim as JUnit XML."),
]


def export(
    archs: Archs,
    run: Annotated[Path, typer.Option(help="Directory of the supernet it was searched with.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", callback=folder_there, help="Deployment directory.")
    ],
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
    calibrate: Calibrate = "",
    calibration_images: CalibrationImages = None,
    max_drop: MaxDrop = None,
    as_json: Json = False,
) -> Report:
    """Write one network alone as a file, with what is needed to verify it elsewhere."""
    if to not in ("onnx", "tensorrt"):
        raise UnknownName("export format", to, ["onnx", "tensorrt"])
    if table and not measure:
        raise UsageError("--table learns from what is measured: give --measure 1 or more, too.")
    from export.roads.ship import device_of
    from export.verbs.precision import precision_asked
    from export.verbs.stored import answer_at
    from export.verdicts.engines import engine_device_of

    given = None if device is None else device_named(device)
    answer = answer_at(archs, index)
    form: Format = "tensorrt" if to == "tensorrt" else "onnx"
    pick = engine_device_of if form == "tensorrt" else device_of
    target = pick(answer, precision=precision, given=given)
    asked = precision_asked(target, calibrate, calibration_images, max_drop)
    if measure:
        return _ship(
            answer,
            output,
            run,
            target,
            to=form,
            asked=asked,
            tries=measure,
            table=table,
            as_json=as_json,
        )
    return _export_alone(answer, output, run, target, to=form, asked=asked, as_json=as_json)


def _export_alone(
    answer: "Answer",
    folder: Path,
    run: Path,
    device: DeviceSpec,
    *,
    to: "Format",
    asked: "PrecisionAsked",
    as_json: bool,
) -> Report:
    """Export an answer without a verdict on its limits."""
    from export.roads.ship import export_run
    from export.verbs.precision import beside_facts
    from export.verdicts.engines import engine_facts
    from export.verdicts.shipped_views import exported_facts, exported_view

    exported = export_run(answer, folder, run_dir=run, device=device, to=to, asked=asked)
    facts = exported_facts(folder, exported)
    if to == "tensorrt":
        facts |= engine_facts(folder, exported.deployment, device)
    facts |= beside_facts(folder, exported, device, quiet=as_json)
    return Report(
        figures=facts,
        view=lambda: exported_view(facts),
        as_json=as_json,
        status=MISSED if exported.shortfall else OK,
    )


def _ship(
    answer: "Answer",
    folder: Path,
    run: Path,
    device: DeviceSpec,
    *,
    to: "Format",
    asked: "PrecisionAsked",
    tries: int,
    table: Path | None,
    as_json: bool,
) -> Report:
    """Export an answer and verify it, or the first of its runners-up that is met."""
    from export.roads.ship import ship_run
    from export.verdicts.shipped_views import shipped_facts, shipped_view

    shipped = ship_run(
        answer,
        run,
        folder,
        device=device,
        tries=tries,
        table=table,
        quiet=as_json,
        to=to,
        asked=asked,
    )
    return Report(
        figures=shipped_facts(folder, shipped),
        view=lambda: shipped_view(folder, shipped),
        as_json=as_json,
        status=OK if shipped.verdict.met and not shipped.exported.shortfall else MISSED,
    )


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A deployment directory.")],
    device: BundleDevice = None,
    limit_ms: Annotated[
        float | None, typer.Option(min=1e-6, help="Limit; the promised one if left out.")
    ] = None,
    percentile: Percent = None,
    confidence: PercentConfidence = None,
    processes: Annotated[int, typer.Option(min=3, max=15, help="Fresh processes at least.")] = 5,
    sustained: UnderLoad = None,
    images: TestImages = "",
    junit: Junit = None,
    table: LearningTable = None,
    as_json: Json = False,
) -> Report:
    """Files as exported, right outputs, and within the limit on this device?

    Exit status: 0 met; 1 missed, or the median's interval straddles the limit; 2 refused: a file
    was altered or is missing, wrong outputs, no such device; 3 a bug; 4 undecided, by --percentile
    only: its runs are used up.
    """
    from export.verbs.durations import seconds_from_text
    from export.verdicts.certify import Asked, certify
    from export.verdicts.learn import learn
    from export.verdicts.shipped_views import verdict_view
    from profiler.whole_models.acceptance import Acceptance
    from profiler.whole_models.sustained_load import SHORTEST_S

    if confidence is not None and percentile is None:
        raise UsageError("--confidence is of a percentile: give --percentile 99, too.")
    test = None
    if percentile is not None:
        test = Acceptance(percent=percentile, confidence=(confidence or 95.0) / 100)
    asked = Asked(
        device=device,
        limit_s=None if limit_ms is None else limit_ms * 1e-3,
        acceptance=test,
        processes=processes,
        load_s=seconds_from_text(sustained, least_s=SHORTEST_S) if sustained else 0.0,
        images=images,
        junit=junit,
        table=table,
    )
    verdict = certify(folder, asked, quiet=as_json)
    if table is not None:
        learn(table, folder, verdict)
    undecided = UNDECIDED if test and verdict.verdict == "undecided" else MISSED
    return Report(
        figures=verdict.as_json(),
        view=lambda: verdict_view(verdict),
        as_json=as_json,
        status=OK if verdict.met else undecided,
    )


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", callback=folder_there, help="Where to leave it all.")
    ] = Path("demo"),
    device: Device = "cpu",
    as_json: Json = False,
) -> Report:
    """Everything above, small and real, on this CPU: about five minutes."""
    from export.demo import demo_view, run_demo

    rows = run_demo(output, device_named(device), quiet=as_json)
    return Report(
        figures=[row.as_json() for row in rows],
        view=lambda: demo_view(output, rows),
        as_json=as_json,
        status=OK if all(row.met for row in rows) else MISSED,
    )
