"""One network on MNN or ncnn, in a Python that has them: asked by lines, answers by lines.

    python bench/peer_worker.py mnn|ncnn MODEL.onnx FOLDER THREADS SHAPE

SHAPE is ``1,3,224,224``. A line ``[runs]`` is answered by the seconds of so many single runs;
``"run"`` reads ``FOLDER/input.npy``, writes ``FOLDER/output.npy`` and answers null. Needs numpy,
and MNN with the converter that comes with it, or ncnn and pnnx.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Any]


class Mnn:
    """MNN's interpreter, in full precision."""

    def __init__(self, model: Path, folder: Path, *, threads: int, shape: tuple[int, ...]) -> None:
        import MNN

        converted = folder / "model.mnn"
        command: list[str | Path] = [Path(sys.executable).with_name("mnnconvert"), "-f", "ONNX"]
        command += ["--modelFile", model, "--MNNModel", converted, "--bizCode", "latkit"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        self._mnn = MNN
        self._net = MNN.Interpreter(str(converted))
        config = {"backend": "CPU", "numThread": threads, "precision": "high"}
        self._session = self._net.createSession(config)
        self._input = self._net.getSessionInput(self._session)
        self._net.resizeTensor(self._input, shape)
        self._net.resizeSession(self._session)
        self.give(np.zeros(shape, np.float32))

    def give(self, images: Any) -> None:
        """Take what the next runs read."""
        kind = self._mnn.Halide_Type_Float, images, self._mnn.Tensor_DimensionType_Caffe
        self._input.copyFrom(self._mnn.Tensor(images.shape, *kind))

    def run(self) -> None:
        """Run once."""
        self._net.runSession(self._session)

    def output(self) -> Any:
        """Return what the last run gave."""
        found = self._net.getSessionOutput(self._session)
        shape = found.getShape()
        empty = np.zeros(shape, np.float32)
        kind = self._mnn.Halide_Type_Float, empty, self._mnn.Tensor_DimensionType_Caffe
        host = self._mnn.Tensor(shape, *kind)
        found.copyToHostTensor(host)
        return np.array(host.getData(), np.float32).reshape(shape)


class Ncnn:
    """ncnn's network, its numbers in fp32."""

    def __init__(self, model: Path, folder: Path, *, threads: int, shape: tuple[int, ...]) -> None:
        import ncnn

        param, weights = folder / "model.ncnn.param", folder / "model.ncnn.bin"
        sizes = ",".join(map(str, shape))
        command: list[str | Path] = [
            Path(sys.executable).with_name("pnnx"),
            model,
            f"inputshape=[{sizes}]",
        ]
        command += [f"ncnnparam={param}", f"ncnnbin={weights}", "fp16=0"]
        subprocess.run(command, check=True, stdout=sys.stderr, cwd=folder)
        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_fp16_storage = self._net.opt.use_fp16_arithmetic = False
        self._net.opt.use_bf16_storage = False
        self._net.load_param(str(param))
        self._net.load_model(str(weights))
        self._found: Any = None
        self.give(np.zeros(shape, np.float32))

    def give(self, images: Any) -> None:
        """Take what the next runs read; one image, as ncnn has no batches."""
        self._images = self._ncnn.Mat(images[0]).clone()

    def run(self) -> None:
        """Run once."""
        extractor = self._net.create_extractor()
        extractor.input(self._net.input_names()[0], self._images)
        _, self._found = extractor.extract(self._net.output_names()[0])

    def output(self) -> Any:
        """Return what the last run gave."""
        return np.array(self._found)[None]


def main() -> None:
    """Answer until nobody asks."""
    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the libraries print is no answer
    kind, model, folder, threads, sizes = sys.argv[1:]
    shape = tuple(map(int, sizes.split(",")))
    made: type[Mnn] | type[Ncnn] = Mnn if kind == "mnn" else Ncnn
    network = made(Path(model), Path(folder), threads=int(threads), shape=shape)
    print("ready", file=said)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked == "run":
            network.give(np.load(Path(folder) / "input.npy"))
            network.run()
            np.save(Path(folder) / "output.npy", network.output())
            print("null", file=said)
        else:
            print(json.dumps([seconds(network.run) for _ in range(*asked)]), file=said)


def seconds(run: Run) -> float:
    """Return how long one run takes."""
    start_s = time.perf_counter()
    run()
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
