"""What a number format costs the networks of a space: given, or measured on a few of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices import DeviceSpec, InvalidFile
from export.bundle.onnx_file import Array, network_graph
from export.precision.calibration import CalibrationAsked, calibration_of
from export.precision.quantize import Try, quantize
from export.progress import counting
from lut import LatencyModel
from lut.on_paper.estimates import any_table
from profiler.student_t import student_t_quantile
from search.images.data import ImageData
from search.precisions import FormatCost, NumberFormat, check_formats
from search.pricing.coverage import spread_sample
from search.solve import Search, models_of
from search.space import Architecture, SearchSpace
from search.supernets.evaluation import calibration_images, final_weights
from search.training.trained import TrainedRun

NETS = 4
"""Networks that a drop is measured on, where the space has so many."""

COVERAGE = 0.9
"""Of the interval of their mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatAsked:
    """Another number format to search, as it is named on the command line.

    Attributes:
        table: Of the same device in that format.
        drop_points: What it costs; None to measure it.
    """

    table: Path
    drop_points: float | None = None


def format_from_text(text: str) -> FormatAsked:
    """Read ``TABLE`` or ``TABLE:POINTS``.

    Raises:
        InvalidFile: The points are none.
    """
    path, colon, points = text.rpartition(":")
    if not colon or Path(text).exists():  # whose name may hold a colon
        return FormatAsked(table=Path(text))
    wrong = f"--or {text}: write TABLE, or TABLE:POINTS of top-1 that its format costs, 0 or more"
    try:
        drop_points = float(points)
    except ValueError as error:
        raise InvalidFile(wrong) from error
    if not 0.0 <= drop_points <= 100.0:
        raise InvalidFile(wrong)
    return FormatAsked(table=Path(path), drop_points=drop_points)


def models_in_formats(
    asked: Sequence[FormatAsked],
    search: Search,
    space: SearchSpace,
    *,
    tables: Sequence[Path],
    models: Sequence[LatencyModel],
) -> list[tuple[LatencyModel, ...]]:
    """Return the models of each number format: of the first table's, then of those asked for.

    Args:
        asked: The others.
        search: How it will be searched.
        space: What the models price.
        tables: Of the devices whose limits hold.
        models: Of these tables.

    Raises:
        InvalidFile: A table is not of the first device in another format; see `models_of`, too.
    """
    if asked:
        check_formats(tables[0], [each.table for each in asked])
    others = (models_of([each.table], space, origins=search.origins) for each in asked)
    return [tuple(models), *((*other, *models[1:]) for other in others)]


def formats_of(
    asked: Sequence[FormatAsked],
    models: Sequence[tuple[LatencyModel, ...]],
    run: TrainedRun,
    data: ImageData,
    *,
    seed: int,
    quiet: bool,
) -> list[NumberFormat]:
    """Return the first format, and those asked for with what they cost; see `cost_of`.

    Args:
        asked: All but the first.
        models: Of each, see `models_in_formats`.
        run: The supernet.
        data: Its images.
        seed: Of the networks that a cost is measured on.
        quiet: Whether to show no progress.
    """
    first, *others = models
    formats = [NumberFormat(models=first)]
    for each, its in zip(asked, others, strict=True):
        cost = cost_of(each, run, data, seed=seed, quiet=quiet)
        formats.append(NumberFormat(models=its, cost=cost))
    return formats


def cost_of(
    asked: FormatAsked, run: TrainedRun, data: ImageData, *, seed: int, quiet: bool
) -> FormatCost:
    """Return what a format costs, and where that is known from.

    Where the mean of the measured networks is a gain, as it may be by chance and since of several
    ways to quantise each has the best, nothing is assumed to be lost or gained.

    Args:
        asked: The format.
        run: The supernet, whose networks are measured where nothing is given.
        data: Its images: ranges come from training, the cost from validation.
        seed: Of the networks.
        quiet: Whether to show no progress.

    Raises:
        InvalidFile: It is to be measured, and the device does not compute in integers.
    """
    if asked.drop_points is not None:
        rise = None if asked.drop_points else 0.0  # points are no nats, but nothing is nothing
        return FormatCost(drop_points=asked.drop_points, loss_rise=rise, known_from="as given")
    device = any_table(asked.table).conditions.device
    if device.quantization is None:
        raise InvalidFile(
            f"{asked.table} is in {device.precision}: say what it costs, --or {asked.table}:POINTS"
        )
    space = run.supernet.space
    sample = spread_sample(space, NETS, np.random.default_rng(seed))
    images = calibration_of(CalibrationAsked(), data, space.input_shape).images
    tries: list[Try] = []
    with counting(f"what {device.precision} costs", len(sample), quiet=quiet) as on_network:
        for arch in sample:
            tries.append(_quantized(run, data, arch, device, images))
            on_network(len(tries))
    return mean_cost(tries)


def mean_cost(tries: Sequence[Try]) -> FormatCost:
    """Return what some networks lost in the mean, with the interval of that mean.

    Args:
        tries: One for each network; one or more, and of one alone there is no interval.
    """
    drops = [each.held_out.drop_points for each in tries]
    rises = [each.loss_rise for each in tries]
    count, mean, between = len(tries), float(np.mean(drops)), ""
    if count > 1:
        deviation = float(np.std(drops, ddof=1))
        reach = student_t_quantile((1 + COVERAGE) / 2, count - 1) * deviation / count**0.5
        between = f"{mean - reach:.2f} to {mean + reach:.2f}, "
    return FormatCost(
        drop_points=max(0.0, mean),
        loss_rise=max(0.0, float(np.mean(rises))),
        known_from=(
            f"the mean of {count} networks on {tries[0].held_out.images} validation images is "
            f"{mean:.2f} ({between}each {min(drops):.2f} to {max(drops):.2f}), and "
            f"{float(np.mean(rises)):.4f} of loss (each {min(rises):.4f} to {max(rises):.4f})"
        ),
    )


def _quantized(
    run: TrainedRun, data: ImageData, arch: Architecture, device: DeviceSpec, images: Array
) -> Try:
    """Return the best way to quantise a network with all of its layers in integers."""
    space = run.supernet.space
    network = final_weights(run.supernet, arch, calibration_images(data.training))
    return quantize(
        network_graph(network, space.input_shape),
        device,
        calibration=images,
        validation=data.validation,
        max_drop_points=math.inf,
    ).chosen
