"""What the two forms of Defect-GAN share: a layer is painted, there and back.

B batch, C image channels, K classes, H x W pixels.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import Method, Networks, Terms
from defectgan.methods.draws import Draws
from defectgan.networks.compose import Painted
from defectgan.networks.control import constant_map
from defectgan.networks.critic import Critic, Verdict
from defectgan.networks.generator import Generator, Layer
from defectgan.settings.base import Settings


class LayeredSettings(Settings):
    """The weights that have one default in both; ``adv`` multiplies the generator's -E[D(fake)]."""

    adv: float = Field(1.0, ge=0)
    gp: float = Field(10.0, ge=0)
    cls_r: float = Field(2.0, ge=0)
    rec: float = Field(5.0, ge=0)
    mask_supervision: float = Field(
        0.0, ge=0, description="restoration masks are the true ones, where images have any"
    )


def paint(
    network: nn.Module, image: Tensor, label: Tensor, noise: Tensor, *more: Tensor
) -> Painted:
    """Images [B, C, H, W] towards classes [B, K], the same all over an image; ``more`` is what the
    network takes besides.
    """
    layer: Layer = network(image, constant_map(label), noise, *more)
    return layer.over(image)


def fakes(networks: Networks, batches: Sequence[Batch], draws: Draws) -> Sequence[Tensor]:
    """The fakes of several critic steps in one pass: the generator stands still meanwhile."""
    generator = cast(Generator, networks["generator"])
    images = [batch.images for batch in batches]
    target = torch.cat([batch.target for batch in batches])
    size = generator.noise_size(*images[0].shape[2:])
    noise = torch.cat([draws.noise(len(each), size) for each in images])
    return paint(generator, torch.cat(images), target, noise).image.chunk(len(batches))


def both_ways(
    network: nn.Module, batch: Batch, draws: Draws, *, defects: bool = True
) -> tuple[Painted, Painted]:
    """Every image to its target class, and what came of it back to its own class; of what came of
    defects only if asked for.
    """
    generator, images = cast(Generator, network), batch.images
    count, size = len(images), generator.noise_size(*images.shape[2:])
    noise, noise_back = draws.noise(count, size), draws.noise(count, size)
    there = paint(generator, images, batch.target, noise)
    n = count if defects else count // 2
    back = paint(generator, there.image[:n], batch.source[:n], noise_back[:n])
    return there, back


def verdicts(
    critic: nn.Module, real: Tensor, fake: Tensor, label: Tensor
) -> tuple[Verdict, Verdict]:
    """The critic's verdicts on real and fake images of the classes ``label`` [B, K], in one pass:
    no layer of its mixes images.
    """
    score, logits = critic(torch.cat([real, fake]), torch.cat([label, label]))
    n = len(real)
    return Verdict(score[:n], logits[:n]), Verdict(score[n:], logits[n:])


def penalty(critic: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """The gradient penalty of the mean over the patches, at an image."""
    return losses.penalty_at(lambda x: cast(Critic, critic).scores(x, label), image)


def covered(mask: Tensor) -> Terms:
    """What the masks [B, 1, H, W] of both directions cover, for a person."""
    deface, restore = mask.detach().chunk(2)
    return {"mask_deface": deface.mean(), "mask_restore": restore.mean()}


class Layered(Method):
    """Paints a layer over the image, and is told by the classes of a batch's images alone."""

    @property
    def wants_truths(self) -> bool:
        return bool(self.shape.mask_supervision)

    @property
    def sizes(self) -> dict[str, Any]:
        """What a generator of the family is built with, besides C and K."""
        names = "width", "residual_blocks", "spade_hidden", "noise_scale"
        return {name: getattr(self.shape, name) for name in names}

    def supervised(
        self, total: Tensor, terms: Terms, mask: Tensor, batch: Batch
    ) -> tuple[Tensor, Terms]:
        """With the term of the true masks of defects, where it has a weight."""
        weight = self.shape.mask_supervision
        if not weight:
            return total, terms
        term = losses.mask_supervision(mask.chunk(2)[1], batch.truth)
        return total + weight * term, terms | {"mask_supervision": term}

    def noise_size(self, networks: Networks, height: int, width: int) -> int:
        return cast(Generator, networks["generator"]).noise_size(height, width)

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        layer: Layer = networks["generator"](image, control, noise)
        return layer
