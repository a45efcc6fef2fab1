"""Few-shot supernets and relaxations for the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from export.figures.steps_file import snapped_name
from export.progress import TimeLeft, bar
from export.roads.supernet import Within
from lut import LatencyBudget
from search.answers import Answer, answer_of, write_answers
from search.darts.alphas import DartsSettings
from search.darts.on_children import derived_by_children, train_darts_children
from search.darts.training import METHOD as DARTS
from search.darts.training import darts_from_toml, derived, train_darts
from search.fewshot.settings import FewShotSettings, SplitRule, child_settings, fewshot_from_toml
from search.fewshot.training import check_rule, train_fewshot
from search.images.data import ImageData, load_data
from search.images.sources import DIGITS
from search.ledger import costs_of
from search.searcher import run_search
from search.sgnas.projection import Proposals
from search.space import Architecture
from search.spaces import space_named
from search.splits.routed import read_partition
from search.splits.split import InvalidSplit, Part, split_from_text
from search.supernets.evaluation import CALIBRATION_IMAGES, Evaluator, calibration_images
from search.training.runs import SETTINGS, RunMismatch, RunRecord, read_record, space_of_record
from search.training.settings import TrainSettings, settings_from_toml
from search.training.state import OnStep
from search.training.trained import TrainedRun
from search.training.workers import leads

ANSWERS = "arch.json"
"""File in the run of a relaxation: what it came to for every limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitting:
    """Where to split, as it was typed.

    Attributes:
        splits: Layers, and groups of their choices; none where a rule chooses.
        choose: The rule.
        children: How many children it should make.
    """

    splits: tuple[str, ...] = ()
    choose: str = ""
    children: int = 0

    def rule(self, record: RunRecord) -> SplitRule:
        """Return it for the space of a parent.

        Raises:
            InvalidSplit: Nothing is asked, too much, or what does not fit the space.
            UnknownName: There is no such rule.
        """
        space = space_of_record(record)
        splits = sorted(
            (split_from_text(text, space) for text in self.splits), key=lambda s: s.layer
        )
        try:
            rule = SplitRule(splits=tuple(splits), choose=self.choose, children=self.children)
        except ValueError as error:
            raise InvalidSplit(
                "say where to split: --split 3, or --split 3:0,1/2, several times for products; "
                "or --choose conflict --children 3"
            ) from error
        check_rule(rule, space)
        return rule


def train_children_run(
    run_dir: Path,
    *,
    parent_dir: Path,
    space: str,
    splitting: Splitting,
    source: str | None,
    settings: Path | None,
    skip_corrupt: bool,
    quiet: bool,
) -> tuple[TrainedRun, ImageData]:
    """Train the children of a supernet, or take up the run that is there.

    Args:
        run_dir: Where the few-shot run is kept.
        parent_dir: Run of the supernet to split.
        space: The space it should be of; empty for any.
        splitting: Where.
        source: ``"digits"`` or a path; None for what the parent was trained on.
        settings: A TOML file of settings of a child's training; None for those of the run that is
            there, or else the parent's, half as long.
        skip_corrupt: Whether corrupt images are left out.
        quiet: Whether to show no progress.

    Raises:
        LatkitError: What `search.fewshot.training.train_fewshot` raises.
        RunMismatch: The parent is of another space.
    """
    parent = read_record(parent_dir)
    if space and space != parent.space:
        raise RunMismatch(
            f"the parent in {parent_dir} is of space {parent.space!r}, not {space!r}: give a run "
            "of that space, or leave out --space"
        )
    how, fewshot = _settings_of(run_dir, parent, settings)
    rule = splitting.rule(parent)
    source = source or parent.data
    data = _images(source, parent, skip_corrupt=skip_corrupt)
    with bar(f"training children on {data.name}", quiet=quiet) as update:
        run = train_fewshot(
            parent_dir,
            data,
            how,
            fewshot,
            run_dir,
            rule=rule,
            source=source,
            on_step=_counting(update),
        )
    return run, data


def _counting(update: Any) -> OnStep:
    time_left = TimeLeft()
    return lambda done, total: update(done, total, f"{done}/{total}{time_left(done, total)}")


def _images(source: str, parent: RunRecord, *, skip_corrupt: bool) -> ImageData:
    skip = skip_corrupt or parent.skipped
    return load_data(source, resolution=parent.resolution, on_corrupt="skip" if skip else "refuse")


def _settings_of(
    run_dir: Path, parent: RunRecord, path: Path | None
) -> tuple[TrainSettings, FewShotSettings]:
    """Return the settings of a file, or of the run that is there, or those that children have."""
    base = child_settings(parent.settings)
    if path is not None:
        return settings_from_toml(path, base=base), fewshot_from_toml(path)
    if (run_dir / SETTINGS).exists():
        known = read_record(run_dir)
        compared = {name: known.options[name] for name in FewShotSettings().compared}
        return known.settings, FewShotSettings(**compared)
    return base, FewShotSettings()


