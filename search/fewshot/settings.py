"""Settings of few-shot training, and where a supernet is to be split.

Source:
    Zhao et al., Few-Shot Neural Architecture Search, ICML 2021, section 4: children are trained
    half as long as the parent (300 and 600 epochs).
"""

from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from search.splits.routed import METHOD
from search.splits.split import Split
from search.training.settings import STRICT, Share, TrainSettings, section_from_toml


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FewShotSettings:
    """Settings of few-shot training, beside those of a child's training; validated when made.

    Attributes:
        transfer: Whether children start from the parent's weights; otherwise from fresh ones.
        processes: Children that are trained at once, each in a process of its own. Under
            ``torchrun`` 1 lets its processes share the batches of one child after another, and
            their number gives each of them children of its own, which needs no even shares and no
            communication.
        choosing: Share of the parent's training images that choosing where to split may cost.
    """

    transfer: bool = True
    processes: Annotated[int, Field(ge=1)] = 1
    choosing: Annotated[Share, Field(gt=0)] = 0.1

    @property
    def compared(self) -> dict[str, Any]:
        """What a run must share with the one that it takes up."""
        return {"transfer": self.transfer, "choosing": self.choosing}


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """Where a supernet is split: by splits that are given, or by a rule that chooses some.

    Attributes:
        splits: Given ones; none where a rule chooses.
        choose: The rule, a key of `search.fewshot.choose_split.RULES`; empty where splits are
            given.
        children: How many children the rule should make; 0 where splits are given.
    """

    splits: tuple[Split, ...] = ()
    choose: str = ""
    children: int = 0

    def __post_init__(self) -> None:
        if bool(self.splits) == bool(self.choose) or bool(self.choose) != bool(self.children):
            raise ValueError("either splits are given, or a rule and a number of children")

    @property
    def options(self) -> dict[str, Any]:
        """What a run must share with the one that it takes up."""
        if self.splits:
            return {"splits": [str(split) for split in self.splits]}
        return {"choose": self.choose, "children": self.children}


def fewshot_from_toml(path: Path) -> FewShotSettings:
    """Read the table ``[fewshot]`` of a file of settings; the defaults where it has none.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    return section_from_toml(path, METHOD, FewShotSettings())


def child_settings(parent: TrainSettings) -> TrainSettings:
    """Return how children are trained unless one says otherwise: as the parent, half as long.

    There is no warm-up: the weights are no fresh ones.
    """
    return replace(parent, epochs=max(1, parent.epochs // 2), warmup_epochs=0.0)
