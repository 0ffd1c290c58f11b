import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from defectgan.networks.layers import AdaptiveNoise, InstanceNorm, Spade


def naive_spade(spade: Spade, x: Tensor, control: Tensor) -> Tensor:
    """Equation 1 of the SPADE paper, pixel by pixel, the map at full resolution."""
    control = F.interpolate(control, size=x.shape[2:], mode="nearest")
    padded = F.pad(control, (1, 1, 1, 1), mode="replicate")
    features = F.relu(F.conv2d(padded, spade.shared.weight, spade.shared.bias))
    padded = F.pad(features, (1, 1, 1, 1), mode="replicate")
    gamma = F.conv2d(padded, spade.gamma.weight, spade.gamma.bias)
    beta = F.conv2d(padded, spade.beta.weight, spade.beta.bias)
    result = torch.empty_like(x)
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            plane = x[b, c]
            normal = (plane - plane.mean()) / (plane.var(correction=0) + 1e-5).sqrt()
            result[b, c] = (1 + gamma[b, c]) * normal + beta[b, c]
    return result


def test_spade_equals_a_naive_loop_on_a_map_that_varies() -> None:
    torch.manual_seed(0)
    spade, x = Spade(6, 3, 5), torch.randn(2, 6, 8, 8)
    control = torch.rand(2, 3, 4, 4)
    assert_close(spade(x, control), naive_spade(spade, x, control), atol=1e-5, rtol=1e-5)


def test_the_cheap_path_of_a_constant_map_equals_the_full_one() -> None:
    torch.manual_seed(0)
    spade, x = Spade(6, 3, 5), torch.randn(2, 6, 8, 8)
    constant = torch.rand(2, 3, 1, 1)
    full = spade(x, constant.expand(-1, -1, 8, 8))
    assert_close(spade(x, constant), full, atol=1e-6, rtol=0)


def test_both_paths_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    spade, x = Spade(6, 3, 5), torch.randn(2, 6, 8, 8)
    constant, target = torch.rand(2, 3, 1, 1), torch.randn(2, 6, 8, 8)
    gradients = []
    for control in (constant, constant.expand(-1, -1, 8, 8)):
        spade.zero_grad()
        F.mse_loss(spade(x, control), target).backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad.clone() for p in spade.parameters() if p.grad is not None])
    assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_instance_norm_equals_the_library_one() -> None:
    torch.manual_seed(0)
    ours, x = InstanceNorm(4), torch.randn(2, 4, 6, 6)
    torch.nn.init.normal_(ours.weight)
    torch.nn.init.normal_(ours.bias)
    assert_close(ours(x), F.instance_norm(x, weight=ours.weight, bias=ours.bias))


def test_noise_changes_nothing_at_the_start_of_training() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(AdaptiveNoise(0.0)(x, torch.randn(2, 1, 4, 4)), x)
