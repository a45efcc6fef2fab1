"""What tests take for ``onnxruntime_perf_test``, of which no package holds a build.

Runs a graph by the real ONNX Runtime, with the options that we use and the results as the program
writes them (microsoft/onnxruntime, onnxruntime/test/perftest: command_args_parser.cc,
performance_runner.cc).
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter

USAGE = "onnxruntime_perf_test [options...] model_path [result_file]"
PROVIDERS = {"cpu": "CPUExecutionProvider", "xnnpack": "XnnpackExecutionProvider"}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=USAGE, add_help=False)
    for flag in ("-I", "-D"):
        parser.add_argument(flag, action="store_true")
    for flag in ("-S", "-r", "-x", "-y", "-o"):
        parser.add_argument(flag, type=int)
    for flag in ("-m", "-e", "-T", "-C", "-p", "-u"):
        parser.add_argument(flag, default="")
    parser.add_argument("model")
    parser.add_argument("result")
    return parser.parse_args()


def session_of(asked: argparse.Namespace) -> object:
    import onnxruntime as ort

    made = ort.SessionOptions()
    made.intra_op_num_threads, made.inter_op_num_threads = asked.x, asked.y
    made.graph_optimization_level = ort.GraphOptimizationLevel(asked.o)
    for entry in asked.C.split():
        made.add_session_config_entry(*entry.split("|"))
    if asked.T:
        made.add_session_config_entry("session.intra_op_thread_affinities", asked.T)
    if asked.p:
        made.enable_profiling, made.profile_file_prefix = True, asked.p
    if asked.u:
        made.optimized_model_filepath = asked.u
    return ort.InferenceSession(asked.model, made, providers=[PROVIDERS[asked.e]])


def timed(asked: argparse.Namespace) -> list[float]:
    """Return the seconds of each run; one goes before that does not count."""
    import numpy as np

    session = session_of(asked)
    rng = np.random.default_rng(asked.S)
    feeds = {
        each.name: rng.random(each.shape, np.float32)
        for each in session.get_inputs()  # type: ignore[attr-defined]
    }
    seconds = []
    for _ in range(1 + asked.r):
        start = perf_counter()
        session.run(None, feeds)  # type: ignore[attr-defined]
        seconds.append(perf_counter() - start)
    if asked.p:
        session.end_profiling()  # type: ignore[attr-defined]
    return seconds[1:]


def main() -> int:
    if sys.argv[1:] == ["-h"]:
        print(f"{USAGE}\n\nOptions:")  # noqa: T201 - a program of its own
        return 1
    asked = options()
    assert (asked.I, asked.m) == (True, "times")
    try:
        seconds = timed(asked)
    except Exception as error:  # noqa: BLE001 - as the program does
        print(error, file=sys.stderr)  # noqa: T201
        return 255
    print(f"Total inference requests: {asked.r}")  # noqa: T201
    with Path(asked.result).open("a") as file:
        for number, run_s in enumerate(seconds):
            file.write(f"graphs,{run_s:.6g},48234496,98,{number}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
