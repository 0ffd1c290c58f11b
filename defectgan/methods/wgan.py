"""Wasserstein GAN: a critic of bounded weights measures how far what is made has to be moved.

    W(P_r, P_g) = sup over |f|_L <= 1 of  E[f(x)] - E[f(G(z))]

    L_D = E[D(G(z))] - E[D(x)]        then w <- clip(w, -c, c), after every step
    L_G = -E[D(G(z))]

D is a score, not a probability: there is no sigmoid, and it has a gradient however far apart the
two are. RMSprop, for a momentum was unstable here; several critic steps for one of the generator,
for the estimate is to be near its supremum.

Source: Arjovsky et al., "Wasserstein GAN", ICML 2017, algorithm 1.
"""

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import DISCRIMINATOR, Networks, Player, Terms
from defectgan.methods.draws import Draws
from defectgan.methods.from_noise import FromNoise, NoiseShape, made


class Shape(NoiseShape):
    """What its networks are built from."""

    name: Literal["wgan"] = "wgan"


class Settings(Shape):
    """And the bound of its weights."""

    clip: float = Field(0.01, gt=0, description="bound of the critic's weights")
    n_critic: int = Field(5, ge=1, description="critic steps for each generator step")


class Wasserstein(FromNoise):
    """Of which the critic, a score, has any form: its generator raises the score."""

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: Any
    ) -> tuple[Tensor, Terms]:
        fake = made(networks, batch.source, draws)
        adv = losses.wasserstein_generator(networks[DISCRIMINATOR](draws.shown(fake), batch.source))
        return adv, {"adv": adv}


class WGAN(Wasserstein):
    """The form with clipped weights."""

    Shape, Settings = Shape, Settings

    def players(self) -> tuple[Player, ...]:
        critic, generator = super().players()
        return (
            critic._replace(optimiser="rmsprop", after=self._clip),
            generator._replace(optimiser="rmsprop"),
        )

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        critic, label = networks[DISCRIMINATOR], batch.source
        on_real = critic(draws.shown(batch.images), label)
        on_fake = critic(draws.shown(fake), label)
        loss = losses.wasserstein_critic(on_real, on_fake)
        return loss, {"wgan": loss}

    def _clip(self, networks: Networks) -> None:
        losses.clip_weights(networks[DISCRIMINATOR].parameters(), self.shape.clip)
