"""What makes CycleGAN itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from defectgan.batch import Batch
from defectgan.devices import seeded
from defectgan.methods.base import Networks, Task, Terms
from defectgan.methods.config import load_config
from defectgan.methods.cyclegan import (
    CRITICS,
    GENERATOR,
    POOLS,
    RESTORER,
    CycleGAN,
    Fakes,
    Settings,
    pooled,
)
from defectgan.methods.draws import Draws
from defectgan.model.file import load_model, load_tensors
from defectgan.networks.control import constant_map, one_hot
from defectgan.networks.cyclegan import Pool, ResnetGenerator
from defectgan.runs import RunFolder
from defectgan.training.state import State
from tests.conftest import CPU
from tests.test_every_method import begun

SIZE = 32
SHAPE = (1, SIZE, SIZE)


class Map(nn.Module):
    """A network that is known exactly."""

    def __init__(self, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        return self.of(x)


def method(**settings: Any) -> CycleGAN:
    sizes = {"width": 4, "residual_blocks": 1, "critic_width": 4}
    return CycleGAN(Settings(**sizes, **settings), Task(1, 2, (SIZE, SIZE)))


def networks(of: CycleGAN, **maps: Callable[[Tensor], Tensor]) -> Networks:
    with seeded(0):
        return of.networks() | {name: Map(each) for name, each in maps.items()}


def batch() -> Batch:
    rng = torch.Generator().manual_seed(0)
    normal, defect = torch.rand(2, 3, *SHAPE, generator=rng) * 2 - 1
    return Batch(normal, defect, one_hot([1] * 3, 2))


def draws(**options: Any) -> Draws:
    return Draws(torch.Generator().manual_seed(7), 0, **options)


def mine(answer: Any) -> Callable[[Any], Any]:
    return lambda asked: answer


def generators(of: CycleGAN, nets: Networks) -> tuple[Tensor, Terms]:
    return of.players()[0].loss(nets, batch(), draws(), None)


# --- the losses


def test_the_cycle_costs_nothing_for_maps_that_are_inverse_both_ways() -> None:
    of = method()
    nets = networks(of, generator=lambda x: x / 2, restorer=lambda x: 2 * x)
    assert generators(of, nets)[1]["cycle"] == 0


def test_the_cycle_is_closed_from_either_domain() -> None:
    """F(G(n)) = n everywhere, and yet G(F(d)) is not d where d is beyond one half."""
    of, data = method(), batch()
    nets = networks(of, generator=lambda x: x / 2, restorer=lambda x: (2 * x).clamp(-1, 1))
    expected = (data.defect - data.defect.clamp(-0.5, 0.5)).abs().mean()
    assert_close(generators(of, nets)[1]["cycle"], expected)
    other = networks(of, generator=lambda x: (2 * x).clamp(-1, 1), restorer=lambda x: x / 2)
    expected = (data.normal - data.normal.clamp(-0.5, 0.5)).abs().mean()
    assert_close(generators(of, other)[1]["cycle"], expected)


def test_the_identity_term_asks_each_generator_to_leave_its_own_domain_alone() -> None:
    of, data = method(), batch()
    nets = networks(of, generator=lambda x: 2 * x, restorer=lambda x: -x)
    expected = data.defect.abs().mean() + 2 * data.normal.abs().mean()
    assert_close(generators(of, nets)[1]["identity"], expected)


def test_the_generators_loss_weighs_the_cycle_10_and_identity_half_of_that() -> None:
    of = method()
    total, terms = generators(of, networks(of))
    adv = terms["adv_defect"] + terms["adv_normal"]
    assert_close(total, adv + 10 * terms["cycle"] + 5 * terms["identity"])


def test_least_squares_have_the_targets_1_and_0_in_each_direction() -> None:
    """Each critic judges its own domain: here all that is above one half is real to it."""
    of, data = method(), batch()
    critics = {name: lambda x: (x > 0.5).float() for name in CRITICS}
    nets = networks(of, generator=lambda x: 0 * x + 1, restorer=lambda x: 0 * x, **critics)
    terms = generators(of, nets)[1]
    assert [float(terms[name]) for name in ("adv_defect", "adv_normal")] == [0, 1]
    ones = torch.ones_like(data.normal)
    shown = data._replace(defect=ones, normal=ones)
    total, terms = of.players()[1].loss(nets, shown, draws(), Fakes(0 * ones, ones))
    assert [float(terms[name]) for name in ("lsgan_defect", "lsgan_normal")] == [0, 1]
    assert total == 0.5
    shown = shown._replace(normal=0 * ones)
    total, _ = of.players()[1].loss(nets, shown, draws(), Fakes(ones, ones))
    assert total == 1.5


def test_two_generators_and_two_critics_share_no_weights() -> None:
    nets = networks(method())
    held = [id(p) for name in (GENERATOR, RESTORER, *CRITICS) for p in nets[name].parameters()]
    assert len(held) == len(set(held)) > 0


# --- the pool


def numbered(first: int, count: int) -> Tensor:
    """Images that tell their number."""
    return torch.arange(first, first + count).float()[:, None, None, None].expand(-1, *SHAPE)


def numbers(images: Tensor) -> list[int]:
    return [int(n) for n in images[:, 0, 0, 0]]


def test_the_pool_gives_new_images_until_it_is_full() -> None:
    pool = Pool(5)
    always = torch.ones(4, 2) * 0.9
    assert numbers(pool.exchange(numbered(0, 3), always[:3])) == [0, 1, 2]
    # Two are new, for the third one there is no room: the last place's image comes back instead.
    assert numbers(pool.exchange(numbered(3, 3), always[:3])) == [3, 4, 4]
    assert numbers(pool.images) == [0, 1, 2, 3, 5]


def test_a_full_pool_gives_old_images_half_of_the_time_and_keeps_the_new_ones_then() -> None:
    pool, rng = Pool(50), torch.Generator().manual_seed(0)
    pool.exchange(numbered(0, 50), torch.rand(50, 2, generator=rng))
    drawn = torch.rand(2000, 2, generator=rng)
    held, given = set(range(50)), []
    for start in range(0, 2000, 8):
        fakes = numbered(50 + start, 8)
        shown = numbers(pool.exchange(fakes, drawn[start : start + 8]))
        for new, old in zip(numbers(fakes), shown, strict=True):
            given.append(old != new)
            assert old == new or old in held
            held = held - {old} | {new} if old != new else held
    assert numbers(pool.images.sort(0).values) == sorted(held) and len(held) == 50
    assert sum(given) / len(given) == pytest.approx(0.5, abs=0.04)
    assert torch.equal(torch.tensor(given), drawn[:, 0] >= 0.5)


def test_the_place_in_the_pool_is_drawn_evenly() -> None:
    pool = Pool(4)
    pool.exchange(numbered(0, 4), torch.zeros(4, 2))
    for i, place in enumerate((0.0, 0.2499, 0.25, 0.9999)):
        shown = numbers(pool.exchange(numbered(10 + i, 1), torch.tensor([[0.5, place]])))
        assert shown == [[0], [10], [1], [3]][i]


def test_without_a_pool_each_fake_is_shown_as_it_is() -> None:
    pool = Pool(0)
    for start in range(3):
        assert numbers(pool.exchange(numbered(start, 2), torch.ones(2, 2) * 0.9)) == [
            start,
            start + 1,
        ]
    assert not pool.images.numel()


def test_the_pool_is_that_of_one_process_however_many_share_a_batch() -> None:
    alone, shared = Pool(3), [Pool(3), Pool(3)]
    for start in range(0, 24, 4):
        fakes = numbered(start, 4)
        expected = pooled(alone, fakes, draws())
        for rank, pool in enumerate(shared):
            rows = slice(2 * rank, 2 * rank + 2)
            everyone = draws(rows=mine(rows), processes=2, gathered=mine(fakes))
            assert torch.equal(pooled(pool, fakes[rows], everyone), expected[rows])
            assert torch.equal(pool.images, alone.images)


def test_each_direction_has_its_pool_and_critics_are_shown_what_comes_of_it() -> None:
    of = method(pool=3)
    nets = networks(of, generator=lambda x: 0 * x + 1, restorer=lambda x: 0 * x - 1)
    ahead = of.players()[1].ahead
    assert ahead is not None
    (fake,) = ahead(nets, [batch()], draws())
    assert (fake.defect == 1).all() and (fake.normal == -1).all()
    assert [float(cast(Pool, nets[name]).images.mean()) for name in POOLS] == [1, -1]


def test_a_state_holds_the_pools_and_a_model_does_not(boards: Path, tmp_path: Path) -> None:
    """That a run which is resumed goes on to the same bits is a test of every method."""
    run = RunFolder(begun("cyclegan", boards, tmp_path).run)
    state, weights = (load_tensors(path)[0] for path in (run.state, run.weights))
    held = {name for name in state if name.startswith("memory.")}
    assert held == {f"memory.{name}.images" for name in POOLS}
    assert state["memory.pool_defect.images"].shape == (2, 3, 32, 32)
    assert not any("pool" in name for name in weights)
    assert POOLS[0] not in load_model(run.path).painter.networks


# --- how it is trained, and paints


def test_the_preset_is_the_authors_recipe() -> None:
    config = load_config("cyclegan", {})
    s, optim = config.method, config.optim
    assert (s.cycle, s.identity, s.pool, s.residual_blocks) == (10, 0.5, 50, 9)
    assert (s.width, s.critic_width, config.data.image_size) == (64, 64, (256, 256))
    assert (optim.lr, optim.betas) == (2e-4, (0.5, 0.999))
    assert config.training.batch_size == 2  # one of each domain


def test_the_rate_is_constant_for_half_of_the_steps_and_then_falls_linearly_to_0() -> None:
    small = {"width": 4, "residual_blocks": 0, "critic_width": 4}
    config = load_config("cyclegan", {"method": small, "training": {"steps": 101}})
    state = State(config, CycleGAN(config.method, Task(1, 2, (SIZE, SIZE))), device=CPU)
    rates = []
    for t in (0, 49, 50, 75, 100):
        state.set_learning_rates(t)
        rates.append([adam.param_groups[0]["lr"] for adam in state.optimisers.values()])
    assert_close(rates, [[r, r] for r in (2e-4, 2e-4, 2e-4, 1e-4, 0.0)])
    assert [*state.optimisers] == ["generators", "critics"]


def test_a_defect_is_painted_by_one_generator_and_taken_away_by_the_other() -> None:
    of, images = method(), batch().normal[:2]
    nets = networks(of, generator=lambda x: 0 * x + 1, restorer=lambda x: 0 * x - 1)
    control = constant_map(one_hot([1, 0], 2))
    layer = of.paint(nets, images, control, torch.empty(2, 0))
    assert (layer.foreground[0] == 1).all() and (layer.foreground[1] == -1).all()
    assert of.restores and of.mask_kind == "difference"


@pytest.mark.parametrize("size", [(16, 16), (32, 48)])
def test_a_generator_keeps_the_size(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    made = ResnetGenerator(3, width=4, residual_blocks=2)(image)
    assert made.shape == image.shape and made.abs().max() <= 1
