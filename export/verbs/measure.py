"""The verbs that look at devices and spaces, measure them, and price networks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devices import DeviceSpec, device_named, known_devices
from devices.backend import ON_PAPER
from export.verbs.options import (
    Device,
    Index,
    Json,
    Resolution,
    Seed,
    Snap,
    SpaceOfTable,
    TablePath,
)
from export.verbs.report import MISSED, OK, Report, UsageError, one_of, refuse
from lut import Effort, load_table

if TYPE_CHECKING:
    from search.space import SearchSpace

PAPER = {"calibrate": "roofline", "capability": "rtx-aot"}
"""Options of ``profile`` that go with devices of one backend."""

PROFILED = {
    "space": {"output", "resolution", "classes", "rounds", "seed", "snap", *PAPER},
    "onnx": {"output", "shape", "save_optimized", "sustained"},
    "steps": {"output"},
}
"""What ``profile`` takes one of, with the options that not all of them know."""

TableOrFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The table to fill; file of --steps, of --sustained."),
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
Sustained = Annotated[
    str | None,
    typer.Option(help="Of --onnx: 10min, load it without a pause: burst, slope and plateau."),
]
Calibrate = Annotated[
    Path | None, typer.Option(help="Of a spec sheet: a table with measured operators of that GPU.")
]
Capability = Annotated[
    list[str] | None,
    typer.Option(help="Of rtx-aot: compute capability of the GPU, 8.6; several times, several."),
]
Network = Annotated[
    str, typer.Argument(help="One digit a layer, a published name, or an ARCH.json.")
]


def devices(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One device: look closely.")] = None,
    formats: Annotated[
        bool, typer.Option("--formats", help="Time fp16 and every kind of int8 beside fp32 there.")
    ] = False,
    space: Annotated[str, typer.Option(help="Of --formats: whose network.")] = "greedynas",
    resolution: Resolution = None,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Of --formats: device file of the int8 to take."),
    ] = None,
    as_json: Json = False,
) -> Report:
    """Known devices, what is usable here and why not; with NAME: conditions and doubts."""
    from export.figures.device_views import device_facts, devices_view

    if formats:
        return _formats(name, space, resolution, seed, output=output, as_json=as_json)
    refuse(context, "space", "resolution", "seed", "output", beside="devices without --formats")
    chosen = known_devices() if name is None else {name: device_named(name)}
    facts = [device_facts(device, closely=name is not None) for device in chosen.values()]
    facts.sort(key=lambda each: not each["usable"])  # what can be measured here comes first
    return Report(
        figures=facts if name is None else facts[0],
        view=lambda: devices_view(facts),
        as_json=as_json,
    )


def _formats(
    name: str | None,
    space: str,
    resolution: int | None,
    seed: int,
    *,
    output: Path | None,
    as_json: bool,
) -> Report:
    """Time every number format of a device, and keep the integers to take as a device file."""
    if name is None:
        raise UsageError("--formats times one device: latkit devices NAME --formats")
    import numpy as np

    from devices.catalog import check_device_path, write_device
    from export.precision.formats import compare_formats
    from export.precision.formats_views import formats_view
    from export.progress import counting
    from profiler.whole_models.side_by_side import PROCESSES
    from search.spaces import space_named

    device = device_named(name)
    if output is not None:
        check_device_path(output)
    wanted = space_named(space, resolution=resolution, batch=device.batch)
    arch = wanted.sample(np.random.default_rng(seed))
    with counting(f"timing number formats on {name}", PROCESSES, quiet=as_json) as on_process:
        found = compare_formats(
            wanted.chain(arch),
            device,
            network=f"{arch} of {space}",
            seed=seed,
            on_process=on_process,
        )
    if output is not None and found.integers is not None:
        write_device(output, found.integers.device)
    return Report(
        figures=found.as_json(),
        view=lambda: formats_view(found, output),
        as_json=as_json,
        status=MISSED if output is not None and found.integers is None else OK,
    )


def spaces(
    name: Annotated[str | None, typer.Argument(help="One space: its layers.")] = None,
    resolution: Resolution = None,
    snap: Snap = None,
    as_json: Json = False,
) -> Report:
    """Known search spaces, their sizes, and how many operators a table of each measures."""
    from export.figures.device_views import space_facts, spaces_view
    from export.figures.steps_file import snap_from_text
    from search.spaces import SPACES, space_named

    step, names = snap_from_text(snap), [name] if name else SPACES
    known = [space_named(each, resolution=resolution, snap=step) for each in names]
    facts = [space_facts(space, closely=name is not None) for space in known]
    return Report(
        figures=facts if name is None else facts[0],
        view=lambda: spaces_view(facts),
        as_json=as_json,
    )


def profile(
    context: typer.Context,
    space: Annotated[str | None, typer.Option(help="The search space to cover.")] = None,
    output: TableOrFile = None,
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
    sustained: Sustained = None,
    calibrate: Calibrate = None,
    capability: Capability = None,
    as_json: Json = False,
) -> Report:
    """Measure what a table lacks of a space (--space S -o T.lut), or any model whole (--onnx).

    With --steps: the channel counts at which latency jumps, for each kind of operator. A device
    of the roofline estimates its table by a spec sheet, and rtx-aot plans kernels and memory.
    Stop a table at any time; the same command goes on.
    """
    _check_profiled(context)
    spec = device_named(device)
    _advise(spec, quiet=as_json)
    shapes, capabilities = shape or [], capability or ()
    if onnx is not None and sustained is not None:
        refuse(context, "processes", "save_optimized", beside="--sustained")
        return _load(onnx, spec, sustained, shapes=shapes, output=output, as_json=as_json)
    if onnx is not None:
        refuse(context, "output", beside="--onnx without --sustained")
        return _profile_model(
            onnx, spec, shapes=shapes, processes=processes, save=save_optimized, as_json=as_json
        )
    if steps:
        return _profile_steps(spec, processes=processes, output=output, as_json=as_json)
    if space is None or output is None:
        raise UsageError("Missing option '-o' / '--output': the table to make or fill", ctx=context)
    wanted = _space_on(spec, space, resolution=resolution, classes=classes, snap=snap)
    _check_backend(context, spec, device)
    if spec.backend in ON_PAPER:
        from export.verbs.on_paper import profile_on_paper

        return profile_on_paper(
            output, wanted, spec, calibrate=calibrate, capabilities=capabilities, as_json=as_json
        )
    effort = Effort(processes=processes, rounds=rounds, seed=seed)
    return _profile_space(output, wanted, spec, effort=effort, as_json=as_json)


def _check_profiled(context: typer.Context) -> None:
    """Refuse several things to profile, or none, and options of what is not profiled."""
    what = one_of(
        context,
        *PROFILED,
        otherwise="Name what to profile: --space S -o T.lut, or else --onnx MODEL.onnx, or --steps",
    )
    foreign = set().union(*PROFILED.values()) - PROFILED[what]
    refuse(context, *foreign, beside=f"--{what}")


def _check_backend(context: typer.Context, device: DeviceSpec, typed: str) -> None:
    """Refuse options that a device's backend has no use for.

    Args:
        context: What stands on the command line.
        device: Whose backend.
        typed: The device as it was typed.
    """
    foreign = {name for name, backend in PAPER.items() if backend != device.backend}
    refuse(context, *foreign, beside=f"--device {typed}")
    if device.backend in ON_PAPER:
        refuse(context, "processes", "rounds", "seed", beside=f"--device {typed}")


def _space_on(
    device: DeviceSpec,
    name: str,
    *,
    resolution: int | None,
    classes: int | None,
    snap: str | None,
) -> "SearchSpace":
    """Return a named space in the batches of a device."""
    from export.figures.steps_file import snap_from_text
    from search.spaces import space_named

    return space_named(
        name,
        resolution=resolution,
        batch=device.batch,
        classes=classes,
        snap=snap_from_text(snap),
    )


def _advise(device: DeviceSpec, *, quiet: bool) -> None:
    """Say what no program can see to, before a phone is measured."""
    from devices.transport import ADVICE
    from export.progress import announce

    if device.transport is not None and device.transport.kind == "adb":
        announce(ADVICE, quiet=quiet)


def _load(
    model: Path,
    device: DeviceSpec,
    text: str,
    *,
    shapes: list[str],
    output: Path | None,
    as_json: bool,
) -> Report:
    """Load a model file for as long as a text says."""
    from export.figures.sustained_file import profile_sustained, sustained_view
    from export.verbs.durations import seconds_from_text
    from profiler.whole_models.sustained_load import SHORTEST_S

    load_s = seconds_from_text(text, least_s=SHORTEST_S)
    facts = profile_sustained(
        model, device, load_s=load_s, shapes=shapes, output=output, quiet=as_json
    )
    return Report(figures=facts, view=lambda: sustained_view(facts), as_json=as_json)


def _profile_model(
    model: Path,
    device: DeviceSpec,
    *,
    shapes: list[str],
    processes: int,
    save: Path | None,
    as_json: bool,
) -> Report:
    from export.figures.model_views import model_view
    from export.figures.profile_file import profile_file

    facts = profile_file(
        model, device, shapes=shapes, processes=processes, save=save, quiet=as_json
    )
    return Report(figures=facts, view=lambda: model_view(facts), as_json=as_json)


def _profile_steps(
    device: DeviceSpec, *, processes: int, output: Path | None, as_json: bool
) -> Report:
    from export.figures.steps_file import profile_hardware_steps, steps_view

    facts = profile_hardware_steps(device, processes=processes, output=output, quiet=as_json)
    return Report(figures=facts, view=lambda: steps_view(facts), as_json=as_json)


def _profile_space(
    output: Path, space: "SearchSpace", device: DeviceSpec, *, effort: Effort, as_json: bool
) -> Report:
    from export.progress import announce, measuring
    from lut.views import summary, table_view
    from search.pricing.tables import profile_space, space_outlook

    outlook = space_outlook(output, space, device, effort)
    announce(str(outlook), quiet=as_json)
    with measuring(f"profiling {space.name} on {device.name}", quiet=as_json) as on_progress:
        table, progress = profile_space(
            output, space, device, effort=outlook.effort, on_progress=on_progress
        )
    facts = summary(table) | {"took": outlook.beside(progress.device_s)}
    spent = {
        "table": str(output),
        "device_s": progress.device_s,
        "forecast_s": outlook.forecast.seconds,
        "outlook": str(outlook),
    }
    return Report(figures=facts | spent, view=lambda: table_view(table, facts), as_json=as_json)


def predict(
    path: TablePath,
    arch: Network,
    space: SpaceOfTable = None,
    index: Index = 0,
    as_json: Json = False,
) -> Report:
    """Predicted latency of one network, its error bar, and the share of each layer."""
    from export.figures.origin import origin_line
    from export.figures.prediction_views import prediction_facts, prediction_view
    from export.verbs.stored import network_of
    from lut.on_paper.estimates import any_model, any_table

    table = any_table(path)
    network, where = network_of(table, arch, space=space, index=index)
    facts = prediction_facts(any_model(table, where), where, network)
    return Report(
        figures=facts,
        view=lambda: prediction_view(facts, origin=origin_line(table.conditions)),
        as_json=as_json,
    )


def explain(
    path: TablePath,
    arch: Network,
    space: SpaceOfTable = None,
    index: Index = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to draw it: a PNG.")
    ] = None,
    as_json: Json = False,
) -> Report:
    """Measure one network, and split the gap to its prediction by cause: a minute or two."""
    from export.figures.explain_arch import explain_arch
    from export.figures.explain_views import explanation_view
    from export.verbs.stored import network_of

    table = load_table(path)
    network, where = network_of(table, arch, space=space, index=index)
    facts = explain_arch(table, where, network, plot=output, quiet=as_json)
    return Report(figures=facts, view=lambda: explanation_view(facts), as_json=as_json)
