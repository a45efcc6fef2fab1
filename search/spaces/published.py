"""Published architectures, by the names that their papers gave them."""

from collections.abc import Collection
from dataclasses import dataclass

from devices import InvalidFile
from profiler.operators.darts_code import Ends
from profiler.operators.darts_genotype import choices_from_genotype
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


def _darts(text: str) -> Published:
    return Published(
        space="darts-all",
        arch=architecture_from_text(text),
        source="Liu et al., DARTS, ICLR 2019, released genotypes.py: all four nodes are given",
    )


_DARTS_V1 = """Genotype(
    normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1),
            ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)],
    normal_concat=[2, 3, 4, 5],
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0),
            ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)],
    reduce_concat=[2, 3, 4, 5])"""

_DARTS_V2 = """Genotype(
    normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
            ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
    normal_concat=[2, 3, 4, 5],
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
            ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
    reduce_concat=[2, 3, 4, 5])"""

PUBLISHED = {
    "greedynas-a": _greedynas("8-0-12-6-2-4-7-9-8-10-5-2-8-6-1-10-10-11-2-7-11"),
    "greedynas-b": _greedynas("8-8-8-12-8-10-8-0-3-12-10-10-6-2-2-10-9-10-6-10-11"),
    "greedynas-c": _greedynas("4-12-12-6-8-12-6-6-10-9-8-12-8-2-1-4-8-0-10-2-11"),
    "darts-v1": _darts(_DARTS_V1),
    "darts-v2": _darts(_DARTS_V2),
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
    if text.startswith("Genotype("):
        return _from_genotype(text, among)
    try:
        return architecture_from_text(text)
    except InvalidFile as error:
        names = [name for name, each in PUBLISHED.items() if each.space in among]
        if not names:
            raise
        raise InvalidFile(f"{error}; or by name: {', '.join(names)}") from error


def _from_genotype(text: str, among: Collection[str]) -> Architecture:
    choices, given = choices_from_genotype(text)
    homes: dict[Ends, str] = {"loose": "darts", "all": "darts-all"}
    kinds: set[Ends] = {"all" if "-all" in name else "loose" for name in among if "darts" in name}
    if kinds and not given & kinds:
        (ends,) = given
        nodes = "all four nodes" if ends == "all" else "its loose ends"
        raise InvalidFile(
            f"that genotype gives {nodes} of each cell, so it is of space {homes[ends]!r}, not of "
            f"{' or '.join(map(repr, among))}"
        )
    return Architecture(choices)
