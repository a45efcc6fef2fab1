"""A network as an engine of TensorRT, beside the ONNX file that it was built from.

model.engine   the engine, for one version of TensorRT and one compute capability
engine.json    `EngineFile`: what built it, for what, from which ONNX file, with all hashes
plan.txt       kernels, the ONNX nodes in each, and memory, in the words of TensorRT for RTX
timing.cache   what TensorRT learned of kernels while it built, to build the same again

Needs no torch.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from devices import DeviceSpec, DeviceUnavailable, Gpu, Graph, InvalidFile, backend_for
from devices.files import sha256_of, write_atomically
from export.bundle.manifest import ENGINE, ENGINE_FACTS, KERNELS, MODEL, TIMING_CACHE, seal

LAYERS, MEMORY = "Layers:", "Memory: "
"""How messages begin that list kernels, and what those hold that count bytes."""


class WrongEngine(InvalidFile):
    """An engine was built for another runtime or another GPU than it is to run on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFile:
    """What built an engine, and for what.

    Attributes:
        module: ``tensorrt`` or ``tensorrt_rtx``.
        version: Of that module; engines run with no other.
        compute_capability: Of the GPU that it runs on.
        tf32: Whether products of fp32 round their factors.
        sha256: Of the engine.
        onnx_sha256: Of the file that it was built from.
        timing_cache_sha256: Of the timing cache; empty where none was kept.
        size_bytes: Of the engine.
        build_s: Seconds that building took.
        warnings: What the builder warned of.
    """

    module: str
    version: str
    compute_capability: str
    tf32: bool
    sha256: str
    onnx_sha256: str
    timing_cache_sha256: str
    size_bytes: int
    build_s: float
    warnings: tuple[str, ...]

    def require(self, device: DeviceSpec) -> None:
        """Check that a device's GPU can run it.

        Raises:
            WrongEngine: It cannot; engines fit one version and one compute capability.
        """
        gpu = device.gpu or Gpu()
        mine = f"{self.module} for compute capability {self.compute_capability}"
        theirs = f"{gpu.module} for compute capability {gpu.compute_capability}"
        if gpu.compute_capability and mine != theirs:
            raise WrongEngine(
                f"the engine is of {mine}, device {device.name!r} needs {theirs}: export for it, "
                f"latkit export --to tensorrt --device {device.name}"
            )


def write_engine(folder: Path, graph: Graph, device: DeviceSpec) -> EngineFile:
    """Build an engine of a deployed model, write it beside the model and seal the bundle again.

    Args:
        folder: The deployment directory; its model is there.
        graph: That model.
        device: The GPU to build for. TensorRT builds on that GPU only, TensorRT for RTX anywhere.

    Returns:
        What was built.

    Raises:
        DeviceUnavailable: The runtime is not installed, or its GPU is needed and not here.
        UnsupportedGraph: The runtime refuses the model.
    """
    from devices.nvidia.tensorrt_build import build_engine, tensorrt_module

    check_buildable(device)
    gpu = device.gpu or Gpu()
    built = build_engine(
        graph,
        module=gpu.module,
        compute_capabilities=(gpu.compute_capability,) if gpu.module == "tensorrt_rtx" else (),
        tf32=gpu.tf32,
    )
    write_atomically(folder / ENGINE, built.engine)
    _write_or_remove(folder / TIMING_CACHE, built.timing_cache)
    layers = [text for text in built.said("verbose") if text.startswith(LAYERS)]
    memory = [text for text in built.said("info") if MEMORY in text]
    _write_or_remove(folder / KERNELS, "\n".join(memory + layers).encode() if layers else b"")
    file = EngineFile(
        module=gpu.module,
        version=str(tensorrt_module(gpu.module).__version__),
        compute_capability=gpu.compute_capability,
        tf32=gpu.tf32,
        sha256=sha256(built.engine).hexdigest(),
        onnx_sha256=sha256_of(folder / MODEL),
        timing_cache_sha256=sha256(built.timing_cache).hexdigest() if built.timing_cache else "",
        size_bytes=len(built.engine),
        build_s=built.elapsed_s,
        warnings=built.said("warning"),
    )
    content = json.dumps(asdict(file), indent=2) + "\n"
    write_atomically(folder / ENGINE_FACTS, content.encode())
    seal(folder)
    return file


def check_buildable(device: DeviceSpec) -> None:
    """Check that engines for a device's GPU can be built here.

    Raises:
        DeviceUnavailable: They cannot; TensorRT builds on that GPU only.
    """
    gpu = device.gpu or Gpu()
    if gpu.module == "tensorrt":
        backend_for(device)  # or TensorRT would end the process where there is no driver
    elif not gpu.compute_capability:
        raise DeviceUnavailable(
            f"device {device.name!r} names no compute_capability to build an engine for"
        )


def remove_engine(folder: Path) -> None:
    """Remove the engine of an earlier export, which the model that is there now does not have."""
    for name in (ENGINE, ENGINE_FACTS, KERNELS, TIMING_CACHE):
        (folder / name).unlink(missing_ok=True)


def read_engine(folder: Path) -> EngineFile | None:
    """Read what is known of a deployment's engine; None where it has none.

    Raises:
        InvalidFile: A file is missing or damaged, or engine and model do not belong together.
    """
    if not (folder / ENGINE).is_file():
        return None
    path = folder / ENGINE_FACTS
    try:
        values = json.loads(path.read_text())
        file = EngineFile(**{**values, "warnings": tuple(values["warnings"])})
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(f"{path} is missing or damaged ({error}). Export again") from error
    for name, expected in ((ENGINE, file.sha256), (MODEL, file.onnx_sha256)):
        if sha256_of(folder / name) != expected:
            raise InvalidFile(
                f"{folder / name} is not the one that {ENGINE_FACTS} speaks of. Export again: "
                "latkit export --to tensorrt"
            )
    return file


def _write_or_remove(path: Path, content: bytes) -> None:
    """Write a file, or remove that of an earlier export where there is nothing to write."""
    if content:
        write_atomically(path, content)
    else:
        path.unlink(missing_ok=True)
