"""Strong augmentation as timm has it, of batches in memory: RandAugment and random erasing.

Source:
    Cubuk et al., RandAugment, 2019; Zhong et al., Random Erasing Data Augmentation, AAAI 2020.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from search.images.data import Split


class StrongAugmentation:
    """Changes the images of a training batch at random.

    Args:
        split: Says how its batches are normalised.
        rand_augment: In timm's notation, such as ``rand-m9-mstd0.5``; empty for none. What it
            turns or shifts is filled with the mean colour.
        random_erasing: Probability, in [0, 1], that a rectangle of an image becomes noise.
    """

    def __init__(self, split: Split, *, rand_augment: str, random_erasing: float) -> None:
        self._mean, self._std = (  # (1, 3, 1, 1), of values up to 255
            torch.tensor(each).view(1, 3, 1, 1) * 255 for each in (split.mean, split.std)
        )
        fill = tuple(round(255 * each) for each in split.mean)
        self._policy = (
            rand_augment_transform(rand_augment, {"img_mean": fill}) if rand_augment else None
        )
        self._erasing = RandomErasing(probability=random_erasing, mode="pixel", device="cpu")

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Return changed images; those given stay as they are.

        Args:
            images: ``(batch, 3, height, width)``, normalised, on the CPU.
            rng: Decides what is done to which; nobody else's draws depend on it.
        """
        with _drawing_from(rng):
            changed = images.clone() if self._policy is None else self._changed(images)
            self._erasing(changed)  # in place
        return changed

    def _changed(self, images: Tensor) -> Tensor:
        """Apply the policy to each image, as the bytes that it was before it was normalised."""
        values = images.mul(self._std).add_(self._mean).round_().clamp_(0, 255)
        pixels = values.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        policy = self._policy
        assert policy is not None  # or nobody calls this
        changed = np.stack([np.asarray(policy(Image.fromarray(each))) for each in pixels])
        tensor = torch.from_numpy(changed).permute(0, 3, 1, 2).float()  # (batch, 3, side, side)
        return tensor.sub_(self._mean).div_(self._std)


@contextmanager
def _drawing_from(rng: np.random.Generator) -> Iterator[None]:
    """Seed the process's generators, which timm draws from, and leave them as they were."""
    python, numpy, on_cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs, too
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(on_cpu)
