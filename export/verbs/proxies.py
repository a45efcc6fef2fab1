"""``latkit proxies``: which cheap settings of training keep the ranking of networks."""

from pathlib import Path
from typing import Annotated

import typer

from export.verbs.options import Images, Json, Resolution, Seed, SkipCorrupt, Workers, folder_there
from export.verbs.report import Report

PROXY_GRID = "c4r2s0e4,c4r2s1e8,c4r0s0e4,c2r2s0e4,c2r2s0e8,c0r0s0e8"
"""What ``proxies`` compares if it is not told: cheap settings, and a full one of few epochs."""


def proxies(
    output: Annotated[
        Path, typer.Option("-o", "--output", callback=folder_there, help="Directory of the study.")
    ],
    space: Annotated[str, typer.Option(help="The search space.")],
    data: Images = "digits",
    nets: Annotated[int, typer.Option(min=3, help="Networks to train under each setting.")] = 30,
    grid: Annotated[
        str, typer.Option(help="Settings with commas between them, the dearest is the reference.")
    ] = PROXY_GRID,
    truth: Annotated[
        Path | None, typer.Option(help="True accuracies to compare with, in place of the dearest.")
    ] = None,
    resolution: Resolution = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file as of search econas.")] = None,
    skip_corrupt: SkipCorrupt = False,
    workers: Workers = 1,
    seed: Seed = 0,
    as_json: Json = False,
) -> Report:
    """Which cheap settings of training keep the ranking of networks, and at what cost.

    Stop it at any time; the same command goes on.
    """
    from export.roads.proxies import Ask, proxies_view, study_proxies
    from search.proxies.proxy import proxies_from_text

    ask = Ask(
        space=space,
        source=data,
        resolution=resolution,
        nets=nets,
        grid=proxies_from_text(grid),
        settings=settings,
        truth=truth,
        skip_corrupt=skip_corrupt,
        seed=seed,
        workers=workers,
    )
    facts = study_proxies(ask, output, quiet=as_json)
    return Report(figures=facts, view=lambda: proxies_view(facts), as_json=as_json)
