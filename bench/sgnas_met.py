"""Whether a generator's answers keep their limits on the device, asked three times at most.

The answers to all limits are built as files and timed side by side in fresh processes, each until
it is decided whether it keeps the tightest of its limits. Where the device does not say ``met``,
the limit takes the next candidate, as `export.verdicts.ship` does, of all that the search has
evaluated: the most accurate that is predicted to be faster by as much as the answer was too slow.
In the end all that was chosen is timed once more, in processes that had no part in choosing it.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.kept import kept_in
from bench.rows import write_csv
from bench.sgnas_generators import searched
from bench.sgnas_question import Evaluations, Question, Rows
from bench.sgnas_scale import Scale, macro_truth
from devices import DeviceSpec, Graph, device_named
from devices.graphs.model_file import read_model
from export.bundle.onnx_file import network_graph, write_onnx
from export.verdicts.verdict import COVERAGE, decision
from lut import latency_model, load_table
from profiler import Measurement
from profiler.campaigns.together import Together, measure_together
from search.pricing.tables import space_of
from search.supernets.supernet import Supernet
from search.truths.truth import Truth

RUNS = 3
"""Networks that are tried for a limit at most."""

PROCESSES, MOST_PROCESSES = 5, 9
"""Fresh processes of a run: at least, and at most while a network is undecided."""

ROUNDS = 6
"""Slices of every network in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """What became of one limit.

    Attributes:
        limit_s: The limit.
        rows: The networks tried for it, in order: rows of the truth.
        verdict: On the last of them.
        measured_s: Seconds of the last one, by the clock.
    """

    limit_s: float
    rows: tuple[int, ...]
    verdict: str
    measured_s: float

    def as_row(self, truth: Truth, again: Mapping[int, float]) -> dict[str, Any]:
        """Return plain data, latencies in milliseconds; ``again`` are seconds by row."""
        first, last = (truth.archs[self.rows[i]] for i in (0, -1))
        return {
            "limit_ms": self.limit_s * 1e3,
            "answer": str(first),
            "shipped": str(last),
            "runs": len(self.rows),
            "verdict": self.verdict,
            "measured_ms": self.measured_s * 1e3,
            "again_ms": again[self.rows[-1]] * 1e3,
        }

    @property
    def over(self) -> float:
        """By how much the limit is missed, relative; negative where it is kept."""
        return self.measured_s / self.limit_s - 1


@dataclass(slots=True, kw_only=True)
class Bench:
    """A device that is asked about networks, and what it has said.

    Attributes:
        device: Where.
        supernet: With weights that nobody trained, at the resolution of the table.
        question: The limits, and the networks by row.
        folder: Where files are kept.
        measured: Row of a network to what it took.
    """

    device: DeviceSpec
    supernet: Supernet
    question: Question
    folder: Path
    measured: dict[int, Measurement] = field(default_factory=dict)

    def run(self, limits: Mapping[int, Sequence[float]]) -> None:
        """Time networks that were not timed yet until it is decided which limits they keep.

        Args:
            limits: Row of a network to the limits that it shall keep.
        """
        files = {self.file(row): row for row in limits if row not in self.measured}
        if not files:
            return

        def enough(found: Together[Graph]) -> bool:
            return all(
                decision(min(limits[files[graph]]), measurement) != "undecided"
                for graph, measurement in found.measured.items()
            )

        found = self.timed(list(files), enough=enough)
        self.measured |= {files[graph]: each for graph, each in found.measured.items()}

    def timed(self, graphs: Sequence[Graph], *, enough: Any = lambda _: True) -> Together[Graph]:
        """Time graphs side by side."""
        return measure_together(
            graphs,
            self.device,
            processes=PROCESSES,
            most=MOST_PROCESSES,
            rounds=ROUNDS,
            enough=enough,
        )

    def file(self, row: int) -> Graph:
        """Return a network as a file; what its weights are does not change what it costs."""
        arch = self.question.truth.archs[row]
        space = self.supernet.space
        path = self.folder / f"{arch}-{space.input_shape[2]}.onnx"
        if not path.exists():
            network = self.supernet.subnetwork(arch).eval()
            write_onnx(network_graph(network, space.input_shape), path)
        return read_model(path).graph

    def again(self, rows: Iterable[int]) -> dict[int, float]:
        """Return the seconds of networks in further processes, by the clock."""
        files = {self.file(row): row for row in dict.fromkeys(rows)}
        found = self.timed(list(files))
        return {files[graph]: each.median_s for graph, each in found.measured.items()}


