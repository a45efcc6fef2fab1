"""``latkit report``: one HTML file on what was measured, found or shipped."""

from pathlib import Path
from typing import Annotated

import typer

from export.verbs.options import Json, file_there
from export.verbs.report import Report, UsageError


def report(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A table T.lut, an ARCH.json, or a deployment directory."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", callback=file_there, help="The page; PATH with .html if left out."
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="A table, to predict the layers of the networks.")
    ] = None,
    kernels: Annotated[
        Path | None,
        typer.Option(help="What latkit profile --onnx DIR/model.onnx --json printed: the layers."),
    ] = None,
    as_json: Json = False,
) -> Report:
    """One self-contained HTML page on a table, a search's answers or a deployment."""
    from devices.files import write_atomically
    from export.page.network_layers import Sources
    from export.page.pages import page_of

    whole = path.resolve()
    target = output or path.parent / f"{whole.name if whole.is_dir() else whole.stem}.html"
    if target.resolve() == whole:
        raise UsageError(f"-o {target} is what is to be reported: name another file for the page")
    page = page_of(path, Sources(table=table, kernels=kernels))
    content = page.as_html().encode()
    write_atomically(target, content)
    size, sections = len(content), [section.name for section in page.shown]
    figures = {"report": str(target), "kind": page.kind, "bytes": size, "sections": sections}
    text = f"{target}: {page.kind.lower()} {page.title}, {size / 1e3:.0f} kB, for any browser"
    return Report(figures=figures, view=lambda: text, as_json=as_json)
