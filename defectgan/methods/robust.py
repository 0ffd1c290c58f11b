"""Defect-GAN in the form that learns small and low-contrast defects from few images.

The equations are those of ``methods/defectgan.py``, with four departures in its losses beside those
of its networks (``RobustGenerator``, ``TowerCritic``):

    L_D   + cls_s CE(D_cls(fake), y_source)     a fake is of the class that it was painted from
    L_G   p(y_target | fake) sd_con |m|_1       an image that is not recognised pays no mask
    n~    alone comes back                      a restored defect need not
    D_cls trains alone first                    until it beats chance

The reasons stand in docs/how-it-works.md.
"""

from typing import Literal, cast

from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import CRITIC, MaskKind, Networks, PatchShape, Player, Terms, WarmUp
from defectgan.methods.draws import Draws
from defectgan.methods.layered import (
    Layered,
    LayeredSettings,
    both_ways,
    covered,
    fakes,
    penalty,
    verdicts,
)
from defectgan.networks.critic import TowerCritic
from defectgan.networks.generator import ConcatenatedGenerator, RobustGenerator


class Shape(PatchShape):
    """What its networks are built from."""

    name: Literal["robust"] = "robust"
    width: int = Field(
        16, ge=4, le=1024, description="channels at full resolution; 4 x at the bottleneck"
    )
    residual_blocks: int = Field(4, ge=0, le=256)
    spade_hidden: int = Field(32, ge=4, le=4096, description="channels of the SPADE branch")
    noise_scale: float | None = Field(
        0.3, ge=0, description="of the adaptive noise, at the start; None: no noise"
    )
    control: Literal["spade", "concatenated"] = Field(
        "spade", description="how the class is told: by SPADE, or beside the image"
    )
    layered: bool = Field(True, description="paint a layer over the image; or all of it anew")
    critic_width: int = Field(
        32, ge=4, le=1024, description="channels of the first layer, doubled by each further"
    )
    critic_layers: int = Field(4, ge=2, le=8, description="each halves the size")
    tower_width: int = Field(
        16, ge=8, le=1024, multiple_of=8, description="channels of the classifier's first layer"
    )


class Settings(Shape, LayeredSettings):
    """And the weights of its terms, in the symbols above."""

    cls_f: float = Field(3.0, ge=0)
    cls_s: float = Field(0.25, ge=0)
    sd_cyc: float = Field(2.0, ge=0)
    sd_con: float = Field(5.0, ge=0)
    n_critic: int = Field(2, ge=1, description="critic steps for each generator step")
    tower_lr: float = Field(1e-3, gt=0, description="the classifier's learning rate")
    warmup_steps: int = Field(
        2000, ge=0, description="steps that the classifier trains alone before all others, at most"
    )
    warmup_until: float = Field(
        0.4, gt=0, le=1, description="share of chance's cross-entropy at which that warm-up ends"
    )

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        super().check(size, final_lr)
        if final_lr > self.tower_lr:
            raise ValueError(f"final_lr {final_lr} is larger than tower_lr {self.tower_lr}")


class Robust(Layered):
    """The robust form."""

    Shape, Settings = Shape, Settings

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, classes) = self.shape, self.task[:2]
        kind = RobustGenerator if s.control == "spade" else ConcatenatedGenerator
        return {
            "generator": kind(channels, classes, layered=s.layered, **self.sizes),
            CRITIC: TowerCritic(
                channels,
                classes,
                width=s.critic_width,
                layers=s.critic_layers,
                tower_width=s.tower_width,
            ),
        }

    @property
    def mask_kind(self) -> MaskKind:
        return "layer" if self.shape.layered else "whole"

    def players(self) -> tuple[Player, ...]:
        rates = {f"{CRITIC}.tower.": self.shape.tower_lr}
        return (
            Player("critic", (CRITIC,), self._critic, self.shape.n_critic, fakes, rates),
            Player("generator", ("generator",), self._generator),
        )

    def warm_up(self) -> WarmUp | None:
        s = self.shape
        alone = Player("critic", (CRITIC,), self._classifier)
        return WarmUp(alone, s.warmup_steps, s.warmup_until) if s.warmup_steps else None

    def _classifier(
        self, networks: Networks, batch: Batch, draws: Draws, _: None
    ) -> tuple[Tensor, Terms]:
        logits = cast(TowerCritic, networks[CRITIC]).classify(batch.images)
        loss = self.classification(logits, batch.source)
        return self.shape.cls_r * loss, {"cls_r": loss}

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
            # Otherwise the generator finds what the classifier takes for a defect and nobody else
            # does: a tint, a rim, a bright dot.
            "cls_s": self.classification(on_fake.logits, batch.source),
        }
        total = (
            terms["wgan"] + s.gp * terms["gp"] + s.cls_r * terms["cls_r"] + s.cls_s * terms["cls_s"]
        )
        return total, terms | {"sureness": self.sureness(on_real.logits, label)}

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: None
    ) -> tuple[Tensor, Terms]:
        s, label = self.shape, batch.target
        there, back = both_ways(networks["generator"], batch, draws, defects=False)
        verdict = networks[CRITIC](draws.shown(there.image), label)
        # First learn to paint, then to paint little: an image that is not recognised pays nothing
        # for its mask, so the mask cannot die before the critic has a class to ask for.
        share = losses.probability(
            verdict.logits.detach(), label, multi_label=self.task.multi_label
        )
        n = len(batch.normal)  # these come back, and weigh as much as if the others did
        terms = {
            "adv": losses.wasserstein_generator(verdict.score),
            "cls_f": self.classification(verdict.logits, label),
            "rec": losses.reconstruction(batch.normal, back.image) / 2,
            "sd_cyc": losses.mask_cycle(there.mask[:n], back.mask) / 2,
            "sd_con": losses.mask_sparsity(there.mask, share)
            + losses.mask_sparsity(back.mask, share[:n]) / 2,
        }
        total = (
            s.adv * terms["adv"]
            + s.cls_f * terms["cls_f"]
            + s.rec * terms["rec"]
            + s.sd_cyc * terms["sd_cyc"]
            + s.sd_con * terms["sd_con"]
        )
        total, terms = self.supervised(total, terms, there.mask, batch)
        return total, terms | covered(there.mask)
