import math

import pytest
import torch
from torch.testing import assert_close

from defectgan import losses
from defectgan.methods.base import CRITIC, Task
from defectgan.methods.config import load_config
from defectgan.methods.registry import make_method
from defectgan.networks.critic import Critic


def test_the_critic_loss_is_the_difference_of_means() -> None:
    real, fake = torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0])
    assert losses.wasserstein_critic(real, fake) == 1.5 - 4.0
    assert losses.wasserstein_generator(fake) == -1.5


def test_gradient_penalty_of_a_linear_critic_is_known_exactly() -> None:
    """D(x) = <w, x> has gradient w everywhere, so the penalty is (|w| - 1)^2."""
    w = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    image = torch.randn(5, 3, 4, 4, requires_grad=True)
    penalty = losses.gradient_penalty((image * w).sum((1, 2, 3)), image)
    assert_close(penalty, (w.norm() - 1).square())


def test_the_penalty_of_a_mean_over_patches_lets_it_rise_as_often_faster_as_there_are_patches() -> (
    None
):
    """D(x) = <w, x> in each of P patches: of their mean it is (|w| - 1)^2, of their sum, as StarGAN
    takes it, (P |w| - 1)^2, which is 0 at |w| = 1 / P.
    """
    patches = 6
    w = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    image = torch.randn(5, 3, 4, 4, requires_grad=True)
    scores = (image * w).sum((1, 2, 3))[:, None, None, None].expand(-1, 1, 2, 3)
    assert_close(losses.gradient_penalty(scores.mean((1, 2, 3)), image), (w.norm() - 1).square())
    assert_close(losses.gradient_penalty(scores, image), (patches * w.norm() - 1).square())


@pytest.mark.parametrize(("preset", "patches"), [("paper", 4), ("quick", 16), ("standard", 16)])
def test_the_number_of_patches_is_as_said(preset: str, patches: int) -> None:
    config = load_config(preset, {})
    size = config.data.image_size
    with torch.device("meta"):
        method = make_method(config.method, Task(3, 2, size))
        critic = method.networks()[CRITIC]
        assert isinstance(critic, Critic)
        assert critic.score(critic.trunk(torch.zeros(1, 3, *size)))[0, 0].numel() == patches


def test_gradient_penalty_takes_the_norm_of_each_image_apart() -> None:
    """With D(x_i) = i * <w, x_i> the penalty is the mean of (i |w| - 1)^2, not of a joint norm."""
    w = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    image = torch.randn(2, 3, 4, 4, requires_grad=True)
    score = (image * w).sum((1, 2, 3)) * torch.tensor([1.0, 2.0])
    expected = ((w.norm() - 1).square() + (2 * w.norm() - 1).square()) / 2
    assert_close(losses.gradient_penalty(score, image), expected)


def test_gradient_penalty_has_a_finite_gradient_where_the_critic_is_flat() -> None:
    w = torch.zeros(3, 4, 4, requires_grad=True)
    image = torch.randn(2, 3, 4, 4, requires_grad=True)
    losses.gradient_penalty((image * w).sum((1, 2, 3)), image).backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None and w.grad.isfinite().all()


def test_gradient_penalty_differentiates_to_its_closed_form() -> None:
    """d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|."""
    w = torch.randn(12, generator=torch.Generator().manual_seed(1), requires_grad=True)
    image = torch.randn(4, 3, 2, 2, requires_grad=True)
    losses.gradient_penalty((image.flatten(1) * w).sum(1), image).backward()  # type: ignore[no-untyped-call]
    norm = w.detach().norm()
    assert_close(w.grad, 2 * (norm - 1) * w.detach() / norm)


def test_interpolates_lie_between_with_one_t_for_an_image() -> None:
    real, fake = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    mixed = losses.interpolate(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert_close(mixed[:, 0, 0, 0], torch.tensor([0.0, 0.25, 1.0]))
    assert (mixed == mixed[:, :, :1, :1]).all()


def test_classification_of_a_clueless_critic_is_the_log_of_the_classes() -> None:
    label = torch.eye(4)
    assert_close(losses.classification(torch.zeros(4, 4), label), torch.tensor(math.log(4)))


def test_classification_is_the_negative_log_of_the_right_class() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0]])
    expected = -math.log(math.exp(2) / (math.e + math.exp(2) + 1))
    label = torch.tensor([[0.0, 1.0, 0.0]])
    assert_close(losses.classification(logits, label), torch.tensor(expected))


@pytest.mark.parametrize("loss", [losses.reconstruction, losses.mask_cycle])
def test_cycle_terms_are_mean_absolute_differences(loss: object) -> None:
    assert callable(loss)
    a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, -1.0]])
    assert loss(a, b) == (0.5 + 2.0) / 2


def test_sparsity_is_the_mean_area_charged_by_each_images_share() -> None:
    mask = torch.full((2, 1, 3, 3), 0.2)
    assert_close(losses.mask_sparsity(mask, torch.tensor([1.0, 0.5])), torch.tensor(0.15))


def test_binary_cross_entropy_is_summed_over_classes_and_averaged_over_images() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 3.0]])
    label = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    p = 1 / (1 + torch.exp(-logits))
    naive = -(label * p.log() + (1 - label) * (1 - p).log())
    assert_close(losses.classification(logits, label, multi_label=True), naive.sum(1).mean())
    assert_close(
        losses.probability(logits, label, multi_label=True),
        torch.stack([(p[0, 1] + p[0, 2]) / 2, p[1, 0]]),
    )


def test_the_probability_of_one_class_is_its_softmax() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, float(torch.log(torch.tensor(3.0)))]])
    label = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert_close(losses.probability(logits, label), torch.tensor([0.5, 0.75]))


def test_mask_supervision_is_0_on_the_true_mask_1_beside_it_and_skips_unknown_ones() -> None:
    truth = torch.zeros(3, 1, 8, 8)
    truth[0, :, :4, :4] = truth[1, :, :4, :4] = 1
    truth[2] = float("nan")
    mask = truth.clone()
    mask[1] = 1 - truth[1]
    mask[2] = 0.7
    assert_close(losses.mask_supervision(mask, truth), torch.tensor(1 / 3))
    # Twice the area with the defect in it: 1 - 2 * 16 / (32 + 16).
    mask[0, :, :4] = 1
    assert_close(losses.mask_supervision(mask[:1], truth[:1]), torch.tensor(1 / 3))
    assert losses.mask_supervision(mask[2:], truth[2:]) == 0


def test_mask_supervision_is_1_for_a_mask_of_nothing_and_its_gradient_is_finite() -> None:
    truth = torch.full((2, 1, 4, 4), float("nan"))
    truth[0] = 0
    mask = torch.zeros(2, 1, 4, 4, requires_grad=True)
    loss = losses.mask_supervision(mask, truth)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0.5 and mask.grad is not None and mask.grad.isfinite().all()
