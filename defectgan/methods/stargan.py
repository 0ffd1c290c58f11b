"""StarGAN: the class stands beside the image, and all of the image is painted anew.

    x^ = G(x, y)      x~ = G(x^, y_source)

    L_D = E[D(fake)] - E[D(real)] + gp GP + cls CE(D_cls(real), y_source)
    L_G = -E[D(fake)] + cls CE(D_cls(fake), y) + rec |x - x~|_1 + identity |x - G(x, y_source)|_1

D(x) is the mean over P patches; as in its authors' code GP is taken of their sum, which holds the
slope of the mean at 1 / P. There images go from any domain to any other; here, as with the other
methods, from normal to a defect and back. There is no layer: its mask says what has changed. The
last term is CycleGAN's, and 0 there as here by default: nothing else keeps an image's tones where
the real ones have black and white in either role (boards, beside tiles, came back inverted).

Several data sets with different classes are learned from jointly: the label has the classes of all,
and beside it stands the mask vector, which says which set the image is of. CE is taken among the
classes that the labels of its own set tell of, so that the others get no gradient; an image goes to
classes of its own set alone. What is good is one class for all. When it paints nobody says of which
set an image to be restored is: of those that have the class, that in whose manner it changes least.

Source: Choi et al., "StarGAN: Unified Generative Adversarial Networks for Multi-Domain
    Image-to-Image Translation", CVPR 2018, and its authors' code.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import CRITIC, Networks, PatchShape, Player, Repainting, Terms
from defectgan.methods.draws import Draws
from defectgan.networks.control import constant_map
from defectgan.networks.generator import Layer
from defectgan.networks.stargan import StarCritic, StarGenerator


class Shape(PatchShape):
    """What its networks are built from."""

    name: Literal["stargan"] = "stargan"
    width: int = Field(
        64, ge=4, le=1024, description="channels at full resolution; 4 x at the bottleneck"
    )
    residual_blocks: int = Field(6, ge=0, le=256)


class Settings(Shape):
    """And the weights of its terms, in the symbols above."""

    gp: float = Field(10.0, ge=0)
    cls: float = Field(1.0, ge=0)
    rec: float = Field(10.0, ge=0)
    identity: float = Field(
        0.0, ge=0, description="an image that is asked for what it is stays so; 0: as its authors"
    )
    n_critic: int = Field(5, ge=1, description="critic steps for each generator step")


def fakes(networks: Networks, batches: Sequence[Batch], draws: Draws) -> Sequence[Tensor]:
    """The fakes of several critic steps in one pass."""
    generator = cast(StarGenerator, networks["generator"])
    images = torch.cat([batch.images for batch in batches])
    target = torch.cat([batch.target for batch in batches])
    told = [batch.told for batch in batches if batch.told is not None]
    vector = generator.vector(torch.cat(told) if told else None)
    made: Tensor = generator(images, constant_map(target), vector)
    return made.chunk(len(batches))


class StarGAN(Repainting):
    """The authors' form; they paint with the networks as they are, without an average."""

    Shape, Settings = Shape, Settings
    averaged = ()
    needs = "good images, and images of each defect; of several data sets, if need be"
    joint = True

    def networks(self) -> dict[str, nn.Module]:
        s, (channels, classes, size) = self.shape, self.task[:3]
        return {
            "generator": StarGenerator(
                channels,
                classes,
                width=s.width,
                residual_blocks=s.residual_blocks,
                # Sets with the same classes are one to it.
                sets=[*dict.fromkeys(tuple(sorted(known)) for known in self.task.sets)],
            ),
            CRITIC: StarCritic(
                channels, classes, width=s.critic_width, layers=s.critic_layers, size=size
            ),
        }

    def players(self) -> tuple[Player, ...]:
        return (
            Player("critic", (CRITIC,), self._critic, self.shape.n_critic, fakes),
            Player("generator", ("generator",), self._generator),
        )

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        generator = cast(StarGenerator, networks["generator"])
        return Layer.of_difference(image, generator.nearest(image, control))

    def _critic(
        self, networks: Networks, batch: Batch, draws: Draws, fake: Tensor
    ) -> tuple[Tensor, Terms]:
        critic, s = cast(StarCritic, networks[CRITIC]), self.shape
        t = draws.uniform(len(fake))
        real, fake = draws.shown(batch.images), draws.shown(fake)
        on_real = critic(real, batch.source)
        terms = {
            "wgan": losses.wasserstein_critic(on_real.score, critic.scores(fake, batch.target)),
            # Of the sum over the patches.
            "gp": losses.penalty_at(
                lambda x: critic.patches * critic.scores(x, batch.target),
                losses.interpolate(real, fake, t),
            ),
            "cls_r": self.classification(on_real.logits, batch.source, batch.told),
        }
        total = terms["wgan"] + s.gp * terms["gp"] + s.cls * terms["cls_r"]
        sureness = self.sureness(on_real.logits, batch.source, batch.told)
        return total, terms | {"sureness": sureness}

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: Any
    ) -> tuple[Tensor, Terms]:
        generator, s = cast(StarGenerator, networks["generator"]), self.shape
        images, vector = batch.images, generator.vector(batch.told)
        there = generator(images, constant_map(batch.target), vector)
        back = generator(there, constant_map(batch.source), vector)
        verdict = networks[CRITIC](draws.shown(there), batch.target)
        terms = {
            "adv": losses.wasserstein_generator(verdict.score),
            "cls_f": self.classification(verdict.logits, batch.target, batch.told),
            "rec": losses.reconstruction(images, back),
        }
        total = terms["adv"] + s.cls * terms["cls_f"] + s.rec * terms["rec"]
        if not s.identity:
            return total, terms
        same = generator(images, constant_map(batch.source), vector)
        terms["identity"] = losses.reconstruction(images, same)
        return total + s.identity * terms["identity"], terms
