"""Augmentation of the images that the critic and the generator see; the only module that imports
albumentations.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectgan.settings.data import AugmentConfig

os.environ.setdefault(
    "NO_ALBUMENTATIONS_UPDATE", "1"
)  # it would ask the network for a newer version

import albumentations


class Augment:
    """Random pose and exposure, drawn alike for all classes.

    Where classes differ in exposure the critic reads brightness, and the generator learns to paint
    brightness; the same strong random gain, offset and gamma on normal and defect images takes that
    cue away.
    """

    def __init__(self, config: AugmentConfig, *, square: bool = True) -> None:
        """Args: what to draw; quarter turns are for square images only."""
        steps: list[Any] = []
        if config.flip:
            steps += [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
        if config.rotate and square:
            steps.append(albumentations.RandomRotate90(p=0.5))
        if config.contrast or config.brightness:
            steps.append(
                albumentations.RandomBrightnessContrast(
                    contrast_limit=config.contrast, brightness_limit=config.brightness, p=1.0
                )
            )
        if config.gamma:
            limits = (100 / (1 + config.gamma), 100 * (1 + config.gamma))
            steps.append(albumentations.RandomGamma(gamma_limit=limits, p=1.0))
        self._transform = albumentations.Compose(steps)

    def __call__(self, image: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
        """Augment an image [H, W, C] in [0, 1]; the same image and seed give the same result."""
        return self.together(image, None, seed=seed)[0]

    def together(
        self, image: NDArray[np.float32], mask: NDArray[np.float32] | None, *, seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Augment an image and its mask [H, W, 1], which takes its pose alone."""
        self._transform.set_random_seed(seed)
        masks = {} if mask is None else {"mask": mask}
        made = self._transform(image=image, **masks)
        return made["image"], made.get("mask")
