"""Painting from exemplars: what was taken away is encoded, moved and painted again."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from defectgan.batch import Batch
from defectgan.methods import exemplar as module
from defectgan.methods.base import CRITIC, Task
from defectgan.methods.config import parse_config
from defectgan.methods.draws import Draws
from defectgan.methods.exemplar import BANK, CHOICES, Exemplar
from defectgan.networks.exemplars import (
    CELL,
    CODE,
    POSES,
    Bank,
    Encoder,
    Exemplars,
    Moves,
    _correlated,
    changed,
    moved,
    place,
    posed,
    poses_shown,
)

SIDE, CLASSES = 32, 3
TREE: dict[str, Any] = {
    "data": {"image_size": SIDE},
    "method": {
        "name": "exemplar",
        "width": 4,
        "residual_blocks": 1,
        "spade_hidden": 4,
        "critic_width": 4,
        "critic_layers": 3,
        "tower_width": 8,
        "n_critic": 1,
    },
    "training": {"batch_size": 4},
}


def method(**settings: Any) -> Exemplar:
    config = parse_config(TREE | {"method": TREE["method"] | settings}, origin="tests")
    return Exemplar(config.method, Task(1, CLASSES, (SIDE, SIDE), poses=(0,)))


def draws(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), 0)


def batch() -> Batch:
    rng = torch.Generator().manual_seed(0)
    normal, defect = torch.rand(2, 2, 1, SIDE, SIDE, generator=rng) - 0.5
    truth = torch.zeros(2, 1, SIDE, SIDE)
    truth[:, :, 8:14, 8:14] = 1
    drawn = torch.where(truth > 0, 1.0, normal[[0, 0]])
    label = torch.eye(CLASSES)[1:]
    return Batch(normal, defect, label, torch.empty(0), drawn, truth)


def exemplar(*, at: tuple[int, int], ground: Tensor) -> Exemplars:
    """One that takes two by two cells."""
    code = torch.zeros(1, CODE, *ground.shape[2:])
    code[:, :, at[0] : at[0] + 2, at[1] : at[1] + 2] = 1
    return Exemplars(code, ground)


def test_an_exemplar_goes_where_the_image_looks_as_its_own_did() -> None:
    onto = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one = exemplar(at=(2, 2), ground=onto.roll((-3, 2), (2, 3)))
    moves = place(one, onto, torch.zeros(1)).moves
    assert (moves.down.item(), moves.across.item()) == (3, -2)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 6), st.integers(0, 6), st.floats(0, 1, exclude_max=True), st.integers(0, 2**20)
)
def test_an_exemplar_stays_inside_the_image_as_a_whole(
    row: int, column: int, chance: float, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    ground, onto = torch.rand(2, 1, 2, 8, 8, generator=rng)
    one = exemplar(at=(row, column), ground=ground)
    code = moved(one.code, place(one, onto, torch.tensor([chance])).moves)
    assert_close(code.sum(), one.code.sum())


def test_of_several_exemplars_the_one_that_fits_in_best_is_taken() -> None:
    rng = torch.Generator().manual_seed(0)
    onto = torch.rand(2, 1, 8, 8, generator=rng)
    ground = torch.rand(6, 1, 8, 8, generator=rng)
    ground[2], ground[3] = onto[0].roll((1, 0), (1, 2)), onto[1].roll((0, -2), (1, 2))
    three = exemplar(at=(2, 3), ground=ground[:1]).code.repeat(6, 1, 1, 1)
    placed = place(Exemplars(three, ground), onto, torch.zeros(2), tries=3)
    assert placed.which.tolist() == [2, 0]
    assert placed.moves.down.tolist() == [-1, 0] and placed.moves.across.tolist() == [0, 2]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.floats(0, 1, exclude_max=True))
def test_an_exemplar_stays_inside_the_region(row: int, column: int, chance: float) -> None:
    within = torch.zeros(1, 1, 8, 8)
    within[:, :, row : row + 3, column : column + 3] = 1
    onto = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one = exemplar(at=(5, 0), ground=onto)
    moves = place(one, onto, torch.tensor([chance]), within=within).moves
    code = moved(one.code, moves)
    assert_close((code * within).sum(), one.code.sum())


def test_of_an_exemplar_larger_than_the_region_most_lies_inside() -> None:
    within = torch.zeros(1, 1, 8, 8)
    within[:, :, 4, 5] = 1
    onto = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one = exemplar(at=(0, 0), ground=onto)
    moves = place(one, onto, torch.zeros(1), within=within).moves
    assert (moved(one.code, moves) * within).sum() == CODE


@pytest.mark.parametrize("side", [(4, 4), (6, 8), (5, 3)])
def test_a_correlation_is_that_of_its_definition(side: tuple[int, int]) -> None:
    h, w = side
    x, kernel = torch.rand(2, 3, 2, h, w, generator=torch.Generator().manual_seed(0))
    found = _correlated(x, kernel)
    for down in range(1 - h, h):
        for across in range(1 - w, w):
            total = torch.zeros(3)
            for i in range(max(0, -down), min(h, h - down)):
                for j in range(max(0, -across), min(w, w - across)):
                    total += (x[:, :, i + down, j + across] * kernel[:, :, i, j]).sum(1)
            assert_close(found[:, down + h - 1, across + w - 1], total)


def test_what_is_moved_is_shifted_and_zeros_come_in() -> None:
    x = torch.rand(3, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    moves = Moves(torch.tensor([0, 2, -5]), torch.tensor([0, -3, 1]))
    for one, down, across, result in zip(x, *moves, moved(x, moves), strict=True):
        naive = torch.zeros_like(one)
        for i in range(6):
            for j in range(8):
                if 0 <= i + down < 6 and 0 <= j + across < 8:
                    naive[:, i + down, j + across] = one[:, i, j]
        assert torch.equal(result, naive)


def test_each_map_is_turned_into_its_own_pose() -> None:
    x = torch.rand(POSES, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    turned = posed(x, torch.arange(POSES))
    one = x[7]
    assert torch.equal(turned[0], x[0])
    assert torch.equal(turned[1], x[1].flip(2)) and torch.equal(turned[2], x[2].flip(1))
    assert torch.equal(turned[4], x[4].transpose(1, 2))
    assert torch.equal(turned[7], one.flip(2).flip(1).transpose(1, 2))


def test_only_poses_that_images_are_shown_in_are_taken() -> None:
    corner = torch.zeros(POSES, 1, 4, 4)
    corner[:, :, 0, 1] = 1  # tells all poses apart
    turns = [torch.rot90(corner[0], k, (1, 2)) for k in range(4)]
    shown = poses_shown(flip=False, rotate=True, square=True)
    found = posed(corner[: len(shown)], torch.tensor(shown))
    assert all(any(torch.equal(one, turn) for turn in turns) for one in found)
    assert len({one.numpy().tobytes() for one in found}) == 4
    assert poses_shown(flip=False, rotate=False, square=True) == (0,)
    assert poses_shown(flip=True, rotate=True, square=True) == tuple(range(POSES))
    assert 4 not in poses_shown(flip=True, rotate=True, square=False)


def test_where_nothing_was_taken_away_the_code_is_zero() -> None:
    torch.manual_seed(0)
    restored = torch.rand(1, 1, 16, 16) - 0.5
    defect = restored.clone()
    defect[:, :, 4:8, 8:12] += 1
    code = Encoder(1, 4)(defect, restored, torch.full((1, 1, 16, 16), 0.5))
    assert torch.equal(
        code.abs().sum(1)[0] > 0, F.max_pool2d(changed(defect, restored), CELL)[0, 0] > 0
    )
    assert code[0, -1, 1, 2] == 1


def test_a_bank_gives_each_class_its_own() -> None:
    bank = Bank(1, CLASSES, (SIDE, SIDE), (0,))
    codes = [torch.arange(n).float().view(-1, 1, 1, 1) + first for n, first in ((2, 100), (5, 200))]
    bank.fill([Exemplars(c.expand(-1, CODE, 8, 8), torch.zeros(len(c), 1, 8, 8)) for c in codes])
    chance = torch.tensor([0.0, 0.99, 0.0, 0.999])
    drawn = bank.exemplars(bank.draw(torch.tensor([1, 1, 2, 2]), chance))
    assert drawn.code[:, 0, 0, 0].tolist() == [100, 101, 200, 204]


def test_the_generator_loss_is_the_weighted_sum_of_its_terms() -> None:
    weights = {"adv": 0.5, "cls_f": 2.0, "rec": 3.0, "sd_cyc": 4.0, "sd_con": 6.0}
    ours = method(**weights, again=1.5, follow=0.25, drawn=0.75)
    torch.manual_seed(0)
    networks = ours.networks()
    _, generator = ours.players()
    assert generator.drawn
    total, terms = generator.loss(networks, batch(), draws(), None)
    expected = sum(w * terms[name] for name, w in weights.items())
    expected = expected + 1.5 * terms["again"] + 0.25 * terms["follow"]
    expected = expected + 0.75 * (2 * terms["drawn_rec"] + terms["drawn_mask"] / 2)
    assert_close(total, expected)


def test_no_gradient_goes_from_a_code_to_what_it_was_read_from() -> None:
    """Else a restoration would leave in the image what makes painting it again easy."""
    ours = method()
    networks = ours.networks()
    generator = networks["generator"]
    defect = batch().defect.requires_grad_()
    noise = torch.zeros(2, generator.noise_size(SIDE, SIDE))  # type: ignore[operator]
    normal = torch.eye(CLASSES)[:1].expand(2, -1)
    _, found = ours._restored(generator, defect, normal, noise)  # type: ignore[arg-type]
    found.code.sum().backward()  # type: ignore[no-untyped-call]
    assert all(
        p.grad is None for name, p in generator.named_parameters() if not name.startswith("encoder")
    )


def test_fakes_are_painted_ones_and_then_restored_ones() -> None:
    ours = method()
    networks = ours.networks()
    critic, _ = ours.players()
    assert critic.ahead is not None
    (made,) = critic.ahead(networks, [batch()], draws())
    # From a head of zeros nothing is painted.
    assert_close(made, batch().images)
    assert critic.trains == (CRITIC,)


def of(images: Tensor, each: int) -> Callable[[int, int], Tensor]:
    """So many of these images for each class, four for all where that is 0, as fine as is asked."""

    def found(k: int, times: int) -> Tensor:
        part = images[each * (k - 1) :][:4]
        return part.repeat_interleave(times, 2).repeat_interleave(times, 3)

    return found


def painted(ours: Exemplar, networks: Any, label: int, noise: Tensor) -> Tensor:
    control = torch.eye(CLASSES)[[label] * len(noise)][:, :, None, None]
    return ours.paint(networks, batch().normal[:1].expand(len(noise), -1, -1, -1), control, noise)[
        0
    ]


def settled() -> tuple[Exemplar, dict[str, torch.nn.Module], Tensor]:
    """A method whose noise chooses alone, networks that paint, and the images of defects, four of
    each class, that its bank is filled with.
    """
    ours = method(noise_scale=0)
    torch.manual_seed(0)
    networks = ours.networks()
    torch.nn.init.normal_(networks["generator"].head.weight)  # type: ignore[arg-type, union-attr]
    images = torch.rand(8, 1, SIDE, SIDE) - 0.5
    ours.settle(networks, of(images, 4))
    return ours, networks, images


def test_noise_chooses_the_exemplar_and_its_place_and_a_restoration_takes_none() -> None:
    ours, networks, _ = settled()
    assert networks[BANK].count.tolist() == [4, 4]  # type: ignore[operator]
    size = ours.noise_size(networks, SIDE, SIDE)
    noise = torch.zeros(2, size)
    noise[0, -CHOICES:], noise[1, -CHOICES:] = -2.0, 2.0
    with torch.no_grad():
        one, other = painted(ours, networks, 1, noise)
        assert not torch.equal(one, other)
        assert torch.equal(painted(ours, networks, 1, noise)[0], one)
        one, other = painted(ours, networks, 0, noise)
        assert torch.equal(one, other)


def test_a_region_says_where_an_exemplar_goes_and_not_what_the_network_is_asked_for() -> None:
    """A map that leaves out one pixel, but no cell, paints what one of the class all over does."""
    ours, networks, images = settled()
    noise = torch.randn(2, ours.noise_size(networks, SIDE, SIDE))
    label = torch.eye(CLASSES)[[1, 2], :, None, None]
    region = label.expand(-1, -1, SIDE, SIDE).clone()
    region[:, :, 1, 1] = torch.eye(CLASSES)[0]
    with torch.no_grad():
        everywhere = ours.paint(networks, images[:2], label, noise)
        here = ours.paint(networks, images[:2], region, noise)
    assert everywhere.mask.any()
    assert_close(here.foreground, everywhere.foreground)
    assert_close(here.mask, everywhere.mask)


def test_what_is_finer_lies_where_the_code_was_painted_and_nothing_is_chosen_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, networks, images = settled()
    choices: list[int] = []

    def counted(*of: Any, **more: Any) -> Any:
        choices.append(len(choices))
        return place(*of, **more)

    monkeypatch.setattr(module, "place", counted)
    codes: list[Tensor] = []
    networks["generator"].register_forward_pre_hook(lambda net, args: codes.append(args[3]))
    noise = torch.randn(6, ours.noise_size(networks, SIDE, SIDE))
    label = torch.eye(CLASSES)[[1, 2] * 3, :, None, None]
    with torch.no_grad():
        _, origin = ours.painting(networks, images[:6], label, noise)
        assert origin is not None
        detail = ours.detail(networks, origin)
    assert len(choices) == 1
    there = (codes[0][:, -1:] > 0).float()
    assert there.any() and (there == 0).any()
    assert_close(
        F.interpolate(there, scale_factor=detail.shape[2] // there.shape[2]), detail[:, -1:]
    )
    # Of one row alone as well: rows of a batch know nothing of each other.
    assert torch.equal(ours.detail(networks, origin[2:3]), detail[2:3])


def test_only_what_a_restoration_found_becomes_an_exemplar() -> None:
    ours = method()
    networks = ours.networks()
    images = torch.rand(4, 1, SIDE, SIDE) - 0.5
    ours.settle(networks, of(images, 0))  # from a head of zeros nothing is taken away
    assert networks[BANK].count.tolist() == [0, 0]  # type: ignore[operator]
    torch.nn.init.normal_(networks["generator"].head.weight)  # type: ignore[arg-type, union-attr]
    ours.settle(networks, of(images, 0))
    assert networks[BANK].count.tolist() == [4, 4]  # type: ignore[operator]


def test_a_model_without_exemplars_paints_all_the_same() -> None:
    ours = method()
    networks = ours.networks()
    noise = torch.zeros(1, ours.noise_size(networks, SIDE, SIDE))
    assert torch.isfinite(painted(ours, networks, 2, noise)).all()


@pytest.mark.parametrize("given", ["spade", "layered"])
def test_it_is_told_by_spade_and_paints_a_layer(given: str) -> None:
    wrong: dict[str, Any] = {"spade": {"control": "concatenated"}, "layered": {"layered": False}}
    with pytest.raises(Exception, match="input should be"):
        method(**wrong[given])
