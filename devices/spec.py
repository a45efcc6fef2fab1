"""What a device is, as data."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from devices.cores import ClusterName
from devices.spec_sheet import SpecSheet

Precision = Literal["fp32", "fp16", "int8"]
Optimization = Literal["disable", "basic", "extended", "layout", "all"]
Integers = Literal["uint8", "int8"]
Provider = Literal["xnnpack"]
TensorRTModule = Literal["tensorrt", "tensorrt_rtx"]

_STRICT = {"extra": "forbid"}  # read by pydantic where a spec comes from a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The arithmetic of a simulated device; every kind of trouble can be switched on.

    Attributes:
        dense_macs_per_s: Multiply-accumulates a second in dense convolutions.
        depthwise_macs_per_s: The same in depthwise ones.
        bytes_per_s: Memory bandwidth, which additions and layout conversions wait for.
        node_s: Seconds spent on every node of a graph, whatever it computes.
        channel_step: Channels are padded to a multiple of this, as vector units make runtimes do.
        noise: Standard deviation of one run, relative.
        process_noise: Standard deviation between processes, relative.
        drift_per_s: Relative slow-down per second of the device's clock.
        throttle_after_s: Busy seconds without rest after which the device throttles; 0: never.
        throttle_factor: How much slower it is then.
        load_period_s: Every so many seconds other work runs on the device; 0: never.
        load_share: Share of the period in which it does, in [0, 1].
        load_factor: How much slower a run is then.
        shared_period_s: Every so many seconds the device's threads share one core; 0: never.
        shared_share: Share of the period in which they do, in [0, 1].
        misplaced_share: Share of loaded graphs whose memory lies badly, drawn anew at each loading.
        misplaced_factor: How much slower such a graph is.
        fault_share: Share of graphs, chosen by their content, that the device refuses to open.
        seed: Of the noise.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    dense_macs_per_s: float = 40e9
    depthwise_macs_per_s: float = 6e9
    bytes_per_s: float = 10e9
    node_s: float = 2e-6
    channel_step: int = 1
    noise: float = 0.01
    process_noise: float = 0.005
    drift_per_s: float = 0.0
    throttle_after_s: float = 0.0
    throttle_factor: float = 1.5
    load_period_s: float = 0.0
    load_share: float = 0.2
    load_factor: float = 2.0
    shared_period_s: float = 0.0
    shared_share: float = 0.2
    misplaced_share: float = 0.0
    misplaced_factor: float = 1.2
    fault_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        rates = (self.dense_macs_per_s, self.depthwise_macs_per_s, self.bytes_per_s)
        if min(rates) <= 0.0:
            raise ValueError(f"a simulated device needs positive rates, got {rates}")
        shares = (self.load_share, self.shared_share, self.misplaced_share, self.fault_share)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise ValueError("the shares of a simulated device are in [0, 1]")
        if self.channel_step < 1:
            raise ValueError(f"a channel step is 1 or more, got {self.channel_step}")
        factors = (self.throttle_factor, self.load_factor, self.misplaced_factor)
        if min(factors) < 1.0:
            raise ValueError(f"the factors of a simulated device are 1 or more, got {factors}")
        if min(self.noise, self.process_noise) < 0.0:
            raise ValueError("the noise of a simulated device is 0 or more")
        seconds = (self.throttle_after_s, self.load_period_s, self.shared_period_s, self.node_s)
        if min(seconds) < 0.0:
            raise ValueError(f"the seconds of a simulated device are 0 or more, got {seconds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How numbers become 8-bit integers; the fastest way differs between processors.

    Weights are signed and centred on 0. The usual values suit x86 with VNNI.

    Attributes:
        activations: Integers between the operators: ``int8`` is Arm's.
        per_channel: Whether every output channel of a weight has a scale of its own.
        reduce_range: Whether weights keep to 7 bits: x86 without VNNI adds two products in 16 bits,
            which overflow where both use all of theirs.
        symmetric: Whether activations are centred on 0, too, and biases stay in floats: what
            TensorRT demands. Integers then begin behind activation functions, which become part of
            the convolutions before them.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    activations: Integers = "uint8"
    per_channel: bool = True
    reduce_range: bool = False
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.symmetric and self.activations != "int8":
            raise ValueError(f"symmetric activations are int8, not {self.activations}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Which NVIDIA GPU, and how engines are built for it and run on it.

    Attributes:
        module: TensorRT, or TensorRT for RTX.
        product: Part of the name that its driver gives it, such as ``"RTX 4090"``; empty for any.
        compute_capability: Of the GPU, such as ``"8.9"``; empty for any.
        index: Which of several, as CUDA counts them.
        cuda_graph: Whether an inference is launched whole, and not kernel by kernel. Launches of
            small networks take the CPU longer than the GPU takes to run them.
        cold_l2: Whether the level-2 cache is overwritten before every run.
        tf32: Whether products of fp32 may round their factors to 10 bits, as TensorRT's default is.
        clock_mhz: To lock the clock at, where that is permitted; 0 to leave it to the driver.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    module: TensorRTModule = "tensorrt"
    product: str = ""
    compute_capability: str = ""
    index: int = 0
    cuda_graph: bool = True
    cold_l2: bool = False
    tf32: bool = True
    clock_mhz: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(\d+\.\d)?", self.compute_capability):
            raise ValueError(
                f"a compute capability is like '8.9', in quotes, not {self.compute_capability!r}"
            )
        if min(self.index, self.clock_mhz) < 0:
            raise ValueError("the index and the clock of a GPU are 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """How to reach a device that is not this machine, and what to find there.

    Attributes:
        kind: By ``ssh``, by ``adb``, or ``local``: this machine, as if it were another one.
        host: For ssh: a name, ``user@name``, or a ``Host`` of the ssh configuration.
        port: For ssh; 0 for what the configuration says.
        config: For ssh: a configuration file; empty for the user's own.
        serial: For adb: as ``adb devices`` shows it; empty for the only one that is attached.
        python: Python there, with numpy and onnxruntime.
        folder: Where files go there; relative to the user's home. Empty for the usual.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    kind: Literal["local", "ssh", "adb"]
    host: str = ""
    port: int = 0
    config: str = ""
    serial: str = ""
    python: str = "python3"
    folder: str = ""

    def __post_init__(self) -> None:
        if (self.kind == "ssh") != bool(self.host):
            raise ValueError("a transport has a host if, and only if, its kind is ssh")
        if self.kind != "ssh" and (self.port or self.config):
            raise ValueError(f"port and config are for kind ssh, not {self.kind}")
        if self.kind != "adb" and self.serial:
            raise ValueError(f"serial is for kind adb, not {self.kind}")
        for word in (self.host, self.serial):
            if re.search(r"^-|[\s\0]", word):
                raise ValueError(f"{word!r} is no name of a host or a device")
        if self.port not in range(2**16):
            raise ValueError(f"a port is 0 to 65535, not {self.port}")
        self._check_paths()

    def _check_paths(self) -> None:
        if not self.python or "\0" in self.python + self.folder + self.config:
            raise ValueError("python, folder and config of a transport are paths")
        if not self.folder:
            usual = "/data/local/tmp/latkit" if self.kind == "adb" else ".latkit"
            object.__setattr__(self, "folder", usual)


