"""What the maker of a GPU says that it can do, as data."""

from dataclasses import dataclass
from typing import Any, ClassVar

LAUNCH_S = 5e-6
"""Seconds that a kernel takes whatever it does: a round figure, for want of a published one. The
shortest of 89,759 convolutions on a V100 took 7.2 us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecSheet:
    """Peaks of a GPU, as published: no network ever reaches them.

    One multiply-accumulate is two operations. Rates are without sparsity, at the boost clock.
    Matrix units compute convolutions and linear layers; depthwise convolutions, which have no
    matrix to multiply by, and all that is pointwise run on the vector units. Where a GPU has no
    matrix unit for a number format, both rates are that of the vector units.

    Attributes:
        source: Where the figures stand.
        matrix_fp32_ops_per_s: Operations a second on fp32 tensors, in TF32 where the GPU has it.
        matrix_fp16_ops_per_s: On fp16 tensors.
        matrix_int8_ops_per_s: On 8-bit integers.
        vector_fp32_ops_per_s: Of the vector units, in fp32 and for 8-bit integers.
        vector_fp16_ops_per_s: The same in fp16.
        bytes_per_s: Bandwidth of the memory.
        compute_capability: As CUDA numbers it: ``"8.9"``.
        memory_bytes: Size of the memory.
        l2_bytes: Size of the second-level cache.
        launch_s: Seconds that a kernel takes whatever it does; on no spec sheet.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    source: str
    matrix_fp32_ops_per_s: float
    matrix_fp16_ops_per_s: float
    matrix_int8_ops_per_s: float
    vector_fp32_ops_per_s: float
    vector_fp16_ops_per_s: float
    bytes_per_s: float
    compute_capability: str
    memory_bytes: int
    l2_bytes: int
    launch_s: float = LAUNCH_S

    def __post_init__(self) -> None:
        rates = (
            *(self.matrix_fp32_ops_per_s, self.matrix_fp16_ops_per_s, self.matrix_int8_ops_per_s),
            *(self.vector_fp32_ops_per_s, self.vector_fp16_ops_per_s, self.bytes_per_s),
        )
        if min(rates) <= 0.0 or self.launch_s < 0.0:
            raise ValueError("a spec sheet has positive rates, and a launch takes 0 s or more")
        if min(self.memory_bytes, self.l2_bytes) < 0:
            raise ValueError("a spec sheet has no negative memory")
        if not self.source:
            raise ValueError("a spec sheet names its source")
