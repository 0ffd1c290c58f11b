"""How good a model is while it trains: what its losses, each a balance of two sides, do not say.

kid_share  how far what is painted lies from real defects, as a share of how far normal images do,
           in features that stand still, a fixed network's or those of the classifier as it was:
           1 as if nothing were painted, 0 no difference; unbiased, so
           that it may fall a little below 0. ``kid_share_error`` is its standard error. Both are
           missing where such features are, or where they see no clear difference between normal
           images and defects
confirmed  share of painted images whose class the critic's classifier, as it is now, names
agreement  of the mask that paints a defect and the one that takes it away again, as IoU
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from defectgan.data.dataset import Batches
from defectgan.data.index import Index
from defectgan.data.samples import VAL
from defectgan.memory import Portions
from defectgan.methods.config import Config
from defectgan.metrics.kernel import FEWEST_JUDGED, Estimate, distance, error_of_share, share
from defectgan.model.painter import Painter
from defectgan.training.batches import make_batches

# Of images [B, C, H, W] as the networks take them, [B, F]: by them a judge compares images. They
# must not change while a model trains.
Features = Callable[[Tensor], Tensor]

# Of each class, at most; at a time as many as the training's batch.
IMAGES = 32
# A class with fewer validation images cannot be judged by them.
FEWEST = 4
SCORE = "kid_share"
ERROR = "kid_share_error"


class Judgement(NamedTuple):
    """The measures of a step, and the estimate of ``kid_share`` to choose the best step by, None
    where there is none.
    """

    measures: dict[str, float]
    share: Estimate | None


def agreement(mask: Tensor, other: Tensor) -> Tensor:
    """IoU of soft masks [B, 1, H, W], the mean over them; 1 where both are 0 all over."""
    both, either = (f(mask, other).sum((1, 2, 3)) for f in (torch.minimum, torch.maximum))
    return torch.where(either > 0, both / either.clamp(min=1e-12), 1.0).mean()


def judged_images(index: Index) -> Index:
    """The validation images, or where they do not suffice those that are learned from; never test
    images: the best weights are chosen by these.
    """
    kept = replace(index, samples=tuple(s for s in index.held_out if s.split == VAL))
    return kept if min(map(len, kept.members)) >= FEWEST else index


class Judge:
    """Judges a painter on fixed images with fixed noise."""

    def __init__(
        self,
        config: Config,
        batches: Batches,
        *,
        device: torch.device,
        features: Features | None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """What judges.

        Args:
            config: the settings.
            batches: the training's, whose images serve where there are no others.
            device: where to compute.
            features: what images are compared by; None: they are not.
            say: who is told where so many at once do not fit into memory.
        """
        index = batches.images.index
        self._index = judged_images(index)
        self._batches = batches if self._index is index else make_batches(config, self._index)
        self._portions = Portions(config.training.batch_size, "images to judge", say)
        self._device = device
        self._features = features

    @torch.no_grad()
    def __call__(self, painter: Painter) -> Judgement:
        """Paint every class on the normal images; where the method restores, take it away again."""
        features, confirmed, agreed = [], [], []
        for k in range(1, len(self._index.classes)):
            painted, masks = self._paint(painter, self._normals[k], k)
            if k in self._reals:
                features.append(self._seen(painted))
            if painter.has_critic:
                named = self._each(lambda part: painter.names(part, k), painted)  # noqa: B023
                confirmed.append(named.float().mean())
            if painter.method.restores:
                _, back = self._paint(painter, painted, 0)
                agreed.append(agreement(masks, back))
        found_by = {"confirmed": confirmed, "agreement": agreed}
        measures = {
            name: float(torch.stack(each).mean()) for name, each in found_by.items() if each
        }
        if self._unpainted is None:
            return Judgement(measures, None)
        painted_distance = distance(torch.stack(features), list(self._reals.values()))
        found = share(painted_distance, self._unpainted)
        if found is not None:
            measures[SCORE] = found.value
            measures[ERROR] = error_of_share(painted_distance, self._unpainted)
        return Judgement(measures, found)

    @cached_property
    def _normals(self) -> dict[int, Tensor]:
        """The normal images that each class is painted on: of several data sets those of its own,
        as many of each.
        """
        classes = range(1, len(self._index.classes))
        if not self._index.sets:
            return dict.fromkeys(classes, self._images(0))
        count = min(IMAGES, *(len(self._index.beside(0, k)) for k in classes))
        return {k: self._fixed(0, count, beside=k) for k in classes}

    @cached_property
    def _reals(self) -> dict[int, Tensor]:
        """The features of the real images of each class that has enough of them."""
        fewest = min(map(len, self._normals.values()))
        if self._features is None or fewest < FEWEST_JUDGED:
            return {}
        counts = {k: len(members) for k, members in enumerate(self._index.members) if k}
        return {k: self._seen(self._images(k)) for k, n in counts.items() if n >= FEWEST_JUDGED}

    @cached_property
    def _unpainted(self) -> Estimate | None:
        """How far normal images lie from all defects; it is the same at every step."""
        reals = list(self._reals.values())
        if not reals:
            return None
        if not self._index.sets:
            return distance(self._seen(self._normals[1]), reals)
        return distance(torch.stack([self._seen(self._normals[k]) for k in self._reals]), reals)

    def _images(self, k: int) -> Tensor:
        return self._fixed(k, min(IMAGES, len(self._index.members[k])))

    def _fixed(self, k: int, count: int, *, beside: int | None = None) -> Tensor:
        images = self._batches.fixed(k, count, beside=beside)
        return images.to(self._device, memory_format=torch.channels_last)

    def _seen(self, images: Tensor) -> Tensor:
        assert self._features is not None
        return self._each(self._features, images).double()

    def _each(self, read: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """What a network reads of each image."""
        return torch.cat(self._portions(len(images), lambda part: read(images[part])))

    def _paint(self, painter: Painter, images: Tensor, k: int) -> tuple[Tensor, Tensor]:
        rng = torch.Generator(self._device).manual_seed(k)
        return painter.paint_class(images, k, rng, portions=self._portions)
