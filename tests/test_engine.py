"""What makes a step fast changes no number: golden losses, fast forms against plain ones."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from defectgan.batch import Batch
from defectgan.devices import seeded
from defectgan.methods.base import CRITIC, Task
from defectgan.methods.config import Config, load_config, parse_config
from defectgan.methods.layered import fakes, paint, verdicts
from defectgan.methods.registry import make_method
from defectgan.networks.critic import TowerCritic
from defectgan.networks.layers import Conv, HeadConv
from defectgan.settings.load import preset_folder
from defectgan.training.step import Engine, standing_still
from tests.conftest import tiny_with

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parent / "golden"
STEPS = 20
CLASSES = ("normal", "a", "b", "c")
PUBLISHED: dict[str, Any] = {
    "data": {"image_size": 32},
    "method": {
        "name": "defectgan",
        "width": 4,
        "residual_blocks": 1,
        "spade_hidden": 4,
        "noise_scale": 0.3,
        "critic_width": 4,
        "critic_layers": 3,
        "n_critic": 2,
    },
    "training": {"batch_size": 4, "steps": 100},
}
ROBUST = PUBLISHED | {
    "augment": {"adaptive": True},
    "method": PUBLISHED["method"] | {"name": "robust", "tower_width": 8},
    "optim": {"lr": 4e-4},
}


def engine(config: Config, *, bf16: bool = False) -> Engine:
    task = Task(3, len(CLASSES), config.data.image_size)
    method = make_method(config.method, task)
    return Engine(config, method, device=CPU, bf16=bf16)


def batch(step: int, part: int, *, half: int = 2) -> Batch:
    """Noise, with a dark or bright or coloured square that tells the class."""
    rng = torch.Generator().manual_seed(100 * step + part)
    normal, defect = (torch.rand(half, 3, 32, 32, generator=rng) - 0.5 for _ in range(2))
    label = torch.eye(len(CLASSES))[1 + torch.arange(half) % (len(CLASSES) - 1)]
    for image, k in zip(defect, label.argmax(1), strict=True):
        image[k - 1, 8:16, 8:16] = 1
    shown = max(1, half // 2)
    truth = torch.zeros(2 * shown, 1, 32, 32)
    truth[:, :, 20:26, 4:10] = 1
    first = normal[:shown]
    drawn = torch.where(truth > 0, 0.9, torch.cat([first, first.roll(-1, 0)]))
    return Batch(normal, defect, label, torch.empty(0), drawn, truth)


def awake(config: Config, *, bf16: bool = False) -> Engine:
    """From a head of zeros nothing is painted, and nearly all gradients are rounding at first, of
    which Adam makes steps.
    """
    woken = engine(config, bf16=bf16)
    with seeded(7), torch.no_grad():
        woken.state.networks["generator"].head.weight.normal_(std=0.1)  # type: ignore[union-attr, operator]
    if config.augment.adaptive:
        woken.state.strength.fill_(0.3)
    return woken


def run(config: Config, *, bf16: bool = False) -> list[dict[str, float]]:
    trained = awake(config, bf16=bf16)
    lines = [trained.step(t, batch) for t in range(STEPS)]
    assert not any(line.pop("skipped") for line in lines)
    return [{name: float(term) for name, term in line.items()} for line in lines]


EXEMPLAR = ROBUST | {"method": ROBUST["method"] | {"name": "exemplar"}}
FORMS = {
    "published": PUBLISHED,
    "robust": ROBUST,
    "robust-bf16": ROBUST,
    "exemplar": EXEMPLAR,
    "exemplar-bf16": EXEMPLAR,
}


def golden(name: str) -> list[dict[str, float]]:
    """The losses of a form; ``-bf16`` under autocast."""
    return run(parse_config(FORMS[name], origin="tests"), bf16=name.endswith("bf16"))


@pytest.mark.parametrize("name", FORMS)
def test_the_first_losses_are_the_golden_ones(name: str) -> None:
    """A change of these numbers is a change of the method: say why, and write them anew with
    python -m tests.test_engine.
    """
    kept = json.loads((GOLDEN / f"{name}.json").read_text())
    for line, expected in zip(golden(name), kept, strict=True):
        assert line == pytest.approx(expected, rel=5e-3, abs=1e-3)


SMALL: dict[str, Any] = {
    "data": {"image_size": 64},
    "method": {"width": 4, "residual_blocks": 1, "critic_width": 4},
    "training": {"batch_size": 4},
}


@pytest.mark.parametrize("name", sorted(p.stem for p in preset_folder().glob("*.yaml")))
def test_every_preset_trains(name: str) -> None:
    """Its form at a tiny width: a step of the warm-up, and one of all networks."""
    known = load_config(name, {}).method.__class__.model_fields
    sizes = {key: value for key, value in SMALL["method"].items() if key in known}
    trained = engine(load_config(name, SMALL | {"method": sizes}))
    before = {name: tensor.clone() for name, tensor in trained.state.weights().items()}

    def bigger(step: int, part: int) -> Batch:
        small = batch(step, part)
        normal, defect = (F.interpolate(x, 64) for x in (small.normal, small.defect))
        truth = torch.zeros(2, 1, 64, 64)
        truth[:, :, 8:12, 8:12] = 1
        drawn = torch.where(truth > 0, 1.0, normal[[0, 0]])
        return Batch(normal, defect, small.label, torch.zeros_like(truth), drawn, truth)

    if trained.warm_up is not None:
        trained.warm_up_step(0, bigger)
    terms = trained.step(0, bigger)
    assert all(term.isfinite() for term in terms.values()) and not terms["skipped"]
    assert any(not torch.equal(before[name], t) for name, t in trained.state.weights().items())


def test_the_head_that_makes_four_pixels_at_once_is_a_convolution() -> None:
    torch.manual_seed(0)
    head = HeadConv(5, 4, 7)
    x = torch.randn(2, 5, 12, 16, requires_grad=True)
    fast, plain = head(x), Conv.forward(head, x)
    assert_close(fast, plain)
    assert head.bias is not None
    inputs = (x, head.weight, head.bias)
    pull = torch.randn_like(plain)
    for one, other in zip(
        torch.autograd.grad(fast, inputs, pull),
        torch.autograd.grad(plain, inputs, pull),
        strict=True,
    ):
        assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_real_and_fake_judged_together_get_the_verdicts_they_get_alone(tiny: Config) -> None:
    torch.manual_seed(0)
    critic = engine(tiny).state.networks[CRITIC]
    real, fake = torch.randn(2, 4, 3, 32, 32)
    label = torch.eye(4)
    for together, alone in zip(
        verdicts(critic, real, fake, label), (critic(real, label), critic(fake, label)), strict=True
    ):
        assert_close(together.score, alone.score)
        assert_close(together.logits, alone.logits)


def test_fakes_of_all_critic_steps_made_together_are_those_made_one_by_one(tiny: Config) -> None:
    trained = awake(tiny)
    parts, networks = [batch(0, part) for part in range(2)], trained.state.networks
    together = fakes(networks, parts, trained._draws(torch.Generator().manual_seed(7), 0))
    draws = trained._draws(torch.Generator().manual_seed(7), 0)
    for made, part in zip(together, parts, strict=True):
        noise = draws.noise(4, trained.state.painting.noise_size(32, 32))
        assert_close(made, paint(networks["generator"], part.images, part.target, noise).image)
    assert not torch.equal(together[0], parts[0].images)


def state_of(trained: Engine) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trained.state.tensors().items()}


def test_an_update_that_is_not_finite_is_left_out_whole(tiny: Config) -> None:
    """Weights and both optimisers stay as they were; the next step goes on."""
    trained = engine(tiny)
    trained.step(0, batch)
    before = state_of(trained)

    def broken(step: int, part: int) -> Batch:
        return batch(step, part)._replace(defect=torch.full((2, 3, 32, 32), float("nan")))

    assert trained.step(1, broken)["skipped"] == 1
    after = state_of(trained)
    kept = {name for name in before if not name.startswith("generator.")}
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert trained.step(2, batch)["skipped"] == 0
    assert not torch.equal(
        before["raw.generator.stem.0.weight"], state_of(trained)["raw.generator.stem.0.weight"]
    )


def test_a_critic_that_stood_still_learns_again_whatever_ended_that(tiny: Config) -> None:
    critic = engine(tiny).state.networks[CRITIC]
    assert isinstance(critic, TowerCritic)
    critic.trunk.requires_grad_(False)
    with pytest.raises(torch.OutOfMemoryError), standing_still(critic):
        assert not any(p.requires_grad for p in critic.parameters())
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert all(p.requires_grad for p in critic.score.parameters())
    assert not any(p.requires_grad for p in critic.trunk.parameters())  # as it was


def test_a_step_is_the_same_without_the_fast_forms() -> None:
    """Control maps at full resolution and the head as one plain convolution."""
    config = tiny_with(method={"n_critic": 2})
    fast = awake(config).step(0, batch)

    def full_map(label: Any) -> Any:
        return label[:, :, None, None].expand(-1, -1, 32, 32)

    with (
        mock.patch.object(HeadConv, "forward", Conv.forward),
        mock.patch("defectgan.methods.layered.constant_map", full_map),
    ):
        plain = awake(config).step(0, batch)
    assert fast["mask_deface"] != 0.5  # something was painted
    for name, term in fast.items():
        assert_close(term, plain[name], rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    for form in FORMS:
        rows = ",\n".join(json.dumps(row) for row in golden(form))
        (GOLDEN / f"{form}.json").write_text(f"[\n{rows}\n]\n")


def test_a_training_leaves_the_random_generator_of_the_process_alone(tiny: Config) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = engine(tiny)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = engine(tiny)
    for a, b in zip(first.state.weights().values(), second.state.weights().values(), strict=True):
        assert torch.equal(a, b)
