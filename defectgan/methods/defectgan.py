"""Defect-GAN as published.

    deface   d^ = compose(n, G(n, y))          restore   n^ = compose(d, G(d, normal))
    and back n~ = compose(d^, G(d^, normal))             d~ = compose(n^, G(n^, y))

    L_D = E[D(fake)] - E[D(real)] + gp GP + cls_r CE(D_cls(real), y)
    L_G = -adv E[D(fake)] + cls_f CE(D_cls(fake), y_target) + rec |x - x~|_1
          + sd_cyc |m - m~|_1 + sd_con (|m|_1 + |m~|_1)

n, d are normal and defect images, y the label of d. Both directions go through the networks as one
batch: (n, d) towards (y, normal), then (d^, n^) back towards (normal, y).

Source: Zhang et al., "Defect-GAN: High-Fidelity Defect Synthesis for Automated Defect Inspection",
    WACV 2021.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import CRITIC, Networks, PatchShape, Player, Terms
from defectgan.methods.draws import Draws, risen
from defectgan.methods.layered import (
    Layered,
    LayeredSettings,
    both_ways,
    covered,
    fakes,
    penalty,
    verdicts,
)
from defectgan.networks.critic import PatchCritic
from defectgan.networks.generator import Generator


class Shape(PatchShape):
    """What its networks are built from."""

    name: Literal["defectgan"] = "defectgan"
    width: int = Field(
        64, ge=4, le=1024, description="channels at full resolution; 4 x at the bottleneck"
    )
    residual_blocks: int = Field(6, ge=0, le=256)
    spade_hidden: int = Field(128, ge=4, le=4096, description="channels of the SPADE branch")
    noise_scale: float = Field(0.0, ge=0, description="of the adaptive noise, at the start")


class Settings(Shape, LayeredSettings):
    """And the weights of its terms, in the symbols of the paper."""

    cls_f: float = Field(5.0, ge=0)
    sd_cyc: float = Field(5.0, ge=0)
    sd_con: float = Field(1.0, ge=0)
    sparsity_warmup: int = Field(0, ge=0, description="steps over which sd_con rises from 0")
    n_critic: int = Field(5, ge=1, description="critic steps for each generator step")


class DefectGAN(Layered):
    """The published form."""

    Shape, Settings = Shape, Settings

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, classes) = self.shape, self.task[:2]
        return {
            "generator": Generator(channels, classes, **self.sizes),
            CRITIC: PatchCritic(channels, classes, width=s.critic_width, layers=s.critic_layers),
        }

    def players(self) -> tuple[Player, ...]:
        return (
            Player("critic", (CRITIC,), self._critic, self.shape.n_critic, ahead=fakes),
            Player("generator", ("generator",), self._generator),
        )

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        critic, s, label = networks[CRITIC], self.shape, batch.target
        t = draws.uniform(len(fake))
        real, fake = draws.shown(batch.real), draws.shown(fake)
        on_real, on_fake = verdicts(critic, real, fake, label)
        terms = {
            "wgan": losses.wasserstein_critic(on_real.score, on_fake.score),
            "gp": penalty(critic, losses.interpolate(real, fake, t), label),
            "cls_r": self.classification(on_real.logits, label),
        }
        total = terms["wgan"] + s.gp * terms["gp"] + s.cls_r * terms["cls_r"]
        return total, terms | {"sureness": self.sureness(on_real.logits, label)}

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: None
    ) -> tuple[Tensor, Terms]:
        s, label = self.shape, batch.target
        there, back = both_ways(networks["generator"], batch, draws)
        verdict = networks[CRITIC](draws.shown(there.image), label)
        terms = {
            "adv": losses.wasserstein_generator(verdict.score),
            "cls_f": self.classification(verdict.logits, label),
            "rec": losses.reconstruction(batch.images, back.image),
            "sd_cyc": losses.mask_cycle(there.mask, back.mask),
            "sd_con": losses.mask_sparsity(there.mask) + losses.mask_sparsity(back.mask),
        }
        total = (
            s.adv * terms["adv"]
            + s.cls_f * terms["cls_f"]
            + s.rec * terms["rec"]
            + s.sd_cyc * terms["sd_cyc"]
            + risen(draws.step, s.sparsity_warmup) * s.sd_con * terms["sd_con"]
        )
        total, terms = self.supervised(total, terms, there.mask, batch)
        return total, terms | covered(there.mask)
