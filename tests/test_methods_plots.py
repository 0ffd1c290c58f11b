"""The plots of docs/methods.md show what they say, by closed forms."""

import math

import pytest
import torch

from defectgan import losses
from defectgan.methods.presets import presets
from tests.conftest import ROOT, load_script

plots = load_script("benchmarks/methods_plots.py")


@pytest.mark.parametrize("theta", [-0.75, -0.01, 0.01, 1.0])
def test_of_two_lines_kl_is_infinite_js_is_log_2_and_w_is_their_distance(theta: float) -> None:
    found = plots.of_lines(theta)
    assert found.kl == math.inf
    assert found.js == pytest.approx(math.log(2), abs=1e-6)
    assert found.wasserstein == pytest.approx(abs(theta), abs=1e-6)


def test_of_a_line_and_itself_all_three_are_0() -> None:
    assert plots.of_lines(0.0) == pytest.approx((0, 0, 0), abs=1e-6)


@pytest.mark.parametrize("apart", [0.5, 2.0, 6.0])
def test_of_a_sure_discriminator_the_two_gradients_share_its_slope_and_one_vanishes(
    apart: float,
) -> None:
    """The logit of the best one has the slope d; D and 1 - D of it are the two losses' parts."""
    minimax, other = (
        plots.pulls(apart, loss)
        for loss in (losses.minimax_generator, losses.non_saturating_generator)
    )
    assert minimax + other == pytest.approx(apart, rel=1e-6)
    assert plots.pulls(apart, losses.wasserstein_generator) == pytest.approx(1, rel=1e-6)
    # E[D] <= E[p_real / p_made]^(1/2) = exp(-d^2 / 8), by Cauchy and Schwarz.
    assert minimax <= apart * math.exp(-(apart**2) / 8)


def test_the_weights_of_a_clipped_critic_lie_within_the_bound_and_the_others_do_not() -> None:
    clipped, free = (plots.train_critic(clip=c, steps=5).weights for c in (plots.CLIP, None))
    assert clipped.abs().max() <= plots.CLIP < free.abs().max()
    assert 0 < plots.at_bounds(clipped) < 1 and plots.at_bounds(torch.full((3,), plots.CLIP)) == 1


def test_modes_are_counted_where_points_lie() -> None:
    rng = torch.Generator().manual_seed(0)
    assert plots.modes_hit(plots.real_points(400, rng)) == plots.MODES
    assert plots.modes_hit(torch.zeros(400, 2)) == 0
    assert plots.modes_hit(plots.middles()[:1].expand(400, -1)) == 1


def test_each_plot_is_in_the_page_and_each_preset_too() -> None:
    page = (ROOT / "docs/methods.md").read_text()
    for name in plots.PLOTS:
        assert f"(methods-{name}.png)" in page and (ROOT / f"docs/methods-{name}.png").is_file()
    told = [p.name for p in presets() if p.method not in ("robust",) and p.name != "small-data"]
    assert [name for name in told if f"`{name}`" not in page] == []
