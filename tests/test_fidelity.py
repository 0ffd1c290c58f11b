"""The arithmetic of image quality, of sets whose answers are known."""

import pytest
import torch

from defectgan.errors import SettingError
from defectgan.evaluation.fidelity import (
    fid,
    kid,
    precision_recall,
    require_fidelity,
    spread,
)


def normal(count: int, size: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=rng, dtype=torch.float64)


def test_kid_of_a_set_with_itself_is_0_but_for_the_pairs_of_an_image_with_itself() -> None:
    x = normal(2000, 8, 0)
    assert abs(kid(x, x)) < 0.01 < kid(x, x + 0.5)


def test_fid_of_two_gaussians_is_its_closed_form() -> None:
    """|a|^2 for equal covariances, and F (1 - s)^2 for a covariance of s^2."""
    x, y = normal(4000, 3, 0), normal(4000, 3, 1)
    assert fid(x, y + 2.0) == pytest.approx(3 * 4.0, rel=0.05)
    assert fid(x, 3 * y) == pytest.approx(3 * 4.0, rel=0.05)
    assert fid(x, x) == pytest.approx(0, abs=1e-6)


def test_fid_of_few_images_is_the_same_in_the_directions_that_they_span() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    x, y = normal(12, 96, 0), normal(9, 96, 1) * 2 + 0.3
    whole = fid_statistics_to_metric(
        fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False
    )
    assert fid(x, y) == pytest.approx(whole["frechet_inception_distance"], rel=1e-6)


def test_precision_and_recall_tell_what_is_wrong_from_what_is_missing() -> None:
    real = torch.cat([normal(40, 2, 0), normal(40, 2, 1) + 100])
    half = normal(80, 2, 2)
    precision, recall = precision_recall(half, real) or (0.0, 0.0)
    assert precision > 0.9 and 0.4 < recall < 0.5
    assert precision_recall(half - 500, real) == (0, 0)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(half[:3], real) is None


def test_spread_is_the_mean_distance_of_a_pair() -> None:
    square = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert spread(square) == pytest.approx((3 + 4 + 5) / 3)
    assert spread(torch.ones(5, 2)) == 0


def test_without_torch_fidelity_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("defectgan.evaluation.fidelity.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="install the extra 'evaluate'"):
        require_fidelity()
