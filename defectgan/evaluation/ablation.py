"""How a trained model does by the real images that neither it nor the test may be chosen by: what a
change to the method is judged by.

Everything is of the training images that a split leaves out to have fewer shots, and of validation
images. Test images are never looked at: whoever tries many changes would choose by them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import torch

from defectgan.data.dataset import Seen
from defectgan.data.index import Index
from defectgan.data.masks import half_covered
from defectgan.data.samples import TRAIN, VAL
from defectgan.errors import DataError
from defectgan.evaluation.classifier import CLASSICAL, Recipe
from defectgan.evaluation.comparison import Comparison
from defectgan.evaluation.features import Wanted, make_features
from defectgan.evaluation.fixed import Fixed
from defectgan.evaluation.frozen import FROZEN, LinearHead, train_head
from defectgan.evaluation.frozen import FrozenFeatures as Kept
from defectgan.evaluation.painting import paint, painted
from defectgan.evaluation.pools import Pixels, Pools, pixels, see
from defectgan.evaluation.quality import FEWEST, measure
from defectgan.evaluation.real import RealSplit
from defectgan.generation import CANDIDATES
from defectgan.inspection import MEAN, RealImages, Tally
from defectgan.metrics.confusion import confusions, macro_f1
from defectgan.model.file import Model
from defectgan.networks.imagenet import JUDGE, imagenet
from defectgan.settings.data import DataConfig

# Painted images of the rarest class (of the others in proportion), and of them for each real one
# those that a classifier learns from.
PAINTED, RATIO = 64, 2
# Real defects of each class in which restorations are located.
LOCATED = 40
# Below this share of the range a pixel is dark, and as far below its end it is not bright; pixels
# across the strip round a defect that it is held against.
DARK, STRIP = 0.25, 11


class AblationJudge:
    """Holds trained models against the real images of a set that they have not learned from, those
    to test on aside.
    """

    def __init__(self, real: RealSplit, learned: DataConfig, device: torch.device) -> None:
        """Args: the images, how the models see them, and where to compute.

        Raises:
            SettingError: if the fixed features are not installed.
            DataError: if the split leaves too few images out.
        """
        self._real, self._device, self._learned = real, device, learned
        self._others = others(real)
        wanted = Wanted(name=Fixed.name)
        self._seen = wanted.seen(learned)
        self._features = make_features(wanted, real.part(TRAIN), learned, device=device)
        self._kept = Kept(imagenet(JUDGE, device=device), device=device)
        shots, rest, self._val = (
            pixels(see(part, self._seen))
            for part in (real.part(TRAIN), self._others, real.part(VAL))
        )
        self._shots = shots
        self._namer = self._head([[*a, *b] for a, b in zip(self._shots, rest, strict=True)])
        self._real_named = self._named(self._val)
        self._without = self._macro_f1(self._head(self._shots))
        self._real_looks = looks(see(self._others, learned, truths=True))

    def __call__(self, model: Model, folder: Path) -> dict[str, float]:
        """The figures of one model; what it paints goes below the folder.

        share     KID to real defects in fixed features, as a share of the distance of good images
        named     share of painted images that a linear classifier on fixed features, which has
                  learned all real training images, names right, less that of validation images
        gain      in macro-F1 of such a classifier of the shots alone, by painted images, on
                  validation images
        gray, contrast  as of ``looks``, less those of real defects
        ap, iou   of restoration masks, where there are true ones

        The first three are of images as they come, and ``_chosen`` of the surest candidates; there
        is no share where fixed features do not tell the defects of the set from good images.
        """
        figures: dict[str, float | None] = {**located(model, self._others, self._device)}
        for name, candidates in (("", 1), ("_chosen", CANDIDATES)):
            made = self._painted(model, folder / f"painted{name}", candidates)
            images = pixels(see(made, self._seen))
            figures |= {
                f"share{name}": self._share(made),
                f"named{name}": self._named(images) - self._real_named,
                f"gain{name}": self._macro_f1(self._head(self._with(images))) - self._without,
            }
            if candidates == 1:
                found = looks(see(made, self._learned, truths=True))
                figures |= {
                    key: found[key] - real for key, real in self._real_looks.items() if found
                }
        return {key: value for key, value in figures.items() if value is not None}

    def _painted(self, model: Model, folder: Path, candidates: int) -> Index:
        fewest = min(map(len, self._real.part(TRAIN).members[1:]))
        paint(
            model,
            self._real,
            folder,
            ratio=max(RATIO, PAINTED / fewest),
            candidates=candidates,
            seed=0,
            device=self._device,
        )
        return painted(self._real, folder)

    def _share(self, made: Index) -> float | None:
        train = self._real.part(TRAIN)
        comparison = Comparison(made, train, self._others, TRAIN, self._learned, ())
        return measure(comparison, self._features, self._seen).rows[0].share

    def _with(self, images: Pools) -> list[list[Pixels]]:
        pairs = zip(self._shots, images, strict=True)
        return [[*real, *more[: RATIO * len(real)]] for real, more in pairs]

    def _head(self, pools: Pools) -> LinearHead:
        recipe = Recipe(net=FROZEN, augment=CLASSICAL)
        return train_head(pools, recipe, val=self._val, features=self._kept)

    def _named(self, classes: Pools) -> float:
        """The mean over the defect classes of the share that is named right."""
        said = {k: self._namer.logits(images).argmax(1) for k, images in enumerate(classes) if k}
        return fmean(float((named == k).float().mean()) for k, named in said.items())

    def _macro_f1(self, head: LinearHead) -> float:
        named = torch.cat([head.logits(images).argmax(1) for images in self._val]).numpy()
        true = np.repeat(np.arange(len(self._val)), [len(images) for images in self._val])
        once = np.ones((1, len(true)))
        return float(macro_f1(confusions(true, named, once, classes=len(self._val)))[0])


def others(real: RealSplit) -> Index:
    """The training images of defects that nothing has learned from, and the good validation images:
    of good ones all are learned from.

    Raises:
        DataError: if the shots leave too few of a class.
    """
    good = real.part(VAL).members[0]
    rest = replace(real.index, samples=(*good, *real.left_out), held_out=())
    if scarce := [name for name, found in rest.counts().items() if found < FEWEST]:
        raise DataError(
            f"fewer than {FEWEST} images of {', '.join(scarce)} in {real.index.root} are left to "
            "hold painted ones against: take fewer shots"
        )
    return rest


def looks(classes: Sequence[Sequence[Seen]]) -> dict[str, float]:
    """Of defects by their masks, the mean over classes: ``gray``, the share of their pixels that
    are neither dark nor bright, and ``contrast``, how far their mean lies from that of what is
    round them, as a share of the range; nothing where no mask marks any.
    """
    found = ([look for seen in members if (look := _look(seen))] for members in classes[1:])
    of_classes = [np.mean(of, axis=0) for of in found if of]
    if not of_classes:
        return {}
    gray, contrast = np.mean(of_classes, axis=0).tolist()
    return {"gray": gray, "contrast": contrast}


def _look(seen: Seen) -> tuple[float, float] | None:
    if seen.truth is None:
        return None
    region = half_covered(seen.truth[..., 0])
    around = cv2.dilate(region.astype(np.uint8), np.ones((STRIP, STRIP), np.uint8)) > region
    if not region.any() or not around.any():
        return None
    values = seen.image.mean(axis=2) / np.iinfo(seen.image.dtype).max
    inside = values[region]
    between = (inside > DARK) & (inside < 1 - DARK)
    return float(between.mean()), float(abs(inside.mean() - values[around].mean()))


def located(model: Model, real: Index, device: torch.device) -> dict[str, float]:
    """``ap`` and ``iou`` of restoration masks, the mean over the classes that have true ones."""
    tally = Tally(threshold=model.info.threshold)
    for subject in RealImages(model, real, per_class=LOCATED, device=device).restored():
        tally.add(subject)
    scores = tally.finish(real.classes[1:]).located
    if not scores:
        return {}
    mean = scores.get(MEAN) or next(iter(scores.values()))
    return {"ap": mean["ap"], "iou": mean["iou_best"]}
