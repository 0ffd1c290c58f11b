"""The method: one critic step and one generator step of Defect-GAN.

n, d are normal and defect images [B/2, C, H, W] in [-1, 1], y the labels of d, K classes with
index 0 = normal.

    deface   d^ = compose(n, G(n, y))          restore   n^ = compose(d, G(d, normal))
    and back n~ = compose(d^, G(d^, normal))             d~ = compose(n^, G(n^, y))

Both directions go through the networks as one batch: (n, d) towards (y, normal), then (d^, n^) back
towards (normal, y).

Source: Zhang et al., "Defect-GAN: High-Fidelity Defect Synthesis for Automated Defect Inspection",
    WACV 2021.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from defectgan import losses
from defectgan.config import LossWeights
from defectgan.control import constant_map, normal_label, one_hot
from defectgan.data.dataset import Batch
from defectgan.memory import Portions
from defectgan.models.critic import Critic, Verdict, score_of
from defectgan.models.fixed_critic import FixedCritic, either
from defectgan.models.generator import Generator

Terms = dict[str, Tensor]
AnyCritic = Critic | FixedCritic


class Passes(NamedTuple):
    """The two generator passes of a batch: images and masks there, images and masks back; back only
    for the first n where the others need not come back.
    """

    there: Tensor
    mask: Tensor
    back: Tensor
    back_mask: Tensor


class Sides(NamedTuple):
    """A batch as the networks take it, both directions at once; [B, ...] each.

    ``images`` (n, d) of the classes ``source`` are turned into the classes ``target``, of which
    ``real`` (d, n) are true examples; ``truth`` are the true masks of d, as in ``Batch``; with
    ``multi_label`` some images of the data have several classes.
    """

    images: Tensor
    source: Tensor
    target: Tensor
    real: Tensor
    truth: Tensor
    multi_label: bool = False


def sides(batch: Batch, *, multi_label: bool = False) -> Sides:
    """Normal images towards the classes of the defect images, and back."""
    normal = normal_label(batch.label)
    return Sides(
        images=torch.cat([batch.normal, batch.defect]),
        source=torch.cat([normal, batch.label]),
        target=torch.cat([batch.label, normal]),
        real=torch.cat([batch.defect, batch.normal]),
        truth=batch.truth,
        multi_label=multi_label,
    )


def draw_noise(count: int, size: int, rng: torch.Generator) -> Tensor:
    """Noise [count, size] for as many images, on the device of ``rng``."""
    return torch.randn(count, size, generator=rng, device=rng.device)


@torch.no_grad()
def paint_class(
    generator: Generator, images: Tensor, label: int, rng: torch.Generator, *, portions: Portions
) -> tuple[Tensor, Tensor]:
    """All images [B, C, H, W] towards one class, in portions: the composed images and the masks."""
    control = constant_map(one_hot([label] * len(images), generator.classes).to(images.device))
    # Drawn for all, so that no image depends on how large the portions are.
    noise = draw_noise(len(images), generator.noise_size(*images.shape[2:]), rng)
    made = portions(
        len(images), lambda part: generator.paint(images[part], control[part], noise[part])
    )
    painted, masks = (torch.cat(tensors) for tensors in zip(*made, strict=True))
    return painted, masks


def classifier_loss(critic: AnyCritic, batch: Sides) -> Tensor:
    """The classification loss of real images alone."""
    if isinstance(critic, FixedCritic):
        pairs = critic.pairs(batch.images)
        return losses.paired_classification(
            pairs, batch.source, painted=False, multi_label=batch.multi_label
        )
    return classification(critic.classify(batch.images), batch.source, batch)


def critic_loss(
    critic: AnyCritic,
    batch: Sides,
    fake: Tensor,
    t: Tensor,
    weights: LossWeights,
) -> tuple[Tensor, Terms]:
    """``L_D`` and its named terms, and how sure the critic is of the real images that it learns
    from (``sureness``), in [0, 1]: how probable their true classes are to the classifier; to a
    critic on fixed features, that they are real.

    Args:
        critic: D.
        batch: fake i was made of image i and is meant to be of the class of real i.
        fake: [B, C, H, W], without graph.
        t: [B], U[0, 1], where between real and fake the penalty is taken.
        weights: the weights of the terms.
    """
    if isinstance(critic, FixedCritic):
        return _fixed_critic_loss(critic, batch, fake, weights)
    real, label = batch.real, batch.target
    on_real, on_fake = verdicts(critic, real, fake)
    terms = {
        "wgan": losses.wasserstein_critic(on_real.of(label), on_fake.of(label)),
        "gp": penalty(critic, losses.interpolate(real, fake, t), label),
        "cls_r": classification(on_real.logits, label, batch),
    }
    total = terms["wgan"] + weights.gp * terms["gp"] + weights.cls_r * terms["cls_r"]
    if weights.cls_s:
        # Otherwise the generator finds what the classifier takes for a defect and nobody else does:
        # a tint, a rim, a bright dot.
        terms["cls_s"] = classification(on_fake.logits, batch.source, batch)
        total = total + weights.cls_s * terms["cls_s"]
    sureness = losses.probability(
        on_real.logits.detach(), label, multi_label=batch.multi_label
    ).mean()
    return total, terms | {"sureness": sureness}


def _fixed_critic_loss(
    critic: FixedCritic, batch: Sides, fake: Tensor, weights: LossWeights
) -> tuple[Tensor, Terms]:
    label, multi_label = batch.target, batch.multi_label
    on_real, on_fake = critic.pairs(torch.cat([batch.real, fake])).chunk(2, dim=1)
    terms = {
        "cls_r": losses.paired_classification(
            on_real, label, painted=False, multi_label=multi_label
        ),
        "cls_p": losses.paired_classification(
            on_fake, label, painted=True, multi_label=multi_label
        ),
    }
    # Whether it knows its real images from painted ones is what it overfits in, not their class.
    sure = (on_real.detach().softmax(3)[..., 0] * label).sum(2) / label.sum(1)
    total = weights.cls_r * (terms["cls_r"] + terms["cls_p"])
    return total, terms | {"sureness": sure.mean()}


def verdicts(critic: Critic, real: Tensor, fake: Tensor) -> tuple[Verdict, Verdict]:
    """The critic's verdicts on real and fake images, in one pass: no layer of its mixes images."""
    score, logits = critic(torch.cat([real, fake]))
    return Verdict(score[: len(real)], logits[: len(real)]), Verdict(
        score[len(real) :], logits[len(real) :]
    )


