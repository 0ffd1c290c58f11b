"""What defines each method that makes whole images from noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from defectgan import losses
from defectgan.batch import Batch
from defectgan.errors import ModelError, SettingError
from defectgan.generation.plan import Sources, find_sources, make_plan
from defectgan.generation.prepare import generate, prepare
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job as generate_job
from defectgan.images import read_picture
from defectgan.manifest import read_manifest
from defectgan.methods.augment import augment, draw_augmentation
from defectgan.methods.base import CRITIC, DISCRIMINATOR, Task
from defectgan.methods.config import load_config
from defectgan.methods.from_noise import fakes, made
from defectgan.methods.registry import METHODS, make_method, method_named
from defectgan.model.file import load_model
from defectgan.model.info import UNLABELLED
from defectgan.model.painter import Painter
from defectgan.networks.noise import Discriminator, NoiseGenerator
from defectgan.training.optimisers import RMSprop
from defectgan.training.step import Engine
from tests.conftest import CPU, start
from tests.test_every_method import config_of as every_config
from tests.test_methods import SIZE, Made, batch, config_of, draws, loss_of, slopes
from tests.test_methods import made as made_of

FROM_NOISE = sorted(name for name in METHODS if not method_named(name).paints_on_images)
UNTOLD = ("gan", "wgan", "wgan-gp")


def discriminator(one: Made) -> Discriminator:
    return cast(Discriminator, one.networks[DISCRIMINATOR])


def engine(name: str, **settings: Any) -> Engine:
    config = config_of(name, **settings)
    method = make_method(config.method, Task(1, 3, (SIZE, SIZE)))
    return Engine(config, method, device=CPU, bf16=False)


def parts(step: int, part: int) -> Batch:
    return batch()


def test_these_are_the_methods_from_noise() -> None:
    assert FROM_NOISE == ["acgan", "cgan", "gan", "wgan", "wgan-gp"]
    assert [name for name in FROM_NOISE if not method_named(name).told_classes] == [*UNTOLD]


# --- GAN


def test_of_a_gan_the_discriminator_raises_the_log_of_d_and_of_one_minus_d() -> None:
    one, data = made_of("gan"), batch()
    fake = torch.rand_like(data.images)
    total, terms = loss_of(one, "critic", data, fake)
    d = discriminator(one)
    real, false = (d(x, data.source).sigmoid() for x in (data.images, fake))
    assert_close(total, -real.log().mean() - (1 - false).log().mean())
    assert_close(terms["d_real"], real.mean()), assert_close(terms["d_fake"], false.mean())


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("minimax", lambda d: (1 - d).log().mean()),
        ("non-saturating", lambda d: -d.log().mean()),
    ],
)
def test_the_generator_lowers_the_loss_that_it_is_told(name: str, form: Any) -> None:
    one, data = made_of("gan", generator_loss=name), batch()
    total, terms = loss_of(one, "generator", data)
    d = discriminator(one)(made(one.networks, data.source, draws()), data.source).sigmoid()
    assert_close(total, form(d))
    assert_close(terms["adv"], total)


def test_both_generator_losses_have_one_fixed_point_and_one_vanishes_before_it() -> None:
    """At a logit l the slopes are -D and -(1 - D): equal where D = 1/2, far apart where D is sure
    that an image was made.
    """
    for logit, ratio in ((0.0, 1.0), (-8.0, np.exp(8.0))):
        slope = []
        for loss in (losses.minimax_generator, losses.non_saturating_generator):
            x = torch.tensor([logit], requires_grad=True)
            (gradient,) = torch.autograd.grad(loss(x), x)
            slope.append(float(gradient))
        assert slope[0] < 0 and slope[1] < 0
        assert slope[1] / slope[0] == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("name", ["gan", "cgan", "acgan"])
def test_the_log_has_the_size_of_both_gradients_whichever_is_trained_with(name: str) -> None:
    """Each as it would be by differentiating that loss itself, an image at a time."""
    sizes = {}
    for chosen in ("minimax", "non-saturating"):
        one, data = made_of(name, generator_loss=chosen), batch()
        _, terms = loss_of(one, "generator", data)
        sizes[chosen] = (terms["grad_minimax"], terms["grad_non_saturating"])
    assert sizes["minimax"] == sizes["non-saturating"]
    fake = made(one.networks, data.source, draws()).detach()
    judge = one.networks[CRITIC if name == "acgan" else DISCRIMINATOR]

    def score(x: Tensor, label: Tensor) -> Tensor:
        said: Any = judge(x, label)
        return cast(Tensor, said.score if name == "acgan" else said)

    def alone(image: Tensor, label: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        return slopes(lambda x: loss(score(x, label[None])), image[None])

    for size, loss in zip(
        sizes["minimax"],
        (losses.minimax_generator, losses.non_saturating_generator),
        strict=True,
    ):
        norms = [alone(*one, loss) for one in zip(fake, data.source, strict=True)]
        assert_close(size, torch.cat(norms).mean())


# --- WGAN


def test_after_a_step_every_weight_of_the_critic_lies_within_the_bound_and_no_other() -> None:
    trained = engine("wgan", clip=0.01, n_critic=2)
    critic, generator = (trained.state.networks[n] for n in (DISCRIMINATOR, "generator"))
    assert max(float(p.detach().abs().max()) for p in critic.parameters()) > 0.01
    trained.step(0, parts)
    assert max(float(p.detach().abs().max()) for p in critic.parameters()) <= 0.01
    assert max(float(p.detach().abs().max()) for p in generator.parameters()) > 0.01


def test_the_critic_of_a_wgan_has_no_sigmoid_a_shifted_score_moves_its_estimate_linearly() -> None:
    one, data = made_of("wgan"), batch()
    fake, critic = torch.rand_like(data.images), discriminator(one)
    before = critic(fake, data.source)
    with torch.no_grad():
        critic.score.bias.add_(1000)
    assert_close(critic(fake, data.source), before + 1000, rtol=1e-5, atol=1e-3)
    total, terms = loss_of(one, "critic", data, fake)
    shifted = critic(fake, data.source).mean() - critic(data.images, data.source).mean()
    assert_close(total, shifted)
    assert terms.keys() == {"wgan"}


def test_a_wgan_takes_five_critic_steps_by_rmsprop() -> None:
    method = make_method(load_config("wgan", {}).method, Task(1, 3, (64, 64)))
    assert [(p.repeats, p.optimiser) for p in method.players()] == [(5, "rmsprop"), (1, "rmsprop")]
    assert method.shape.clip == 0.01
    optimisers = engine("wgan").state.optimisers
    assert all(isinstance(one, RMSprop) for one in optimisers.values())
    assert all(isinstance(o, torch.optim.Adam) for o in engine("wgan-gp").state.optimisers.values())


def test_rmsprop_leaves_out_a_step_that_is_not_finite_and_goes_on_as_if_it_had_not_been() -> None:
    with_bad, without = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    ours, plain = RMSprop([with_bad], lr=0.1), torch.optim.RMSprop([without], lr=0.1)
    for gradient in ([float("nan"), 1.0], [1.0, 2.0], [float("inf"), 0.0], [-0.5, 4.0]):
        with_bad.grad = torch.tensor(gradient)
        bad = not with_bad.grad.isfinite().all()
        ours.found_inf = torch.tensor(float(bad))
        ours.step()
        if not bad:
            without.grad = torch.tensor(gradient)
            plain.step()
    assert torch.equal(with_bad, without)
    assert torch.equal(ours.state[with_bad]["square_avg"], plain.state[without]["square_avg"])


# --- WGAN-GP


def linear(one: Made, slope: float) -> None:
    """A critic <w, x> with |w| = ``slope``, whatever the image."""
    w = torch.randn(SIZE * SIZE)
    w *= slope / w.norm()
    one.networks[DISCRIMINATOR].forward = lambda x, label: x.flatten(1) @ w


@pytest.mark.parametrize(
    ("sides", "slope", "penalty"),
    [("two", 3.0, 4.0), ("two", 0.25, 0.5625), ("one", 3.0, 4.0), ("one", 0.25, 0.0)],
)
@pytest.mark.parametrize("between", ["real and made", "real and perturbed"])
def test_the_penalty_of_a_linear_critic_is_known_for_any_images(
    sides: str, slope: float, penalty: float, between: str
) -> None:
    one, data = made_of("wgan-gp", sides=sides, between=between, gp=10.0), batch()
    linear(one, slope)
    fake = torch.rand_like(data.images)
    total, terms = loss_of(one, "critic", data, fake)
    assert float(terms["gp"]) == pytest.approx(penalty, abs=1e-4)
    assert_close(total, terms["wgan"] + 10 * terms["gp"])


def asked_at(one: Made, data: Batch, fake: Tensor) -> Tensor:
    """Where the penalty is taken: the last images that the critic is shown."""
    seen: list[Tensor] = []
    discriminator(one).register_forward_pre_hook(lambda _, shown: seen.append(shown[0].detach()))
    loss_of(one, "critic", data, fake)
    return seen[-1]


def test_the_penalty_is_taken_on_the_line_between_a_real_and_a_made_image_one_t_an_image() -> None:
    one, data = made_of("wgan-gp"), batch()
    fake = torch.rand_like(data.images)
    at = asked_at(one, data, fake)
    t = draws().uniform(len(fake))
    assert_close(at, losses.interpolate(data.images, fake, t))
    share = (at - fake) / (data.images - fake)
    assert_close(share, t[:, None, None, None].expand_as(share), atol=1e-3, rtol=1e-2)
    assert len(set(t.tolist())) == len(t)


def test_dragan_takes_it_beside_real_images_and_looks_at_no_made_one() -> None:
    one, data = made_of("wgan-gp", between="real and perturbed"), batch()
    at = asked_at(one, data, torch.rand_like(data.images))
    assert torch.equal(at, asked_at(one, data, torch.zeros_like(data.images)))
    away, deviation = (at - data.images).flatten(1), data.images.std((1, 2, 3))
    assert (away >= 0).all() and (away <= deviation[:, None] / 2).all() and away.max() > 0.05


def test_no_image_of_a_batch_changes_the_score_of_another() -> None:
    """As batch normalization would, in whose presence the penalty of an image means nothing."""
    for name in FROM_NOISE:
        one, data = made_of(name), batch()
        judge = one.networks[CRITIC if name == "acgan" else DISCRIMINATOR]
        together = judge(data.images, data.source)
        alone = judge(data.images[:1], data.source[:1])
        first = together.score[:1] if name == "acgan" else together[:1]
        assert_close(first, alone.score if name == "acgan" else alone)
        generator = cast(NoiseGenerator, one.networks["generator"])
        noise = torch.randn(4, generator.latent)
        assert_close(generator(noise, data.source)[:1], generator(noise[:1], data.source[:1]))


@pytest.mark.parametrize("name", FROM_NOISE)
def test_the_critic_judges_what_it_is_shown_real_and_made(name: str) -> None:
    one, data, strength = made_of(name), batch(), torch.tensor(0.9)
    fake = torch.rand_like(data.images)
    seen: list[Tensor] = []
    judge = one.networks[CRITIC if name == "acgan" else DISCRIMINATOR]
    judge.register_forward_pre_hook(lambda _, shown: seen.append(shown[0].detach()))
    loss_of(one, "critic", data, fake, strength=strength)
    together = torch.cat(seen[:1] if name == "acgan" else seen[:2])
    rng = torch.Generator().manual_seed(7)
    if name == "wgan-gp":
        torch.rand(4, generator=rng)  # where between the two the penalty is taken
    shown = [augment(x, draw_augmentation(4, rng), strength) for x in (data.images, fake)]
    assert_close(together, torch.cat(shown))
    plain, other = (loss_of(one, "generator", data, **k)[1] for k in ({}, {"strength": strength}))
    assert not torch.allclose(plain["adv"], other["adv"], rtol=1e-4, atol=0)


def test_augmentation_that_follows_a_classifier_is_refused_where_there_is_none() -> None:
    with pytest.raises(SettingError, match=r"follows how sure .* the method gan has none"):
        load_config("gan", {"augment": {"adaptive": True}})
    assert load_config("acgan", {"augment": {"adaptive": True}}).augment.adaptive


# --- told classes


def test_a_conditional_gan_tells_both_networks_the_class_and_has_no_classifier() -> None:
    one, data = made_of("cgan"), batch()
    exchanged = data.source.roll(1, 1)
    d, noise = discriminator(one), torch.randn(4, 6)
    assert not torch.allclose(d(data.images, data.source), d(data.images, exchanged))
    generator = one.networks["generator"]
    assert not torch.allclose(generator(noise, data.source), generator(noise, exchanged))
    assert CRITIC not in one.networks
    _, terms = loss_of(one, "critic", data, torch.rand_like(data.images))
    assert not [name for name in terms if name.startswith("cls")]


@pytest.mark.parametrize("name", UNTOLD)
def test_a_method_that_is_told_no_class_looks_at_none(name: str) -> None:
    one, data = made_of(name), batch()
    noise, other = torch.randn(4, 6), data.source.roll(1, 1)
    assert torch.equal(*(one.networks["generator"](noise, y) for y in (data.source, other)))
    assert torch.equal(*(discriminator(one)(data.images, y) for y in (data.source, other)))


def test_what_is_made_has_the_classes_of_the_real_images_of_its_batch() -> None:
    one, data = made_of("cgan"), batch()
    (fake,) = fakes(one.networks, [data], draws())
    generator = cast(NoiseGenerator, one.networks["generator"])
    assert_close(fake, generator(draws().noise(4, 6), data.source))


def test_the_classifier_of_an_acgan_learns_from_real_and_from_made_images() -> None:
    one, data = made_of("acgan", cls=3.0), batch()
    fake = torch.rand_like(data.images)
    total, terms = loss_of(one, "critic", data, fake)
    critic = one.networks[CRITIC]
    real, false = critic(data.images, data.source), critic(fake, data.source)
    assert_close(terms["cls_r"], losses.classification(real.logits, data.source))
    assert_close(terms["cls_made"], losses.classification(false.logits, data.source))
    assert_close(terms["gan"], losses.minimax_discriminator(real.score, false.score))
    assert_close(total, terms["gan"] + 3 * (terms["cls_r"] + terms["cls_made"]))


def test_the_critic_of_an_acgan_is_told_no_class() -> None:
    one, data = made_of("acgan"), batch()
    critic, other = one.networks[CRITIC], data.source.roll(1, 1)
    assert torch.equal(critic(data.images, data.source).score, critic(data.images, other).score)


def test_the_class_term_of_an_acgans_generator_is_of_its_target_and_touches_no_critic() -> None:
    one, data = made_of("acgan", cls=3.0), batch()
    total, terms = loss_of(one, "generator", data)
    fake = made(one.networks, data.source, draws())
    logits = one.networks[CRITIC](fake, data.source).logits
    assert_close(terms["cls_f"], losses.classification(logits, data.source))
    assert_close(total, terms["adv"] + 3 * terms["cls_f"])
    trained = engine("acgan")
    critic = trained.state.networks[CRITIC]
    player = trained.state.players[1]
    before = [p.clone() for p in critic.parameters()]
    trained._play(player, [data], torch.Generator().manual_seed(0), 0)
    assert all(map(torch.equal, before, critic.parameters()))
    assert all(p.grad is None for p in critic.parameters())


# --- what they can do


def test_any_size_is_made_also_one_that_halves_unevenly() -> None:
    generator = NoiseGenerator(3, 2, latent=5, width=4, stages=3, size=(20, 44))
    image = generator(torch.randn(2, 5), torch.eye(2))
    assert image.shape == (2, 3, 20, 44) and image.abs().max() <= 1


def test_a_generator_that_would_begin_with_a_huge_map_is_refused() -> None:
    with pytest.raises(SettingError, match="begin with a map of 256 x 256: take more"):
        load_config("gan", {"data": {"image_size": 1024}, "method": {"critic_layers": 2}})


def test_a_painter_gives_whole_images_whatever_it_is_shown() -> None:
    one, data = made_of("cgan"), batch()
    painter, noise = Painter(one.method, one.networks), torch.randn(4, 6)
    painted = painter.paint(data.images, [1, 2, 0, 0], noise)
    assert torch.equal(painted.image, painter.paint(-data.images, [1, 2, 0, 0], noise).image)
    assert torch.equal(painted.mask, torch.ones(4, 1, SIZE, SIZE))


def test_a_plan_without_sources_has_a_seed_a_row_and_depends_on_no_number() -> None:
    few, more = (list(make_plan((), ("a", "b"), n=n, seed=3, candidates=2)) for n in (2, 5))
    assert few == more[:2]
    assert [row.defect for row, _ in more] == ["a", "b", "a", "b", "a"]
    assert all(row.source is None for rows in more for row in rows)
    assert len({row.seed for rows in more for row in rows}) == 10
    assert more[1][0].name == "000001"


@pytest.fixture(scope="module")
def runs(boards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of a method that is told no class and of one that is; tests only read them."""
    folder = tmp_path_factory.mktemp("noise")
    return {name: start(every_config(name), boards, folder).run for name in ("gan", "acgan")}


