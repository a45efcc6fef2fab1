"""How a supernet is trained: numbers with a range, and a reason for every default."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from devices import InvalidFile, UnknownName

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""No unknown key, no ``"32"`` for 32, no infinity."""

NOT_COMPARED = ("device",)
"""Settings that say where a run is trained and not what: it goes on where they are others."""

SECTIONS = ("greedynas", "sgnas", "econas", "fewshot", "darts", "distillation")
"""Methods with settings of their own, in a table of the file."""

Made = TypeVar("Made")

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class TrainSettings:
    """Settings of supernet training; validated when made.

    The defaults suit some thousand small images and a CPU. For ImageNet take those of the source.

    Source:
        Guo et al., Single Path One-Shot NAS, ECCV 2020, released training code: SGD, batch 1024,
        learning rate 0.5, momentum 0.9, weight decay 4e-5, label smoothing 0.1, 150,000 steps.

    Attributes:
        epochs: Passes over the training split, 1 or more; 40 of the digits are a minute or two.
        batch: Images per step, 2 or more, because batch norm compares them; processes and
            micro-batches share them. The source's 1024 would be one step an epoch on the digits;
            at equal images, 32 beat 64.
        accumulate: Micro-batches that a step's images are cut into where they do not fit into
            memory at once; divides ``batch``. Batch norm compares the images of a micro-batch.
        learning_rate: Peak of the cosine. The source's 0.5, scaled linearly to a batch of 32, is
            0.016; over so few steps 0.1 learned more, and 0.2 no more than that.
        momentum: Nesterov's, in [0, 1); as in the source.
        weight_decay: 0 or more; as in the source.
        label_smoothing: In [0, 1); as in the source.
        warmup_epochs: Epochs in which the learning rate rises from 1 % of its peak; less than
            ``epochs``.
        gradient_clip: Largest norm of a step's gradient. The median is about 1, but a path that
            was never drawn before can give 10 and more.
        augment: Whether training images are cropped, and where their source allows it mirrored, at
            random: customary, and right for long training. In 40 epochs of the 16-pixel digits
            networks lose a point of accuracy by it.
        seed: Of the weights, the paths and the order of the images.
        threads: CPU threads; 0 leaves torch's own choice. Runs repeat bit by bit at 1, which is
            also the fastest where other programs keep the cores busy: torch's threads wait for
            each other.
        precision: Of convolutions and linear layers; the weights stay float32. ``"bf16"`` and
            ``"fp16"`` are for hardware that computes faster in them; ``"fp16"`` scales the loss,
            skips a step whose gradients overflow, and needs a GPU.
        device: ``"auto"`` takes a GPU if there is one, else the CPU; ``"cpu"``, ``"cuda"``, or
            ``"cuda:1"``. Not compared when a run is resumed.
    """

    epochs: Annotated[int, Field(ge=1)] = 40
    batch: Annotated[int, Field(ge=2)] = 32
    accumulate: Annotated[int, Field(ge=1)] = 1
    learning_rate: Positive = 0.1
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 4e-5
    label_smoothing: Share = 0.1
    warmup_epochs: Annotated[float, Field(ge=0)] = 2.0
    gradient_clip: Positive = 5.0
    augment: bool = True
    seed: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=0)] = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto"

    def __post_init__(self) -> None:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be less than epochs, got {self.warmup_epochs:g} "
                f"and {self.epochs}"
            )
        if self.batch % self.accumulate or self.batch // self.accumulate < 2:
            raise ValueError(
                f"accumulate must cut batch into equal parts of 2 images or more, got "
                f"{self.accumulate} and {self.batch}"
            )


def settings_from_toml(path: Path, *, base: TrainSettings | None = None) -> TrainSettings:
    """Read settings; what the file does not name keeps its default.

    Args:
        path: A TOML file. A method's own settings stand in a table of its name, and are left alone.
        base: Other defaults than those of `TrainSettings`.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    return changed(base or TrainSettings(), common_values(path), path=path)


def common_values(path: Path) -> dict[str, Any]:
    """Read what a file of settings says beside the tables of methods.

    Raises:
        InvalidFile: It is missing, or no TOML.
    """
    return {name: value for name, value in toml_values(path).items() if name not in SECTIONS}


def section_from_toml(path: Path, method: str, base: Made) -> Made:
    """Read a method's own settings, the table of its name; the defaults where the file has none.

    Args:
        path: A TOML file.
        method: A name of `SECTIONS`.
        base: The defaults.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    values = toml_values(path).get(method, {})
    if not isinstance(values, dict):
        raise InvalidFile(f"{path}: {method} is a table: write [{method}] above its settings")
    tupled = {key: tuple(each) if isinstance(each, list) else each for key, each in values.items()}
    return changed(base, tupled, path=path)


def toml_values(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InvalidFile: It is missing, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidFile(f"cannot read the settings {path}: {error.strerror}") from error
    except ValueError as error:  # of tomllib, or of bytes that are no text
        raise InvalidFile(f"{path} is not TOML: {error}") from error


def changed(
    base: Made, values: Mapping[str, Any], *, path: Path, also: tuple[str, ...] = ()
) -> Made:
    """Return settings with what a file names.

    Args:
        base: A dataclass of ours; what is not named stays as it is there.
        values: Name to value.
        path: Where they stand, for messages.
        also: Other names that the file may have, to suggest.

    Raises:
        InvalidFile: A value is out of its range.
        UnknownName: There is no such setting; says the nearest.
    """
    known = [field.name for field in fields(cast(Any, base))]
    for name in values:
        if name not in known:
            cure = f"It stands in {path}."
            raise UnknownName("training setting", name, [*known, *also], cure=cure)
    try:
        return cast(Made, replace(cast(Any, base), **values))
    except ValidationError as error:
        raise InvalidFile(f"{path}: {explained(error.errors()[0])}") from error


def explained(problem: "ErrorDetails") -> str:
    """Return one complaint of pydantic in one line: where, what, and what was given."""
    if problem["type"] == "value_error":  # said by __post_init__, in its own words
        return str(problem["ctx"]["error"])
    where = ".".join(map(str, problem["loc"])) or "the file"
    return f"{where}: {problem['msg']}; got {problem['input']!r}"
