"""StarGAN v2: a style, made of noise or found in a reference image, says how a class looks.

    s = F_y(z)  or  s = E_y(r), r a real image of the class y          x^ = G(x, s)

    L_D = -E[log D_y_source(x)] - E[log(1 - D_y(x^))] + r1 E[|grad D_y_source(x)|^2] / 2
    L_G = -E[log D_y(x^)] + sty |s - E_y(x^)|_1 + cyc |x - G(x^, E_y_source(x))|_1
          - ds |G(x, F_y(z)) - G(x, F_y(z'))|_1

The generator sees a style, never a label: F, E and D have a branch for each class, of which only
the chosen one is used. Both manners of making a style are trained at once, each half as much; its
authors take two steps instead. ds falls to 0 over its steps. What an image becomes goes back in its
own style. There is no layer: its mask says what has changed. Its critic knows no classes as a
classifier does: how sure it is of one says how much more real an image is as that than as others.

Source: Choi et al., "StarGAN v2: Diverse Image Synthesis for Multiple Domains", CVPR 2020, eq. 1 to
    5, and its authors' code, without the weight decay of its Adam.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import CRITIC, Networks, PatchShape, Player, Repainting, Terms
from defectgan.methods.draws import Draws, risen
from defectgan.networks.control import asked
from defectgan.networks.generator import Layer
from defectgan.networks.starganv2 import (
    BranchCritic,
    MappingNetwork,
    StyledGenerator,
    StyleEncoder,
)

MAPPING, STYLE = "mapping", "style"


class Shape(PatchShape):
    """What its networks are built from."""

    name: Literal["starganv2"] = "starganv2"
    width: int = Field(
        64, ge=4, le=1024, description="channels at full resolution, doubled with each halving"
    )
    stages: int = Field(4, ge=1, le=4, description="halvings of the size in the generator")
    residual_blocks: int = Field(
        2, ge=0, le=64, description="at the smallest size, before the style and after it"
    )
    latent: int = Field(16, ge=1, le=4096, description="noise values")
    style_size: int = Field(64, ge=1, le=4096, description="values of a style")
    mapping_width: int = Field(512, ge=4, le=8192, description="channels of the mapping network")
    critic_layers: int = Field(
        5, ge=2, le=8, description="each halves the size, in the style encoder, too"
    )


class Settings(Shape):
    """And the weights of its terms, in the symbols above."""

    r1: float = Field(1.0, ge=0)
    sty: float = Field(1.0, ge=0)
    ds: float = Field(1.0, ge=0, description="at the first step")
    diversity_steps: int = Field(100_000, ge=1, description="steps over which ds falls to 0")
    cyc: float = Field(1.0, ge=0)
    mapping_lr: float = Field(1e-6, gt=0, description="the mapping network's learning rate")
    n_critic: int = Field(1, ge=1, description="critic steps for each generator step")

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        super().check(size, final_lr)
        if final_lr > self.mapping_lr:
            raise ValueError(f"final_lr {final_lr} is larger than mapping_lr {self.mapping_lr}")


class Styles(NamedTuple):
    """Styles [B, S] of the target classes, made of noise and found in references."""

    made: Tensor
    found: Tensor

    @property
    def both(self) -> Tensor:
        return torch.cat(self)


class StarGANv2(Repainting):
    """The authors' form; of all three networks that paint the average does."""

    Shape, Settings = Shape, Settings
    averaged = ("generator", MAPPING, STYLE)
    styled = True

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, classes, size) = self.shape, self.task[:3]
        reader = {"width": s.critic_width, "layers": s.critic_layers, "size": size}
        return {
            "generator": StyledGenerator(
                channels,
                width=s.width,
                stages=s.stages,
                residual_blocks=s.residual_blocks,
                style=s.style_size,
            ),
            MAPPING: MappingNetwork(
                classes, latent=s.latent, style=s.style_size, width=s.mapping_width
            ),
            STYLE: StyleEncoder(channels, classes, style=s.style_size, **reader),
            CRITIC: BranchCritic(channels, classes, **reader),
        }

    def players(self) -> tuple[Player, ...]:
        rates = {f"{MAPPING}.": self.shape.mapping_lr}
        return (
            Player("critic", (CRITIC,), self._critic, self.shape.n_critic, self._fakes),
            Player("generator", self.averaged, self._generator, rates=rates),
        )

    def noise_size(self, networks: Networks, height: int, width: int) -> int:
        return cast(int, self.shape.latent)

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        style = networks[MAPPING](noise, asked(control))
        return Layer.of_difference(image, networks["generator"](image, style))

    def paint_like(
        self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor, reference: Tensor
    ) -> Layer:
        style = networks[STYLE](reference, asked(control))
        return Layer.of_difference(image, networks["generator"](image, style))

    def _styles(self, networks: Networks, batch: Batch, draws: Draws) -> Styles:
        noise = draws.noise(len(batch.target), self.shape.latent)
        return Styles(
            networks[MAPPING](noise, batch.target), networks[STYLE](batch.real, batch.target)
        )

    def _fakes(
        self, networks: Networks, batches: Sequence[Batch], draws: Draws
    ) -> Sequence[Tensor]:
        """Those in the styles of noise, then those in the styles of references, of each batch."""
        return [
            networks["generator"](
                batch.images.repeat(2, 1, 1, 1), self._styles(networks, batch, draws).both
            )
            for batch in batches
        ]

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        critic, s = cast(BranchCritic, networks[CRITIC]), self.shape
        real, target = draws.shown(batch.images), batch.target
        on_real = critic(real, batch.source)
        on_fake = [critic(draws.shown(part), target).score for part in fake.chunk(2)]
        terms = {
            "gan": losses.minimax_discriminator(on_real.score, torch.cat(on_fake)),
            "r1": losses.r1_penalty(lambda x: critic.scores(x, batch.source), real),
        }
        sureness = self.sureness(on_real.logits, batch.source)
        return terms["gan"] + s.r1 * terms["r1"], terms | {"sureness": sureness}

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: Any
    ) -> tuple[Tensor, Terms]:
        generator, encoder, s = networks["generator"], networks[STYLE], self.shape
        critic = cast(BranchCritic, networks[CRITIC])
        images, target, own = batch.images, batch.target, encoder(batch.images, batch.source)
        styles = self._styles(networks, batch, draws)
        painted = generator(images.repeat(2, 1, 1, 1), styles.both)
        back = generator(painted, own.repeat(2, 1))
        other = networks[MAPPING](draws.noise(len(target), s.latent), target)
        with torch.no_grad():
            another = generator(images, other)
        judged = [critic.scores(draws.shown(p), target) for p in painted.chunk(2)]
        terms = {
            "adv": losses.non_saturating_generator(torch.cat(judged)),
            "sty": losses.style_reconstruction(styles.both, encoder(painted, target.repeat(2, 1))),
            "ds": losses.diversity(painted[: len(images)], another),
            "cyc": losses.reconstruction(images.repeat(2, 1, 1, 1), back),
        }
        ds = s.ds * (1 - risen(draws.step, s.diversity_steps))
        total = terms["adv"] + s.sty * terms["sty"] + s.cyc * terms["cyc"] - ds * terms["ds"]
        return total, terms
