"""The detector that learns from good images alone, against known answers."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f as f_distribution
from sklearn.metrics import roc_auc_score
from torch import Tensor

from defectgan.evaluation.detector import coreset, fit_detector, patches_of


def pixels(images: Tensor) -> Sequence[Tensor]:
    """The image itself is its only map."""
    return [images]


def gaussian(seed: int, n: int, channels: int, *, scale: float = 1.0, mean: float = 0.0) -> Tensor:
    """Images of one pixel."""
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(n, channels, 1, 1, generator=generator)


def auroc(good: Tensor, bad: Tensor) -> float:
    return float(roc_auc_score([0] * len(good) + [1] * len(bad), torch.cat([good, bad])))


def test_of_one_good_patch_the_auroc_of_two_gaussians_is_known() -> None:
    """Distances from 0 are chi: P(s1 chi_D > s0 chi_D) is the F distribution's."""
    channels, wider = 5, 1.5
    detector = fit_detector(pixels, [torch.zeros(3, channels, 1, 1)])
    assert len(detector.kept) == 1
    scores = [detector(gaussian(i, 20_000, channels, scale=s))[0] for i, s in enumerate((1, wider))]
    expected = f_distribution.sf(1 / wider**2, channels, channels)
    assert auroc(*scores) == pytest.approx(expected, abs=0.01)


def test_gaussians_far_apart_are_told() -> None:
    detector = fit_detector(pixels, [gaussian(0, 500, 8)], kept=100)
    near, far = (detector(gaussian(s, 300, 8, mean=m))[0] for s, m in ((1, 0.0), (2, 3.0)))
    same = detector(gaussian(3, 300, 8))[0]
    assert auroc(near, far) > 0.99
    assert auroc(near, same) == pytest.approx(0.5, abs=0.05)


def test_a_planted_patch_is_found_at_its_place() -> None:
    generator = torch.Generator().manual_seed(0)
    good = torch.rand(20, 3, 12, 16, generator=generator)
    detector = fit_detector(pixels, torch.split(good, 5), kept=300)
    odd = torch.rand(2, 3, 12, 16, generator=generator)
    odd[1, :, 7:10, 3:6] = 3
    scores, maps = detector(odd)
    assert maps.shape == (2, 12, 16)
    assert divmod(int(maps[1].argmax()), 16) == (8, 4)
    assert scores[1] > 3 * scores[0]


def test_a_good_patch_itself_lies_at_no_distance() -> None:
    good = gaussian(0, 30, 4)
    scores, maps = fit_detector(pixels, [good])(good)
    torch.testing.assert_close(maps, torch.zeros_like(maps), atol=2e-3, rtol=0)
    torch.testing.assert_close(scores, torch.zeros_like(scores), atol=2e-3, rtol=0)


def test_the_score_is_that_of_equation_7() -> None:
    """Written out for single images, exponentials of distances per channel."""
    good, other = gaussian(0, 40, 6).double(), gaussian(1, 5, 6, scale=2)
    detector = fit_detector(pixels, [good])
    scores, maps = detector(other)
    kept = detector.kept.double()
    for image, score, map_ in zip(other.double(), scores, maps, strict=True):
        point = image[:, 0, 0] / detector.scale
        distances = (kept - point).norm(dim=1)
        nearest = kept[distances.argmin()]
        neighbours = (kept - nearest).norm(dim=1).argsort()[:9]
        raised = (distances[neighbours] / 6**0.5).exp()
        expected = (1 - (distances.min() / 6**0.5).exp() / raised.sum()) * distances.min()
        assert float(map_.max()) == pytest.approx(float(distances.min()), rel=1e-4)
        assert float(score) == pytest.approx(float(expected), rel=1e-4)


def test_no_channel_outweighs_others_by_its_numbers() -> None:
    units = torch.tensor([1.0, 1000, 0.01, 7])[:, None, None]
    good, other = gaussian(0, 60, 4), gaussian(1, 9, 4)
    plain = fit_detector(pixels, [good])(other)[0]
    torch.testing.assert_close(fit_detector(pixels, [good * units])(other * units)[0], plain)


def test_patches_are_local_means_on_the_finest_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    fine, coarse = (torch.rand(2, c, s, s, generator=generator) for c, s in ((3, 8), (5, 4)))
    patches = patches_of(lambda images: [fine, coarse], fine)
    assert patches.shape == (2, 8, 8, 8)
    torch.testing.assert_close(patches[0, 4, 5, :3], fine[0, :, 3:6, 4:7].mean((1, 2)))
    # At the rim the mean is over what is there.
    torch.testing.assert_close(patches[0, 0, 0, :3], fine[0, :, :2, :2].mean((1, 2)))
    # A cell of the finer grid lies a quarter of the way to the next coarse one.
    mean = torch.nn.functional.avg_pool2d(coarse, 3, 1, 1, count_include_pad=False)[0]
    line = 0.75 * mean[:, 1] + 0.25 * mean[:, 0]
    torch.testing.assert_close(patches[0, 2, 2, 3:], 0.75 * line[:, 1] + 0.25 * line[:, 0])


def reach(points: Tensor, chosen: Sequence[int]) -> float:
    """How far the farthest point lies from all chosen ones."""
    return float(torch.cdist(points, points[list(chosen)]).min(1).values.max())


@given(st.integers(0, 1000), st.integers(2, 9), st.integers(1, 4))
def test_the_coreset_reaches_at_most_twice_as_far_as_the_best(
    seed: int, n: int, count: int
) -> None:
    points = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    chosen = coreset(points, min(count, n)).tolist()
    assert len(set(chosen)) == len(chosen)
    best = min(reach(points, some) for some in combinations(range(n), len(chosen)))
    assert reach(points, chosen) <= 2 * best + 1e-4


def test_the_coreset_takes_the_farthest_each_time() -> None:
    points = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    chosen = coreset(points, 12).tolist()
    for i in range(1, len(chosen)):
        distances = torch.cdist(points, points[chosen[:i]]).min(1).values
        assert chosen[i] == int(distances.argmax())


def test_copies_are_kept_once() -> None:
    points = torch.tensor([[0.0, 0], [1, 0], [0, 2]]).repeat(5, 1)
    assert sorted(points[coreset(points, 10)].tolist()) == [[0, 0], [0, 2], [1, 0]]


def test_the_same_seed_keeps_the_same_patches() -> None:
    good = gaussian(0, 200, 100)
    one, two, other = (fit_detector(pixels, [good], kept=20, seed=s).kept for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_images_are_scored_alike_alone_and_in_a_batch() -> None:
    detector = fit_detector(pixels, [gaussian(0, 50, 4)])
    images = gaussian(1, 7, 4)
    alone = torch.cat([detector(image[None])[0] for image in images])
    np.testing.assert_allclose(detector(images)[0], alone, rtol=1e-5)
