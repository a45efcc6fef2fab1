"""Devices without Python: ONNX Runtime's own ``onnxruntime_perf_test``, run by a shell over there.

The program is the user's build, for Android mostly; only its path is asked for. Each call of it
loads one graph and runs it a number of times, so nothing is interleaved inside a process. Here
every call is short, and the campaign interleaves calls as it does everywhere: the same gate, canary
and statuses. What differs is said in the environment: each sample comes from a fresh process, warm.

The program writes one line for each run: model, seconds, memory, load, number (its source:
onnxruntime/test/perftest/performance_runner.cc, DumpToFile).
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from devices.backend import Session, Tensors
from devices.errors import DeviceUnavailable, UnsupportedGraph
from devices.graph import Graph
from devices.kernels import WARM_RUNS, Trace
from devices.onnx_runtime.runtime_trace import kernels_of
from devices.placement import chosen_cpus
from devices.remote.agent_site import Site
from devices.remote.shell_host import ShellHost, shell_facts, shell_power
from devices.spec import DeviceSpec, Optimization
from devices.transport import Completed, connect
from devices.transport.link import last_line

LEVELS: dict[Optimization, int] = {"disable": 0, "basic": 1, "extended": 2, "layout": 3, "all": 99}
"""What the program calls them."""

GRAPHS = "../graphs"
"""Where graphs are, seen from the folder in which the program is called."""

EXTERNAL = "session.model_external_initializers_file_folder_path"
"""Setting of ONNX Runtime: where weights lie that are in files of their own."""

USAGE = "[options...]"
"""In what the program says of itself when it is asked for help."""

CALL_S = 600.0
"""Seconds that a call may take."""

CALL = r"""
mkdir -p "$1" && rm -f "$1/result" && cd "$1" || exit 9
LD_LIBRARY_PATH="$2:$LD_LIBRARY_PATH"; export LD_LIBRARY_PATH
mask=$3; shift 3
taskset "$mask" "$@" >said 2>&1
status=$?
if [ $status = 0 ]; then cat result; times; else tail -n 5 said >&2; fi
exit $status
"""
"""Runs the program in a folder of ours, on some CPUs, beside its libraries; writes its results, and
then how long the shell and its children have computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfTestSession:
    """A graph that lies on the device; every call loads it anew.

    Attributes:
        backend: Runs the program.
        path: The graph's path there.
        options: Of the program, for this graph.
        threads: That a run may use.
    """

    backend: "PerfTest"
    path: str
    options: tuple[str, ...]
    threads: int

    def run(self, inputs: Tensors) -> Tensors:
        """Refuse: the program shows no outputs.

        Raises:
            UnsupportedGraph: Always.
        """
        raise UnsupportedGraph(
            "onnxruntime_perf_test shows no outputs, so numbers cannot be checked on this device. "
            "Check them on one with Python, as of the same processor"
        )

    def time(self, repeats: int) -> float:
        """Return the seconds of all runs of one call together."""
        return sum(self.time_each(repeats))

    def time_each(self, runs: int) -> tuple[float, ...]:
        """Return the seconds of each run of one call."""
        return self.backend.runs_s(self.path, runs, options=self.options, threads=self.threads)


