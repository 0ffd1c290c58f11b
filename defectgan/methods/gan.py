"""GAN: a generator from noise against a discriminator, the minimax game that began it.

    min_G max_D  E[log D(x)] + E[log(1 - D(G(z)))]

    L_D = -E[log D(x)] - E[log(1 - D(G(z)))]
    L_G = E[log(1 - D(G(z)))]          minimax: its gradient D |grad l| vanishes where D is sure
       or -E[log D(G(z))]              non-saturating: (1 - D) |grad l|, largest there

D = sigmoid(l). Both losses of the generator have the same fixed point; the size of either's
gradient at the images is logged in each step, whichever is trained with.

Source: Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014.
"""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import DISCRIMINATOR, MethodShape, Networks, Terms
from defectgan.methods.draws import Draws
from defectgan.methods.from_noise import FromNoise, NoiseShape, made
from defectgan.settings.base import Settings as Section

GENERATOR_LOSSES = {
    "minimax": losses.minimax_generator,
    "non-saturating": losses.non_saturating_generator,
}


class Shape(NoiseShape):
    """What its networks are built from."""

    name: Literal["gan"] = "gan"


class MinimaxSettings(Section):
    """Of a game of a discriminator with a sigmoid."""

    generator_loss: Literal["minimax", "non-saturating"] = Field(
        "minimax", description="what the generator lowers"
    )
    n_critic: int = Field(1, ge=1, description="critic steps for each generator step")


class Settings(Shape, MinimaxSettings):
    """And how it plays."""


def beliefs(on_real: Tensor, on_fake: Tensor) -> Terms:
    """How probably real the discriminator takes either kind to be, by their logits."""
    return {"d_real": on_real.sigmoid().mean(), "d_fake": on_fake.sigmoid().mean()}


def gradient_sizes(logit: Tensor, fake: Tensor) -> Terms:
    """The norm of the gradient of each of the generator's losses at an image [B, C, H, W] whose
    logit [B] is l, mean over images; ``-D grad l`` and ``-(1 - D) grad l``.
    """
    (slope,) = torch.autograd.grad(logit.sum(), fake, retain_graph=True)
    norm, sure = slope.flatten(1).norm(dim=1), logit.detach().sigmoid()
    return {
        "grad_minimax": (sure * norm).mean(),
        "grad_non_saturating": ((1 - sure) * norm).mean(),
    }


class GAN(FromNoise):
    """The first form, which knows no classes."""

    Shape: ClassVar[type[MethodShape]] = Shape
    Settings: ClassVar[type[MethodShape]] = Settings

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        discriminator, label = networks[DISCRIMINATOR], batch.source
        on_real = discriminator(draws.shown(batch.images), label)
        on_fake = discriminator(draws.shown(fake), label)
        loss = losses.minimax_discriminator(on_real, on_fake)
        return loss, {"gan": loss} | beliefs(on_real, on_fake)

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: Any
    ) -> tuple[Tensor, Terms]:
        label = batch.source
        fake = made(networks, label, draws)
        logit = networks[DISCRIMINATOR](draws.shown(fake), label)
        adv = GENERATOR_LOSSES[self.shape.generator_loss](logit)
        return adv, {"adv": adv} | gradient_sizes(logit, fake)
