"""Losses are the weighted sums of their terms, and the terms what their equations say."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from defectgan import losses
from defectgan.batch import Batch
from defectgan.devices import seeded
from defectgan.errors import SettingError
from defectgan.methods.augment import augment, draw_augmentation
from defectgan.methods.base import CRITIC, Method, Networks, Player, Task, Terms
from defectgan.methods.config import Config, load_config, parse_config
from defectgan.methods.draws import Draws, risen
from defectgan.methods.layered import both_ways, fakes, paint, penalty
from defectgan.methods.registry import METHODS, method_named
from defectgan.methods.stargan import StarGAN
from defectgan.methods.stargan import fakes as star_fakes
from defectgan.model.painter import Painter
from defectgan.networks.compose import compose
from defectgan.networks.control import constant_map, one_hot
from defectgan.networks.critic import PatchCritic, TowerCritic
from defectgan.networks.generator import Generator
from defectgan.networks.stargan import StarCritic, StarGenerator
from defectgan.training.state import State
from tests.conftest import CPU

SIZE = 16
TASK = Task(1, 3, (SIZE, SIZE))
SMALL: dict[str, dict[str, Any]] = {
    "defectgan": {"width": 4, "residual_blocks": 0, "spade_hidden": 4, "noise_scale": 0.3},
    "robust": {"width": 4, "residual_blocks": 1, "spade_hidden": 4, "tower_width": 8},
    "stargan": {"width": 4, "residual_blocks": 1},
}
SMALL["exemplar"] = SMALL["robust"]
SMALL |= {"pix2pix": {"width": 4}, "cyclegan": {"width": 4, "residual_blocks": 1}}
SMALL |= {name: {"width": 4, "latent": 6} for name in ("acgan", "cgan", "gan", "wgan", "wgan-gp")}
SMALL |= {
    "starganv2": {"width": 4, "stages": 2, "residual_blocks": 1},
    "spade": {"critic_layers": 2, "width": 4, "stages": 2, "style_layers": 3},
    "pix2pixhd": {"critic_layers": 2, "width": 4, "residual_blocks": 1, "scales": 2},
}
# Those whose critic is told the class, or has a branch for each.
TOLD = ("pix2pixhd", "spade", "starganv2")
# Those whose critic has a classifier.
CLASSIFYING = [
    name for name in METHODS if CRITIC in method_named(name).judging and name not in TOLD
]
LAYERED = ("defectgan", "robust")


class Made(NamedTuple):
    method: Any  # each has players of its own, which no two have in common
    networks: Networks


def config_of(name: str, **settings: Any) -> Config:
    known = method_named(name).Settings.model_fields
    sizes = {"critic_width": 4, "critic_layers": 3}
    tree = {"name": name} | {k: v for k, v in sizes.items() if k in known} | SMALL[name] | settings
    size = SIZE if "critic_layers" in known else 2 * SIZE  # a patch takes as much
    return parse_config({"data": {"image_size": size}, "method": tree}, origin="tests")


def made(name: str, *, task: Task = TASK, **settings: Any) -> Made:
    """A method with networks that paint something."""
    method = method_named(name)(config_of(name, **settings).method, task)
    with seeded(0), torch.no_grad():
        networks = method.networks()
        if isinstance(generator := networks["generator"], Generator):
            nn.init.normal_(generator.head.weight, std=0.2)
    return Made(method, networks)


def batch(*, truth: Tensor | None = None) -> Batch:
    normal, defect = (
        torch.rand(2, 2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    )
    where = torch.zeros(2, 1, SIZE, SIZE)
    where[:, :, 4:8, 4:8] = 1
    drawn = torch.where(where > 0, 1.0, normal[[0, 0]])
    truth = torch.empty(0) if truth is None else truth
    return Batch(normal, defect, one_hot([1, 2], 3), truth, drawn, where)


def draws(*, step: int = 0, strength: Tensor | None = None) -> Draws:
    rng = torch.Generator().manual_seed(7)
    return Draws(rng, step, strength=strength)


def of(method: Method, name: str) -> Player:
    (player,) = (one for one in method.players() if one.name == name)
    return player


def loss_of(
    one: Made, player: str, data: Batch, given: Any = None, **drawn: Any
) -> tuple[Tensor, Terms]:
    return of(one.method, player).loss(one.networks, data, draws(**drawn), given)


def generator_of(one: Made) -> Generator:
    return cast(Generator, one.networks["generator"])


def weighted(terms: Terms, weights: dict[str, float]) -> Tensor:
    return torch.stack([weight * terms[name] for name, weight in weights.items()]).sum()


def slopes(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The norm of the score's gradient at each image, one image at a time."""
    norms = []
    for image in images:
        x = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(score(x).sum(), x)
        norms.append(gradient.norm())
    return torch.stack(norms)


