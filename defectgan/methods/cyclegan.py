"""CycleGAN: two domains, normal images n and images d of one defect, and nothing that pairs them.

    d^ = G(n)   n~ = F(d^)          n^ = F(d)   d~ = G(n^)

    L_D = (E[(D_d(d) - 1)^2] + E[D_d(d^)^2]) / 2 + the same of D_n, n and n^
    L_G = E[(D_d(d^) - 1)^2] + E[(D_n(n^) - 1)^2]
          + cycle (|n - n~|_1 + |d - d~|_1) + identity cycle (|G(d) - d|_1 + |F(n) - n|_1)

D judges each patch of 70 x 70 pixels. Of fakes it is shown those of this step or, half the time,
earlier ones, from a pool of each direction. All of the image is painted anew: the mask says where
that differs from the image before.

Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
    Networks", ICCV 2017, eq. 1 to 3 with the least squares and the pool of section 4 and the
    identity loss of section 5.2, and its authors' code.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import Networks, PatchGANShape, Player, Repainting, Terms
from defectgan.methods.draws import Draws
from defectgan.networks.cyclegan import Pool, ResnetGenerator
from defectgan.networks.generator import Layer, at
from defectgan.networks.patchgan import PatchGAN

# G, F; D_d, D_n; and the pools of d^ and n^.
GENERATOR, RESTORER = "generator", "restorer"
CRITICS = "critic_defect", "critic_normal"
POOLS = "pool_defect", "pool_normal"


class Shape(PatchGANShape):
    """What its networks are built from."""

    name: Literal["cyclegan"] = "cyclegan"
    width: int = Field(
        64, ge=4, le=1024, description="channels at full resolution; 4 x at the bottleneck"
    )
    residual_blocks: int = Field(9, ge=0, le=256)


class Settings(Shape):
    """And the weights of its terms, in the symbols above."""

    cycle: float = Field(10.0, ge=0)
    identity: float = Field(0.5, ge=0, description="share of ``cycle``")
    pool: int = Field(50, ge=0, le=10_000, description="past fakes of each direction; 0: none")


class Fakes(NamedTuple):
    """d^ and n^ as the critics are shown them, [B/2, C, H, W] each."""

    defect: Tensor
    normal: Tensor


class CycleGAN(Repainting):
    """The authors' form; they paint with the generators as they are, without an average."""

    Shape, Settings = Shape, Settings
    averaged = ()
    judging = (*CRITICS, *POOLS)
    needs = "good images, and images of one defect"
    most_defects = 1

    def networks(self) -> dict[str, nn.Module]:
        s, channels = self.shape, self.task.channels
        sizes = {"width": s.width, "residual_blocks": s.residual_blocks}
        # A trained model holds none: its shape does not say how many there were.
        size = s.pool if isinstance(s, Settings) else 0
        return {
            GENERATOR: ResnetGenerator(channels, **sizes),
            RESTORER: ResnetGenerator(channels, **sizes),
            **{name: PatchGAN(channels, width=s.critic_width) for name in CRITICS},
            **{name: Pool(size) for name in POOLS},
        }

    def players(self) -> tuple[Player, ...]:
        return (
            Player("generators", (GENERATOR, RESTORER), self._generators),
            Player("critics", CRITICS, self._critics, ahead=self._fakes),
        )

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        normal = at(control[:, :1], (image.shape[2], image.shape[3])) > 0.5
        painted = torch.where(normal, networks[RESTORER](image), networks[GENERATOR](image))
        return Layer.of_difference(image, painted)

    def _fakes(self, networks: Networks, batches: Sequence[Batch], draws: Draws) -> Sequence[Fakes]:
        return [
            Fakes(
                pooled(networks[POOLS[0]], networks[GENERATOR](batch.normal), draws),
                pooled(networks[POOLS[1]], networks[RESTORER](batch.defect), draws),
            )
            for batch in batches
        ]

    def _critics(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Fakes
    ) -> tuple[Tensor, Terms]:
        of_defect, of_normal = (networks[name] for name in CRITICS)
        terms = {
            "lsgan_defect": losses.least_squares_discriminator(
                of_defect(batch.defect), of_defect(fake.defect)
            ),
            "lsgan_normal": losses.least_squares_discriminator(
                of_normal(batch.normal), of_normal(fake.normal)
            ),
        }
        return (terms["lsgan_defect"] + terms["lsgan_normal"]) / 2, terms

    def _generators(
        self, networks: Networks, batch: Batch, draws: Draws, _: None
    ) -> tuple[Tensor, Terms]:
        g, f, s, (normal, defect) = networks[GENERATOR], networks[RESTORER], self.shape, batch[:2]
        of_defect, of_normal = (networks[name] for name in CRITICS)
        defaced, restored = g(normal), f(defect)
        terms = {
            "adv_defect": losses.least_squares_generator(of_defect(defaced)),
            "adv_normal": losses.least_squares_generator(of_normal(restored)),
            "cycle": losses.reconstruction(normal, f(defaced))
            + losses.reconstruction(defect, g(restored)),
            "identity": losses.reconstruction(defect, g(defect))
            + losses.reconstruction(normal, f(normal)),
        }
        total = (
            terms["adv_defect"]
            + terms["adv_normal"]
            + s.cycle * (terms["cycle"] + s.identity * terms["identity"])
        )
        return total, terms


def pooled(pool: nn.Module, fakes: Tensor, draws: Draws) -> Tensor:
    """What a critic is shown of fakes [B, C, H, W] of this process: the pool holds those of all, so
    that it is the same in each.
    """
    everyone = draws.gathered(fakes)
    drawn = draws.shared(len(everyone), 2)
    return draws.own(cast(Pool, pool).exchange(everyone, drawn), halves=1)
