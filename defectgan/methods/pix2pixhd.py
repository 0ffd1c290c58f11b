"""pix2pixHD: coarse to fine, critics at several scales that a fake must look alike to, boundaries.

    x^ = G(x, A, b(A))      x~ = G(x^, A_source, b(A_source))

    L_D = sum over D_k of (E[(D_k(r, A) - 1)^2] + E[D_k(x^, A)^2]) / 2
    L_G = sum over D_k of E[(D_k(x^, A) - 1)^2]
          + fm |D_k,i(x) - D_k,i(x~)|_1 + perceptual |F_i(x) - F_i(x~)|_1 + rec |x - x~|_1

A is the control map, and b(A) is 1 where one of the four neighbours of a pixel shows something
else: with true masks, where there are any, A says the defect's place and b its outline, else the
class all over the image. In the paper a map has its photograph. Here no good image has its
defective twin, so that any data set serves; what has a true answer is the way back, and there
features are matched. r is a real image of what A asks for. F is a fixed network that knows images.
There is no layer: its mask says what has changed.

Source: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
    GANs", CVPR 2018, eq. 2 to 5, and its authors' code.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import CRITIC, MultiScaleShape, Networks, Player, Repainting, Terms
from defectgan.methods.draws import Draws
from defectgan.networks.control import constant_map, masked_map, spread
from defectgan.networks.generator import Layer
from defectgan.networks.multiscale import MultiScaleCritic
from defectgan.networks.perceptual import (
    INSTALLED,
    Features,
    digest_of,
    perceptual_features,
    weights_at,
)
from defectgan.networks.pix2pixhd import CoarseToFineGenerator


class Shape(MultiScaleShape):
    """What its networks are built from."""

    name: Literal["pix2pixhd"] = "pix2pixhd"
    width: int = Field(
        32, ge=4, le=1024, description="channels at full resolution, doubled with each halving"
    )
    stages: int = Field(3, ge=1, le=3, description="halvings in the global generator")
    residual_blocks: int = Field(9, ge=0, le=256, description="of the global generator")
    local_blocks: int = Field(3, ge=0, le=256, description="of the local enhancer")


class Settings(Shape):
    """And the weights of its terms, in the symbols above."""

    fm: float = Field(10.0, ge=0)
    perceptual: float = Field(10.0, ge=0)
    rec: float = Field(10.0, ge=0)
    masked: float = Field(
        0.5, ge=0, le=1, description="share of the defects with a true mask that are told by it"
    )
    features: str = Field(
        INSTALLED,
        description=f"the fixed network of the perceptual term: {INSTALLED}, which the extra "
        "'features' brings, or a file of its weights or of VGG-19's as torchvision names them",
    )
    n_critic: int = Field(1, ge=1, description="critic steps for each generator step")

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        super().check(size, final_lr)
        if self.perceptual and weights_at(self.features) is None:
            missing = (
                "the extra 'features' of defectgan is not installed"
                if self.features == INSTALLED
                else f"there is no file {self.features}"
            )
            raise ValueError(
                f"the perceptual term needs a network that knows images, and {missing}: install "
                "the extra, name a file of weights (features), or leave the term out (perceptual 0)"
            )


class Controls(NamedTuple):
    """The control maps [B, K, H, W] of what a batch's images show, and of what they shall."""

    source: Tensor
    target: Tensor


class Pix2PixHD(Repainting):
    """On images that have no twins; the networks paint as they are, without an average."""

    Shape, Settings = Shape, Settings
    averaged = ()
    needs = (
        "good images, and images of each defect; the extra 'features', or a file of weights "
        "(method.features)"
    )
    _features: Features | None = None

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, classes) = self.shape, self.task[:2]
        return {
            "generator": CoarseToFineGenerator(
                channels,
                classes,
                width=s.width,
                stages=s.stages,
                residual_blocks=s.residual_blocks,
                local_blocks=s.local_blocks,
            ),
            CRITIC: MultiScaleCritic(channels, classes, edges=True, **s.critic_sizes),
        }

    def players(self) -> tuple[Player, ...]:
        return (
            Player("critic", (CRITIC,), self._critic, self.shape.n_critic, self._fakes),
            Player("generator", ("generator",), self._generator),
        )

    @property
    def wants_truths(self) -> bool:
        return bool(self.shape.masked)

    @property
    def taught_by(self) -> tuple[str, ...]:
        return (digest_of(self.shape.features),) if self.shape.perceptual else ()

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        return Layer.of_difference(image, networks["generator"](image, control))

    def _seeing(self, device: torch.device) -> Features:
        """The fixed network; it is none of the model's own, and read when it is first needed."""
        if self._features is None:
            self._features = perceptual_features(self.shape.features, device)
        return self._features

    def controls(self, batch: Batch, draws: Draws) -> Controls:
        """Of defects whose true mask is known some by it, the others all over the image, so that
        both can be asked for.
        """
        told = draws.uniform(len(batch.label), halves=1) < self.shape.masked
        truth = torch.full_like(batch.normal[:, :1], float("nan"))
        if batch.truth.numel():
            truth = torch.where(told[:, None, None, None], batch.truth, truth)
        defect = masked_map(batch.label, truth)
        normal = spread(constant_map(batch.source[: len(batch.normal)]), batch.normal)
        return Controls(torch.cat([normal, defect]), torch.cat([defect, normal]))

    def _fakes(
        self, networks: Networks, batches: Sequence[Batch], draws: Draws
    ) -> Sequence[tuple[Tensor, Tensor]]:
        """Fakes, and the control maps that they are made by, of each batch."""
        targets = [self.controls(batch, draws).target for batch in batches]
        return [
            (networks["generator"](batch.images, target), target)
            for batch, target in zip(batches, targets, strict=True)
        ]

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, given: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Terms]:
        critic, (fake, control) = cast(MultiScaleCritic, networks[CRITIC]), given
        real = draws.shown(batch.real)
        on_real, on_fake = (critic.maps(x, control) for x in (real, draws.shown(fake)))
        lsgan = torch.stack(
            [
                losses.least_squares_discriminator(a[-1].float(), b[-1].float())
                for a, b in zip(on_real, on_fake, strict=True)
            ]
        ).sum()
        with torch.no_grad():
            sureness = self.sureness(critic.classify(real), batch.target)
        return lsgan / 2, {"lsgan": lsgan, "sureness": sureness}

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: Any
    ) -> tuple[Tensor, Terms]:
        generator, s, images = networks["generator"], self.shape, batch.images
        critic = cast(MultiScaleCritic, networks[CRITIC])
        control = self.controls(batch, draws)
        painted = generator(images, control.target)
        back = generator(painted, control.source)
        scores = [maps[-1].float() for maps in critic.maps(draws.shown(painted), control.target)]
        features = [
            [maps[:-1] for maps in critic.maps(image, control.source)] for image in (images, back)
        ]
        terms = {
            "adv": torch.stack([losses.least_squares_generator(one) for one in scores]).sum(),
            "fm": losses.feature_matching(*features),
            "rec": losses.reconstruction(images, back),
        }
        total = terms["adv"] + s.fm * terms["fm"] + s.rec * terms["rec"]
        if s.perceptual:
            network = self._seeing(images.device)
            real, fake = network.maps(images), network.maps(back)
            terms["perceptual"] = losses.perceptual(real, fake, network.weights)
            total = total + s.perceptual * terms["perceptual"]
        return total, terms
