"""The arithmetic of image quality, of sets whose answers are known."""

from statistics import fmean, stdev

import pytest
import torch

from defectgan.errors import SettingError
from defectgan.metrics.fidelity import (
    fid,
    precision_recall,
    require_fidelity,
    spread,
)
from defectgan.metrics.kernel import kid


def normal(count: int, size: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=rng, dtype=torch.float64)


def test_kid_of_a_set_with_itself_is_0_but_for_the_pairs_of_an_image_with_itself() -> None:
    x = normal(2000, 8, 0)
    assert abs(kid([x], [x])) < 0.01 < kid([x], [x + 0.5])


def test_kid_of_plain_sets_is_torch_fidelitys() -> None:
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    x, y = normal(20, 8, 0), normal(20, 8, 1) + 0.3
    theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=20, verbose=False)
    assert kid([x], [y]) == pytest.approx(theirs[KEY_METRIC_KID_MEAN])


def test_kid_of_mixtures_is_that_of_a_naive_loop() -> None:
    ours, real = ([normal(n, 2, 10 * side + n) for n in (3, 4)] for side in (0, 1))

    def likeness(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
        means = []
        for a in one:
            for b in other:
                same = a is b
                kernels = [
                    (float(p @ q) / 2 + 1) ** 3
                    for i, p in enumerate(a)
                    for j, q in enumerate(b)
                    if not (same and i == j)
                ]
                means.append(fmean(kernels))
        return fmean(means)

    expected = likeness(ours, ours) + likeness(real, real) - 2 * likeness(ours, real)
    assert kid(ours, real) == pytest.approx(expected)


def test_few_images_of_classes_that_lie_far_apart_are_no_nearer_for_that() -> None:
    """Two sets of the same four classes, three images each: 0 on average. Within a plain set of
    them two images are more seldom of one class than across two, and its KID is below 0 by far more
    than its error.
    """
    centres = 3 * normal(4, 4, 0)
    mixed, plain = [], []
    for i in range(60):
        seeds = iter(range(100 + 8 * i, 108 + 8 * i))
        sides = [[c + normal(3, 4, next(seeds)) for c in centres] for _ in range(2)]
        mixed.append(kid(*sides))
        plain.append(kid(*([torch.cat(side)] for side in sides)))
    errors = [stdev(values) / len(values) ** 0.5 for values in (mixed, plain)]
    assert abs(fmean(mixed)) < 2 * errors[0]
    assert fmean(plain) < -10 * errors[1]


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
    monkeypatch.setattr("defectgan.metrics.fidelity.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="install the extra 'evaluate'"):
        require_fidelity()
