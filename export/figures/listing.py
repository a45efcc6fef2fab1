"""Figures of anything, as people read them: a name and a value a line."""

from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

Facts = dict[str, Any]


def listing(facts: Facts, leave: set[str] | None = None) -> RenderableType:
    """Show figures, all but those to leave out."""
    view = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        if key not in (leave or set()):
            view.add_row(key, _text(value))
    return view


def _text(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
        case list() | tuple():
            return ", ".join(map(_text, value)) or "none"
        case float():
            return f"{value:.4g}"
        case np.floating():
            return f"{float(value):.4g}"
        case _:
            return escape(str(value))  # pip install 'latkit[cuda]' has its brackets
