"""The verbs that need a trained supernet: what the command line and the demo share."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from devices import DeviceSpec, Precision, UnknownName, known_devices
from export.deploy import Exported, deploy
from export.deployment import WrongPrecision
from export.progress import bar
from export.ship import Shipped, ship
from search.answers import Answer
from search.data import ImageData, load_data
from search.evaluation import CALIBRATION_IMAGES, Evaluator, calibration_images
from search.runs import EpochMetrics, TrainedRun, load_run_data, load_supernet
from search.searcher import Round
from search.settings import TrainSettings, settings_from_toml
from search.solve import Limits, Search, Solution, models_of, solve
from search.spaces import space_named
from search.training import train_uniform


def train_run(
    run_dir: Path,
    *,
    space: str,
    source: str,
    resolution: int | None,
    settings: Path | TrainSettings | None,
    skip_corrupt: bool,
    quiet: bool,
) -> tuple[TrainedRun, ImageData]:
    """Train a supernet of a named space, or take up the run that is there.

    Args:
        run_dir: Where the run is kept.
        space: Name of the space.
        source: ``"digits"`` or a path.
        resolution: Side of the images in pixels; None for the space's published one.
        settings: Settings, a TOML file of them, or None for the defaults.
        skip_corrupt: Whether corrupt images are left out.
        quiet: Whether to show no progress.
    """
    how = settings_from_toml(settings) if isinstance(settings, Path) else settings
    how = how or TrainSettings()
    side = space_named(space, resolution=resolution).input_shape[2]
    data = load_data(source, resolution=side, on_corrupt="skip" if skip_corrupt else "refuse")
    supernet_space = space_named(space, resolution=side, classes=len(data.class_names))
    with bar(f"training {space} on {data.name}", quiet=quiet) as update:
        loss = ""

        def on_epoch(metrics: EpochMetrics) -> None:
            nonlocal loss
            loss = f", loss {metrics.loss:.3f}"

        def on_step(done: int, total: int) -> None:
            update(done, total, f"step {done}/{total}{loss}")

        run = train_uniform(
            supernet_space, data, how, run_dir, source=source, on_epoch=on_epoch, on_step=on_step
        )
    return run, data


def search_run(
    search: Search,
    run_dir: Path,
    *,
    tables: Sequence[Path],
    limits_s: Sequence[tuple[float, ...]],
    quiet: bool,
) -> list[Solution]:
    """Search a trained supernet under limits on one or several devices.

    Args:
        search: How.
        run_dir: The supernet.
        tables: One for each device.
        limits_s: Sets of limits, each in the order of the tables.
        quiet: Whether to show no progress.
    """
    run = load_supernet(run_dir)
    space = run.supernet.space
    models = models_of(tables, space)
    data = load_run_data(run.record)
    evaluator = Evaluator(
        run.supernet, data.validation, calibration=calibration_images(data.training)
    )
    total = len(limits_s) * search.rounds
    with bar(f"searching {space.name}", quiet=quiet) as update:

        def on_round(number: int, summary: Round) -> None:
            best = "" if summary.best is None else f", best {summary.best.accuracy:.1%}"
            update(number * search.rounds + summary.number, total, f"limit {number + 1}{best}")

        return solve(
            search,
            space=space,
            models=models,
            limits=[Limits(limits_s=each) for each in limits_s],
            accuracy=evaluator,
            accuracy_from=(
                f"inherited weights, batch norm recalibrated on {CALIBRATION_IMAGES} training "
                f"images, {len(data.validation)} validation images"
            ),
            on_round=on_round,
        )


def export_run(answer: Answer, folder: Path, *, run_dir: Path, device: DeviceSpec) -> Exported:
    """Export one answer with the weights of the run that it was searched with.

    Args:
        answer: What to export.
        folder: The deployment directory.
        run_dir: The supernet.
        device: The one of the answer's to export for, see `device_of`.
    """
    run = load_supernet(run_dir)
    return deploy(answer, run, load_run_data(run.record), folder, device=device)


def ship_run(
    answer: Answer,
    run_dir: Path,
    folder: Path,
    *,
    device: DeviceSpec,
    tries: int,
    table: Path | None,
    quiet: bool,
) -> Shipped:
    """Export an answer, or the first of its runners-up that the device confirms, see `ship`."""
    with bar(f"shipping to {device.name}", quiet=quiet) as update:
        return ship(
            answer,
            folder,
            export=partial(export_run, run_dir=run_dir, device=device),
            device=device,
            tries=tries,
            table=table,
            on_try=lambda number, each: update(number - 1, tries, f"try {number}: {each.arch}"),
        )


def device_of(
    answer: Answer, *, precision: Precision | None = None, given: DeviceSpec | None = None
) -> DeviceSpec:
    """Return the device to export an answer for: the first of its own that fits.

    Args:
        answer: Priced by a table of every device that it names.
        precision: What the model has to be in; None for what the device runs.
        given: The only one to consider, for a device that is in no catalog.

    Raises:
        UnknownName: A device of the answer is not in the catalog, or the one given is not its.
        WrongPrecision: No table that priced the answer is of the precision asked for.
    """
    if given is not None and given.name not in answer.devices:
        raise UnknownName("device of the architecture", given.name, answer.devices)
    known = known_devices() if given is None else {given.name: given}
    names = answer.devices if given is None else (given.name,)
    for name in names:
        if name not in known:
            cure = "The architecture was priced on it: name its file, --device FILE.yaml."
            raise UnknownName("device", name, known, cure=cure)
        if precision in (None, known[name].precision):
            return known[name]
    tables = ", ".join(f"{name!r} ({known[name].precision})" for name in names)
    raise WrongPrecision(
        f"the architecture was priced by tables of {tables}, which say nothing of {precision}: "
        f"search with a table of a device with precision: {precision} (latkit devices), or "
        "leave out --precision"
    )
