"""The arithmetic of image quality beside KID, torch-fidelity's.

Features are [N, F], a row an image. FID is that of Heusel et al., NeurIPS 2017; precision and
recall are those of Kynkaanniemi et al., NeurIPS 2019.
"""

from importlib.util import find_spec

import torch
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
