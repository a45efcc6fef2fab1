"""What TensorRT learned of kernels, kept beside a table, so that all its engines are built alike.

TensorRT times kernels while it builds and keeps the fastest, by luck another one tomorrow. Its
timing cache makes builds the same again, and much shorter. So before a table is begun all its
graphs are built once; the cache of that is kept beside the table, its hash is a condition of it,
and every process builds by it. How much other builds would differ a sample of operators tells,
which every process builds without the cache (role ``rebuilt``).

TensorRT for RTX has no such cache: it compiles kernels when an engine is loaded, in every process
anew.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from devices import DeviceSpec, InvalidFile
from devices.files import write_atomically
from lut.files.holder import held_table
from lut.files.storage import Role, TableFile
from lut.table import TIMING_CACHE
from profiler import Chain, in_fresh_process
from profiler.campaigns.engines import learning_stream

SUFFIX = ".timing"

OPERATORS, NETWORKS = 8, 2
"""Operators and whole networks that are built anew in each process, spread over all of them."""


def keeps_cache(device: DeviceSpec) -> bool:
    """Return whether engines of a device are built by a timing cache; over a link none is kept."""
    here = device.transport is None
    return here and device.gpu is not None and device.gpu.module == "tensorrt"


def cache_beside(table: Path) -> Path:
    """Return where the timing cache of a table is kept: ``T.timing`` beside ``T.lut``."""
    return table.with_suffix(SUFFIX)


def learn_cache(
    table: Path,
    device: DeviceSpec,
    chains: Iterable[Chain],
    *,
    on_built: Callable[[int], None] = lambda _: None,
) -> None:
    """Build what a new table will time, and keep the timing cache of that beside it.

    Nothing is done where the table or its cache is there, or the device keeps none.

    Args:
        table: The file that the table will be.
        device: Where.
        chains: What it will time.
        on_built: Called with the graphs that are built.

    Raises:
        InUse: Another process makes that table.
        DeviceUnavailable: The device is not usable here.
        ProcessDied: The building process crashed.
    """
    path = cache_beside(table)
    if not keeps_cache(device):
        return
    with held_table(table):
        if table.exists() or path.exists():
            return
        with closing(in_fresh_process(learning_stream, device, list(chains))) as steps:
            for step in steps:
                on_built(step.done)
        write_atomically(path, step.timing_cache)


def cache_condition(table: Path, device: DeviceSpec) -> Mapping[str, str]:
    """Return what the timing cache adds to the conditions of a table that is made now."""
    path = cache_beside(table)
    if not keeps_cache(device) or not path.exists():
        return {}
    return {TIMING_CACHE: _short_hash(path.read_bytes())}


def cache_for(file: TableFile, roles: Iterable[Role]) -> bytes:
    """Return the timing cache that engines of a table are built by; empty where they are not.

    Args:
        file: The table.
        roles: Of what will be timed.

    Raises:
        InvalidFile: The cache of the table is missing, or is another one.
    """
    expected = file.meta()["environment"].get(TIMING_CACHE)
    if expected is None or set(roles) == {"rebuilt"}:
        return b""
    path = cache_beside(file.path)
    content = path.read_bytes() if path.is_file() else b""
    if _short_hash(content) != expected:
        raise InvalidFile(
            f"{path} is missing, or is not the timing cache ({expected}) that the engines of "
            f"{file.path} were built by: put it back beside the table, or profile into a new one"
        )
    return content


def rebuilt_sample(wanted: Mapping[Chain, Role]) -> dict[Chain, Role]:
    """Return what of a table is built anew in every process, to see how much builds differ.

    Args:
        wanted: What the table holds.
    """
    operators = [chain for chain, role in wanted.items() if role == "operator"]
    networks = [chain for chain, role in wanted.items() if role == "calibration"]
    sample = (
        *operators[:: -(-len(operators) // OPERATORS) or 1],
        *networks[:: -(-len(networks) // NETWORKS) or 1],
    )
    return dict.fromkeys(sample, "rebuilt")


def _short_hash(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
