"""Where to split a supernet, by what its choices do to the weights they share, or by trying.

Two rules. By ``conflict``: where two choices of a layer pull the shared weights in different
directions, their networks are better apart, so the cosines between the gradients of the shared
weights are averaged over batches, with the rest of the path and the images the same for all choices
of the layer. By ``exhaustive`` trial: the children of every layer are trained a little, and the
layer whose children have the smallest held-out loss, over the same networks, wins.

Each costs images, which are counted like any others.

Source:
    Hu et al., Generalizing Few-Shot NAS with Gradient Matching, ICLR 2022, section 3. Deviation:
    groups are made by merging the choices that agree best, step by step, instead of a minimum cut
    into two; and all children are split at the same layers.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from devices import UnknownName
from devices.files import write_atomically
from profiler.operators.costs import total_macs
from search.fewshot.children import train_children
from search.fewshot.settings import FewShotSettings, SplitRule
from search.greedynas.sampler import score, surrogate_images
from search.images.data import ImageData
from search.ledger import FORWARD_AND_BACKWARD, Cost, mean_macs, run_cost
from search.load_supernet import load_supernet
from search.space import Architecture, SearchSpace
from search.splits.routed import CHOICE, PARENT, RoutedSupernet, child_dir, load_children
from search.splits.split import InvalidSplit, Partition, Split
from search.supernets.evaluation import batch_statistics
from search.supernets.supernet import Supernet
from search.training.runs import read_metrics
from search.training.settings import TrainSettings
from search.training.workers import Worker

RULES = ("conflict", "exhaustive")

TRIALS = "trials"
"""Where the children are that were trained only to choose."""

MOST_CHOICES = 16
"""Choices of a layer that are compared with each other at most."""

JUDGED, JUDGING = 24, 500
"""Networks that judge a trial, and held-out images for each, as many as there are."""

DRAWS = 10_000
"""Draws for the rest of a path beside which every choice is in canonical form."""

Similarity: TypeAlias = NDArray[np.float64]
"""``(choices, choices)``, larger for choices that are better kept together."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranked:
    """Layers as a rule ranks them.

    Attributes:
        merit: For each layer how much it is worth to split it; more is better.
        similarity: For each layer how alike its choices are.
        cost: Of finding out.
    """

    merit: tuple[float, ...]
    similarity: tuple[Similarity, ...]
    cost: Cost


def check_choosing(rule: SplitRule, space: SearchSpace) -> None:
    """Check that there is such a rule, and that layers can make so many children.

    Raises:
        UnknownName: There is no such rule.
        InvalidSplit: The space has fewer parts, the number is no product of numbers of groups, or
            a layer has no path by which its choices compare.
    """
    if rule.choose not in RULES:
        raise UnknownName("rule to choose a split by", rule.choose, RULES)
    most = prod(map(len, space.layers))
    if not 2 <= rule.children <= most:
        raise InvalidSplit(
            f"space {space.name!r} can be split into 2 to {most:,} parts, not {rule.children}"
        )
    counts = [len(layer) for layer in space.layers]
    nothing = Cost(what="choosing", images_trained=0, images_scored=0, macs=0.0, counted=True)
    alike = Ranked(
        merit=(0.0,) * len(counts),
        similarity=tuple(np.zeros((count, count)) for count in counts),
        cost=nothing,
    )
    _check_comparable(space)
    pick(space, alike, children=rule.children)
    if rule.choose == "conflict":
        for layer in range(len(space.layers)):
            _forms(space, layer, np.random.default_rng(0))


def _check_comparable(space: SearchSpace) -> None:
    most = max(map(len, space.layers))
    if most > MOST_CHOICES:
        raise InvalidSplit(
            f"layers of space {space.name!r} have up to {most} choices, too many to compare: give "
            "the splits, as --split 3:0-99/100-199"
        )


def choose(
    rule: SplitRule,
    data: ImageData,
    settings: TrainSettings,
    fewshot: FewShotSettings,
    run_dir: Path,
    *,
    worker: Worker,
) -> None:
    """Choose where to split, and write it down in ``choice.json`` with what it cost.

    Args:
        rule: Which rule, and how many children.
        data: The images of the parent.
        settings: Of the children.
        fewshot: Says how much choosing may cost.
        run_dir: The few-shot run; holds its parent.
        worker: This process's share of the work.

    Raises:
        InvalidSplit: The layers cannot be split into so many children.
    """
    parent = load_supernet(run_dir / PARENT).supernet
    rows = read_metrics(run_dir / PARENT)
    budget = fewshot.choosing * sum(row.images for row in rows)
    if rule.choose == "conflict":
        parent.to(worker.device)
        ranked = worker.agree(lambda: by_conflict(parent, data, settings, images=budget))
    else:
        ranked = by_trial(parent.space, data, settings, run_dir, images=budget, worker=worker)
    splits = pick(parent.space, ranked, children=rule.children)
    content = {
        "rule": rule.choose,
        "children": rule.children,
        "splits": [str(split) for split in splits],
        "merit": list(ranked.merit),
        "cost": asdict(ranked.cost),
    }
    text = (json.dumps(content, indent=2) + "\n").encode()
    worker.agree(lambda: write_atomically(run_dir / CHOICE, text))


