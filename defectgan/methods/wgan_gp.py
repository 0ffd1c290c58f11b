"""WGAN-GP: the slope of the critic is held at 1 instead of its weights in a box.

    L_D = E[D(G(z))] - E[D(x)] + gp E[(|grad D(x_hat)|_2 - 1)^2]
    L_G = -E[D(G(z))]

    x_hat = t x + (1 - t) G(z),   t ~ U[0, 1], one an image

An optimal critic has slope 1 almost everywhere between the two. One-sided, a smaller slope costs
nothing. DRAGAN takes the same penalty round real images alone, where the slope of any good critic
should be small: x_hat = x + t std(x) u / 2, u ~ U[0, 1] a pixel.

Sources: Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, algorithm 1;
    Kodali et al., "On Convergence and Stability of GANs", 2017.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import DISCRIMINATOR, Networks, Terms
from defectgan.methods.draws import Draws
from defectgan.methods.from_noise import NoiseShape
from defectgan.methods.wgan import Wasserstein


class Shape(NoiseShape):
    """What its networks are built from."""

    name: Literal["wgan-gp"] = "wgan-gp"


class Settings(Shape):
    """And its penalty."""

    gp: float = Field(10.0, ge=0)
    sides: Literal["two", "one"] = Field(
        "two", description="whether a slope below 1 costs as one above it, or nothing"
    )
    between: Literal["real and made", "real and perturbed"] = Field(
        "real and made", description="where the penalty is taken; the latter is DRAGAN's place"
    )
    n_critic: int = Field(5, ge=1, description="critic steps for each generator step")


class WGANGP(Wasserstein):
    """The form with a gradient penalty."""

    Shape, Settings = Shape, Settings

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        critic, s, label = networks[DISCRIMINATOR], self.shape, batch.source
        t = draws.uniform(len(fake))
        real, fake = draws.shown(batch.images), draws.shown(fake)
        terms = {
            "wgan": losses.wasserstein_critic(critic(real, label), critic(fake, label)),
            "gp": losses.penalty_at(
                lambda x: critic(x, label),
                self._between(real, fake, t, draws),
                one_sided=s.sides == "one",
            ),
        }
        return terms["wgan"] + s.gp * terms["gp"], terms

    def _between(self, real: Tensor, fake: Tensor, t: Tensor, draws: Draws) -> Tensor:
        """x_hat, where the penalty is taken."""
        if self.shape.between == "real and made":
            return losses.interpolate(real, fake, t)
        u = draws.uniform(len(real), real[0].numel()).view_as(real)
        return losses.interpolate(losses.perturbed(real, u), real, t)