class PerfTest:
    """The backend of a device on which ``onnxruntime_perf_test`` is all there is of ours.

    Args:
        device: Has a transport, and says where the program is.
        replicate: Unused: real processes differ by themselves.

    Raises:
        DeviceUnavailable: The device does not answer, or cannot run the program.
    """

    def __init__(self, device: DeviceSpec, *, replicate: int = 0) -> None:
        assert device.transport is not None  # else there is nothing to be reached
        self._device = device
        self._site = Site(connect(device.transport), device)
        self._program = PurePosixPath(device.perf_test)
        self._facts = shell_facts(self._site.connection)
        self._cpus = chosen_cpus(device, self._facts.kinds)
        self._digest = self._checked()
        if device.precision == "fp16" and not self._facts.half:
            raise DeviceUnavailable(
                f"device {device.name!r} asks for fp16, which ONNX Runtime computes as fp32 on "
                f"{self._facts.processor}. Use a device with precision: fp32 or int8"
            )
        self.host = ShellHost(self._site.connection, self._cpus)

    def _checked(self) -> str:
        """Return the hash of the program; it must be there and start."""
        name, program = self._site.connection.name, str(self._program)
        script = 'sha256sum < "$1" && cd "$2" && LD_LIBRARY_PATH="$2" "$1" -h 2>&1; true'
        words = ["sh", "-c", script, "sh", program, str(self._program.parent)]
        done = self._site.connection.run(words, repeatable=True)
        digest, _, said = done.stdout.decode(errors="replace").partition("\n")
        if USAGE not in said or not digest:
            raise DeviceUnavailable(
                f"{name} cannot run {program}: {last_line(said or done.stderr)}. Copy your build "
                "of onnxruntime_perf_test there, for its processor, with its libraries beside it"
            )
        return digest.split()[0]

    def environment(self) -> Mapping[str, str]:
        """Return the program, the processor and the settings in force."""
        known = self._facts.governors
        governors = sorted({known[cpu] for cpu in self._cpus if cpu in known})
        said = {"governor": "/".join(governors)} if governors else {}
        if len(self._facts.kinds) > 1:
            said["clusters"] = ", ".join(map(str, self._facts.kinds))
        if shell_power(self._site.connection).battery_percent is not None:
            said["power"] = "battery"  # as an agent says it
        return {
            "runtime": f"onnxruntime_perf_test {self._digest[:16]}",
            "provider": self._device.provider or "cpu",
            "processor": self._facts.processor,
            "system": self._facts.system,
            "cpus": ",".join(map(str, self._cpus)),
            "samples": "each of a fresh process, warm",
            **said,
        }

    @contextmanager
    def open(self, graph: Graph, *, threads: int | None = None) -> Iterator[Session]:
        """Send ``graph`` unless it is there, and see that the program can run it."""
        plain = self._site.send(graph)
        weights = f"{EXTERNAL}|{GRAPHS}/{plain['outside']}"
        session = PerfTestSession(
            backend=self,
            path=f"{GRAPHS}/{plain['file']}",
            options=("-C", weights) if plain["outside"] else (),
            threads=threads or self._device.threads,
        )
        session.time(1)
        yield session

    def trace(self, graph: Graph, *, runs: int) -> Trace:
        """Run ``graph`` with ONNX Runtime's profiler, and fetch what it wrote."""
        folder = f"{self._site.folder}/perf_test"
        self._site.connection.run(["sh", "-c", 'rm -f "$1"/trace*', "sh", folder], repeatable=True)
        with self.open(graph) as session, TemporaryDirectory(prefix="latkit-") as here:
            assert isinstance(session, PerfTestSession)
            self.runs_s(
                session.path,
                WARM_RUNS + runs,
                options=(*session.options, "-p", "trace", "-u", "trace.onnx"),
                threads=session.threads,
            )
            said = self._site.connection.run(["sh", "-c", 'cat "$1"/trace*.json', "sh", folder])
            optimized = Path(here) / "optimized.onnx"
            self._site.connection.pull(f"{folder}/trace.onnx", optimized)
            # the run before all others, which warms up, is in the trace, too
            kernels = kernels_of(json.loads(said.stdout), skip=WARM_RUNS + 1)
            return Trace(kernels=kernels, optimized=optimized.read_bytes())

    def runs_s(
        self, path: str, runs: int, *, options: tuple[str, ...], threads: int
    ) -> tuple[float, ...]:
        """Call the program once.

        Args:
            path: Of a graph on the device, seen from the folder of the calls.
            runs: How many, beside the first one, which does not count.
            options: More of them.
            threads: That a run may use.

        Returns:
            Seconds of each run.

        Raises:
            UnsupportedGraph: The program refuses the graph.
            DeviceUnavailable: The device does not answer.
        """
        mask = sum(1 << cpu for cpu in self._cpus[:threads])
        words = ["sh", "-c", CALL, "sh", f"{self._site.folder}/perf_test"]
        words += [str(self._program.parent), f"{mask:x}", str(self._program)]
        words += [*self._options(runs, threads), *options, path, "result"]
        done = self._site.connection.run(words, timeout_s=CALL_S, repeatable=True)
        if done.exit_code != 0:
            why = last_line(done.stderr)[:500]
            raise UnsupportedGraph(f"onnxruntime_perf_test refuses the graph: {why}")
        return self._read(done, runs)

    def _options(self, runs: int, threads: int) -> list[str]:
        device = self._device
        words = ["-I", "-S", "1", "-m", "times", "-r", str(runs), "-e", device.provider or "cpu"]
        words += ["-x", str(threads), "-y", "1", "-o", str(LEVELS[device.optimization])]
        if threads > 1 and device.provider is None:
            # One entry for every thread but the first, which is ours; CPUs count from 1 there.
            words += ["-T", ";".join(str(cpu + 1) for cpu in self._cpus[1:threads])]
        return words if device.spinning else [*words, "-D"]

    def _read(self, done: Completed, runs: int) -> tuple[float, ...]:
        """Return the seconds of each run, and count the CPU seconds of the call as our own."""
        said = done.stdout.decode(errors="replace")
        spent = re.findall(r"(\d+)m([\d.]+)s", said)
        self.host.own_s += sum(60 * int(minutes) + float(rest) for minutes, rest in spent)
        rows = [line.split(",") for line in said.splitlines() if line.count(",") == 4]
        seconds = tuple(float(row[1]) for row in rows)
        if len(seconds) != runs:
            raise DeviceUnavailable(
                f"{self._program} on {self._site.connection.name} wrote {len(seconds)} results of "
                f"{runs} runs: this release is not known. Tell us what it writes: "
                f"{last_line(said)[:200]}"
            )
        return seconds