def pick(space: SearchSpace, ranked: Ranked, *, children: int) -> tuple[Split, ...]:
    """Return splits that make so many children, of the layers that are worth most.

    Layer by layer the largest number of groups is taken that divides what is left. A layer is
    passed over where some of its products would hold no network (see `search.splits.split`).

    Args:
        space: The space.
        ranked: Layers by merit.
        children: How many, 2 or more.

    Raises:
        InvalidSplit: It cannot be done.
    """
    chosen: list[Split] = []
    left = children
    for layer in np.argsort(-np.array(ranked.merit), kind="stable").tolist():
        count = len(space.layers[layer])
        groups = max(g for g in range(1, min(count, left) + 1) if left % g == 0)
        if groups == 1:
            continue
        split = Split(layer=layer, groups=grouped(ranked.similarity[layer], groups))
        more = tuple(sorted((*chosen, split), key=lambda each: each.layer))
        if len(Partition(space=space, splits=more).parts) == children // left * groups:
            chosen, left = list(more), left // groups
    if left > 1:
        raise InvalidSplit(
            f"{children} children are no product of numbers of groups of the layers of space "
            f"{space.name!r}, which have {sorted({len(layer) for layer in space.layers})} choices: "
            "ask for another number, or give the splits: --split 3:0,1/2"
        )
    return tuple(chosen)


def grouped(similarity: Similarity, count: int) -> tuple[tuple[int, ...], ...]:
    """Return the choices in so many groups: those that are most alike are merged, step by step.

    Args:
        similarity: Between choices; that of two groups is the mean over their pairs.
        count: Groups, at most as many as choices.
    """
    groups = [[choice] for choice in range(len(similarity))]
    while len(groups) > count:
        pairs = [(i, j) for j in range(len(groups)) for i in range(j)]
        i, j = max(pairs, key=lambda p: similarity[np.ix_(groups[p[0]], groups[p[1]])].mean())
        groups[i] = sorted(groups[i] + groups.pop(j))
    return tuple(map(tuple, sorted(groups)))


def by_conflict(
    supernet: Supernet, data: ImageData, settings: TrainSettings, *, images: float
) -> Ranked:
    """Rank layers by how far the gradients of their choices disagree, 0 to 2.

    Args:
        supernet: The parent; left as it is.
        data: The images; the training split is read.
        settings: Says the size of a batch, and the seed.
        images: Training images that it may cost, roughly: one batch a choice at least, and one
            pass over the split at most.

    Raises:
        InvalidSplit: A layer has too many choices to compare.
    """
    space = supernet.space
    counts = [len(layer) for layer in space.layers]
    _check_comparable(space)
    batch = min(settings.batch, len(data.training))
    batches = max(1, int(images / (batch * sum(counts))))
    rng = np.random.default_rng(settings.seed)
    found = [np.zeros((count, count)) for count in counts]
    done, forward = 0, 0.0
    device = next(supernet.parameters()).device
    # every batch counts alike, so a last one that is smaller is left out
    drawn = data.training.batches(batch, rng=rng, drop_last=True)
    with batch_statistics(supernet):
        for some, labels in islice(drawn, batches):
            for layer, similarity in enumerate(found):
                forms = _forms(space, layer, rng)
                similarity += cosines(supernet, some.to(device), labels.to(device), forms)
                forward += sum(total_macs(space.chain(form)) for form in forms) * batch
            done += 1
    cost = Cost(
        what="choosing",
        images_trained=done * batch * sum(counts),
        images_scored=0,
        macs=FORWARD_AND_BACKWARD * forward / space.input_shape[0],
        counted=True,
    )
    similarities = tuple(total / done for total in found)
    return Ranked(merit=tuple(map(conflict, similarities)), similarity=similarities, cost=cost)


def conflict(similarity: Similarity) -> float:
    """Return the mean of 1 - cosine over the pairs of choices; 0 where there is one choice."""
    upper = np.triu_indices(len(similarity), 1)
    return float(np.mean(1.0 - similarity[upper])) if len(similarity) > 1 else 0.0


