"""Where a bench keeps its tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def kept_in(path: Path | None) -> Iterator[Path]:
    """Yield where tables are kept: a given folder, or one that is removed in the end."""
    if path is None:
        with TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    path.mkdir(parents=True, exist_ok=True)
    yield path