# --- batches


def test_normal_images_go_to_the_classes_of_the_defects_and_these_to_normal() -> None:
    data = batch()
    assert data.source.argmax(1).tolist() == [0, 0, 1, 2]
    assert data.target.argmax(1).tolist() == [1, 2, 0, 0]
    assert torch.equal(data.images, torch.cat([data.normal, data.defect]))


def test_every_fake_is_held_against_a_real_image_of_its_target_class() -> None:
    data = batch()
    assert torch.equal(data.real, torch.cat([data.defect, data.normal]))
    assert torch.equal(data.target[:2], data.label)


# --- Defect-GAN, both forms


@pytest.mark.parametrize("name", LAYERED)
def test_fakes_are_what_the_generator_paints_over_the_images(name: str) -> None:
    one, data = made(name), batch()
    (fake,) = fakes(one.networks, [data], draws())
    generator = generator_of(one)
    noise = draws().noise(4, generator.noise_size(SIZE, SIZE))
    layer = generator(data.images, data.target[:, :, None, None], noise)
    assert_close(fake, compose(data.images, layer.foreground, layer.mask))


@pytest.mark.parametrize("name", LAYERED)
def test_the_critic_loss_is_the_weighted_sum_of_its_terms(name: str) -> None:
    weights: dict[str, Any] = {"gp": 3.0, "cls_r": 0.5} | (
        {"cls_s": 0.25} if name == "robust" else {}
    )
    one, data = made(name, **weights), batch()
    fake = fakes(one.networks, [data], draws())[0].detach()
    total, terms = loss_of(one, "critic", data, fake)
    assert_close(total, weighted(terms, {"wgan": 1.0, **weights}))
    assert terms.keys() == {"wgan", "sureness", *weights}
    critic, label = one.networks[CRITIC], data.target
    real, judged = critic(data.real, label), critic(fake, label)
    assert_close(terms["wgan"], judged.score.mean() - real.score.mean())
    assert_close(terms["cls_r"], losses.classification(real.logits, label))
    assert_close(terms["sureness"], (real.logits.softmax(1) * label).sum(1).mean())
    if name == "robust":
        assert_close(terms["cls_s"], losses.classification(judged.logits, data.source))


@pytest.mark.parametrize("name", LAYERED)
def test_the_penalty_is_taken_between_real_and_fake_of_the_mean_over_patches(name: str) -> None:
    one, data = made(name), batch()
    fake = torch.rand_like(data.images)
    _, terms = loss_of(one, "critic", data, fake)
    t = draws().uniform(4)[:, None, None, None]
    critic = cast(PatchCritic, one.networks[CRITIC])
    norms = slopes(lambda x: critic.scores(x, data.target[:1]), t * data.real + (1 - t) * fake)
    assert_close(terms["gp"], (norms - 1).square().mean())


@pytest.mark.parametrize("name", LAYERED)
def test_the_penalty_is_computed_in_fp32_also_under_autocast(name: str) -> None:
    one, data = made(name), batch()
    exact = penalty(one.networks[CRITIC], data.images, data.target)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(penalty(one.networks[CRITIC], data.images, data.target), exact)