def _forms(space: SearchSpace, layer: int, rng: np.random.Generator) -> list[Architecture]:
    """Return one path with every choice of a layer, each in its canonical form.

    So all go through the same blocks elsewhere, and through no combination that is never trained.
    """
    for _ in range(DRAWS):
        rest = space.canonical(space.sample(rng)).choices
        forms = [
            Architecture((*rest[:layer], choice, *rest[layer + 1 :]))
            for choice in range(len(space.layers[layer]))
        ]
        if all(space.canonical(form) == form for form in forms):
            return forms
    raise InvalidSplit(
        f"no path of space {space.name!r} has every choice of layer {layer} in its canonical "
        "form, so gradients cannot be compared: --choose exhaustive, or give the splits, --split"
    )


def cosines(
    supernet: Supernet, images: Tensor, labels: Tensor, forms: Sequence[Architecture]
) -> Similarity:
    """Return the cosines between gradients of the weights that all of some paths share.

    Args:
        supernet: Holds the paths; gradients of its weights stay as they are.
        images: One batch.
        labels: Of the images.
        forms: The paths.

    Returns:
        ``(paths, paths)``.
    """
    weights = list(supernet.parameters())
    gradients = []
    for form in forms:
        loss = cross_entropy(supernet(images, form), labels)
        gradients.append(torch.autograd.grad(loss, weights, allow_unused=True))
    shared = [of for of in zip(*gradients, strict=True) if all(g is not None for g in of)]
    flat = torch.stack(  # (paths, shared weights)
        [torch.cat([of[i].flatten() for of in shared]) for i in range(len(forms))]
    )
    unit = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12)
    values: Similarity = (unit @ unit.T).double().clamp(-1.0, 1.0).cpu().numpy()
    return values


def by_trial(
    space: SearchSpace,
    data: ImageData,
    settings: TrainSettings,
    run_dir: Path,
    *,
    images: float,
    worker: Worker,
) -> Ranked:
    """Rank layers by the held-out loss of their children after a little training.

    Args:
        space: The parent's.
        data: The images; the validation split judges.
        settings: Of the children.
        run_dir: The few-shot run; the trials stay in it.
        images: Training images that all trials may cost, roughly: one batch a child at least.
        worker: This process's share of the work.

    Returns:
        Merit is the negative mean loss. Choices next to each other count as alike.
    """
    counts = [len(layer) for layer in space.layers]
    steps = max(1, int(images / (settings.batch * sum(counts))))
    few = replace(data, training=data.training.first(steps * settings.batch))
    once = replace(settings, epochs=1, warmup_epochs=0.0)
    merit, costs = [], []
    for layer, count in enumerate(counts):
        if count < 2:
            merit.append(-np.inf)
            continue
        split = Split(layer=layer, groups=tuple((choice,) for choice in range(count)))
        folder = run_dir / TRIALS / f"layer-{layer}"
        partition = Partition(space=space, splits=(split,))
        options = {"steps": steps}
        train_children(partition, few, once, folder, weights=run_dir / PARENT, options=options)
        loss, cost = worker.agree(partial(_judged, folder, partition, data))
        merit.append(-loss)
        costs.append(cost)
    similarity = tuple(
        -np.abs(np.subtract.outer(np.arange(count), np.arange(count))).astype(np.float64)
        for count in counts
    )
    return Ranked(merit=tuple(merit), similarity=similarity, cost=_summed(costs))


def _judged(run_dir: Path, partition: Partition, data: ImageData) -> tuple[float, Cost]:
    """Return the mean loss of networks by trial children, and what the trial cost."""
    routed = RoutedSupernet(partition, [child for child, _ in load_children(run_dir, partition)])
    images = surrogate_images(data, min(JUDGING, len(data.validation)))
    space, rng = partition.space, np.random.default_rng(0)  # the same networks for every layer
    archs = [space.canonical(space.sample(rng)) for _ in range(JUDGED)]
    losses = [score(routed, arch, images) for arch in archs]
    scored = JUDGED * sum(len(labels) for _, labels in images)
    trained = [
        run_cost(child_dir(run_dir, i), what="choosing") for i in range(len(partition.parts))
    ]
    judging = Cost(
        what="choosing",
        images_trained=0,
        images_scored=scored,
        macs=scored * mean_macs(space),
        counted=False,
    )
    return float(np.mean(losses)), _summed([*trained, judging])


def _summed(costs: Sequence[Cost]) -> Cost:
    return Cost(
        what="choosing",
        images_trained=sum(cost.images_trained for cost in costs),
        images_scored=sum(cost.images_scored for cost in costs),
        macs=sum(cost.macs for cost in costs),
        counted=all(cost.counted for cost in costs),
    )
