"""What a network must meet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTarget:
    """A bound on the latency of one inference on one device.

    Attributes:
        device: Name of the device where the bound holds.
        limit_s: Largest acceptable latency, in seconds.
        confidence: How sure a prediction must be that the bound holds, in [0.5, 1).
    """

    device: str
    limit_s: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.limit_s > 0.0:
            raise ValueError(f"a limit must be positive, got {self.limit_s} s")
        if not 0.5 <= self.confidence < 1.0:
            raise ValueError(f"a confidence is in [0.5, 1), got {self.confidence}")
