"""DARTS on the children of a few-shot run: each part of the space relaxed on its own.

Every child starts from its weights and relaxes what its part leaves open; the layers that were
split have one choice or a group. The runs of the relaxed children make up one supernet again, which
routes (`search.splits.routed`).

Source:
    Zhao et al., Few-Shot Neural Architecture Search, ICML 2021, section 4.1 (few-shot with
    gradient-based methods). Deviations: children start from the parent's weights, which those
    experiments skipped; among what the children come to, validation accuracy chooses, where no
    released code does.
"""

from collections.abc import Sequence
from pathlib import Path

from devices.files import sha256_of
from lut import LatencyBudget
from search.darts.alphas import DartsSettings
from search.darts.training import check_relaxed, darts_options, derived, train_darts
from search.fewshot.children import offset
from search.fewshot.training import check_same_images
from search.images.data import ImageData
from search.ledger import write_ledger
from search.space import Architecture
from search.splits.routed import CHILD, RELAXED, child_dir, load_routed, read_partition
from search.splits.split import Partition
from search.training.runs import CHECKPOINT, open_run, read_record, record_of
from search.training.settings import TrainSettings
from search.training.state import OnStep
from search.training.trained import TrainedRun
from search.training.workers import this_worker


def train_darts_children(
    fewshot_dir: Path,
    data: ImageData,
    settings: TrainSettings,
    darts: DartsSettings,
    run_dir: Path,
    *,
    budgets: Sequence[LatencyBudget],
    source: str | None = None,
    on_step: OnStep | None = None,
) -> TrainedRun:
    """Relax every child of a few-shot run, or go on where the run stopped.

    Args:
        fewshot_dir: The few-shot run; all its children are trained.
        data: The images that it was trained on.
        settings: How the weights are trained.
        darts: How alpha is.
        run_dir: New, empty, or of an earlier run with the same arguments.
        budgets: Limits on one device, one or more.
        source: What `search.images.data.load_data` was given; None where that is the name of
            ``data``.
        on_step: Called after every step, with the steps done by all children and in all.

    Returns:
        The relaxed children as one supernet.

    Raises:
        LatkitError: What `search.darts.training.train_darts` raises.
        RunMismatch: The few-shot run was trained on other images.
        InvalidFile: There is no few-shot run, or a child of it was not trained.
    """
    worker = this_worker(settings)
    worker.join()
    trained = worker.agree(lambda: read_record(fewshot_dir))
    check_same_images(fewshot_dir, trained, data)
    partition = worker.agree(lambda: read_partition(fewshot_dir))
    check_relaxed(partition.space, budgets)
    from_dirs = [child_dir(fewshot_dir, number) for number in range(len(partition.parts))]
    hashes = worker.agree(lambda: [sha256_of(each / CHECKPOINT) for each in from_dirs])
    options = {
        **darts_options(darts, budgets),
        "splits": [str(split) for split in partition.splits],
        "from": str(fewshot_dir),
    }
    record = record_of(RELAXED, partition.space, data, settings, source=source, options=options)
    worker.agree(lambda: open_run(run_dir, record))
    for number, part in enumerate(partition.parts):
        child_options = {**options, "part": part.name, "parent": hashes[number]}
        child = record_of(
            CHILD, partition.space, data, settings, source=source, options=child_options
        )
        train_darts(
            part,
            data,
            settings,
            darts,
            child_dir(run_dir, number),
            budgets=budgets,
            record=child,
            weights=from_dirs[number],
            on_step=offset(on_step, number, len(partition.parts)),
        )
    worker.agree(lambda: write_ledger(run_dir))
    return load_routed(run_dir)


def derived_by_children(
    run_dir: Path, partition: Partition, budgets: Sequence[LatencyBudget]
) -> list[tuple[Architecture, ...]]:
    """Return for each limit what the children come to: one network of every part that has any.

    Arguments and errors are those of `search.darts.training.derived`.
    """
    found: list[list[Architecture]] = [[] for _ in budgets]
    for number, part in enumerate(partition.parts):
        for limit, arch in enumerate(derived(child_dir(run_dir, number), part, budgets)):
            if arch is not None:
                found[limit].append(arch)
    return [tuple(archs) for archs in found]