def kept(bench: Bench, asked: Evaluations) -> list[Try]:
    """Ask the device about the answers to all limits; return what became of each limit."""
    question = bench.question
    limits_s = [budget.target.limit_s for budget in question.budgets]
    tried = [[int(row)] for row in asked.answers]
    pool = np.array(sorted(asked.known), np.intp)
    open_ = set(range(len(limits_s)))
    for number in range(1, RUNS + 1):
        wanted: dict[int, list[float]] = {}
        for i in sorted(open_):
            wanted.setdefault(tried[i][-1], []).append(limits_s[i])
        bench.run(wanted)
        for i in sorted(open_):
            measurement = bench.measured[tried[i][-1]]
            if decision(limits_s[i], measurement) == "met":
                open_.remove(i)
                continue
            _, high_s = measurement.median_interval_s(COVERAGE)
            following = next_best(question, pool, tried[i][-1], slow=high_s / limits_s[i])
            if number < RUNS and following is not None:
                tried[i].append(following)
            else:
                open_.remove(i)
    return [_tried(bench, limit_s, rows) for limit_s, rows in zip(limits_s, tried, strict=True)]


def next_best(question: Question, pool: Rows, row: int, *, slow: float) -> int | None:
    """Return what to try after a network that was too slow by a factor; None where it is fastest.

    Args:
        question: Prices and accuracies.
        pool: Rows of the networks that were evaluated.
        row: Of the network.
        slow: Its latency at worst, over the limit.
    """
    cost_s = question.cost_s
    faster = pool[cost_s[pool] < cost_s[row]]
    if not len(faster):
        return None
    enough = faster[cost_s[faster] <= cost_s[row] / max(1.0, slow)]
    if not len(enough):
        return int(faster[cost_s[faster].argmin()])
    return int(enough[question.seen[enough].argmax()])


def _tried(bench: Bench, limit_s: float, rows: Sequence[int]) -> Try:
    last = bench.measured[rows[-1]]
    verdict = decision(limit_s, last)
    return Try(limit_s=limit_s, rows=tuple(rows), verdict=verdict, measured_s=last.median_s)


def figures(tries: Sequence[Try], again: Mapping[int, float]) -> dict[str, Any]:
    """Return the shares of the limits that were met, and by how much the others were missed."""
    over = [each.over for each in tries if each.verdict != "met"]
    later = [again[each.rows[-1]] / each.limit_s - 1 for each in tries]
    return {
        "limits": len(tries),
        "met_share": float(np.mean([each.verdict == "met" for each in tries])),
        "met_at_once_share": float(
            np.mean([each.verdict == "met" and len(each.rows) == 1 for each in tries])
        ),
        "runs_mean": float(np.mean([len(each.rows) for each in tries])),
        "answers": len({each.rows[0] for each in tries}),
        "measured": len({row for each in tries for row in each.rows}),
        "not_met_over": max(over, default=0.0),
        "kept_again_share": float(np.mean([each <= 0.0 for each in later])),
        "again_over": max(0.0, *later),
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the figures for people."""
    return [
        f"{found['limits']} limits, {found['answers']} answers, {found['measured']} networks timed",
        f"met by measurement: {found['met_share']:.1%}, {found['met_at_once_share']:.1%} at once, "
        f"{found['runs_mean']:.2f} runs on average; where not, the worst is "
        f"{found['not_met_over']:+.1%} from its limit",
        f"timed once more: {found['kept_again_share']:.1%} within their limit, the worst over it "
        f"by {found['again_over']:.1%}",
    ]


def met(args: argparse.Namespace, scale: Scale) -> None:
    """Ask the device of a table whether answers keep their limits."""
    if not args.table:
        sys.exit("--only met needs the device's table of the macro space: --table T.lut")
    table, truth = load_table(args.table), macro_truth()
    space = space_of(table, truth.space.name)
    truth = replace(truth, space=space)  # the same choices at the table's resolution
    model = latency_model(table, space)
    question = Question(name="latency", truth=truth, model=model, count=scale.targets)
    asked, _, _ = searched(question, scale, 0, filling=scale.filling)
    with kept_in(args.runs) as folder:
        bench = Bench(
            device=device_named(model.device),
            supernet=Supernet(space),
            question=question,
            folder=folder,
        )
        tries = kept(bench, asked)
        again = bench.again(each.rows[-1] for each in tries)
    found = figures(tries, again)
    print(json.dumps(found, indent=2) if args.json else "\n".join(lines(found)))
    if args.csv:
        write_csv(args.csv, [each.as_row(truth, again) for each in tries])