def test_what_comes_back_starts_from_what_was_painted() -> None:
    one, data = made("defectgan"), batch()
    there, back = both_ways(one.networks["generator"], data, draws())
    rng, generator = draws(), generator_of(one)
    size = generator.noise_size(SIZE, SIZE)
    noise, noise_back = rng.noise(4, size), rng.noise(4, size)
    painted = paint(generator, data.images, data.target, noise)
    assert_close(there.image, painted.image)
    returned = paint(generator, painted.image, data.source, noise_back)
    assert_close(back.image, returned.image)
    assert_close(back.mask, returned.mask)


def test_the_published_generator_loss_is_the_weighted_sum_of_its_terms() -> None:
    weights: dict[str, Any] = {"adv": 0.5, "cls_f": 2.0, "rec": 3.0, "sd_cyc": 4.0, "sd_con": 6.0}
    one, data = made("defectgan", **weights), batch()
    total, terms = loss_of(one, "generator", data)
    assert_close(total, weighted(terms, weights))
    there, back = both_ways(one.networks["generator"], data, draws())
    verdict = one.networks[CRITIC](there.image, data.target)
    assert_close(terms["adv"], -verdict.score.mean())
    assert_close(terms["cls_f"], losses.classification(verdict.logits, data.target))
    assert_close(terms["rec"], (data.images - back.image).abs().mean())
    assert_close(terms["sd_cyc"], (there.mask - back.mask).abs().mean())
    assert_close(terms["sd_con"], (there.mask + back.mask).mean())
    assert_close(terms["mask_deface"], there.mask[:2].mean())
    assert_close(terms["mask_restore"], there.mask[2:].mean())


def test_sparsity_rises_over_its_warm_up() -> None:
    one, data = made("defectgan", sparsity_warmup=8, sd_con=6.0), batch()
    (late, terms), (early, _) = (loss_of(one, "generator", data, step=step) for step in (8, 2))
    assert_close(late - early, 0.75 * 6 * terms["sd_con"])
    assert [risen(step, 8) for step in (0, 4, 8, 9)] == [0, 0.5, 1, 1] and risen(0, 0) == 1


def test_the_robust_generator_loss_is_the_weighted_sum_of_its_terms() -> None:
    weights: dict[str, Any] = {"adv": 0.5, "cls_f": 2.0, "rec": 3.0, "sd_cyc": 4.0, "sd_con": 6.0}
    one, data = made("robust", **weights), batch()
    total, terms = loss_of(one, "generator", data)
    assert_close(total, weighted(terms, weights))


def test_of_the_robust_form_normal_images_alone_come_back_and_weigh_as_before() -> None:
    one, data = made("robust"), batch()
    _, terms = loss_of(one, "generator", data)
    there, back = both_ways(one.networks["generator"], data, draws())
    _, some = both_ways(one.networks["generator"], data, draws(), defects=False)
    assert_close(some.image, back.image[:2])
    rec = (data.images[:2] - back.image[:2]).abs().mean((1, 2, 3)).sum() / 4
    assert_close(terms["rec"], rec)
    cyc = (there.mask[:2] - back.mask[:2]).abs().mean((1, 2, 3)).sum() / 4
    assert_close(terms["sd_cyc"], cyc)


def test_in_the_robust_form_an_image_pays_for_its_mask_as_far_as_the_critic_recognises_it() -> None:
    one, data = made("robust"), batch()
    _, terms = loss_of(one, "generator", data)
    there, back = both_ways(one.networks["generator"], data, draws(), defects=False)
    logits = one.networks[CRITIC](there.image, data.target).logits
    share = (logits.softmax(1) * data.target).sum(1)
    area = there.mask.mean((1, 2, 3))
    area[:2] += back.mask.mean((1, 2, 3))
    assert_close(terms["sd_con"], (share * area).mean())


def test_nothing_flows_through_how_far_an_image_is_recognised() -> None:
    """Otherwise the cheapest way to a smaller mask's charge would be not to be recognised."""
    one = made("robust", adv=0, cls_f=0, rec=0, sd_cyc=0)
    loss, _ = loss_of(one, "generator", batch())
    assert loss.requires_grad
    assert not any(
        g is not None and g.any()
        for g in torch.autograd.grad(
            loss, list(one.networks[CRITIC].parameters()), allow_unused=True
        )
    )


