"""What a run has trained: figures, and a view."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from export.figures.listing import Facts, listing

if TYPE_CHECKING:
    from search.final.files import FinalRun
    from search.images.data import ImageData
    from search.training.trained import TrainedRun


def run_facts(run_dir: Path, run: "TrainedRun | FinalRun", data: "ImageData") -> Facts:
    """Return what a training run holds."""
    return {
        "run": str(run_dir),
        "space": run.record.space,
        "method": run.record.method,
        "data": data.name,
        "images": {
            "training": len(data.training),
            "validation": len(data.validation),
            "test": len(data.test),
        },
        "skipped": list(data.skipped),
        "epochs": run.epoch,
        "seed": run.record.settings.seed,
        **_pool_facts(run_dir, run.record.method),
    }


def _pool_facts(run_dir: Path, method: str) -> Facts:
    """Return how a greedy run's candidate pool stands; nothing of other runs."""
    from search.greedynas import sampler as greedynas  # of torch, as every run is

    if method != greedynas.METHOD:
        return {}
    pool = greedynas.read_pool(run_dir)
    best = {str(path): loss for path, loss in pool.entries[:1]}
    turnovers = greedynas.read_turnovers(run_dir)
    return {
        "pool": {"paths": len(pool.losses), "capacity": pool.capacity, "best_loss": best},
        "turnover": [round(share, 3) for share in turnovers] or "the pool was not full for long",
    }


def run_view(facts: Facts) -> RenderableType:
    """Show a training run."""
    return listing(facts)
