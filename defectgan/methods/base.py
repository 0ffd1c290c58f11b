"""What a method is: the networks it has, who trains them by which loss, and how it paints.

B batch, C image channels, K classes with normal first, H x W pixels, N noise values an image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.draws import Draws
from defectgan.networks.generator import Layer
from defectgan.networks.patchgan import LEAST
from defectgan.settings.base import Settings

Networks = Mapping[str, nn.Module]
Terms = dict[str, Tensor]
# The critic's place in ``Networks`` where a method has one that knows classes: it is asked how sure
# it is of what was painted.
CRITIC = "critic"
# That of one that knows none, and says only how real an image is.
DISCRIMINATOR = "discriminator"
# What the mask of a painted image is: the opacity of the layer that was painted over it, all of the
# image, which was made anew, or where it then differs.
MaskKind = Literal["layer", "whole", "difference"]
# Channels of a critic's last layer, at most: four times those of the published form.
WIDEST = 8192


class MethodShape(Settings):
    """The settings without which a method's weights are of no use; ``name`` is the method's."""

    name: str

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        """Whether they go with the rest.

        Args:
            size: height and width of the images.
            final_lr: the learning rate at the last step.

        Raises:
            ValueError: if they do not.
        """


class PatchShape(MethodShape):
    """Of a method with a critic whose layers halve the size."""

    critic_width: int = Field(
        64, ge=4, le=1024, description="channels of the first layer, doubled by each further"
    )
    critic_layers: int = Field(6, ge=2, le=8, description="each halves the size")

    @model_validator(mode="after")
    def _layers_fit_into_memory(self) -> Self:
        if (last := self.critic_width << (self.critic_layers - 1)) > WIDEST:
            raise ValueError(
                f"{self.critic_layers} critic layers from width {self.critic_width} on end at "
                f"{last} channels, at most {WIDEST} can be: take fewer layers or a smaller width"
            )
        return self

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        if min(size) >> self.critic_layers < 1:
            raise ValueError(
                f"{self.critic_layers} critic layers leave nothing of {min(size)} px: take fewer"
            )


class PatchGANShape(MethodShape):
    """Of a method whose critic judges patches of 70 x 70 pixels."""

    critic_width: int = Field(
        64, ge=4, le=1024, description="channels of the first layer, up to 8 x further in"
    )

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        if min(size) < LEAST:
            raise ValueError(
                f"{min(size)} px leave the critic no patch to judge: take at least {LEAST}"
            )


class MultiScaleShape(MethodShape):
    """Of a method with critics at several scales."""

    critic_width: int = Field(
        64, ge=4, le=1024, description="channels of the first layer, doubled by each further"
    )
    critic_layers: int = Field(3, ge=1, le=6, description="each halves the size")
    scales: int = Field(3, ge=1, le=4, description="critics, each at half the size before")

    @property
    def critic_sizes(self) -> dict[str, int]:
        """What its critic is built with, besides C and K."""
        return {"width": self.critic_width, "layers": self.critic_layers, "scales": self.scales}

    def check(self, size: tuple[int, int], final_lr: float) -> None:
        # Of one cell alone instance normalization would leave nothing.
        if min(size) >> (self.critic_layers + self.scales - 1) < 2:
            raise ValueError(
                f"{self.scales} critics of {self.critic_layers} layers leave less than 2 x 2 "
                f"patches of {min(size)} px: take fewer scales or layers"
            )


class Task(NamedTuple):
    """What networks are for: C, K, height and width of the images, whether any image of the data
    has several classes, the ``poses`` that an image is shown in, see ``networks.exemplars``, and
    the numbers of the classes that the labels of each of several data sets tell of, ``sets``.
    """

    channels: int
    classes: int
    size: tuple[int, int]
    multi_label: bool = False
    poses: tuple[int, ...] = (0,)
    sets: tuple[tuple[int, ...], ...] = ()

    def beside(self, k: int) -> list[int]:
        """The classes of the data sets that have class k: it can be told from these."""
        if not self.sets:
            return list(range(self.classes))
        return sorted({other for known in self.sets if k in known for other in known})


class Player(NamedTuple):
    """One optimiser, and the loss that it lowers.

    ``trains`` names the networks that it changes; all others stand still meanwhile. ``loss`` gives
    the loss and its named terms for a batch; it is called ``repeats`` times a step, each with a
    batch of its own. ``ahead`` gives what these calls need of the networks that stand still, one
    thing for each batch, in one pass and without a graph. ``rates`` are learning rates of their own
    for parameters whose names begin so, those of their networks first. ``drawn`` says that its
    batches have drawn defects. ``optimiser`` is its kind, and ``after`` what follows each of its
    updates.
    """

    name: str
    trains: tuple[str, ...]
    loss: Callable[[Networks, Batch, Draws, Any], tuple[Tensor, Terms]]
    repeats: int = 1
    ahead: Callable[[Networks, Sequence[Batch], Draws], Sequence[Any]] | None = None
    rates: Mapping[str, float] = {}
    drawn: bool = False
    optimiser: Literal["adam", "rmsprop"] = "adam"
    after: Callable[[Networks], None] | None = None


class Painting(NamedTuple):
    """Layers, and of each its ``origin`` [B, .], whole numbers: all that ``Method.detail`` takes to
    give what is finer than the networks see; None where nothing is known of that.
    """

    layer: Layer
    origin: Tensor | None = None


class WarmUp(NamedTuple):
    """A player that trains alone before all others, for ``steps`` steps at most, until its term
    ``cls_r``, a cross-entropy, is below the share ``until`` of chance's.
    """

    player: Player
    steps: int
    until: float


class Method(ABC):
    """A method for a task.

    ``Shape`` are the settings without which its weights are of no use, ``Settings`` all of them:
    each weight stands there beside the term it weighs.
    """

    Shape: ClassVar[type[MethodShape]]
    Settings: ClassVar[type[MethodShape]]
    # The networks whose running average (EMA) paints.
    averaged: ClassVar[tuple[str, ...]] = ("generator",)
    # The networks that judge what is made and do not make it: they are left out of an export.
    judging: ClassVar[tuple[str, ...]] = (CRITIC,)
    # What its data must hold, for a person.
    needs: ClassVar[str] = "good images, and images of each defect"
    # Whether it paints on images that are there; else it makes whole ones from noise.
    paints_on_images: ClassVar[bool] = True
    # Whether what it makes is of a class that it is told.
    told_classes: ClassVar[bool] = True
    # Whether it takes defects away, too: its masks can be tried on real images.
    restores: ClassVar[bool] = True
    # Whether it learns from pairs: each image of a defect with the same one without it.
    paired: ClassVar[bool] = False
    # Classes of defects that it can learn, None: any number.
    most_defects: ClassVar[int | None] = None
    # Whether it can learn from several data sets with different classes jointly.
    joint: ClassVar[bool] = False
    # Whether it can paint in the manner of a reference image.
    styled: ClassVar[bool] = False

    def __init__(self, shape: Any, task: Task) -> None:
        """Args: its shape, or all its settings; the task."""
        self.shape, self.task = shape, task

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Fresh ones, by their names."""

    @abstractmethod
    def players(self) -> tuple[Player, ...]:
        """Who trains what, in the order of a step; of a method that has all its settings."""

    def warm_up(self) -> WarmUp | None:
        """Who trains alone before all others, if anybody does."""
        return None

    def settle(  # noqa: B027
        self, networks: Networks, images: Callable[[int, int], Tensor]
    ) -> None:
        """Let networks that have learned be ready to paint, whenever they have changed.

        Args:
            networks: those that paint.
            images: real images [N, C, H, W] of a class, by its number and how many of their pixels,
                each way, stand for one that the networks see.
        """

    @property
    def taught_by(self) -> tuple[str, ...]:
        """The SHA-256 of the weights of each fixed network that its players learn from, which must
        not judge it.
        """
        return ()

    @property
    def mask_kind(self) -> MaskKind:
        """What the masks are that ``paint`` gives."""
        return "layer"

    @property
    def wants_truths(self) -> bool:
        """Whether its players learn from true masks."""
        return False

    def classification(self, logits: Tensor, label: Tensor, known: Tensor | None = None) -> Tensor:
        """The classification loss that the data's kind of labels asks for, among the classes
        ``known``.
        """
        multi_label = self.task.multi_label
        return losses.classification(logits, label, multi_label=multi_label, known=known)

    def sureness(self, logits: Tensor, label: Tensor, known: Tensor | None = None) -> Tensor:
        """How probable the true classes are to a classifier, among those ``known``, the mean in
        [0, 1]: the term by which a training sets the strength of its augmentation.
        """
        logits, multi_label = logits.detach(), self.task.multi_label
        return losses.probability(logits, label, multi_label=multi_label, known=known).mean()

    @abstractmethod
    def noise_size(self, networks: Networks, height: int, width: int) -> int:
        """N: how many noise values an image of that size takes."""

    @abstractmethod
    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        """The layer that brings images to the classes of a control map.

        Args:
            networks: those of ``averaged`` at least.
            image: [B, C, H, W] in [-1, 1].
            control: [B, K, h, w], h = w = 1 where it is constant over the image.
            noise: [B, N], standard normal.
        """

    def painting(
        self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor
    ) -> Painting:
        """What ``paint`` makes of the same, with its origin."""
        return Painting(self.paint(networks, image, control, noise))

    def detail(self, networks: Networks, origin: Tensor) -> Tensor:
        """What belongs to the layers of an ``origin`` and is finer than the networks see, as of
        ``networks.detail.unpacked``: of a method whose paintings have one.
        """
        raise NotImplementedError

    def paint_like(
        self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor, reference: Tensor
    ) -> Layer:
        """As ``paint``, in the manner of ``reference`` images [B, C, H, W] in [-1, 1]: of a method
        that is ``styled``.
        """
        raise NotImplementedError


class Repainting(Method):
    """Without a layer: it paints all of the image anew, from the image and the class alone where it
    does not say otherwise, and its mask says where that made a difference.
    """

    @property
    def mask_kind(self) -> MaskKind:
        return "difference"

    def noise_size(self, networks: Networks, height: int, width: int) -> int:
        return 0