def test_whole_images_are_what_the_generator_makes_and_the_manifest_says_so(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    out = generate(model=runs["acgan"], defects=["tin"], n=2, candidates=1, out=tmp_path / "set")
    model, rows = load_model(runs["acgan"]), read_manifest(out)
    for row in rows:
        assert row.mask_kind == "whole" and row.source is None and row.mask_area == 1
        label = torch.zeros(1, len(model.info.classes))
        label[0, model.info.label_of("tin")] = 1
        noise = torch.randn(1, 6, generator=torch.Generator().manual_seed(row.seed or 0))
        image = model.painter.networks["generator"](noise, label)[0]
        pixels = read_picture(out / row.output).pixels.astype(np.float32)
        expected = (image.permute(1, 2, 0).numpy() + 1) * 127.5
        assert np.abs(pixels - expected).max() <= 0.51


def test_good_images_are_refused_with_the_reason_and_missing_ones_elsewhere(
    runs: dict[str, Path], run: Path, boards: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=r"makes whole images from noise \(method gan\): there"):
        prepare(str(boards / "normal"), model=runs["gan"])
    job = GenerateJob(find_sources(str(boards / "normal")), (UNLABELLED,), 1, 0, False)
    with pytest.raises(ModelError, match=r"makes whole images from noise"):
        generate_job(job, load_model(runs["gan"]), tmp_path / "set", device=CPU, batch_size=1)
    with pytest.raises(SettingError, match="no good images to paint on") as missing:
        prepare(model=run)
    assert missing.value.mend == ("normal", "FOLDER")


def test_a_method_that_is_told_no_class_makes_images_without_a_label_and_refuses_one(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    prepared = prepare(model=runs["gan"], n=2, out=tmp_path / "set")
    assert prepared.job.defects == (UNLABELLED,) and prepared.order.candidates == 1
    assert "the mask of each is all of it" in prepared.notes()[0]
    with pytest.raises(ModelError, match=r"method gan is told no class, so it cannot make tin"):
        prepare(model=runs["gan"], defects=["tin"])
    with pytest.raises(ModelError, match=r"critic of the method gan knows no classes and cannot"):
        prepare(model=runs["gan"], candidates=3, out=tmp_path / "set")
    job = GenerateJob(Sources(), (UNLABELLED,), 2, 0, binary_masks=True, candidates=1)
    generate_job(job, load_model(runs["gan"]), tmp_path / "set", device=CPU, batch_size=2)
    assert [row.output for row in read_manifest(tmp_path / "set")] == [
        f"images/{UNLABELLED}/00000{i}.png" for i in range(2)
    ]
