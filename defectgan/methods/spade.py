"""SPADE: a style is painted under the rule of a map, which modulates every normalization.

    z = mean + sigma e,  (mean, sigma) = E(r), r a real image of the class y          x^ = G(A, z)
    and back  x~ = G(A^, z'), z' of E(x)             A: x beside y        A^: x^ beside y_source

    L_D = E[max(0, 1 - D(r, y))] + E[max(0, 1 + D(x^, y))]
    L_G = -E[D(x^, y)] + fm |D_i(x) - D_i(x~)|_1 + rec |x - x~|_1 + kld KL(E(x) | N(0, I))

In the paper a map has its photograph, by which E and the matching of features are taught. No good
image here has its defective twin: the map is the image to paint on with the class beside it, and
what has a true answer is the way back, in the source's own style. That teaches E what a defect
looked like, for n^ does not tell. Both networks and E are spectrally normalized, and D learns four
times as fast as G. There is no layer: its mask says what has changed. Its critic sees an image
beside the class: how sure it is of one says how much more real an image is as that than as others.

Source: Park et al., "Semantic Image Synthesis with Spatially-Adaptive Normalization", CVPR 2019,
    eq. 1, section 4 and appendix A, and its authors' code.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import CRITIC, MultiScaleShape, Networks, Player, Repainting, Terms
from defectgan.methods.draws import Draws
from defectgan.networks.control import constant_map
from defectgan.networks.generator import Layer
from defectgan.networks.multiscale import MultiScaleCritic
from defectgan.networks.spade import GaussianEncoder, SpadeGenerator

STYLE = "style"


class Shape(MultiScaleShape):
    """What its networks are built from."""

    name: Literal["spade"] = "spade"
    width: int = Field(
        64, ge=4, le=1024, description="channels at full resolution, doubled at each smaller size"
    )
    stages: int = Field(4, ge=1, le=4, description="how often the generator doubles the size")
    spade_hidden: int = Field(128, ge=4, le=4096, description="channels of the SPADE branch")
    style_size: int = Field(256, ge=1, le=4096, description="values of a style")
    style_layers: int = Field(5, ge=2, le=8, description="of its encoder; each halves the size")
    scales: int = Field(2, ge=1, le=4, description="critics, each at half the size before")

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        super().check(size, final_lr)
        if min(size) >> self.style_layers < 1:
            raise ValueError(
                f"{self.style_layers} layers of the style encoder leave nothing of {min(size)} px: "
                "take fewer (style_layers)"
            )


class Settings(Shape):
    """And the weights of its terms, in the symbols above."""

    fm: float = Field(10.0, ge=0)
    rec: float = Field(10.0, ge=0)
    kld: float = Field(0.05, ge=0)
    critic_lr: float = Field(4e-4, gt=0, description="the critic's learning rate")
    n_critic: int = Field(1, ge=1, description="critic steps for each generator step")

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        super().check(size, final_lr)
        if final_lr > self.critic_lr:
            raise ValueError(f"final_lr {final_lr} is larger than critic_lr {self.critic_lr}")


class SPADE(Repainting):
    """With a style encoder; the networks paint as they are, without an average, as its authors'."""

    Shape, Settings = Shape, Settings
    averaged = ()
    styled = True

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, classes, size) = self.shape, self.task[:3]
        return {
            "generator": SpadeGenerator(
                channels,
                classes,
                width=s.width,
                stages=s.stages,
                hidden=s.spade_hidden,
                style=s.style_size,
                size=size,
            ),
            STYLE: GaussianEncoder(
                channels, width=s.width, layers=s.style_layers, style=s.style_size, size=size
            ),
            CRITIC: MultiScaleCritic(channels, classes, spectral=True, **s.critic_sizes),
        }

    def players(self) -> tuple[Player, ...]:
        s, rates = self.shape, {f"{CRITIC}.": self.shape.critic_lr}
        return (
            Player("critic", (CRITIC,), self._critic, s.n_critic, self._fakes, rates),
            Player("generator", ("generator", STYLE), self._generator),
        )

    def noise_size(self, networks: Networks, height: int, width: int) -> int:
        return cast(int, self.shape.style_size)

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        return Layer.of_difference(image, networks["generator"](image, control, noise))

    def paint_like(
        self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor, reference: Tensor
    ) -> Layer:
        mean, log_variance = networks[STYLE](reference)
        style = losses.sampled(mean, log_variance, noise)
        return Layer.of_difference(image, networks["generator"](image, control, style))

    def _noise(self, images: Tensor, draws: Draws) -> Tensor:
        return draws.noise(len(images), self.shape.style_size)

    def _fakes(
        self, networks: Networks, batches: Sequence[Batch], draws: Draws
    ) -> Sequence[Tensor]:
        made = []
        for batch in batches:
            mean, log_variance = networks[STYLE](batch.real)
            style = losses.sampled(mean, log_variance, self._noise(mean, draws))
            control = constant_map(batch.target)
            made.append(networks["generator"](batch.images, control, style))
        return made

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        critic, control = cast(MultiScaleCritic, networks[CRITIC]), constant_map(batch.target)
        real = draws.shown(batch.real)
        on_real = critic.maps(real, control)
        on_fake = critic.maps(draws.shown(fake), control)
        pairs = zip(on_real, on_fake, strict=True)
        hinge = torch.stack([losses.hinge_critic(a[-1].float(), b[-1].float()) for a, b in pairs])
        with torch.no_grad():
            sureness = self.sureness(critic.classify(real), batch.target)
        return hinge.mean(), {"hinge": hinge.mean(), "sureness": sureness}

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: Any
    ) -> tuple[Tensor, Terms]:
        generator, s, images = networks["generator"], self.shape, batch.images
        critic = cast(MultiScaleCritic, networks[CRITIC])
        target, source = constant_map(batch.target), constant_map(batch.source)
        mean, log_variance = networks[STYLE](images)
        # The references are the same images, those of each half in the other's place.
        found, spread = (part.roll(len(batch.normal), 0) for part in (mean, log_variance))
        style = losses.sampled(found, spread, self._noise(images, draws))
        own = losses.sampled(mean, log_variance, self._noise(images, draws))
        painted = generator(images, target, style)
        back = generator(painted, source, own)
        scores = [maps[-1] for maps in critic.maps(draws.shown(painted), target)]
        features = [[maps[:-1] for maps in critic.maps(image, source)] for image in (images, back)]
        terms = {
            "adv": torch.stack(
                [losses.wasserstein_generator(one.float()) for one in scores]
            ).mean(),
            "fm": losses.feature_matching(*features),
            "rec": losses.reconstruction(images, back),
            "kld": losses.kl_divergence(mean, log_variance),
        }
        total = terms["adv"] + s.fm * terms["fm"] + s.rec * terms["rec"] + s.kld * terms["kld"]
        return total, terms
