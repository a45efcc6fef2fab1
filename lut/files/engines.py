"""What a table knows of the engines that were timed for it: notes beside its rows."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from devices.nvidia.engine_facts import EngineFacts, engine_facts_from_json
from lut.files.sqlite_file import NotedFile
from profiler import Chain, chain_from_key, chain_to_key

ENGINE = "engine"
"""How labels begin that speak of one; then follow the process and the key of the chain."""

Engines = Mapping[Chain, tuple[EngineFacts, ...]]
"""What was timed to the facts of its engines, one a process."""

SHOWN = 2
"""Operators of another precision that a summary names."""


def note_engine(file: NotedFile, chain: Chain, facts: EngineFacts, *, process: int) -> None:
    """Note what became of a chain that a process built.

    Raises:
        StorageFull: The disk is full.
    """
    file.set_label(_label(process, chain_to_key(chain)), facts.as_json())


def renumbered(
    labels: Mapping[str, Any], numbers: Mapping[tuple[int, Chain], int]
) -> dict[str, Any]:
    """Return the labels of a table whose processes get other numbers.

    Args:
        labels: Those that speak of no engine stay.
        numbers: Of a process that timed a chain; what is not in it keeps its number.
    """
    moved = {}
    for label, value in labels.items():
        if label.startswith(f"{ENGINE} "):
            _, process, key = label.split(" ", 2)
            number = numbers.get((int(process), chain_from_key(key)), int(process))
            moved[_label(number, key)] = value
        else:
            moved[label] = value
    return moved


def _label(process: int, key: str) -> str:
    return f"{ENGINE} {process} {key}"


def engines_of(labels: Mapping[str, Any]) -> Engines:
    """Return the facts among the labels of a table."""
    found: dict[Chain, tuple[EngineFacts, ...]] = {}
    for label, values in labels.items():
        if label.startswith(f"{ENGINE} "):
            _, _, key = label.split(" ", 2)
            chain = chain_from_key(key)
            found[chain] = (*found.get(chain, ()), engine_facts_from_json(values))
    return found


def other_precision(facts: Sequence[EngineFacts]) -> bool:
    """Return whether any engine of a row computes in another number format than was asked for."""
    return any(each.other_precision for each in facts)


def engines_said(engines: Engines, *, cuda_graph: bool) -> str:
    """Return what is to be said of all engines of a table; empty of a table without.

    Args:
        engines: Of the table.
        cuda_graph: Whether the device launches each whole.
    """
    if not engines:
        return ""
    every = [each for facts in engines.values() for each in facts]
    build_s, load_s = median(e.build_s for e in every), median(e.load_s for e in every)
    times = (
        f"{len(every)} for {len(engines)} rows, each built in {build_s:.2g} s and loaded in "
        f"{load_s:.2g} s"
    )
    return "; ".join(filter(None, (times, _precision(engines), _launches(engines, cuda_graph))))


def _precision(engines: Engines) -> str:
    """Say which rows compute in another precision than they are asked for."""
    unknown = sum(not any(each.nodes for each in facts) for facts in engines.values())
    strays = [facts for facts in engines.values() if other_precision(facts)]
    said = f"what {unknown} rows compute in is not known" if unknown else ""
    if not strays:
        return said or "all compute in the precision of the table"
    names = [stray for facts in strays for each in facts for stray in each.strays]
    shown = ", ".join(dict.fromkeys(names[:SHOWN]))
    found = f"{len(strays)} rows compute in another precision than that of the table ({shown})"
    return ", and ".join(filter(None, (found, said)))


def _launches(engines: Engines, cuda_graph: bool) -> str:
    """Say how many rows wait for the CPU, and what helps."""
    timed = [facts for facts in engines.values() if any(e.queue_share is not None for e in facts)]
    bound = [facts for facts in timed if 2 * sum(e.launch_bound for e in facts) > len(facts)]
    if not bound:
        return "none waits for its launches" if timed else ""
    cure = (
        "each is one CUDA graph already: a larger batch would fill the GPU"
        if cuda_graph
        else "launched whole they are faster: cuda_graph: true in a device file"
    )
    return f"{len(bound)} of {len(timed)} rows are launch-bound, the GPU waits for the CPU: {cure}"
