"""The arithmetic of image quality, torch-fidelity's.

Features are [N, F], a row an image. KID is the squared kernel distance of Binkowski et al.,
"Demystifying MMD GANs", ICLR 2018; FID that of Heusel et al., NeurIPS 2017; precision and recall
are those of Kynkaanniemi et al., NeurIPS 2019.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import product
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan.errors import SettingError

# The neighbours by which precision and recall outline a set.
NEIGHBOURS = 3


def require_fidelity() -> None:
    """Raises: SettingError: if torch-fidelity is not installed."""
    if find_spec("torch_fidelity") is None:
        raise SettingError(
            "image quality needs the package torch-fidelity: install the extra 'evaluate' of "
            "defectgan"
        )


def kid(ours: Sequence[Tensor], real: Sequence[Tensor]) -> float:
    """The squared kernel distance of two mixtures, each of equal parts; 0 on average where they are
    the same, so sometimes below.

    A plain set is its only part. With parts no chance of the draw makes one side richer in a class
    than the other; of two images of one part none is compared with itself, and all pairs of parts
    count alike. So it is as unbiased as the distance of plain sets, and varies less.

    Args:
        ours: the parts, such as classes, each [N, F] with at least 2 images.
        real: the same, of any other number of parts and images.
    """
    across = fmean(_kernel(a, b).mean() for a, b in product(ours, real))
    return _within(ours) + _within(real) - 2 * across


def _within(parts: Sequence[Tensor]) -> float:
    """The mean kernel of two different images of a mixture, over all pairs of parts."""
    means = []
    for (i, a), (j, b) in product(enumerate(parts), repeat=2):
        kernel = _kernel(a, b)
        n = len(a)
        # Of one part, without the pairs of an image with itself.
        means.append((kernel.sum() - kernel.trace()) / (n * (n - 1)) if i == j else kernel.mean())
    return fmean(means)


def _kernel(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """The kernel of each image of one set with each of another, [N, M]."""
    from torch_fidelity.metric_kid import kernel_poly

    kernel: NDArray[np.float64] = kernel_poly(a.numpy(), b.numpy())
    return kernel


def fid(ours: Tensor, real: Tensor) -> float:
    """The Frechet distance of Gaussians with the moments of two sets, at least 2 images each.

    Few images span few directions; the distance is the same in those alone, and much quicker.
    """
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    if len(ours) + len(real) < ours.shape[1]:
        spanned, _ = torch.linalg.qr(torch.cat([ours, real]).T)
        ours, real = ours @ spanned, real @ spanned
    moments = (fid_features_to_statistics(features) for features in (ours, real))
    return float(fid_statistics_to_metric(*moments, verbose=False)[KEY_METRIC_FID])


def precision_recall(ours: Tensor, real: Tensor) -> tuple[float, float] | None:
    """The share of our images that lie among real ones, and of real ones among ours; None where a
    set has too few images to be outlined.
    """
    from torch_fidelity.metric_prc import (
        KEY_METRIC_PRECISION,
        KEY_METRIC_RECALL,
        prc_features_to_metric,
    )

    if min(len(ours), len(real)) <= NEIGHBOURS:
        return None
    measured = prc_features_to_metric(
        ours, real, prc_neighborhood=NEIGHBOURS, save_cpu_ram=False, verbose=False
    )
    return float(measured[KEY_METRIC_PRECISION]), float(measured[KEY_METRIC_RECALL])


def spread(features: Tensor) -> float:
    """The mean distance of two images of a set; 0 where all are the same."""
    return float(torch.pdist(features).mean())
