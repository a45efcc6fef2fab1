"""Which proxies keep the ranking: what ``latkit proxies`` does and shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from devices import InvalidFile
from devices.in_use import held
from export.figures.plots import plot_reliability
from export.progress import TimeLeft, bar
from export.roads.images import images_of
from export.roads.on_truth import SPACES, read_truth
from search.econas.hierarchy import econas_settings
from search.proxies.proxy import Proxy
from search.proxies.study import Reliability, Study, distinct_networks, study_of
from search.space import Architecture, SearchSpace
from search.spaces import space_named

PLOT = "reliability.png"

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a study is asked to do.

    Attributes:
        space: Name of the full space.
        source: ``"digits"`` or a path.
        resolution: Side of the images that proxies reduce, in pixels; None for the published one.
        nets: Networks of the sample.
        grid: Settings to train under.
        settings: A TOML file, read as for ``search econas``; None for the small preset.
        truth: A file of true accuracies to compare with; None for the dearest setting.
        skip_corrupt: Whether corrupt images are left out.
        seed: Of the sample.
        workers: Processes that train at once.
    """

    space: str
    source: str
    resolution: int | None
    nets: int
    grid: tuple[Proxy, ...]
    settings: Path | None
    truth: Path | None
    skip_corrupt: bool
    seed: int
    workers: int


def study_proxies(ask: Ask, folder: Path, *, quiet: bool) -> Facts:
    """Train what is missing of a study, compare, and draw.

    Args:
        ask: What to do.
        folder: Where the runs are kept, and the plot; the same again goes on.
        quiet: Whether to show no progress.

    Raises:
        InvalidProxy: A setting leaves too little to train.
        InvalidData: There are no such images, or corrupt ones.
        NothingToCompare: There are too few networks or settings.
        InUse: Another process trains in the folder.
    """
    sizes, training = econas_settings(ask.settings)
    published = space_named(ask.space, resolution=ask.resolution)
    for proxy in ask.grid:
        proxy.check_space(published)  # complain before images are decoded
    full = published.input_shape[2]
    data = {
        side: images_of(ask.source, resolution=side, skip_corrupt=ask.skip_corrupt)
        for side in {proxy.side(full) for proxy in ask.grid}
    }
    classes = len(next(iter(data.values())).class_names)
    space = space_named(ask.space, resolution=full, classes=classes)
    archs = distinct_networks(space, ask.nets, np.random.default_rng(ask.seed))
    study = study_of(
        space,
        data,
        ask.grid,
        training,
        archs,
        folder,
        images=sizes.images,
        validation=sizes.validation,
        truth=None if ask.truth is None else _true_accuracies(ask.truth, space, archs),
    )
    title = f"training {ask.nets} networks, {len(ask.grid)} settings"
    with held(folder), bar(title, quiet=quiet) as update:
        time_left = TimeLeft()
        stages = study.run(
            workers=ask.workers,
            on_stage=lambda done, total: update(
                done, total, f"{done}/{total} networks{time_left(done, total)}"
            ),
        )
    rows = study.judge(stages, seed=ask.seed)
    reference = str(study.dearest) if ask.truth is None else str(ask.truth)
    plot_reliability(folder / PLOT, rows=rows, reference=reference)
    return study_facts(study, rows, reference=reference, folder=folder)


def study_facts(
    study: Study, rows: Sequence[Reliability], *, reference: str, folder: Path
) -> Facts:
    """Return what a study found, as plain data."""
    best = max(rows, key=lambda row: row.spearman)
    return {
        "networks": len(study.archs),
        "reference": reference,
        "full": str(study.full),
        "training_images": study.images,
        "proxies": [_row(row) for row in rows],
        "most_reliable": str(best.proxy),
        "plot": str(folder / PLOT),
    }


def _row(row: Reliability) -> Facts:
    return {
        "name": str(row.proxy),
        "cost_share": row.cost_share,
        "paper_share": row.paper_share,
        "train_s": row.train_s,
        "spearman": row.spearman,
        "interval": list(row.spearman_interval),
        "kendall": row.kendall,
        "kendall_interval": list(row.kendall_interval),
        "shift": row.shift,
        "accuracy": row.accuracy,
        "best": row.best,
    }


def proxies_view(facts: Facts) -> RenderableType:
    """Show how well each proxy keeps the ranking, and at what cost."""
    view = Table("proxy", "cost", "paper's", "s", "Spearman", "Kendall", "shift", "", box=None)
    for row in facts["proxies"]:
        view.add_row(
            row["name"],
            f"{row['cost_share']:.2%}",
            f"{row['paper_share']:.2%}",
            f"{row['train_s']:.3g}",
            _between(row["spearman"], row["interval"]),
            _between(row["kendall"], row["kendall_interval"]),
            f"{row['shift']:.1f}",
            "*" if row["best"] else "",
        )
    return Group(
        view,
        f"{facts['networks']} networks, ranked against {facts['reference']}, with 95 % intervals "
        f"over networks. Cost: operations of training over those of {facts['full']} on "
        f"{facts['training_images']} images, and as the paper counts; seconds a network; shift: "
        "places that a network moves, the mean. *: nothing cheaper ranks as well.",
        f"Plot: {facts['plot']}",
    )


def _between(value: float, interval: Sequence[float]) -> str:
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _true_accuracies(path: Path, space: SearchSpace, archs: Sequence[Architecture]) -> list[float]:
    """Read the true accuracies of networks.

    Raises:
        InvalidFile: The file is something else, or nobody published a table of that space.
    """
    if space.name not in SPACES:
        raise InvalidFile(
            f"{path} cannot be the truth of space {space.name!r}: true accuracies are known of "
            f"{' and '.join(SPACES)}; leave it out, and the dearest setting is the reference"
        )
    truth, _ = read_truth(path, space.name)
    accuracies: list[float] = truth.mean[truth.rows(archs)].tolist()
    return accuracies
