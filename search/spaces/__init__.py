"""The known search spaces: one file each, by name.

A space can be had with its widths rounded up to a device's steps (see
`profiler.whole_models.steps`). That is another space, with another name: ``greedynas-snap16``. So
whatever names its space, be it a table, a run, an answer or a deployment, is never taken for one
of the published widths.
"""

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from devices import InvalidFile, UnknownName
from search.space import SearchSpace
from search.spaces.published import PUBLISHED

SPACES = {
    "macro": "search.spaces.macro:macro",
    "greedynas": "search.spaces.greedynas:greedynas",
    "greedynas-se": "search.spaces.greedynas:greedynas_se",
    "unified": "search.spaces.unified:unified",
    "unified-se": "search.spaces.unified:unified_se",
    "unified-macro": "search.spaces.unified:unified_macro",
    "nasbench201": "search.spaces.nasbench201:nasbench201",
    "darts": "search.spaces.darts_cells:darts",
    "darts-all": "search.spaces.darts_cells:darts_all",
}
"""Space name to ``module:function``; it takes ``resolution, batch, classes, snap``."""

SIZED = ("darts", "darts-all")
"""Spaces of any number of cells and any width: ``darts-8x16``."""

_SNAPPED = re.compile(r"(.+)-snap([1-9]\d*)")
_SIZED = re.compile(r"(.+)-(\d{1,3})x(\d{1,4})")


def space_named(
    name: str,
    *,
    resolution: int | None = None,
    batch: int = 1,
    classes: int | None = None,
    snap: int = 1,
) -> SearchSpace:
    """Build a space.

    Args:
        name: Key in `SPACES`; ``greedynas-snap16`` says at once what to snap to, and
            ``darts-8x16`` how many cells there are, and how wide the first are.
        resolution: Side of the square images in pixels; None for the published one.
        batch: Images per inference.
        classes: Logits; None for the published number.
        snap: Widths are rounded up to multiples of this; 1 for the published ones.

    Raises:
        UnknownName: Nothing is called that.
        InvalidFile: The name says another snap.
    """
    published, snap = _published(name, snap)
    published, size = _unsized(published)
    if published in PUBLISHED:
        home = [PUBLISHED[published].space]
        raise UnknownName("space", name, home, cure="That is the space of this architecture.")
    if published not in SPACES:
        raise UnknownName("space", name, SPACES, cure="See them all: latkit spaces")
    module, _, function = SPACES[published].partition(":")
    build = cast(Callable[..., SearchSpace], getattr(import_module(module), function))
    given = {"resolution": resolution, "classes": classes}
    chosen = {key: value for key, value in given.items() if value is not None}
    return build(batch=batch, snap=snap, **chosen, **size)


def _unsized(name: str) -> tuple[str, dict[str, int]]:
    """Return the published space's name, and the size that another name asks for."""
    match = _SIZED.fullmatch(name)
    if match is None or match[1] not in SIZED:
        return name, {}
    return match[1], {"cells": int(match[2]), "width": int(match[3])}


def _published(name: str, snap: int) -> tuple[str, int]:
    """Return the published space's name, and what its widths are snapped to."""
    if snap < 1:
        raise ValueError(f"widths are rounded up to multiples of 1 or more, got {snap}")
    match = _SNAPPED.fullmatch(name)
    if match is None:
        return name, snap
    said = int(match[2])
    if snap not in (1, said):
        raise InvalidFile(f"space {name!r} is snapped to {said} by its name, not to {snap}")
    return match[1], said


def space_label(space: SearchSpace) -> dict[str, Any]:
    """Return what `space_from_label` needs to build a space again: plain data for files."""
    batch, _, resolution, _ = space.input_shape
    snapped = {} if space.snap == 1 else {"snap": space.snap}
    return {
        "name": space.name,
        "resolution": resolution,
        "batch": batch,
        "classes": space.classes,
        **snapped,
    }


def space_from_label(label: Mapping[str, Any]) -> SearchSpace:
    """Build the space that a file names.

    Raises:
        UnknownName: Nothing is called that; the file may be newer than this latkit.
        InvalidFile: Name and snap contradict each other.
    """
    return space_named(
        str(label["name"]),
        resolution=int(label["resolution"]),
        batch=int(label["batch"]),
        classes=int(label["classes"]),
        snap=int(label.get("snap", 1)),
    )
