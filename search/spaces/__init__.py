"""The known search spaces: one file each, by name."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from devices import UnknownName
from search.space import SearchSpace

SPACES = {
    "macro": "search.spaces.macro:macro",
    "greedynas": "search.spaces.greedynas:greedynas",
}
"""Space name to ``module:function``; the function takes ``resolution, batch, classes``."""


def space_named(
    name: str, *, resolution: int | None = None, batch: int = 1, classes: int | None = None
) -> SearchSpace:
    """Build a space.

    Args:
        name: Key in `SPACES`.
        resolution: Side of the square images in pixels; None for the published one.
        batch: Images per inference.
        classes: Logits; None for the published number.

    Raises:
        UnknownName: Nothing is called that.
    """
    if name not in SPACES:
        raise UnknownName("space", name, SPACES, cure="See them all: latkit spaces")
    module, _, function = SPACES[name].partition(":")
    build = cast(Callable[..., SearchSpace], getattr(import_module(module), function))
    given = {"resolution": resolution, "classes": classes}
    return build(batch=batch, **{key: value for key, value in given.items() if value is not None})


def space_label(space: SearchSpace) -> dict[str, Any]:
    """Return what `space_from_label` needs to build a space again: plain data for files."""
    batch, _, resolution, _ = space.input_shape
    return {
        "name": space.name,
        "resolution": resolution,
        "batch": batch,
        "classes": space.classes,
    }


def space_from_label(label: Mapping[str, Any]) -> SearchSpace:
    """Build the space that a file names.

    Raises:
        UnknownName: Nothing is called that; the file may be newer than this latkit.
    """
    return space_named(
        str(label["name"]),
        resolution=int(label["resolution"]),
        batch=int(label["batch"]),
        classes=int(label["classes"]),
    )