def classification(logits: Tensor, label: Tensor, batch: Sides) -> Tensor:
    """The classification loss that the batch's kind of labels asks for."""
    return losses.classification(logits, label, multi_label=batch.multi_label)


def penalty(critic: Critic, image: Tensor, label: Tensor) -> Tensor:
    """The gradient penalty at an image, always in fp32: in bf16 its second derivative is noise."""
    image = image.detach().float().requires_grad_()
    with torch.autocast(image.device.type, enabled=False):
        return losses.gradient_penalty(score_of(critic.scores(image), label), image)


def cycle(
    generator: Generator, batch: Sides, noise: tuple[Tensor, Tensor], *, defects: bool = True
) -> Passes:
    """Every image to its target class, and what came of it back to its own class; of what came of
    defects only if asked for.
    """
    there, mask = generator.paint(batch.images, constant_map(batch.target), noise[0])
    n = len(there) if defects else len(there) // 2
    back, back_mask = generator.paint(there[:n], constant_map(batch.source[:n]), noise[1][:n])
    return Passes(there, mask, back, back_mask)


def generator_loss(
    critic: AnyCritic,
    batch: Sides,
    passes: Passes,
    weights: LossWeights,
    *,
    warmup: float = 1.0,
    shown: Tensor | None = None,
) -> tuple[Tensor, Terms]:
    """``L_G`` and its named terms; the critic's parameters need no gradient here.

    Args:
        critic: D.
        batch: what was painted on.
        passes: what was painted.
        weights: the weights of the terms.
        warmup: share of the sparsity weight that is in force, in [0, 1].
        shown: what the critic is shown of ``passes.there``; None: just that.
    """
    logits, terms = _opinion(critic, passes.there if shown is None else shown, batch)
    share = torch.ones(len(passes.there), device=passes.there.device)
    if weights.sparsity_by_class:
        # First learn to paint, then to paint little: an image that is not recognised pays nothing
        # for its mask, so the mask cannot die before the critic has a class to ask for.
        share = losses.probability(logits.detach(), batch.target, multi_label=batch.multi_label)
    n = len(passes.back)
    came_back = n / len(passes.there)  # an image weighs as much whether the others come back or not
    terms |= {
        "rec": came_back * losses.reconstruction(batch.images[:n], passes.back),
        "sd_cyc": came_back * losses.mask_cycle(passes.mask[:n], passes.back_mask),
        "sd_con": losses.mask_sparsity(passes.mask, share)
        + came_back * losses.mask_sparsity(passes.back_mask, share[:n]),
    }
    total = (
        weights.cls_f * terms["cls_f"]
        + weights.rec * terms["rec"]
        + weights.sd_cyc * terms["sd_cyc"]
        + warmup * weights.sd_con * terms["sd_con"]
    )
    if "adv" in terms:
        total = total + weights.adv * terms["adv"]
    if weights.mask_supervision:
        restored = passes.mask.chunk(2)[1]
        terms["mask_supervision"] = losses.mask_supervision(restored, batch.truth)
        total = total + weights.mask_supervision * terms["mask_supervision"]
    return total, terms


def _opinion(critic: AnyCritic, shown: Tensor, batch: Sides) -> tuple[Tensor, Terms]:
    """The class logits of painted images, and what the generator is charged for them."""
    if isinstance(critic, FixedCritic):
        pairs = critic.pairs(shown)
        return either(pairs), {"cls_f": losses.authenticity(pairs, batch.target)}
    verdict = critic(shown)
    return verdict.logits, {
        "adv": losses.wasserstein_generator(verdict.of(batch.target)),
        "cls_f": classification(verdict.logits, batch.target, batch),
    }
