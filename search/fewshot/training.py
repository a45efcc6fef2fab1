"""Few-shot NAS: a supernet split into several, each fine-tuned on its part of the space.

In pseudo-code::

    parent = a trained supernet
    split = a layer and groups of its choices; given, or chosen (search.fewshot.choose_split)
    for each part of the space:
        child = the parent's weights, without the blocks of other parts
        make its optimizer, train it on paths of its part
    an architecture is evaluated by the child that holds it (search.splits.routed)

The released code makes a child's optimizer first and replaces the weights of the split edge after
that, so that those are never trained (its issue 1 asks why results do not reproduce). Here weights
come first: `search.training.loop.Training` prepares a supernet before its optimizer is made.

Source:
    Zhao et al., Few-Shot Neural Architecture Search, ICML 2021, sections 3 and 4; children are
    trained half as long as the parent there (300 and 600 epochs).
"""

from pathlib import Path

from devices import InvalidFile
from devices.files import sha256_of
from search.fewshot.children import check_processes, train_children
from search.fewshot.choose_split import check_choosing, choose
from search.fewshot.settings import FewShotSettings, SplitRule
from search.final.files import METHOD as FINAL
from search.images.data import ImageData
from search.ledger import write_ledger
from search.space import SearchSpace
from search.splits.routed import CHOICE, METHOD, PARENT, chosen_splits, load_routed
from search.splits.split import Partition, partition_from_texts
from search.training.runs import (
    CHECKPOINT,
    FEW_SHOT,
    RunMismatch,
    RunRecord,
    copy_run,
    open_run,
    read_record,
    record_of,
    space_of_record,
)
from search.training.settings import TrainSettings
from search.training.state import OnStep
from search.training.trained import TrainedRun
from search.training.workers import Worker, this_worker


def train_fewshot(
    parent_dir: Path,
    data: ImageData,
    settings: TrainSettings,
    fewshot: FewShotSettings,
    run_dir: Path,
    *,
    rule: SplitRule,
    source: str | None = None,
    on_step: OnStep | None = None,
) -> TrainedRun:
    """Split a trained supernet and train its children, or go on where the run stopped.

    Every child resumes as any run does. Under ``torchrun`` all processes train each child
    together, or children of their own (`FewShotSettings.processes`); all must see the directories.

    Args:
        parent_dir: Run of the parent; kept in ``run_dir``, too.
        data: The images that the parent was trained on.
        settings: How to train a child.
        fewshot: More of it.
        run_dir: New, empty, or of an earlier run with the same arguments.
        rule: Where to split.
        source: What `search.images.data.load_data` was given; None where that is the name of
            ``data``.
        on_step: Called after every step, with the steps done by all children and in all; of
            children that the processes of ``torchrun`` have to themselves, by those of the first.
            Where children are trained in other processes, after every child.

    Returns:
        The children as one supernet.

    Raises:
        LatkitError: What `search.training.loop.train` raises.
        InvalidSplit: The splits do not go together, or there are no such ones to choose.
        InvalidFile: The parent is no run of one supernet.
        RunMismatch: The parent was trained on other images, or ``run_dir`` holds another run.
        UnevenShares: ``torchrun`` started another number of processes than is asked for.
    """
    worker = this_worker(settings)
    check_processes(fewshot.processes, worker)
    worker.join()
    parent = worker.agree(lambda: read_parent(parent_dir, data))
    space = space_of_record(parent)
    check_rule(rule, space)  # before anything is written
    options = {"parent": worker.agree(lambda: sha256_of(parent_dir / CHECKPOINT))}
    options |= rule.options | fewshot.compared
    record = record_of(METHOD, space, data, settings, source=source, options=options)
    worker.agree(lambda: _open(run_dir, record, parent_dir))
    partition = _partition(space, rule, data, settings, fewshot, run_dir, worker=worker)
    train_children(
        partition,
        data,
        settings,
        run_dir,
        weights=run_dir / PARENT if fewshot.transfer else None,
        options=options,
        processes=fewshot.processes,
        source=source,
        on_step=on_step,
    )
    worker.agree(lambda: write_ledger(run_dir))
    return load_routed(run_dir)


def check_rule(rule: SplitRule, space: SearchSpace) -> None:
    """Check that a space can be split as a rule says.

    Raises:
        InvalidSplit: The splits do not go together, or there are none such to choose.
        UnknownName: There is no such rule.
    """
    if rule.splits:
        Partition(space=space, splits=rule.splits)
    else:
        check_choosing(rule, space)


def read_parent(run_dir: Path, data: ImageData) -> RunRecord:
    """Read what a parent is, and check that it can be split.

    Raises:
        InvalidFile: There is no run of one supernet, or no finished epoch.
        RunMismatch: It was trained on other images.
    """
    record = read_record(run_dir)
    if record.method in (*FEW_SHOT, FINAL):
        kind = "one network alone" if record.method == FINAL else "children already"
        raise InvalidFile(
            f"the run in {run_dir} has trained {kind}, and only one supernet can be split: give "
            "the run of the supernet, and every layer to split with a --split of its own"
        )
    if not (run_dir / CHECKPOINT).exists():
        raise InvalidFile(f"the parent in {run_dir} has not finished an epoch; train it first")
    check_same_images(run_dir, record, data)
    return record


def check_same_images(run_dir: Path, record: RunRecord, data: ImageData) -> None:
    """Check that a run was trained on these images.

    Raises:
        RunMismatch: It was trained on others, and may have seen what is held out here.
    """
    if record.fingerprint != data.fingerprint:
        raise RunMismatch(
            f"the run in {run_dir} was trained on {record.data!r}, images of fingerprint "
            f"{record.fingerprint}, not {data.fingerprint} as {data.name!r}: train children on "
            "the same"
        )


def _open(run_dir: Path, record: RunRecord, parent_dir: Path) -> None:
    """Start a run or take up the one that is there, and keep the parent in it."""
    open_run(run_dir, record)  # which compares the parent's weights, too
    copy_run(parent_dir, run_dir / PARENT)


def _partition(
    space: SearchSpace,
    rule: SplitRule,
    data: ImageData,
    settings: TrainSettings,
    fewshot: FewShotSettings,
    run_dir: Path,
    *,
    worker: Worker,
) -> Partition:
    """Return how the space is cut; chosen once, where it is not given."""
    if rule.splits:
        return Partition(space=space, splits=rule.splits)
    texts = worker.agree(lambda: chosen_splits(run_dir))
    if texts is None:
        choose(rule, data, settings, fewshot, run_dir, worker=worker)
        texts = worker.agree(lambda: chosen_splits(run_dir))
    assert texts is not None, f"{CHOICE} was just written"
    return partition_from_texts(texts, space)
