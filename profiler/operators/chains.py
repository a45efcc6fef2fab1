"""Chains of operators: the text under which a table stores them, and whether they fit."""

import json
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any

from devices import InvalidFile, UnknownName
from profiler.operators.cells import Cell, EqualCells, NormHead, ResidualBlock
from profiler.operators.darts_cells import CellStack, PoolHead, Preparation
from profiler.operators.ops import Chain, Conv, Head, MBConv, OpSpec, Pool, Skip, Unified

KINDS: dict[str, type[OpSpec]] = {
    "conv": Conv,
    "mbconv": MBConv,
    "unified": Unified,
    "skip": Skip,
    "pool": Pool,
    "head": Head,
    "nasbench201-cell": Cell,
    "nasbench201-cells": EqualCells,
    "nasbench201-residual": ResidualBlock,
    "norm-head": NormHead,
    "darts-cells": CellStack,
    "darts-preparation": Preparation,
    "pool-head": PoolHead,
}
"""Kind in a stored key to its class; a name here is part of the table's file format."""

_NAMES = {cls: kind for kind, cls in KINDS.items()}


def chain_to_key(chain: Chain) -> str:
    """Return the text under which a chain is stored: JSON, the same on every machine."""
    return json.dumps([{"kind": _NAMES[type(op)], **asdict(op)} for op in chain], sort_keys=True)


def chain_from_key(key: str) -> Chain:
    """Read a chain back.

    Raises:
        InvalidFile: The text is no list of operators.
        UnknownName: An operator is of a kind that this version does not know.
    """
    try:
        return tuple(_op_from_fields(dict(op)) for op in json.loads(key))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFile(f"not the key of an operator: {key[:80]!r} ({error})") from error


def _op_from_fields(values: dict[str, Any]) -> OpSpec:
    kind = str(values.pop("kind"))
    if kind not in KINDS:
        raise UnknownName("kind of operator", kind, KINDS, cure="Is the table newer than latkit?")
    cls = KINDS[kind]
    unknown = set(values) - {field.name for field in fields(cls)}
    if unknown:
        raise ValueError(f"{kind} has no {', '.join(sorted(unknown))}")
    tuples = {name: tuple(each) for name, each in values.items() if isinstance(each, list)}
    return cls(**values | tuples)


def check_chain(chain: Chain) -> None:
    """Check that every operator takes what the one before it gives.

    Raises:
        ValueError: The chain is empty, or two neighbours do not fit.
    """
    if not chain:
        raise ValueError("a chain needs an operator")
    for before, after in pairwise(chain):
        if before.output_shape != after.input_shape:
            raise ValueError(f"[{before}] gives {before.output_shape}, [{after}] takes another")