def children_facts(run_dir: Path) -> dict[str, Any]:
    """Return the children of a few-shot run, and what everything has cost so far."""
    costs = costs_of(run_dir)
    return {
        "children": [part.name for part in read_partition(run_dir).parts],
        "images_trained": sum(cost.images_trained for cost in costs),
        "images_scored": sum(cost.images_scored for cost in costs),
        "macs": sum(cost.macs for cost in costs),
    }


def relax_run(
    run_dir: Path,
    *,
    space: str,
    snap: str | None,
    fewshot_dir: Path | None,
    within: Within,
    source: str | None,
    resolution: int | None,
    settings: Path | None,
    skip_corrupt: bool,
    quiet: bool,
) -> tuple[TrainedRun, ImageData, list[Answer]]:
    """Train a relaxation under limits and derive a network for each, in ``arch.json``.

    Args:
        run_dir: Where the run is kept.
        space: Name of the space; empty where children are relaxed.
        snap: What its widths are rounded up to, as it was typed.
        fewshot_dir: The few-shot run whose children are relaxed; None for the whole space.
        within: The limits.
        source: ``"digits"`` or a path; None for the images of the children, or else digits.
        resolution: Side of the images in pixels; None for the space's published one.
        settings: A TOML file; None for those of the run that is there, or else the defaults.
        skip_corrupt: Whether corrupt images are left out.
        quiet: Whether to show no progress.

    Returns:
        The run, its images, and the answers; none of these in processes of ``torchrun`` but the
        first.

    Raises:
        LatkitError: What `search.darts.training.train_darts` raises.
    """
    how, darts = _relaxed_settings(run_dir, settings)
    if fewshot_dir is None:
        source, space = source or DIGITS, snapped_name(space, snap)
        side = space_named(space, resolution=resolution).input_shape[2]
        data = load_data(source, resolution=side, on_corrupt="skip" if skip_corrupt else "refuse")
        whole = Part(space=space_named(space, resolution=side, classes=len(data.class_names)))
        train = partial(train_darts, whole, data, how, darts)
    else:
        record = read_record(fewshot_dir)
        source = source or record.data
        data = _images(source, record, skip_corrupt=skip_corrupt)
        whole = Part(space=space_of_record(record))
        train = partial(train_darts_children, fewshot_dir, data, how, darts)
    budgets = within.budgets(whole.space)
    with bar(f"relaxing {whole.space.name} on {data.name}", quiet=quiet) as update:
        run = train(run_dir, budgets=budgets, source=source, on_step=_counting(update))
    if not leads():
        return run, data, []  # one process derives and writes
    if fewshot_dir is None:
        alone = derived(run_dir, whole, budgets)
        archs = [tuple(arch for arch in (each,) if arch is not None) for each in alone]
    else:
        archs = derived_by_children(run_dir, read_partition(run_dir), budgets)
    answers = _answers(run, data, budgets, archs, seed=how.seed)
    write_answers(run_dir / ANSWERS, answers)
    return run, data, answers


def _relaxed_settings(run_dir: Path, path: Path | None) -> tuple[TrainSettings, DartsSettings]:
    """Return the settings of a file, or of the run that is there, or the defaults."""
    if path is not None:
        return settings_from_toml(path), darts_from_toml(path)
    known = read_record(run_dir) if (run_dir / SETTINGS).exists() else None
    if known is None or DARTS not in known.options:
        return TrainSettings(), DartsSettings()
    return known.settings, DartsSettings(**known.options[DARTS])


def _answers(
    run: TrainedRun,
    data: ImageData,
    budgets: Sequence[LatencyBudget],
    archs: Sequence[Sequence[Architecture]],
    *,
    seed: int,
) -> list[Answer]:
    """Judge what was derived for any limit under every limit; answer with the most accurate."""
    space = run.supernet.space
    accuracy = Evaluator(
        run.supernet, data.validation, calibration=calibration_images(data.training)
    )
    derived_for_any = tuple(dict.fromkeys(chain(*archs)))
    answers = []
    for budget in budgets:
        found = run_search(
            Proposals(archs=derived_for_any),
            space=space,
            budgets=[budget],
            accuracy=accuracy.scores,
            rounds=1,
        )
        answers.append(
            answer_of(
                found.candidates,
                space,
                [budget],
                accuracy_from=(
                    f"weights of the relaxation, batch norm recalibrated on {CALIBRATION_IMAGES} "
                    f"training images, {len(data.validation)} validation images, ranked by their "
                    "loss"
                ),
                method="darts",
                seed=seed,
            )
        )
    return answers
