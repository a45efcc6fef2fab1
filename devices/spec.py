"""What a device is, as data."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Precision = Literal["fp32", "fp16", "int8"]
Optimization = Literal["disable", "basic", "extended", "layout", "all"]
Integers = Literal["uint8", "int8"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How numbers become 8-bit integers; the fastest way differs between processors.

    Weights are signed and centred on 0. The usual values suit x86 with VNNI.

    Attributes:
        activations: Integers between the operators: ``int8`` is Arm's.
        per_channel: Whether every output channel of a weight has a scale of its own.
        reduce_range: Whether weights keep to 7 bits: x86 without VNNI adds two products in 16 bits,
            which overflow where both use all of theirs.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    activations: Integers = "uint8"
    per_channel: bool = True
    reduce_range: bool = False


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
        batch: Images per inference.
        spinning: Whether idle worker threads spin: faster, and what most deployments do.
        optimization: ONNX Runtime's graph optimisation level.
        quantization: How an int8 device's networks are quantised, the usual if left out; None for
            every other precision.
        simulation: The arithmetic of a simulated device; only for the backend ``simulated``.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    name: str
    backend: str
    description: str = ""
    precision: Precision = "fp32"
    threads: int = 1
    affinity: tuple[int, ...] = ()
    batch: int = 1
    spinning: bool = True
    optimization: Optimization = "all"
    quantization: Quantization | None = None
    simulation: Simulation | None = None

    def __post_init__(self) -> None:
        if self.precision == "int8" and self.quantization is None:
            object.__setattr__(self, "quantization", Quantization())  # said in every condition
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
