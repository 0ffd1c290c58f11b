import torch
from defectgan.GONE import CriticConfig, GeneratorConfig, LossWeights
from torch.testing import assert_close

from defectgan import losses
from defectgan.batch import Batch
from defectgan.networks.control import one_hot
from defectgan.networks.critic import Critic
from defectgan.networks.generator import Generator
from defectgan.training.step import (
    critic_loss,
    cycle,
    draw_noise,
    generator_loss,
    penalty,
    sides,
)


def batch() -> Batch:
    normal, defect = torch.rand(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Batch(normal, defect, one_hot([1, 2], 3))


def networks() -> tuple[Generator, Critic]:
    torch.manual_seed(0)
    generator = Generator(1, 3, GeneratorConfig(width=4, residual_blocks=0, spade_hidden=4))
    return generator, Critic(1, 3, CriticConfig(width=4, layers=3))


def noise_for(generator: Generator, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return draw_noise(len(images), generator.noise_size(*images.shape[2:]), rng)


def test_normal_images_go_to_the_classes_of_the_defects_and_these_to_normal() -> None:
    data = batch()
    both = sides(data)
    assert both.source.argmax(1).tolist() == [0, 0, 1, 2]
    assert both.target.argmax(1).tolist() == [1, 2, 0, 0]
    assert torch.equal(both.real[:2], data.defect) and torch.equal(both.images[:2], data.normal)


def test_every_fake_is_held_against_a_real_image_of_its_target_class() -> None:
    data = batch()
    both = sides(data)
    assert torch.equal(both.real, torch.cat([data.defect, data.normal]))
    assert torch.equal(both.target[:2], data.label)


def test_the_critic_loss_is_the_weighted_sum_of_its_terms() -> None:
    generator, critic = networks()
    both, t = sides(batch()), torch.tensor([0.1, 0.4, 0.6, 0.9])
    noise = noise_for(
        generator,
        both.images,
        torch.Generator().manual_seed(0),
    )
    fake = generator.paint(both.images, both.target[:, :, None, None], noise)[0].detach()
    weights = LossWeights(gp=3.0, cls_r=0.5, cls_s=0.25)
    total, terms = critic_loss(critic, both, fake, t, weights)
    assert_close(
        total,
        terms["wgan"] + 3.0 * terms["gp"] + 0.5 * terms["cls_r"] + 0.25 * terms["cls_s"],
    )
    real, judged = critic(both.real), critic(fake)
    assert_close(
        terms["wgan"], losses.wasserstein_critic(real.of(both.target), judged.of(both.target))
    )
    assert_close(terms["cls_r"], losses.classification(real.logits, both.target))
    assert_close(terms["cls_s"], losses.classification(judged.logits, both.source))
    assert_close(terms["sureness"], (real.logits.softmax(1) * both.target).sum(1).mean())


def test_the_published_critic_does_not_classify_fakes() -> None:
    _, critic = networks()
    both = sides(batch())
    _, terms = critic_loss(critic, both, both.images, torch.rand(4), LossWeights())
    assert set(terms) == {"wgan", "gp", "cls_r", "sureness"}


def test_the_generator_loss_is_the_weighted_sum_of_its_terms() -> None:
    generator, critic = networks()
    both, rng = sides(batch()), torch.Generator().manual_seed(0)
    noise = (
        noise_for(generator, both.images, rng),
        noise_for(generator, both.images, rng),
    )
    weights = LossWeights(adv=0.5, cls_f=2.0, rec=3.0, sd_cyc=4.0, sd_con=6.0)
    passes = cycle(generator, both, noise)
    total, terms = generator_loss(critic, both, passes, weights, warmup=0.25)
    expected = (
        0.5 * terms["adv"]
        + 2.0 * terms["cls_f"]
        + 3.0 * terms["rec"]
        + 4.0 * terms["sd_cyc"]
        + 0.25 * 6.0 * terms["sd_con"]
    )
    assert_close(total, expected)


def test_an_image_pays_for_its_mask_as_far_as_the_critic_recognises_it() -> None:
    generator, critic = networks()
    both, rng = sides(batch()), torch.Generator().manual_seed(0)
    noise = (
        noise_for(generator, both.images, rng),
        noise_for(generator, both.images, rng),
    )
    passes = cycle(generator, both, noise)
    _, terms = generator_loss(critic, both, passes, LossWeights(sparsity_by_class=True))
    share = (critic(passes.there).logits.softmax(1) * both.target).sum(1)
    area = (passes.mask + passes.back_mask).mean((1, 2, 3))
    assert_close(terms["sd_con"], (share * area).mean())


def test_true_masks_supervise_the_restoration_of_those_defects_that_have_one() -> None:
    generator, critic = networks()
    truth = torch.full((2, 1, 16, 16), float("nan"))
    truth[1] = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(1))
    both, rng = sides(batch()._replace(truth=truth)), torch.Generator().manual_seed(0)
    noise = (noise_for(generator, both.images, rng), noise_for(generator, both.images, rng))
    passes = cycle(generator, both, noise)
    plain, _ = generator_loss(critic, both, passes, LossWeights())
    total, terms = generator_loss(critic, both, passes, LossWeights(mask_supervision=3.0))
    assert_close(terms["mask_supervision"], losses.mask_supervision(passes.mask[2:], truth))
    assert_close(terms["mask_supervision"], losses.mask_supervision(passes.mask[3:], truth[1:]) / 2)
    assert_close(total, plain + 3 * terms["mask_supervision"])


def test_the_critic_judges_what_it_is_shown() -> None:
    generator, critic = networks()
    both, rng = sides(batch()), torch.Generator().manual_seed(0)
    noise = (noise_for(generator, both.images, rng), noise_for(generator, both.images, rng))
    passes = cycle(generator, both, noise)
    _, terms = generator_loss(critic, both, passes, LossWeights(), shown=passes.there.flip(3))
    assert_close(
        terms["adv"],
        losses.wasserstein_generator(critic(passes.there.flip(3)).of(both.target)),
    )
    _, plain = generator_loss(critic, both, passes, LossWeights())
    assert_close(terms["rec"], plain["rec"])


def test_defects_need_not_come_back_and_normal_images_then_weigh_as_before() -> None:
    generator, critic = networks()
    both, rng = sides(batch()), torch.Generator().manual_seed(0)
    noise = (noise_for(generator, both.images, rng), noise_for(generator, both.images, rng))
    whole, half = (cycle(generator, both, noise, defects=defects) for defects in (True, False))
    assert_close(half.there, whole.there)
    assert_close(half.back, whole.back[:2])
    _, terms = generator_loss(critic, both, half, LossWeights())
    n = slice(0, 2)  # normal images come first
    rec = (both.images[n] - whole.back[n]).abs().mean((1, 2, 3)).sum() / 4
    assert_close(terms["rec"], rec)
    assert_close(terms["sd_con"], whole.mask.mean() + whole.back_mask[n].mean() / 2)


def test_the_penalty_is_computed_in_fp32_also_under_autocast() -> None:
    _, critic = networks()
    both = sides(batch())
    exact = penalty(critic, both.images, both.target)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(penalty(critic, both.images, both.target), exact)


def test_the_cycle_starts_from_the_image_and_goes_back_from_what_was_painted() -> None:
    generator, _ = networks()
    both, rng = sides(batch()), torch.Generator().manual_seed(0)
    noise = (
        noise_for(generator, both.images, rng),
        noise_for(generator, both.images, rng),
    )
    passes = cycle(generator, both, noise)
    there, _ = generator.paint(both.images, both.target[:, :, None, None], noise[0])
    back, mask = generator.paint(there, both.source[:, :, None, None], noise[1])
    assert_close(passes.there, there)
    assert_close(passes.back, back)
    assert_close(passes.back_mask, mask)
