"""Which page a path has: a table's, a search's or a deployment's."""

from pathlib import Path

from devices import InvalidFile, LatkitError
from export.bundle.manifest import DESCRIPTION
from export.page.bundle_page import bundle_page
from export.page.document import Page
from export.page.network_layers import Sources
from export.page.search_page import search_page
from export.page.table_page import NothingToReport, table_page

SETTINGS = "settings.json"
"""What every directory of a training run holds."""


class SaysNothing(LatkitError):
    """A file was named that says nothing of what is to be reported."""


def page_of(path: Path, sources: Sources) -> Page:
    """Make the page of a file or a directory.

    Args:
        path: A table, an ``ARCH.json`` or a deployment directory.
        sources: What else knows of the layers of its networks.

    Raises:
        InvalidFile: It cannot be read, is damaged, or is none of these.
        NothingToReport: It holds nothing that a page could show.
        SaysNothing: A source says nothing of what lies there.
    """
    if not path.exists():
        raise InvalidFile(
            f"there is no {path}. Name a table, an ARCH.json or a deployment directory"
        )
    if path.is_dir():
        _refuse_others(path)
        return bundle_page(path, sources)
    if sources.kernels is not None:
        raise SaysNothing("--kernels are of one exported network: report its deployment directory")
    if path.suffix == ".json":
        return search_page(path, sources)
    if sources.table is not None:
        raise SaysNothing("--table prices what a search found or an export wrote, not a table")
    return table_page(path)


def _refuse_others(folder: Path) -> None:
    """Say what to report instead of a directory that is no deployment.

    Raises:
        NothingToReport: It is none.
    """
    if (folder / DESCRIPTION).exists():
        return
    inside = sorted(each.parent.name for each in folder.glob(f"*/{DESCRIPTION}"))
    if (folder / SETTINGS).exists():
        cure = (
            f"it is a training run; report what was searched with it: latkit search --run {folder}"
        )
    elif inside:
        cure = f"report what it holds: latkit report {folder / inside[0]}"
    else:
        cure = "make one: latkit export ARCH.json --run RUN --to onnx -o DIR"
    raise NothingToReport(f"{folder} is no deployment directory; {cure}")
