"""Is ONNX Runtime what to ship on this CPU? The same exported networks on its peers, in one run.

Every peer runs the same files in fresh processes of its own, one thread on one CPU. Rounds are
interleaved: in each, all peers run the network in random order, and a ratio is of two neighbours in
time. Outputs are compared, too.

Peers are builds of ONNX Runtime: the pinned wheel, Debian's, and Debian's with XNNPACK's kernels
(``tests/integration_setup.sh`` unpacks it); and with --python-of-peers, a Python with ``MNN``, or
``ncnn`` and ``pnnx``, those, from the same file by their own converters. LiteRT's converter of ONNX
needs TensorFlow and is not run. What is missing is said.

    python bench/runtimes.py [--quick] [--json] [--csv F] [--threads N]
                             [--python-of-debian PATH] [--python-of-peers PATH]
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.arguments import bench_parser
from bench.rows import write_csv
from bench.runtime_peers import MODULES, ForeignSession, foreign_peers
from devices import DeviceSpec, Graph, Session, Transport, backend_for
from devices.graphs.inputs import example_inputs
from profiler import Measurement, Slice
from profiler.operators.builders import chain_graph
from search.pricing.coverage import spread_sample
from search.spaces import space_named

DEBIAN = Path(__file__).parent.parent / ".integration/xnnpack/python"

PROCESSES, ROUNDS, RUNS = 5, 8, 8
"""Fresh processes of each peer, rounds in each, and single runs of a peer in a round."""

QUICK = 3, 4, 6

WARM_RUNS = 3
"""Runs at the beginning of each turn that do not count: another peer has filled the caches."""

NOT_RUN = {"LiteRT": "its converter of ONNX needs TensorFlow, which is not installed"}

Opens = Callable[[Graph], AbstractContextManager[Session | ForeignSession]]
"""How a peer loads a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A network on all peers.

    Attributes:
        network: What it is.
        turns: Peer to a slice for each round: its median run, the first peer's in the same round.
        parity: Peer to the largest difference of its outputs to the first peer's, relative to the
            largest output.
    """

    network: str
    turns: Mapping[str, Measurement]
    parity: Mapping[str, float]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each peer; a ratio below 1 is faster than the first one."""
        for peer, measured in self.turns.items():
            low, high = (end / measured.reference_s for end in measured.interval_s(0.95))
            yield {
                "network": self.network,
                "peer": peer,
                "ms": measured.median_s * 1e3,
                "ratio": measured.ratio,
                "ratio_low": low,
                "ratio_high": high,
                "parity": self.parity[peer],
            }


def main() -> None:
    """Measure and print."""
    parser = bench_parser(__doc__, plots=False)
    parser.add_argument("--python-of-debian", type=Path, default=DEBIAN, metavar="PATH")
    parser.add_argument("--python-of-peers", type=Path, metavar="PATH")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    effort = QUICK if args.quick else (args.seeds or PROCESSES, ROUNDS, RUNS)
    with TemporaryDirectory(prefix="latkit-") as folder:
        peers = peers_here(args.python_of_debian, folder, threads=args.threads)
        if args.python_of_peers is not None:
            foreign = foreign_peers(args.python_of_peers, threads=args.threads)
            peers |= {name: peer.open for name, peer in foreign.items()}
        found = [compared(*each, peers, effort) for each in networks(quick=args.quick)]
    rows = [row for each in found for row in each.rows()]
    figures = {"threads": args.threads, "rows": rows, "not_run": not_run(peers)}
    if args.csv:
        write_csv(args.csv, rows)
    if args.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)


