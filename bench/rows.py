"""Rows of figures as a file."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from devices.files import write_atomically


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, four digits each; what a row lacks stays empty. A kill leaves the old file."""
    names = dict.fromkeys(name for row in rows for name in row)
    file = StringIO(newline="")
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    write_atomically(path, file.getvalue().encode())
