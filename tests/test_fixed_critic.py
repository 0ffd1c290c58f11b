"""The critic on fixed features: what it learns and keeps, and what the generator gets of it."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from defectgan import losses
from defectgan.config import Config, CriticConfig, load_config
from defectgan.control import one_hot
from defectgan.data.index import index_data
from defectgan.devices import seeded
from defectgan.errors import SettingError
from defectgan.model.info import ModelInfo
from defectgan.model.transfer import Classes, take_over
from defectgan.models.fixed_critic import FixedCritic, either
from defectgan.models.imagenet import RELEASES, weights_of

pytestmark = pytest.mark.skipif(
    weights_of("lite0") is None, reason="the extra 'features' is not installed"
)

CONFIG = CriticConfig(features="lite0")
CLASSES = 3
SETTINGS = Path(__file__).parents[1] / "benchmarks" / "fixed-features.yaml"


@pytest.fixture(scope="module")
def critic() -> FixedCritic:
    with seeded(0):
        return FixedCritic(1, CLASSES, CONFIG).eval()


def images(count: int = 2, *, channels: int = 1, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, 32, 32, generator=rng) * 2 - 1


def pairs_of(seed: int) -> torch.Tensor:
    return torch.randn(2, 5, CLASSES, 2, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 1000), painted=st.booleans())
def test_paired_classification_is_a_cross_entropy_among_twice_as_many_classes(
    seed: int, painted: bool
) -> None:
    pairs, classes = pairs_of(seed), [0, 2, 1, 1, 0]
    found = losses.paired_classification(pairs, one_hot(classes, CLASSES), painted=painted)
    # Naive: classes 0..K-1 real, K..2K-1 painted.
    plain = torch.cat([pairs[..., 0], pairs[..., 1]], dim=2)
    target = torch.tensor(classes) + CLASSES * painted
    expected = sum(F.cross_entropy(head, target) for head in plain) / len(plain)
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_several_labels_are_several_yes_or_no_questions() -> None:
    pairs, label = pairs_of(0), torch.tensor([[0.0, 1, 1]] * 5)
    found = losses.paired_classification(pairs, label, painted=True, multi_label=True)
    target = torch.stack([torch.zeros_like(label), label], dim=2)
    expected = F.binary_cross_entropy_with_logits(
        pairs, target.expand_as(pairs), reduction="none"
    ).sum((2, 3))
    assert found == pytest.approx(float(expected.mean()), rel=1e-5)


def test_authenticity_compares_the_real_and_the_painted_of_the_class_that_was_asked_for() -> None:
    pairs = pairs_of(1).requires_grad_()
    loss = losses.authenticity(pairs, one_hot([1] * 5, CLASSES))
    expected = -(pairs[:, :, 1].softmax(2)[..., 0]).log().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert pairs.grad is not None
    assert (pairs.grad[:, :, [0, 2]] == 0).all(), "how sure the class is makes no difference"
    assert (pairs.grad[:, :, 1, 0] < 0).all()
    assert torch.allclose(pairs.grad[:, :, 1, 0], -pairs.grad[:, :, 1, 1])


def test_what_passes_for_real_is_not_pulled_at() -> None:
    pairs = torch.zeros(1, 1, CLASSES, 2)
    pairs[..., 0] = 30
    assert losses.authenticity(pairs, one_hot([2], CLASSES)) < 1e-9


def test_the_classes_are_told_whether_real_or_painted() -> None:
    pairs = pairs_of(2)
    swapped = pairs.flip(3)
    assert torch.allclose(either(pairs), either(swapped), atol=1e-6)
    one = either(pairs[:1])
    assert torch.allclose(one.exp().sum(1), torch.ones(5))


def test_the_fixed_network_is_neither_learned_nor_kept(critic: FixedCritic) -> None:
    kept = sum(tensor.numel() for tensor in critic.state_dict().values())
    assert kept == sum(p.numel() for p in critic.parameters()) < 200_000
    before = copy.deepcopy(critic._fixed[0].state_dict())
    learner = copy.deepcopy(critic).train()
    learner.pairs(images()).square().sum().backward()
    torch.optim.SGD(learner.parameters(), 1.0).step()
    after = learner._fixed[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_fixed_network_follows_to_another_type(critic: FixedCritic) -> None:
    moved = copy.deepcopy(critic).double()
    assert {p.dtype for p in moved._fixed[0].parameters()} == {torch.float64}
    assert torch.allclose(
        moved.classify(images().double()).float(), critic.classify(images()), atol=1e-4
    )


def test_the_image_gets_a_gradient_and_the_second_image_makes_no_difference(
    critic: FixedCritic,
) -> None:
    x = images().requires_grad_()
    verdict = critic(x)
    verdict.of(one_hot([1, 1], CLASSES))[0].backward()
    assert x.grad is not None
    assert x.grad[0].abs().sum() > 0
    assert x.grad[1].abs().sum() == 0


def test_the_score_is_the_log_odds_of_the_class_that_was_asked_for(critic: FixedCritic) -> None:
    x, label = images(), one_hot([2, 0], CLASSES)
    pairs = critic.pairs(x)
    expected = (pairs[:, 0, 2].diff() * -1).mean(), (pairs[:, 1, 0].diff() * -1).mean()
    assert torch.allclose(critic(x).of(label), torch.stack(expected), atol=1e-5)
    assert torch.equal(critic(x).logits, critic.classify(x))


def test_a_spot_of_three_pixels_does_not_drown(critic: FixedCritic) -> None:
    """By the mean of a map alone it would."""
    plain = torch.zeros(1, 1, 64, 64)
    spot = plain.clone()
    spot[..., 30:33, 30:33] = 1
    found, without = (critic.features(x) for x in (spot, plain))
    apart = (found - without).abs()[0].view(len(critic.heads), 2, -1).mean(2)
    assert (apart[0, 0] > 4 * apart[0, 1]).all(), "the maximum sees it, the mean hardly"


def test_gray_is_seen_as_colour_of_three_equal_channels() -> None:
    with seeded(0):
        gray = FixedCritic(1, CLASSES, CONFIG)
    with seeded(0):
        colour = FixedCritic(3, CLASSES, CONFIG)
    x = images()
    assert torch.allclose(gray.classify(x), colour.classify(x.expand(-1, 3, -1, -1)), atol=1e-5)


def test_classes_that_both_know_are_carried_over() -> None:
    with seeded(1):
        old = FixedCritic(1, CLASSES, CONFIG)
    new = FixedCritic(1, 2, CONFIG)
    take_over(new, old.state_dict(), Classes(old=("normal", "scratch", "dent"), new=("ok", "dent")))
    x = images()
    assert torch.allclose(new.pairs(x), old.pairs(x)[:, :, [0, 2]], atol=1e-6)


def test_a_model_says_by_what_it_was_taught(boards: Path) -> None:
    config = load_config(SETTINGS, {"data": {"image_size": 32}})
    info = ModelInfo.of(config, index_data(boards, config.data, seed=0))
    assert info.taught_by == (RELEASES["lite0"].sha256,)
    assert isinstance(info.critic(), FixedCritic)


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        ({"critic": {"features": "lite0", "width": 32}}, "width shape a critic that learns"),
        ({"critic": {"features": "lite0"}, "loss": {"gp": 5}}, "loss.gp weigh terms"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    tree: dict[str, dict[str, object]], word: str
) -> None:
    with pytest.raises((SettingError, ValueError), match=word):
        Config.model_validate(tree)
