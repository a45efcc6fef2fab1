"""What another number format costs in accuracy: a network in it beside the same one in fp32.

Accuracies are compared image by image, since both see the same ones.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from export.logits import Labels

COVERAGE = 0.95
"""Of every interval here."""

_Z = NormalDist().inv_cdf((1.0 + COVERAGE) / 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What two versions of one network say of the same images.

    Attributes:
        images: How many.
        both_right: Images that both get right.
        lost: Those that only the network in fp32 gets right.
        gained: Those that only the other one does.
        agreeing: Images that both take for the same class, right or wrong.
    """

    images: int
    both_right: int
    lost: int
    gained: int
    agreeing: int

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError("an agreement needs images, got none")

    @property
    def accuracy_fp32(self) -> float:
        """Top-1 in [0, 1] in fp32."""
        return (self.both_right + self.lost) / self.images

    @property
    def accuracy(self) -> float:
        """Top-1 in [0, 1] in the other format."""
        return (self.both_right + self.gained) / self.images

    @property
    def agreement(self) -> float:
        """Share of images that both take for the same class."""
        return self.agreeing / self.images

    @property
    def drop_points(self) -> float:
        """Points of top-1 that the other format costs; below 0 where it gains some."""
        return 100.0 * (self.lost - self.gained) / self.images

    @property
    def drop_interval_points(self) -> tuple[float, float]:
        """Where the drop would lie on other images of the same kind.

        Source:
            Agresti and Min, Simple improved confidence intervals for comparing matched
            proportions, Statistics in Medicine 24, 2005: half an image more in each of four cells.
        """
        count, lost, gained = self.images + 2.0, self.lost + 0.5, self.gained + 0.5
        drop = (lost - gained) / count
        deviation = math.sqrt((lost + gained) / count - drop**2) / math.sqrt(count)
        return 100.0 * (drop - _Z * deviation), 100.0 * (drop + _Z * deviation)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "images": self.images,
            "accuracy_fp32": self.accuracy_fp32,
            "accuracy_fp32_interval": list(share_interval(self.accuracy_fp32, self.images)),
            "accuracy": self.accuracy,
            "accuracy_interval": list(share_interval(self.accuracy, self.images)),
            "drop_points": self.drop_points,
            "drop_interval_points": list(self.drop_interval_points),
            "agreement": self.agreement,
        }


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Return where a share of some images would lie on other images, in [0, 1].

    Source:
        Wilson, Probable inference, JASA 22, 1927: the score interval.
    """
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    reach = _Z / (1 + _Z**2 / count)
    reach *= math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def agreement(before: Labels, after: Labels, labels: Labels) -> Agreement:
    """Compare what two networks take images for.

    Args:
        before: Classes that the network in fp32 names, ``(images,)``.
        after: Those that the other one does.
        labels: What is true.
    """
    was, is_ = before == labels, after == labels
    return Agreement(
        images=len(labels),
        both_right=int((was & is_).sum()),
        lost=int((was & ~is_).sum()),
        gained=int((~was & is_).sum()),
        agreeing=int((before == after).sum()),
    )
