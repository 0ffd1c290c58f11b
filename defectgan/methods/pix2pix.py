"""pix2pix: from pairs of a good image x and the same one with a defect, y.

    y^ = G(x, z)

    L_D = (-E[log D(x, y)] - E[log(1 - D(x, y^))]) / 2
    L_G = -E[log D(x, y^)] + l1 |y - y^|_1

z is dropout alone, also when it paints. D, the sigmoid of a map of scores, sees x beside what it
judges. x may be any picture of what y shall be, such as the mask of a defect. Where there are
several classes of defects, the one that is meant stands beside x, as with StarGAN. It paints all of
the image anew, its mask says where that differs from x, and there is no way back from y to x.

Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
    eq. 1 to 4, in the form of section 3.3: G maximises log D instead of minimising log(1 - D), and
    the loss of D is halved.
"""

from collections.abc import Sequence
from typing import Literal, cast

from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import DISCRIMINATOR, Networks, PatchGANShape, Player, Repainting, Terms
from defectgan.methods.draws import Draws
from defectgan.networks.control import constant_map
from defectgan.networks.generator import Layer
from defectgan.networks.pix2pix import PairCritic, UNet


class Shape(PatchGANShape):
    """What its networks are built from."""

    name: Literal["pix2pix"] = "pix2pix"
    width: int = Field(
        64, ge=4, le=1024, description="channels of the U-Net's first layer; 8 x further in"
    )


class Settings(Shape):
    """And the weight of its term, in the symbol above."""

    l1: float = Field(100.0, ge=0)


def paint(networks: Networks, batch: Batch, draws: Draws) -> Tensor:
    """y^ of the good images of a batch."""
    generator, images = cast(UNet, networks["generator"]), batch.normal
    noise = draws.noise(len(images), generator.noise_size(*images.shape[2:]), halves=1)
    made: Tensor = generator(images, constant_map(batch.label), noise)
    return made


def fakes(networks: Networks, batches: Sequence[Batch], draws: Draws) -> Sequence[Tensor]:
    """What the critic is shown."""
    return [paint(networks, batch, draws) for batch in batches]


class Pix2Pix(Repainting):
    """The authors' form; they paint with the generator as it is, without an average."""

    Shape, Settings = Shape, Settings
    averaged = ()
    judging = (DISCRIMINATOR,)
    needs = "pairs of a good image and the same one with its defect"
    restores = False
    paired = True

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, classes, size) = self.shape, self.task[:3]
        return {
            "generator": UNet(channels, classes, width=s.width, size=size),
            DISCRIMINATOR: PairCritic(channels, classes, width=s.critic_width),
        }

    def players(self) -> tuple[Player, ...]:
        return (
            Player("discriminator", (DISCRIMINATOR,), self._discriminator, ahead=fakes),
            Player("generator", ("generator",), self._generator),
        )

    def noise_size(self, networks: Networks, height: int, width: int) -> int:
        return cast(UNet, networks["generator"]).noise_size(height, width)

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        return Layer.of_difference(image, networks["generator"](image, control, noise))

    def _discriminator(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        critic, x, control = networks[DISCRIMINATOR], batch.normal, constant_map(batch.label)
        loss = losses.minimax_discriminator(
            critic(x, control, batch.defect), critic(x, control, fake)
        )
        return loss / 2, {"gan": loss}

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: None
    ) -> tuple[Tensor, Terms]:
        made = paint(networks, batch, draws)
        logits = networks[DISCRIMINATOR](batch.normal, constant_map(batch.label), made)
        terms = {
            "adv": losses.non_saturating_generator(logits),
            "l1": losses.reconstruction(batch.defect, made),
        }
        return terms["adv"] + self.shape.l1 * terms["l1"], terms
