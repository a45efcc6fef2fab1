"""How a chosen network is trained alone: the published recipe, and one for little data."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from devices import UnknownName
from search.training.settings import STRICT, Positive, Share, TrainSettings, changed, common_values

RAND_AUGMENT = r"^(rand(-(m[0-9]+|n[0-9]+|p0?\.[0-9]+|mstd[0-9]*\.?[0-9]+|inc[01]))*)?$"
"""The part of timm's notation for RandAugment that can be given; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FinalSettings(TrainSettings):
    """Settings of training one network alone; validated when made.

    The defaults are the published recipe of GreedyNAS-A, -B and -C on ImageNet. What a run on a
    CPU, or on few images, should take is ``RECIPES["small"]``.

    Source:
        The second author's repository, hunto/image_classification_sota,
        configs/strategies/MBV2/mbv2_se_aa.yaml: 8 GPUs of 96 images each.

    Attributes:
        epochs: As in `TrainSettings`, as are all that are not named here. Published: 450.
        batch: Images per step. Published: 768.
        optimizer: timm's name. ``"rmsproptf"`` is RMSprop as TensorFlow has it; ``"sgd"`` has
            Nesterov's momentum. Neither decays biases and batch norm, as in the source.
        learning_rate: Peak for a batch of ``learning_rate_batch``; it is scaled linearly to
            ``batch``, see `peak_learning_rate`. Published: 0.048.
        learning_rate_batch: Images per step that ``learning_rate`` is for. Published: 768.
        epsilon: Of RMSprop, inside its square root; SGD has none. Published: 1e-3.
        momentum: Published: 0.9.
        weight_decay: Published: 1e-5.
        gradient_clip: The source clips nothing, nor does a norm that no step reaches.
        schedule: ``"step"`` multiplies the learning rate by ``decay_rate`` every ``decay_epochs``;
            ``"cosine"`` lets it fall to 0 and knows neither.
        decay_rate: In (0, 1]. Published: 0.97.
        decay_epochs: Published: 2.4, counted from the start of training.
        warmup_epochs: Published: 3.
        warmup_learning_rate: Where the warm-up starts. Published: 1e-6.
        label_smoothing: Published: 0.1.
        dropout: Share of the classifier's inputs that training drops. Published: 0.2.
        ema_decay: Of the moving average of weights and batch norm statistics, which is what is
            exported. Published: 0.9999, an average over some ten thousand steps.
        ema_warmup: Whether the average is over fewer steps at first, so that a short training
            forgets its random start. Published: no.
        rand_augment: RandAugment in timm's notation, such as ``rand-m9-mstd0.5``: magnitude 9,
            whose standard deviation is 0.5; empty for none.
        random_erasing: Probability that a rectangle of an image becomes noise. Published: 0.2.
        augment: Published: a random resized crop, mirrored. Deviation: the crop of
            `search.images.data`, as for supernets.
    """

    epochs: Annotated[int, Field(ge=1)] = 450
    batch: Annotated[int, Field(ge=2)] = 768
    optimizer: Literal["rmsproptf", "sgd"] = "rmsproptf"
    learning_rate: Positive = 0.048
    learning_rate_batch: Annotated[int, Field(ge=1)] = 768
    epsilon: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    gradient_clip: Positive = 1e9
    schedule: Literal["step", "cosine"] = "step"
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.97
    decay_epochs: Positive = 2.4
    warmup_epochs: Annotated[float, Field(ge=0)] = 3.0
    warmup_learning_rate: Positive = 1e-6
    dropout: Share = 0.2
    ema_decay: Share = 0.9999
    ema_warmup: bool = False
    rand_augment: Annotated[str, Field(pattern=RAND_AUGMENT)] = "rand-m9-mstd0.5"
    random_erasing: Annotated[float, Field(ge=0, le=1)] = 0.2

    @property
    def peak_learning_rate(self) -> float:
        """Learning rate after the warm-up: scaled linearly with the batch.

        Source:
            Goyal et al., Accurate, Large Minibatch SGD, 2017, section 2.1.
        """
        return self.learning_rate * (self.batch / self.learning_rate_batch)

    def shared(self) -> TrainSettings:
        """Return the settings that every training has, as a run records them."""
        return TrainSettings(**{name: getattr(self, name) for name in SHARED})

    def options(self) -> dict[str, Any]:
        """Return the others by name: plain data, as a run records a method's own settings."""
        mine = (each.name for each in fields(self) if each.name not in SHARED)
        return {name: getattr(self, name) for name in mine}


SHARED = tuple(each.name for each in fields(TrainSettings))
"""Names of the settings that every training has."""

PUBLISHED, SMALL = "published", "small"

RECIPES: Mapping[str, FinalSettings] = {
    PUBLISHED: FinalSettings(),
    SMALL: FinalSettings(
        epochs=40,
        batch=32,
        optimizer="sgd",
        learning_rate=0.1,
        learning_rate_batch=32,
        weight_decay=5e-4,
        gradient_clip=5.0,
        schedule="cosine",
        warmup_epochs=2.0,
        warmup_learning_rate=1e-3,
        dropout=0.0,
        ema_decay=0.99,
        ema_warmup=True,
        rand_augment="",
        random_erasing=0.0,
    ),
}
"""By name. ``"small"`` is for some thousand small images on a CPU: the optimizer, the batch and
the length of `TrainSettings`, the weight decay that NAS-Bench-Macro's networks were trained with,
an average over the last three epochs of such data, and no augmentation but crops and mirrors."""


def final_settings(path: Path | None = None) -> FinalSettings:
    """Read settings; what the file does not name is that of its recipe.

    Args:
        path: A TOML file. Its ``recipe`` is a name of `RECIPES`, ``"small"`` where it names none,
            and so it is without a file.

    Raises:
        InvalidFile: The file is missing, no TOML, or a value is out of its range.
        UnknownName: There is no such setting or recipe; says the nearest.
    """
    if path is None:
        return RECIPES[SMALL]
    values = common_values(path)
    recipe = str(values.pop("recipe", SMALL))
    if recipe not in RECIPES:
        raise UnknownName("recipe", recipe, RECIPES, cure=f"It stands in {path}.")
    return changed(RECIPES[recipe], values, path=path, also=("recipe",))
