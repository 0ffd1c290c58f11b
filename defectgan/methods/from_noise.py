"""What the methods share that make whole images from noise.

    x^ = G(z)    or, told a class,    x^ = G(z, y)         z ~ N(0, 1)

There is no image to paint on and no layer: the mask is all of the image. Real images are those of
all classes, as many normal ones as defects; what is made has labels like theirs.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from defectgan.batch import Batch
from defectgan.methods.base import (
    DISCRIMINATOR,
    MaskKind,
    Method,
    Networks,
    PatchShape,
    Player,
    Terms,
)
from defectgan.methods.draws import Draws
from defectgan.networks.generator import Layer
from defectgan.networks.noise import Discriminator, NoiseGenerator, first_map

# Weights of the generator's projection, at most: 1 GiB.
MOST = 2**28


class NoiseShape(PatchShape):
    """Of a generator from noise, which doubles the size as often as the critic halves it."""

    latent: int = Field(128, ge=1, le=4096, description="noise values that an image is made of")
    width: int = Field(
        32, ge=4, le=1024, description="channels at full resolution; up to 8 x at the smallest map"
    )
    critic_width: int = Field(
        32, ge=4, le=1024, description="channels of the first layer, doubled by each further"
    )
    critic_layers: int = Field(
        4, ge=2, le=8, description="each halves the size; the generator doubles it as often"
    )

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        super().check(size, final_lr)
        height, across = first_map(size, self.critic_layers)
        if height * across * 8 * self.width * self.latent > MOST:
            raise ValueError(
                f"the generator would begin with a map of {across} x {height}: take more layers "
                "(critic_layers), or a smaller width or latent"
            )


def made(networks: Networks, label: Tensor, draws: Draws) -> Tensor:
    """Images [B, C, H, W] from fresh noise, of the classes ``label`` [B, K]."""
    generator = cast(NoiseGenerator, networks["generator"])
    image: Tensor = generator(draws.noise(len(label), generator.latent), label)
    return image


def fakes(networks: Networks, batches: Sequence[Batch], draws: Draws) -> Sequence[Tensor]:
    """The fakes of several critic steps, labelled as the real images of each."""
    return [made(networks, batch.source, draws) for batch in batches]


class FromNoise(Method):
    """Makes whole images; its networks are as they are, without an average."""

    averaged = ()
    judging = (DISCRIMINATOR,)
    needs = "images of any kinds, a folder each; the kinds are not told apart"
    paints_on_images = False
    told_classes: ClassVar[bool] = False
    restores = False

    def players(self) -> tuple[Player, ...]:
        return (
            Player("critic", self.judging, self._critic, self.shape.n_critic, fakes),
            Player("generator", ("generator",), self._generator),
        )

    @abstractmethod
    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        """The loss of the network that judges, of ``fake`` images beside those of a batch."""

    @abstractmethod
    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: Any
    ) -> tuple[Tensor, Terms]:
        """The loss of the generator."""

    @property
    def mask_kind(self) -> MaskKind:
        return "whole"

    @property
    def _told(self) -> int:
        """The number of classes that the networks are told."""
        return self.task.classes if self.told_classes else 0

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, _, size) = self.shape, self.task[:3]
        return {
            "generator": self._noise_generator(),
            DISCRIMINATOR: Discriminator(
                channels, self._told, width=s.critic_width, layers=s.critic_layers, size=size
            ),
        }

    def _noise_generator(self) -> NoiseGenerator:
        s = self.shape
        return NoiseGenerator(
            self.task.channels,
            self._told,
            latent=s.latent,
            width=s.width,
            stages=s.critic_layers,
            size=self.task.size,
        )

    def noise_size(self, networks: Networks, height: int, width: int) -> int:
        return cast(NoiseGenerator, networks["generator"]).latent

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        whole = networks["generator"](noise, control.mean((2, 3)))
        return Layer(whole, torch.ones_like(whole[:, :1]))
