"""What follows from the confusion of K classes [..., K, K], a row a true class: shares of images.

All take any number of confusions at once, such as those of the resamples of a bootstrap.
"""

import numpy as np
from numpy.typing import NDArray

from defectgan.metrics.arrays import Figures


def confusions(
    true: NDArray[np.integer], named: NDArray[np.integer], counts: Figures, *, classes: int
) -> Figures:
    """How often images of one class are called another.

    Args:
        true: [N], the class of each image.
        named: [N], what it is called.
        counts: [R, N], how often each resample holds each image.
        classes: K.

    Returns:
        [R, K, K], a row a true class.
    """
    cells = np.eye(classes * classes)[true * classes + named]
    return (counts @ cells).reshape(len(counts), classes, classes)


def recalls(confusion: Figures) -> Figures:
    """The share of each true class that is called so, [..., K]; NaN for a class without images."""
    return _share(_right(confusion), confusion.sum(axis=-1), np.nan)


def accuracy(confusion: Figures) -> Figures:
    """The share of all images that are called what they are."""
    return _share(_right(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)), np.nan)


def macro_f1(confusion: Figures) -> Figures:
    """The mean F1 of the classes, 0 for one that has no images and is not named, as scikit-learn
    has it.
    """
    both = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return np.asarray(_share(2 * _right(confusion), both, 0.0).mean(axis=-1))


def _right(confusion: Figures) -> Figures:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _share(part: Figures, whole: Figures, none: float) -> Figures:
    filled = np.full(np.shape(whole), none)
    return np.asarray(np.divide(part, whole, out=filled, where=np.asarray(whole) > 0))
