"""How SGNAS's generator is trained: numbers with a range, each beside the published one."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from search.training.settings import STRICT, Positive, Share, section_from_toml

METHOD = "sgnas"

PUBLISHED_RANGE = 180.0
"""Millions of operations that the released generator was trained over, 270 to 450: its constants
are in millions of operations, ours in shares of the range."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class GeneratorSettings:
    """Settings of the generator and of its supernet's paths; validated when made.

    Attributes:
        paths: How the paths of the supernet are drawn.
        epochs: Epochs of the generator; the temperature falls after each. Published: 50.
        steps: Steps of an epoch. Published: a pass over the validation split, about 2,000.
        targets: Targets of a step. Published: 1, because each is a pass through the supernet.
        batch: Images of a step. Published: 128.
        learning_rate: Of Adam. Published: 0.001.
        betas: Of Adam. Published: 0.5 and 0.999.
        tau: Temperature of the first epoch. Published: 5.
        decay: What it is multiplied by after each. Published: 0.95.
        hard: Whether draws are 0 or 1, with the gradient of the relaxed ones. Published: no.
        weight: Of the squared distance to the target, in shares of the range. Published: 3e-4 in
            millions of operations.
        over: Factor above the target. Published: 1.2.
        under: Factor below the target. Published: 1.
        dead_zone: Distance that costs nothing. Published: 0.1 million operations.
        prior: Whether the generator sees one random architecture of the middle. Published: yes.
        seed: Of the weights, the prior, the targets, the draws and the images.
    """

    paths: Literal["fair", "uniform"] = "fair"
    epochs: Annotated[int, Field(ge=1)] = 50
    steps: Annotated[int, Field(ge=1)] = 20
    targets: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=2)] = 64
    learning_rate: Positive = 1e-3
    betas: tuple[Share, Share] = (0.5, 0.999)
    tau: Positive = 5.0
    decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    hard: bool = False
    weight: Positive = 3e-4 * PUBLISHED_RANGE**2
    over: Positive = 1.2
    under: Annotated[float, Field(ge=0)] = 1.0
    dead_zone: Share = 0.1 / PUBLISHED_RANGE
    prior: bool = True
    seed: Annotated[int, Field(ge=0)] = 0


def generator_settings(path: Path) -> GeneratorSettings:
    """Read the table ``[sgnas]`` of a file of settings; the defaults where it has none.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    return section_from_toml(path, METHOD, GeneratorSettings())
