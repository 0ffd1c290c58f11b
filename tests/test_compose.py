import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from defectgan.networks.compose import compose


def layers(seed: int, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    background, foreground = torch.rand(2, 2, channels, 5, 7, generator=rng) * 2 - 1
    return background, foreground


@given(seed=st.integers(0, 2**31), channels=st.sampled_from([1, 3]))
def test_a_zero_mask_keeps_the_background_bit_for_bit(seed: int, channels: int) -> None:
    background, foreground = layers(seed, channels)
    assert torch.equal(compose(background, foreground, torch.zeros(2, 1, 5, 7)), background)


@given(seed=st.integers(0, 2**31))
def test_a_full_mask_gives_the_foreground_bit_for_bit(seed: int) -> None:
    background, foreground = layers(seed)
    assert torch.equal(compose(background, foreground, torch.ones(2, 1, 5, 7)), foreground)


def test_a_half_mask_gives_the_mean() -> None:
    background, foreground = layers(0)
    composed = compose(background, foreground, torch.full((2, 1, 5, 7), 0.5))
    assert_close(composed, (background + foreground) / 2)


@pytest.mark.parametrize("mask_shape", [(2, 1, 1, 1), (2, 3, 5, 7), (1, 1, 5, 7)])
def test_sizes_that_broadcasting_would_hide_are_refused(mask_shape: tuple[int, ...]) -> None:
    background, foreground = layers(0)
    with pytest.raises(ValueError, match=r"mask \[2, 1, 5, 7\]"):
        compose(background, foreground, torch.zeros(mask_shape))
