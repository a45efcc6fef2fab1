"""Published architectures, by the names that their papers gave them."""

from collections.abc import Collection
from dataclasses import dataclass

from devices import InvalidFile
from search.space import Architecture, architecture_from_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One architecture of a paper.

    Attributes:
        space: Key in `search.spaces.SPACES`: its space, at the published widths.
        arch: The architecture.
        source: Where it was published.
    """

    space: str
    arch: Architecture
    source: str


def _greedynas(text: str) -> Published:
    return Published(
        space="greedynas-se",
        arch=architecture_from_text(text),
        source="You et al., GreedyNAS, CVPR 2020; layers as the second author released them",
    )


PUBLISHED = {
    "greedynas-a": _greedynas("8-0-12-6-2-4-7-9-8-10-5-2-8-6-1-10-10-11-2-7-11"),
    "greedynas-b": _greedynas("8-8-8-12-8-10-8-0-3-12-10-10-6-2-2-10-9-10-6-10-11"),
    "greedynas-c": _greedynas("4-12-12-6-8-12-6-6-10-9-8-12-8-2-1-4-8-0-10-2-11"),
}
"""Name to architecture, of any resolution and number of classes."""


def published_in(space: str) -> dict[str, Published]:
    """Return the published architectures of a space."""
    return {name: each for name, each in PUBLISHED.items() if each.space == space}


def network_from_text(text: str, *, among: Collection[str]) -> tuple[Architecture, str | None]:
    """Read what people call a network: a published name, or its choices.

    Args:
        text: ``greedynas-b``, or what `search.space.architecture_from_text` reads.
        among: Names of the spaces that it may be of.

    Returns:
        The architecture; and its space if the text says it.

    Raises:
        InvalidFile: The text is neither, or names an architecture of another space.
    """
    found = PUBLISHED.get(text)
    if found is None:
        return _from_choices(text, among), None
    if found.space not in among:
        raise InvalidFile(
            f"{text} is an architecture of space {found.space!r}, not of "
            f"{' or '.join(map(repr, among)) or 'any here'}. Profile its own: "
            f"latkit profile --space {found.space}"
        )
    return found.arch, found.space


def _from_choices(text: str, among: Collection[str]) -> Architecture:
    try:
        return architecture_from_text(text)
    except InvalidFile as error:
        names = [name for name, each in PUBLISHED.items() if each.space in among]
        if not names:
            raise
        raise InvalidFile(f"{error}; or by name: {', '.join(names)}") from error
