"""AC-GAN: the generator is told the class, and the critic finds it out.

    L_S = E[log P(real | x)] + E[log P(made | G(z, y))]
    L_C = E[log P(y | x)] + E[log P(y | G(z, y))]

    the critic raises L_S + cls L_C, the generator cls L_C - L_S

The critic is told no class: its second head learns it from real and from made images. The
generator's class term asks that head and does not change it.

Source: Odena et al., "Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017.
"""

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import CRITIC, Networks, Terms
from defectgan.methods.draws import Draws
from defectgan.methods.from_noise import FromNoise, NoiseShape, made
from defectgan.methods.gan import GENERATOR_LOSSES, MinimaxSettings, beliefs, gradient_sizes
from defectgan.methods.layered import verdicts
from defectgan.networks.critic import PatchCritic


class Shape(NoiseShape):
    """What its networks are built from."""

    name: Literal["acgan"] = "acgan"


class Settings(Shape, MinimaxSettings):
    """And the weight of the class."""

    cls: float = Field(1.0, ge=0)


class ACGAN(FromNoise):
    """Its critic knows classes, and chooses among candidates."""

    Shape, Settings = Shape, Settings
    judging = (CRITIC,)
    needs = "good images, and images of each defect"
    told_classes = True

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, classes) = self.shape, self.task[:2]
        return {
            "generator": self._noise_generator(),
            CRITIC: PatchCritic(channels, classes, width=s.critic_width, layers=s.critic_layers),
        }

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        label = batch.source
        real, fake = draws.shown(batch.images), draws.shown(fake)
        on_real, on_fake = verdicts(networks[CRITIC], real, fake, label)
        terms = {
            "gan": losses.minimax_discriminator(on_real.score, on_fake.score),
            "cls_r": self.classification(on_real.logits, label),
            "cls_made": self.classification(on_fake.logits, label),
        }
        total = terms["gan"] + self.shape.cls * (terms["cls_r"] + terms["cls_made"])
        terms |= beliefs(on_real.score, on_fake.score)
        return total, terms | {"sureness": self.sureness(on_real.logits, label)}

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: Any
    ) -> tuple[Tensor, Terms]:
        label = batch.source
        fake = made(networks, label, draws)
        verdict = networks[CRITIC](draws.shown(fake), label)
        terms = {
            "adv": GENERATOR_LOSSES[self.shape.generator_loss](verdict.score),
            "cls_f": self.classification(verdict.logits, label),
        }
        total = terms["adv"] + self.shape.cls * terms["cls_f"]
        return total, terms | gradient_sizes(verdict.score, fake)