WITHOUT_GPU = ("onnxruntime", "simulated", "roofline")
WITHOUT_SIMULATION = ("onnxruntime", "tensorrt", "rtx-aot", "roofline")
"""Backends that take no part of another one. Those that nobody knows are refused elsewhere."""

TENSORRT_SCHEME = Quantization(activations="int8", symmetric=True)
"""The one scheme that TensorRT's parser takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """One way to run a network on one piece of hardware.

    Latency depends on every field, so specs that differ anywhere are different devices and keep
    separate tables.

    Attributes:
        name: Unique short name, used in file names: ``"cpu-2t"``.
        backend: Key in `devices.backend.BACKENDS`.
        description: One line for people.
        precision: Number format of the network.
        threads: CPU threads one inference may use.
        affinity: CPUs to run on, one a thread; empty to take the last allowed ones.
        cluster: Where CPUs are of several kinds, of which to take those: ``little`` are the
            slowest, ``big`` the fastest, ``middle`` the next to those. None: of any.
        batch: Images per inference.
        spinning: Whether idle worker threads spin: faster, and what most deployments do.
        optimization: ONNX Runtime's graph optimisation level.
        provider: Whose kernels ONNX Runtime takes where they serve a node: XNNPACK's, as mobile
            deployments do. None for its own everywhere.
        quantization: How an int8 device's networks are quantised, the usual if left out; None for
            every other precision.
        gpu: Which GPU, and how engines run on it; only for the backend ``tensorrt``, which takes
            the usual if it is left out.
        simulation: The arithmetic of a simulated device; only for the backend ``simulated``.
        emulated: Whether software pretends to be the hardware: its latencies are no real device's.
            Where that can be seen, it need not be said.
        transport: How to reach it; None for this machine.
        perf_test: Where there is no Python: the path there of an ``onnxruntime_perf_test`` that the
            user built; empty to send an agent.
        sheet: What its maker says of it; if, and only if, the backend is ``roofline``.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    name: str
    backend: str
    description: str = ""
    precision: Precision = "fp32"
    threads: int = 1
    affinity: tuple[int, ...] = ()
    cluster: ClusterName | None = None
    batch: int = 1
    spinning: bool = True
    optimization: Optimization = "all"
    provider: Provider | None = None
    quantization: Quantization | None = None
    gpu: Gpu | None = None
    simulation: Simulation | None = None
    emulated: bool = False
    transport: Transport | None = None
    perf_test: str = ""
    sheet: SpecSheet | None = None

    def __post_init__(self) -> None:
        if (self.backend == "roofline") != (self.sheet is not None):
            raise ValueError(
                f"device {self.name!r}: a sheet goes with the backend roofline, and only with it"
            )
        self._check_runtime()
        if self.backend == "tensorrt" and self.gpu is None:
            object.__setattr__(self, "gpu", Gpu())
        if self.precision == "int8" and self.quantization is None:  # said in every condition
            usual = Quantization() if self.gpu is None else TENSORRT_SCHEME
            object.__setattr__(self, "quantization", usual)
        if self.precision != "int8" and self.quantization is not None:
            raise ValueError(
                f"device {self.name!r}: quantization is for precision int8, not {self.precision}"
            )
        if self.threads < 1 or self.batch < 1:
            raise ValueError(
                f"device {self.name!r}: threads and batch are 1 or more, "
                f"got {self.threads} and {self.batch}"
            )
        cpus = len(set(self.affinity))
        if self.affinity and not cpus == len(self.affinity) == self.threads:
            raise ValueError(
                f"device {self.name!r}: affinity names one CPU for each of {self.threads} "
                f"threads, got {list(self.affinity)}"
            )

    def _check_runtime(self) -> None:
        """Check what goes with some backends only."""
        if self.gpu is not None and self.backend in WITHOUT_GPU:
            raise ValueError(
                f"device {self.name!r}: a gpu is for the backend tensorrt, not {self.backend}"
            )
        if self.simulation is not None and self.backend in WITHOUT_SIMULATION:
            raise ValueError(
                f"device {self.name!r}: a simulation is for the backend simulated, "
                f"not {self.backend}"
            )
        if self.provider is not None and self.backend != "onnxruntime":
            raise ValueError(
                f"device {self.name!r}: a provider is for the backend onnxruntime, "
                f"not {self.backend}"
            )
        if self.perf_test and (self.transport is None or self.backend != "onnxruntime"):
            raise ValueError(
                f"device {self.name!r}: perf_test is for a device with a transport and the backend "
                "onnxruntime"
            )
        if self.perf_test and not re.fullmatch(r"/[^\0]+", self.perf_test):
            raise ValueError(f"device {self.name!r}: perf_test is an absolute path on the device")

    @property
    def timed_cold(self) -> bool:
        """Whether operators are timed by single runs, their weights displaced from the caches.

        On several threads a single run would mostly wait for the others to wake up, on a GPU for
        its launch. A fresh process, which each call of perf_test is, never has cold weights.
        """
        return self.threads == 1 and self.gpu is None and not self.perf_test

    @property
    def has_agent(self) -> bool:
        """Whether it measures by itself, by an agent that is sent to it."""
        return self.transport is not None and not self.perf_test
