"""Options that several commands share, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

from devices.places import check_folder, check_place


def file_there(path: Path | None) -> Path | None:
    """Refuse an option that names no place for a file, before anything is done for it."""
    if path is not None:
        check_place(path)
    return path


def folder_there(path: Path) -> Path:
    """Refuse an option that names no place for a folder, before anything is done for it."""
    check_folder(path)
    return path


Json = Annotated[bool, typer.Option("--json", help="Print figures only, for machines.")]
Device = Annotated[str, typer.Option("--device", help="A known device, or a .yaml file.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random draw.")]
Resolution = Annotated[
    int | None, typer.Option(min=8, help="Side of the images in pixels; the published one if left.")
]
Snap = Annotated[
    str | None, typer.Option(help="Round widths up to multiples: 16, or a file of --steps.")
]
SpaceOfTable = Annotated[
    str | None, typer.Option("--space", help="Where a table is for several spaces.")
]
TablePath = Annotated[Path, typer.Argument(metavar="T.lut", help="A latency table.")]
Archs = Annotated[Path, typer.Argument(metavar="ARCH.json", help="What a search found.")]
Index = Annotated[int, typer.Option(min=0, help="Which of an ARCH.json, from 0.")]
RunFolder = Annotated[
    Path, typer.Option("-o", "--output", callback=folder_there, help="Directory of the run.")
]
SupernetSpace = Annotated[str, typer.Option("--space", help="The search space of a supernet.")]
NewSpace = Annotated[
    str | None, typer.Option("--space", help="The search space; or else a run, --from.")
]
Images = Annotated[str, typer.Option("--data", help="digits, or a path to images.")]
Settings = Annotated[Path | None, typer.Option(help="A TOML file of settings.")]
SkipCorrupt = Annotated[bool, typer.Option("--skip-corrupt", help="Leave corrupt images out.")]
LimitsMs = Annotated[
    list[float] | None,
    typer.Option("--limit-ms", help="A latency limit; several times, as many answers."),
]
LimitRanges = Annotated[
    list[str] | None,
    typer.Option("--limit-range", help="START:STOP:STEP, so many limits: 4:12:0.1."),
]
Also = Annotated[
    list[str] | None,
    typer.Option(help="TABLE:MS, a limit on another device that also holds; or FILE:COLUMN:MS."),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--or", help="TABLE[:POINTS] of the device in int8, say; the points it costs, or measured."
    ),
]
Confidence = Annotated[
    float, typer.Option(min=0.5, max=0.999, help="How sure each limit is to hold.")
]
Estimated = Annotated[
    bool,
    typer.Option("--estimated", help="Let tables be estimates: by a spec sheet, or transferred."),
]
Emulated = Annotated[bool, typer.Option("--emulated", help="Let tables be of an emulated device.")]
LimitMb = Annotated[
    float | None,
    typer.Option(min=1e-3, help="Also: weights and activations of the engine, in 10^6 bytes."),
]
Plans = Annotated[Path | None, typer.Option(help="Of --limit-mb: the table of --device rtx-aot.")]
Capability = Annotated[
    str | None, typer.Option(help="Of --limit-mb: compute capability, if --plans has several.")
]
Answers = Annotated[
    Path, typer.Option("-o", "--output", callback=file_there, help="Where to write ARCH.json.")
]
Supernet = Annotated[Path, typer.Option("--run", help="Directory of a trained supernet.")]
LimitTable = Annotated[
    Path, typer.Option("--table", help="Table of the device to keep the limits on.")
]
Rounds = Annotated[int, typer.Option(min=1, help="Generations of a search.")]
Population = Annotated[int, typer.Option(min=3, help="Networks in each generation.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that train at once.")]
