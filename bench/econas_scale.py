"""How much `bench.econas` trains, and on what."""

from dataclasses import dataclass, replace
from pathlib import Path

from search.econas.hierarchy import TRAINING
from search.images.data import ImageData, load_data
from search.space import SearchSpace
from search.spaces import space_named
from search.training.settings import TrainSettings
from search.truths.truth import Truth, read_nas_bench_macro

GRID = "c4r2s0e2,c4r2s1e4,c2r2s0e2,c2r2s1e4,c2r2s2e8,c4r0s0e2,c0r4s0e2,c2r4s0e2"
"""Settings whose costs match: 1/16 or 1/64 of two full epochs each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is trained.

    The searches that train take a quarter of the width at 16 pixels, as the small preset does, but
    4,000 images in batches of 32, half the learning rate, and all of the validation split. So
    networks trained alone rank by the truth, which on 1,000 images they did not; what the searches
    print says how well. A search is some seven minutes of one CPU.

    Attributes:
        nets: Networks of the study of proxies.
        grid: Its settings.
        study_images: Training images that count as all of them there.
        study_validation: Images that its networks are judged by.
        study_batch: Images of a step there.
        cycles: Of the searches that train.
        images: Training images of theirs.
        validation: Images that their networks are judged by; None for all.
        batch: Images of a step of theirs.
        learning_rate: Peak of the cosine of theirs.
        seeds: Repetitions of the searches that train.
        table_seeds: Repetitions of the searches of tables.
        draws: Random networks within a limit that a free score picks from.
    """

    nets: int = 20
    grid: str = GRID
    study_images: int = 1000
    study_validation: int = 500
    study_batch: int = 64
    cycles: int = 4
    images: int = 4000
    validation: int | None = None
    batch: int = 32
    learning_rate: float = 0.05
    seeds: int = 2
    table_seeds: int = 20
    draws: int = 200


QUICK = Scale(
    nets=4,
    grid="c4r2s0e1,c4r4s0e1",
    study_images=256,
    study_validation=128,
    study_batch=32,
    cycles=1,
    images=128,
    validation=128,
    batch=32,
    seeds=1,
    table_seeds=2,
    draws=8,
)


def macro_truth(data: Path) -> tuple[Truth, SearchSpace]:
    """Return the truth of the macro space, and the space."""
    path = data / "nas_bench_macro" / "nas-bench-macro_cifar10.json.gz"
    return read_nas_bench_macro(path), space_named("macro")


def images_at(data: Path, side: int) -> ImageData:
    """Return the images at a side in pixels."""
    return load_data(str(data / "images"), resolution=side)


def study_settings(scale: Scale) -> TrainSettings:
    """Return how the networks of the study are trained."""
    return replace(TRAINING["small"], batch=scale.study_batch, seed=0)


def search_settings(scale: Scale, *, seed: int) -> TrainSettings:
    """Return how searches train their networks."""
    small, rate = TRAINING["small"], scale.learning_rate
    return replace(small, batch=scale.batch, learning_rate=rate, seed=seed)
