"""What stands in the files that are named on a command line: networks, and limits they keep."""

from collections.abc import Sequence
from pathlib import Path

from devices import InvalidFile
from lut.differences.promises import Promise
from lut.on_paper.estimates import AnyTable
from search.answers import Answer, read_answers
from search.pricing.tables import space_of, spaces_of
from search.space import Architecture, SearchSpace
from search.spaces.published import network_from_text


def answer_at(path: Path, index: int) -> Answer:
    """Return one answer of an ``ARCH.json``, counted from 0.

    Raises:
        InvalidFile: The file holds none, or no such one.
    """
    answers = read_answers(path)
    if index >= len(answers):
        raise InvalidFile(f"{path} holds {len(answers)} architectures; there is no --index {index}")
    return answers[index]


def network_of(
    table: AnyTable, text: str, *, space: str | None = None, index: int = 0
) -> tuple[Architecture, SearchSpace]:
    """Return the network that a text names, and the space whose table prices it.

    Args:
        table: Prices it.
        text: Digits of the table's space, a published name, or the path of an ``ARCH.json``.
        space: Where the table is for several spaces: which of them.
        index: Which entry of the file.

    Raises:
        LatkitError: There is no such network, or the table is not of its space.
    """
    if text.endswith(".json"):
        answer = answer_at(Path(text), index)
        return answer.arch, answer.space
    among = [each.name for each in spaces_of(table)] if space is None else [space]
    network, home = network_from_text(text, among=among)
    return network, space_of(table, home or space)


def promises_of(paths: Sequence[Path], *, device: str) -> list[Promise]:
    """Return the stored architectures that have a limit on a device.

    Raises:
        InvalidFile: A file cannot be read, or none of them has such an architecture.
    """
    found = [
        Promise(
            name=f"{answer.arch} ({path}, --index {index})",
            space=answer.space,
            choices=answer.arch.choices,
            limit_s=limit_s,
            confidence=answer.confidence,
        )
        for path in paths
        for index, answer in enumerate(read_answers(path))
        for name, limit_s in zip(answer.devices, answer.limits_s, strict=True)
        if name == device
    ]
    if paths and not found:
        files = ", ".join(map(str, paths))
        raise InvalidFile(f"no architecture of {files} has a limit on {device!r}, the device of A")
    return found
