"""Augmentation of all that the critic sees, as much of it as its overfitting asks for.

Real and painted images are shifted, turned, scaled and recoloured alike, so that the critic cannot
learn its few real images by heart, and the generator does not learn to paint what none of them
shows.

Sources: Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020;
    Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020. Its
    measure of overfitting is how sure D is of the real images it learns from. A Wasserstein critic
    is sure of nothing, its zero has no meaning; here the classifier is what overfits, and how sure
    it is of their classes takes the place.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Each with its own chance: shift along both axes, turn, scale, contrast, brightness, saturation.
KINDS = 7
SHIFT = 1 / 8  # of the image's side
SCALE = 0.2  # natural logarithm
CONTRAST = 0.5  # natural logarithm
BRIGHTNESS = 0.3  # of the range of 2


def draw_augmentation(count: int, rng: torch.Generator) -> Tensor:
    """For each image whether and how much of each kind, [count, KINDS, 2] in [0, 1)."""
    return torch.rand(count, KINDS, 2, generator=rng, device=rng.device)


def augment(image: Tensor, drawn: Tensor, strength: Tensor) -> Tensor:
    """Images as the critic sees them, [B, C, H, W]; values may leave [-1, 1].

    Args:
        image: [B, C, H, W] in [-1, 1]; gradients flow through.
        drawn: [B, KINDS, 2] of ``draw_augmentation``.
        strength: scalar in [0, 1], the chance of each kind.
    """
    chosen = (drawn[..., 0] < strength).to(drawn.dtype)
    # In [-1, 1], 0 where a kind is not chosen, which then changes nothing.
    across, down, turn, scale, contrast, brightness, saturation = (
        chosen * (2 * drawn[..., 1] - 1)
    ).unbind(1)
    moved = _move(image, SHIFT * across, SHIFT * down, torch.pi * turn, (SCALE * scale).exp())
    factor = (CONTRAST * contrast).exp()
    return _recolour(moved, factor, 2 * BRIGHTNESS * brightness, 1 + saturation)


def _move(image: Tensor, across: Tensor, down: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
    """Turn and scale round the middle, then shift; beyond the border the image is mirrored."""
    height, width = image.shape[2:]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    # The grid's coordinates run from -1 to 1 along either side.
    theta = torch.stack(
        [
            torch.stack([cos, -sin * (height / width), 2 * across], dim=1),
            torch.stack([sin * (width / height), cos, 2 * down], dim=1),
        ],
        dim=1,
    )
    # Under autocast the grid would be a product in bf16: a third of a pixel off at 128 px.
    with torch.autocast(image.device.type, enabled=False):
        grid = F.affine_grid(theta.float(), list(image.shape), align_corners=False)
        moved: Tensor = F.grid_sample(
            image.float(), grid, padding_mode="reflection", align_corners=False
        )
    return moved.contiguous(memory_format=torch.channels_last)


def _recolour(image: Tensor, contrast: Tensor, brightness: Tensor, saturation: Tensor) -> Tensor:
    """Away from or towards the pixel's gray, then the image's mean, then lighter or darker."""
    contrast, brightness, saturation = (
        factor[:, None, None, None] for factor in (contrast, brightness, saturation)
    )
    if image.shape[1] > 1:
        gray = image.mean(1, keepdim=True)
        image = gray + saturation * (image - gray)
    mean = image.mean((1, 2, 3), keepdim=True)
    return mean + contrast * (image - mean) + brightness