def test_the_robust_classifier_trains_alone_on_real_images_first() -> None:
    one, data = made("robust", cls_r=0.5), batch()
    alone = one.method.warm_up()
    assert (alone.steps, alone.until, alone.player.trains) == (2000, 0.4, (CRITIC,))
    total, terms = alone.player.loss(one.networks, data, draws(), None)
    logits = cast(TowerCritic, one.networks[CRITIC]).tower(data.images)
    assert_close(terms["cls_r"], losses.classification(logits, data.source))
    assert_close(total, 0.5 * terms["cls_r"])
    assert made("robust", warmup_steps=0).method.warm_up() is None
    assert made("defectgan").method.warm_up() is made("stargan").method.warm_up() is None


@pytest.mark.parametrize("name", LAYERED)
def test_true_masks_supervise_the_restoration_of_those_defects_that_have_one(name: str) -> None:
    truth = torch.full((2, 1, SIZE, SIZE), float("nan"))
    truth[1] = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    plain, taught = made(name), made(name, mask_supervision=3.0)
    assert taught.method.wants_truths and not plain.method.wants_truths
    data = batch(truth=truth)
    total, terms = loss_of(taught, "generator", data)
    there, _ = both_ways(taught.networks["generator"], data, draws())
    assert_close(terms["mask_supervision"], losses.mask_supervision(there.mask[2:], truth))
    assert_close(terms["mask_supervision"], losses.mask_supervision(there.mask[3:], truth[1:]) / 2)
    without, said = loss_of(plain, "generator", data)
    assert_close(total, without + 3 * terms["mask_supervision"])
    assert "mask_supervision" not in said


@pytest.mark.parametrize("name", CLASSIFYING)
def test_several_classes_in_an_image_are_learned_by_binary_cross_entropy(name: str) -> None:
    one = made(name, task=TASK._replace(multi_label=True))
    data = batch()._replace(label=torch.tensor([[0.0, 1, 1], [0, 0, 1]]))
    critic = one.networks[CRITIC]
    # Real images of the classes that the critic is shown.
    own = name in ("stargan", "acgan")
    real, label = (data.images, data.source) if own else (data.real, data.target)
    _, terms = loss_of(one, "critic", data, torch.rand_like(data.images))
    expected = losses.classification(critic(real, label).logits, label, multi_label=True)
    assert_close(terms["cls_r"], expected)


# --- what the critic is shown


@pytest.mark.parametrize("name", [name for name in CLASSIFYING if name != "acgan"])
def test_the_critic_judges_what_it_is_shown(name: str) -> None:
    """Augmented images, real and fake; what comes back is compared as it is."""
    one, data, strength = made(name), batch(), torch.tensor(0.9)
    _, plain = loss_of(one, "generator", data)
    _, terms = loss_of(one, "generator", data, strength=strength)
    assert_close(terms["rec"], plain["rec"])
    assert not torch.allclose(terms["adv"], plain["adv"], rtol=1e-4, atol=0)
    fake, rng = torch.rand_like(data.images), torch.Generator().manual_seed(7)
    _, terms = loss_of(one, "critic", data, fake, strength=strength)
    torch.rand(4, generator=rng)  # where between real and fake the penalty is taken
    real, label = (data.images, data.source) if name == "stargan" else (data.real, data.target)
    shown, painted = (augment(x, draw_augmentation(4, rng), strength) for x in (real, fake))
    critic = one.networks[CRITIC]
    assert_close(terms["cls_r"], losses.classification(critic(shown, label).logits, label))
    scores = [critic(x, data.target).score.mean() for x in (painted, shown)]
    assert_close(terms["wgan"], scores[0] - scores[1])


