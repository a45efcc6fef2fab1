"""The part of `bench.econas` on proxies: which cheap settings keep the ranking, at matched cost."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.econas_problems import Rows, interval
from bench.econas_scale import Scale, images_at, macro_truth, study_settings
from profiler import total_macs
from search.econas.synflow import Synflow
from search.metrics import spearman
from search.proxies.proxy import proxies_from_text
from search.proxies.study import distinct_networks, study_of

COMPARED = (
    ("c2r2s0e2", "c2r2s1e4", "more samples against more epochs"),
    ("c4r2s0e2", "c4r2s1e4", "more samples against more epochs"),
    ("c2r2s0e2", "c2r2s2e8", "more samples against more epochs"),
    ("c4r0s0e2", "c0r4s0e2", "fewer channels against fewer pixels"),
    ("c4r2s0e2", "c2r4s0e2", "fewer channels against fewer pixels"),
)
"""The paper's observations: pairs of equal cost by the notation."""


def proxies(data: Path, scale: Scale, runs: Path, *, workers: int) -> tuple[Rows, list[str]]:
    """Compare settings of matched cost; return rows, and lines on the paper's observations."""
    truth, space = macro_truth(data)
    archs = distinct_networks(space, scale.nets, np.random.default_rng(0))
    true = truth.mean[truth.rows(archs)]
    grid = proxies_from_text(scale.grid)
    sides = {proxy.side(space.input_shape[2]) for proxy in grid}
    study = study_of(
        space,
        {side: images_at(data, side) for side in sides},
        grid,
        study_settings(scale),
        archs,
        runs / "proxies",
        images=scale.study_images,
        validation=scale.study_validation,
        truth=true.tolist(),
    )
    stages = study.run(workers=workers)
    rows: Rows = [
        {
            "name": str(row.proxy),
            "cost_share": row.cost_share,
            "spearman": row.spearman,
            "interval": list(row.spearman_interval),
            "kendall": row.kendall,
            "shift": row.shift,
            "paper_share": row.paper_share,
            "train_s": row.train_s,
            "accuracy": row.accuracy,
        }
        for row in study.judge(stages)
    ]
    operations = [float(total_macs(space.chain(arch))) for arch in archs]
    rows.append(free_row("flops", operations, true))
    rows.append(free_row("synflow", Synflow(space)(archs), true))
    found = {str(proxy): np.array([stage.accuracy for stage in stages[proxy]]) for proxy in grid}
    return rows, list(observations(found, true))


def free_row(name: str, scores: Sequence[float], true: NDArray[np.float64]) -> dict[str, Any]:
    """Return the row of a score that trains nothing."""
    values = np.array(scores)
    return {
        "name": name,
        "cost_share": 0.0,
        "spearman": spearman(values, true),
        "interval": list(interval(lambda rows: spearman(values[rows], true[rows]), len(true))),
    }


def observations(found: dict[str, NDArray[np.float64]], true: NDArray[np.float64]) -> Iterator[str]:
    """Compare settings of equal cost over the same networks."""
    for one, other, what in COMPARED:
        if one in found and other in found:
            a, b = found[one], found[other]

            def gain(
                rows: NDArray[np.intp],
                a: NDArray[np.float64] = a,
                b: NDArray[np.float64] = b,
            ) -> float:
                return spearman(a[rows], true[rows]) - spearman(b[rows], true[rows])

            low, high = interval(gain, len(true))
            yield (
                f"{what}: {one} against {other}, Spearman {gain(np.arange(len(true))):+.2f} "
                f"[{low:+.2f}, {high:+.2f}]"
            )