def peers_here(debian: Path, folder: str, *, threads: int) -> dict[str, Opens]:
    """Return the builds of ONNX Runtime here, by name; the first is what latkit ships."""

    def peer(python: str, **more: Any) -> Opens:
        way = Transport(kind="local", python=python, folder=folder)
        device = DeviceSpec(
            name="peer", backend="onnxruntime", threads=threads, transport=way, **more
        )
        return lambda graph: backend_for(device).open(graph)

    peers = {"onnxruntime wheel": peer(sys.executable)}
    if debian.exists():
        there = str(debian.resolve())
        peers["onnxruntime Debian"] = peer(there)
        peers["XNNPACK Debian"] = peer(there, provider="xnnpack")
    return peers


def not_run(peers: Mapping[str, Opens]) -> dict[str, str]:
    """Return the peers that are missing, and why."""
    cures = {
        "XNNPACK Debian": "run tests/integration_setup.sh as root, or say --python-of-debian",
        **{name: "say --python-of-peers, a Python that has it" for name in MODULES},
    }
    return {name: cure for name, cure in cures.items() if name not in peers} | NOT_RUN


def networks(*, quick: bool) -> Iterator[tuple[str, Graph]]:
    """Yield networks of the two mobile spaces, small to large."""
    for name, resolution, count in (("greedynas", 96 if quick else 224, 2), ("macro", 32, 1)):
        space = space_named(name, resolution=resolution)
        for i, arch in enumerate(spread_sample(space, count, np.random.default_rng(0))):
            yield f"{name} {i} at {resolution} px", chain_graph(space.chain(arch))


def compared(
    network: str, graph: Graph, peers: Mapping[str, Opens], effort: tuple[int, int, int]
) -> Compared:
    """Run a network on all peers.

    Args:
        network: What it is.
        graph: The same for all.
        peers: Where.
        effort: Processes, rounds and runs.
    """
    processes, rounds, runs = effort
    slices: dict[str, list[Slice]] = {peer: [] for peer in peers}
    rng = np.random.default_rng(0)
    for process in range(processes):
        with ExitStack() as stack:
            sessions = {peer: stack.enter_context(opens(graph)) for peer, opens in peers.items()}
            parity = parities(sessions, graph)
            for turn in range(rounds):
                middle_s = one_round(sessions, list(rng.permutation(list(sessions))), runs)
                first_s = next(iter(middle_s[peer] for peer in peers))
                for peer, run_s in middle_s.items():
                    piece = Slice(
                        process=process,
                        round=turn,
                        repeats=1,
                        samples_s=(run_s,),
                        reference_s=(first_s,),
                    )
                    slices[peer].append(piece)
    turns = {peer: Measurement(slices=tuple(each)) for peer, each in slices.items()}
    return Compared(network=network, turns=turns, parity=parity)


def one_round(
    sessions: Mapping[str, Session | ForeignSession], order: Sequence[str], runs: int
) -> dict[str, float]:
    """Return the seconds of each peer's middle run, taken in this order."""
    middle_s = {}
    for peer in order:
        sessions[peer].time(WARM_RUNS)
        middle_s[peer] = float(np.median(sessions[peer].time_each(runs)))
    return middle_s


def parities(sessions: Mapping[str, Session | ForeignSession], graph: Graph) -> dict[str, float]:
    """Return how far each peer's outputs are from the first peer's, relative to the largest."""
    inputs = example_inputs(graph)
    outputs = {peer: next(iter(session.run(inputs).values())) for peer, session in sessions.items()}
    first = next(iter(outputs.values()))
    return {
        peer: float(np.abs(each - first).max() / np.abs(first).max())
        for peer, each in outputs.items()
    }


def show(figures: Mapping[str, Any]) -> None:
    """Print a table for people."""
    view = Table("network", "peer", "ms", "of the first", "95 %", "difference", box=None)
    for row in figures["rows"]:
        interval = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
        numbers = f"{row['ms']:.3f}", f"{row['ratio']:.2f}", interval
        view.add_row(row["network"], row["peer"], *numbers, f"{row['parity']:.1e}")
    console = Console()
    console.print(view)
    for name, why in figures["not_run"].items():
        console.print(f"not run: {name}: {why}", markup=False)


if __name__ == "__main__":
    main()
