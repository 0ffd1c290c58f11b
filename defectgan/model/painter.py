"""A trained model that paints: the only caller of a method's ``paint``.

B images, C channels, K classes, H x W pixels, N noise values an image.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from defectgan import losses
from defectgan.memory import Portions
from defectgan.methods.base import CRITIC, Method, Networks, Painting
from defectgan.methods.draws import draw_noise
from defectgan.networks.compose import Painted
from defectgan.networks.control import constant_map, one_hot
from defectgan.networks.critic import Critic, Verdict
from defectgan.networks.generator import Layer


class Opinion(NamedTuple):
    """What the critic says of images: its ``score`` and how probable the class is, [B] each."""

    score: Tensor
    confidence: Tensor


class Painter:
    """Paints with the networks of a method as they are: in training, or read from a file."""

    def __init__(self, method: Method, networks: Networks) -> None:
        """Args: the method, and its networks by their names; it can do without a critic."""
        self.method, self.networks = method, networks

    @property
    def has_critic(self) -> bool:
        """Whether it can say how sure a critic is of a class: an exported model cannot, nor can one
        of a method whose critic knows no classes.
        """
        return CRITIC in self.networks

    @property
    def could_choose(self) -> bool:
        """Whether the whole model, with all that judges, has such a critic."""
        return CRITIC in self.method.judging

    def noise_size(self, height: int, width: int) -> int:
        """N: how many noise values an image of that size takes."""
        return self.method.noise_size(self.networks, height, width)

    def layer(
        self, image: Tensor, control: Tensor, noise: Tensor, reference: Tensor | None = None
    ) -> Layer:
        """The layer that brings images [B, C, H, W] in [-1, 1] to the classes of a control map
        [B, K, h, w], from noise [B, N]; in the manner of ``reference`` images of the same shape, of
        a method that is ``styled``.
        """
        return self.painting(image, control, noise, reference).layer

    def painting(
        self, image: Tensor, control: Tensor, noise: Tensor, reference: Tensor | None = None
    ) -> Painting:
        """The ``layer`` of the same, with what ``detail`` takes."""
        if reference is None:
            return self.method.painting(self.networks, image, control, noise)
        return Painting(self.method.paint_like(self.networks, image, control, noise, reference))

    def detail(self, origin: Tensor) -> Tensor:
        """What belongs to the layers of an ``origin`` [B, .] and is finer than the networks see;
        see ``Method.detail``.
        """
        return self.method.detail(self.networks, origin)

    def paint(self, image: Tensor, labels: Sequence[int], noise: Tensor) -> Painted:
        """Images [B, C, H, W] towards a class each, from noise [B, N]."""
        return self.layer(image, self.control(labels, image.device), noise).over(image)

    def control(self, labels: Sequence[int], device: torch.device) -> Tensor:
        """The control map [B, K, 1, 1] that asks for a class all over each image."""
        return constant_map(self._label(labels, device))

    @torch.no_grad()
    def paint_class(
        self, images: Tensor, label: int, rng: torch.Generator, *, portions: Portions
    ) -> Painted:
        """All images [B, C, H, W] towards one class, in portions; noise comes from ``rng``."""
        # Drawn for all, so that no image depends on how large the portions are.
        noise = draw_noise(len(images), self.noise_size(*images.shape[2:]), rng)
        made = portions(
            len(images),
            lambda part: self.paint(images[part], [label] * len(images[part]), noise[part]),
        )
        return Painted(*(torch.cat(tensors) for tensors in zip(*made, strict=True)))

    def opinion(self, images: Tensor, labels: Sequence[int]) -> Opinion:
        """The critic's opinion of images [B, C, H, W] that are meant to be of a class each."""
        wanted, task = self._label(labels, images.device), self.method.task
        verdict: Verdict = self.networks[CRITIC](images, wanted)
        known = self._beside(labels, images.device) if task.sets else None
        sure = losses.probability(verdict.logits, wanted, multi_label=task.multi_label, known=known)
        return Opinion(verdict.score, sure)

    def classify(self, images: Tensor) -> Tensor:
        """The critic's class logits [B, K]."""
        return cast(Critic, self.networks[CRITIC]).classify(images)

    def names(self, images: Tensor, label: int) -> Tensor:
        """Whether a class is the likeliest of those that it can be told from, [B]."""
        known = self._beside([label] * len(images), images.device)
        return losses.among(self.classify(images), known).argmax(1) == label

    def _beside(self, labels: Sequence[int], device: torch.device) -> Tensor:
        """The classes that each label can be told from, [B, K] in {0, 1}: of several data sets
        those of the sets that have it; nobody has taught the critic to tell others apart.
        """
        task = self.method.task
        rows = [one_hot(task.beside(k), task.classes).amax(0) for k in labels]
        return torch.stack(rows).to(device)

    def _label(self, labels: Sequence[int], device: torch.device) -> Tensor:
        return one_hot(list(labels), self.method.task.classes).to(device)