@pytest.mark.parametrize("name", CLASSIFYING)
def test_the_critic_says_how_sure_its_classifier_is_of_real_images(name: str) -> None:
    """By that the augmentation finds its strength: a method without it would never augment."""
    _, terms = loss_of(made(name), "critic", batch(), torch.rand(4, 1, SIZE, SIZE))
    assert 0 < terms["sureness"] < 1 and not terms["sureness"].requires_grad


# --- StarGAN


def test_stargans_critic_loss_is_the_weighted_sum_of_its_terms() -> None:
    one, data = made("stargan", gp=3.0, cls=0.5), batch()
    (fake,) = star_fakes(one.networks, [data], draws())
    generator = cast(StarGenerator, one.networks["generator"])
    assert_close(fake, generator(data.images, constant_map(data.target)))
    total, terms = loss_of(one, "critic", data, fake.detach())
    assert_close(total, weighted(terms, {"wgan": 1.0, "gp": 3.0, "cls_r": 0.5}))
    critic = one.networks[CRITIC]
    real, judged = critic(data.images, data.source), critic(fake, data.target)
    assert_close(terms["wgan"], judged.score.mean() - real.score.mean())
    assert_close(terms["cls_r"], losses.classification(real.logits, data.source))


def test_stargans_generator_loss_is_the_weighted_sum_of_its_terms() -> None:
    one, data = made("stargan", cls=0.5, rec=3.0), batch()
    total, terms = loss_of(one, "generator", data)
    assert_close(total, weighted(terms, {"adv": 1.0, "cls_f": 0.5, "rec": 3.0}))
    generator, critic = one.networks["generator"], one.networks[CRITIC]
    there = generator(data.images, data.target[:, :, None, None])
    back = generator(there, data.source[:, :, None, None])
    verdict = critic(there, data.target)
    assert_close(terms["adv"], -verdict.score.mean())
    assert_close(terms["cls_f"], losses.classification(verdict.logits, data.target))
    assert_close(terms["rec"], (data.images - back).abs().mean())


def test_stargans_identity_is_of_images_that_are_asked_for_what_they_are() -> None:
    """Its authors have none: without a weight nothing of it is computed."""
    one, data = made("stargan", identity=2.0), batch()
    plain, _ = loss_of(made("stargan"), "generator", data)
    total, terms = loss_of(one, "generator", data)
    same = one.networks["generator"](data.images, data.source[:, :, None, None])
    assert_close(terms["identity"], (data.images - same).abs().mean())
    assert_close(total - plain, 2 * terms["identity"])
    assert "identity" not in loss_of(made("stargan"), "generator", data)[1]


def star() -> tuple[StarGAN, StarCritic]:
    one = made("stargan")
    assert isinstance(one.method, StarGAN)
    return one.method, cast(StarCritic, one.networks[CRITIC])


def test_stargans_penalty_is_of_the_sum_over_the_patches() -> None:
    """Of P times the mean: at 16 px and three layers P is 4."""
    one, data = made("stargan"), batch()
    fake = torch.rand_like(data.images)
    _, terms = loss_of(one, "critic", data, fake)
    t = draws().uniform(4)[:, None, None, None]
    critic = cast(StarCritic, one.networks[CRITIC])
    at = t * data.images + (1 - t) * fake
    summed = slopes(lambda x: critic.score(critic.trunk(x)), at)
    assert_close(terms["gp"], (summed - 1).square().mean())
    mean = slopes(lambda x: critic.scores(x, data.target[:1]), at)
    assert critic.patches == 4
    assert_close(terms["gp"], (4 * mean - 1).square().mean())


