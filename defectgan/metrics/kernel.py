"""The kernel distance (KID): how far painted images lie from real ones, and with which error.

KID is the squared MMD of features under ``(<x, y> / F + 1)^3``, without an image's pair with
itself, so that it is unbiased. M painted or unpainted images x, N real ones y, F features of each,
all in double precision.

Source: Binkowski et al., "Demystifying MMD GANs", ICLR 2018; the error is that of the jackknife for
    U-statistics, Arvesen, "Jackknifing U-Statistics", Annals of Mathematical Statistics 1969.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

# So many standard errors above 0 a difference is no accident.
CLEAR = 2.0
# Images that an error can be estimated from: one may be left out, and a pair is left.
FEWEST_JUDGED = 3


@dataclass(frozen=True)
class Estimate:
    """A number and its error, of the images that it was computed from.

    ``terms`` [1 + D] double: the number, and for each of the D images what leaving it out changes;
    the root of the sum of the squares of these is the standard error. Sums, differences and
    multiples of estimates of the same images are those of their terms: what two have in common does
    not count as an error of their difference.
    """

    terms: Tensor

    @property
    def value(self) -> float:
        """The number."""
        return float(self.terms[0])

    @property
    def error(self) -> float:
        """Its standard error."""
        return float(self.terms[1:].norm())

    @property
    def clear(self) -> bool:
        """Whether it is above 0, and not by accident."""
        return self.value > CLEAR * self.error

    def less(self, other: "Estimate", times: float = 1.0) -> "Estimate":
        """The difference ``self - times * other``."""
        return Estimate(self.terms - times * other.terms)

    def over(self, size: float) -> "Estimate":
        """``self / size``."""
        return Estimate(self.terms / size)


class _LeftOut(NamedTuple):
    """A distance of x and y, and what it is without each x [M], and without each y [N]."""

    whole: Tensor
    without_x: Tensor
    without_y: Tensor


def kid(ours: Sequence[Tensor], real: Sequence[Tensor]) -> float:
    """The squared MMD of two mixtures, each of equal parts; 0 on average where they are the same,
    so sometimes below.

    A plain set is its only part. With parts no chance of the draw makes one side richer in a class
    than the other; of two images of one part none is compared with itself, and all pairs of parts
    count alike. So it is as unbiased as the distance of plain sets, and varies less.

    Args:
        ours: the parts, such as classes, each [N, F] with at least 2 images.
        real: the same, of any other number of parts and images.
    """
    across = fmean(float(_kernel(a, b).mean()) for a, b in product(ours, real))
    return _within_mixture(ours) + _within_mixture(real) - 2 * across


def _within_mixture(parts: Sequence[Tensor]) -> float:
    """The mean kernel of two different images of a mixture, over all pairs of parts."""
    pairs = product(enumerate(parts), repeat=2)
    return fmean(
        float(_within(_others(a)) if i == j else _kernel(a, b).mean()) for (i, a), (j, b) in pairs
    )


def distance(x: Tensor, reals: Sequence[Tensor]) -> Estimate:
    """The sum over the classes of the kernel distances of x to the real images of a class.

    Args:
        x: [M, F] or, where they differ from class to class, [K, M, F]; row i of each was made of
            the same image, and is left out together.
        reals: [N, F] of each of the K classes; M and every N at least 3.
    """
    parts = [_leave_out(x if x.ndim == 2 else x[k], y) for k, y in enumerate(reals)]
    whole = torch.stack([part.whole for part in parts]).sum()
    without = [torch.stack([part.without_x for part in parts]).sum(0)]
    without += [whole - part.whole + part.without_y for part in parts]
    return Estimate(torch.cat([whole[None], *map(_deviations, without)]))


def share(painted: Estimate, unpainted: Estimate) -> Estimate | None:
    """The distance of painted images as a share of that of unpainted ones, whose own error is left
    out: it is the same at every step. None where that distance is not clearly above 0: the share of
    nothing would be any number; and None where painted images have features that are not finite.
    """
    known = unpainted.clear and math.isfinite(painted.value)
    return painted.over(unpainted.value) if known else None


def error_of_share(painted: Estimate, unpainted: Estimate) -> float:
    """The standard error of that share, that of the unpainted images' distance included."""
    of_both = painted.less(unpainted, painted.value / unpainted.value)
    return of_both.over(unpainted.value).error


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    kernel: Tensor = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _others(x: Tensor) -> Tensor:
    """The kernel of each image with all others, [M, M]."""
    kernel = _kernel(x, x)
    return kernel - kernel.diag().diag()


def _within(others: Tensor) -> Tensor:
    m = len(others)
    return others.sum() / (m * (m - 1))


def _within_without(others: Tensor) -> Tensor:
    """The mean kernel of two images where one of them is left out, for each of them."""
    m = len(others)
    return (others.sum() - 2 * others.sum(1)) / ((m - 1) * (m - 2))


def _leave_out(x: Tensor, y: Tensor) -> _LeftOut:
    (m, n), xx, yy, xy = (len(x), len(y)), _others(x), _others(y), _kernel(x, y)
    within_x, within_y = _within(xx), _within(yy)
    cross_without_x = (xy.sum() - xy.sum(1)) / ((m - 1) * n)
    cross_without_y = (xy.sum() - xy.sum(0)) / (m * (n - 1))
    return _LeftOut(
        within_x + within_y - 2 * xy.mean(),
        _within_without(xx) + within_y - 2 * cross_without_x,
        within_x + _within_without(yy) - 2 * cross_without_y,
    )


def _deviations(without: Tensor) -> Tensor:
    """Of one sample of independent images: the sum of their squares is its part of the variance."""
    n = len(without)
    return (without - without.mean()) * math.sqrt((n - 1) / n)