def test_stargans_penalty_of_a_linear_critic_is_known_exactly() -> None:
    """D = <w, x> in each of P patches: their sum has the gradient P w, so that the penalty is
    (P |w| - 1)^2.
    """
    one, data = made("stargan"), batch()
    w = torch.randn(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    critic = cast(StarCritic, one.networks[CRITIC])
    critic.scores = lambda image, label: (image * w).sum((1, 2, 3))  # type: ignore[method-assign]
    _, terms = loss_of(one, "critic", data, torch.rand_like(data.images))
    assert_close(terms["gp"], (4 * w.norm() - 1).square())


def test_stargans_penalty_is_computed_in_fp32_also_under_autocast() -> None:
    one, data = made("stargan"), batch()
    fake = torch.rand_like(data.images)
    _, exact = loss_of(one, "critic", data, fake)
    with torch.autocast("cpu", torch.bfloat16):
        _, terms = loss_of(one, "critic", data, fake)
    assert torch.equal(terms["gp"], exact["gp"])
    assert not torch.equal(terms["cls_r"], exact["cls_r"])


def test_stargan_is_told_the_class_beside_the_image() -> None:
    one, data = made("stargan"), batch()
    generator = cast(StarGenerator, one.networks["generator"])
    cells = data.target[:, :, None, None].expand(-1, -1, SIZE, SIZE)
    beside = torch.cat([data.images, cells], dim=1)
    assert_close(
        generator(data.images, constant_map(data.target)), torch.tanh(generator.body(beside))
    )


def test_stargans_classifier_reads_the_whole_of_the_last_map() -> None:
    """A kernel as large as the map: a product, not a mean over places."""
    _, critic = star()
    maps = critic.trunk(batch().images)
    assert maps.shape[2:] == critic.logits.kernel_size == (2, 2)
    naive = torch.einsum("bchw,kchw->bk", maps, critic.logits.weight)
    assert_close(critic.classify(batch().images), naive)
    assert_close(critic(batch().images, batch().target).logits, naive)


def test_stargan_paints_the_whole_image_and_its_mask_is_what_has_changed() -> None:
    one, data = made("stargan"), batch()
    painter = Painter(one.method, one.networks)
    assert painter.noise_size(SIZE, SIZE) == 0
    painted = painter.paint(data.images, [1, 2, 0, 0], torch.empty(4, 0))
    made_anew = one.networks["generator"](data.images, constant_map(data.target))
    away = (made_anew - data.images).abs()
    assert (away > 0.2).any() and (away < 0.1).any()
    assert_close(painted.image[away > 0.2], made_anew[away > 0.2])
    assert torch.equal(painted.image[away < 0.1], data.images[away < 0.1])
    assert torch.equal(painted.mask == 1, away >= 0.2) and not painted.mask[away < 0.1].any()
    assert one.method.mask_kind == "difference" and made("robust").method.mask_kind == "layer"


def test_stargan_has_no_average_and_what_trains_paints() -> None:
    state = State(config_of("stargan"), made("stargan").method, device=CPU)
    assert not state.averages and state.painting.networks == state.networks
    assert not any(name.startswith("raw") for name in state.tensors())


def test_the_preset_stargan_is_its_authors_recipe() -> None:
    """200,000 critic steps at batch 16, the rate constant for half of them, then down to 0."""
    config = load_config("stargan", {})
    s, optim, training = config.method, config.optim, config.training
    assert (s.gp, s.cls, s.rec, s.n_critic) == (10, 1, 10, 5)
    assert (s.width, s.residual_blocks, s.critic_width, s.critic_layers) == (64, 6, 64, 6)
    assert training.steps * s.n_critic == 200_000 and training.batch_size == 16
    assert (optim.lr, optim.constant, optim.final_lr, optim.betas) == (1e-4, 0.5, 0, (0.5, 0.999))


# --- what methods have in common


@pytest.mark.parametrize("name", METHODS)
def test_players_train_networks_that_there_are_and_all_of_them(name: str) -> None:
    one = made(name)
    trained = {n for player in one.method.players() for n in player.trains}
    assert trained == {n for n, net in one.networks.items() if [*net.parameters()]}
    assert set(one.method.averaged) <= one.networks.keys()
    assert [p.repeats for p in one.method.players()] == [
        getattr(one.method.shape, "n_critic", 1),
        1,
    ]


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"no method robsut: .*; did you mean robust\?"):
        parse_config({"method": {"name": "robsut"}}, origin="tests")
    with pytest.raises(SettingError, match=r"no method \['x'\]: found .*defectgan, .*, stargan"):
        parse_config({"method": {"name": ["x"]}}, origin="tests")
