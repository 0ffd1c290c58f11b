"""What makes a step fast changes no number: golden losses, fast forms against plain ones."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from defectgan.config import Config, Form, load_config, preset_folder
from defectgan.control import constant_map
from defectgan.data.dataset import Batch
from defectgan.devices import seeded
from defectgan.model.info import ModelInfo
from defectgan.models.critic import Critic
from defectgan.models.imagenet import weights_of
from defectgan.models.layers import Conv, HeadConv
from defectgan.training.engine import Engine, standing_still
from defectgan.training.step import draw_noise, sides, verdicts
from tests.conftest import tiny_with

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parent / "golden" / "losses.json"
STEPS = 20
CLASSES = ("normal", "a", "b", "c")


def engine(config: Config) -> Engine:
    return Engine(config, ModelInfo(Form.of(config), CLASSES, 3), device=CPU, bf16=False)


def batch(step: int, part: int, *, half: int = 2) -> Batch:
    """Noise, with a dark or bright or coloured square that tells the class."""
    rng = torch.Generator().manual_seed(100 * step + part)
    normal, defect = (torch.rand(half, 3, 32, 32, generator=rng) - 0.5 for _ in range(2))
    label = torch.eye(len(CLASSES))[1 + torch.arange(half) % (len(CLASSES) - 1)]
    for image, k in zip(defect, label.argmax(1), strict=True):
        image[k - 1, 8:16, 8:16] = 1
    return Batch(normal, defect, label)


def awake(config: Config) -> Engine:
    """From a head of zeros nothing is painted, and nearly all gradients are rounding at first, of
    which Adam makes steps.
    """
    woken = engine(config)
    with seeded(config.training.seed), torch.no_grad():
        # The golden numbers were made with what is drawn behind both networks.
        woken.info.generator(), woken.info.critic()
        woken.generator.head.weight.normal_(std=0.1)
    return woken


def run(config: Config) -> list[dict[str, float]]:
    trained = awake(config)
    lines = [trained.step(t, batch) for t in range(STEPS)]
    assert not any(line.pop("skipped") for line in lines)
    return [{name: float(term) for name, term in line.items()} for line in lines]


def test_the_first_losses_are_the_golden_ones() -> None:
    """A change of these numbers is a change of the method: say why, and write them anew with
    python -m tests.test_engine.
    """
    golden = json.loads(GOLDEN.read_text())
    lines = run(tiny_with(training={"n_critic": 2, "steps": 100}))
    for line, expected in zip(lines, golden, strict=True):
        assert line == pytest.approx(expected, rel=5e-3, abs=1e-3)


FIXED_FEATURES = Path(__file__).parents[1] / "benchmarks" / "fixed-features.yaml"
SMALL: dict[str, Any] = {
    "data": {"image_size": 64},
    "generator": {"width": 4, "residual_blocks": 1, "spade_hidden": 4},
    "training": {"batch_size": 4},
}


@pytest.mark.parametrize(
    "name",
    [
        *sorted(p.stem for p in preset_folder().glob("*.yaml")),
        pytest.param(
            str(FIXED_FEATURES),
            marks=pytest.mark.skipif(weights_of("lite0") is None, reason="needs 'features'"),
        ),
    ],
)
def test_every_preset_trains(name: str) -> None:
    """Its form at a tiny width: a step of the warm-up, and one of all networks."""
    learns_to_see = load_config(name, {}).critic.features is None
    critic = {"critic": {"width": 4}} if learns_to_see else {}
    trained = engine(load_config(name, SMALL | critic))
    before = {name: tensor.clone() for name, tensor in trained.weights().items()}

    def bigger(step: int, part: int) -> Batch:
        small = batch(step, part)
        normal, defect = (F.interpolate(x, 64) for x in (small.normal, small.defect))
        return Batch(normal, defect, small.label, torch.zeros(2, 1, 64, 64))

    trained.lead_step(0, bigger)
    terms = trained.step(0, bigger)
    assert all(term.isfinite() for term in terms.values()) and not terms["skipped"]
    assert any(not torch.equal(before[name], t) for name, t in trained.weights().items())


def test_the_head_that_makes_four_pixels_at_once_is_a_convolution() -> None:
    torch.manual_seed(0)
    head = HeadConv(5, 4, 7)
    x = torch.randn(2, 5, 12, 16, requires_grad=True)
    fast, plain = head(x), Conv.forward(head, x)
    assert_close(fast, plain)
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
    critic = Critic(3, 4, tiny.critic)
    real, fake = torch.randn(2, 4, 3, 32, 32)
    for together, alone in zip(
        verdicts(critic, real, fake), map(critic, (real, fake)), strict=True
    ):
        assert_close(together.score, alone.score)
        assert_close(together.logits, alone.logits)


def test_fakes_of_all_critic_steps_made_together_are_those_made_one_by_one(tiny: Config) -> None:
    trained = awake(tiny)
    parts = [sides(batch(0, part)) for part in range(2)]
    together = trained._fakes(parts, torch.Generator().manual_seed(7))
    rng = torch.Generator().manual_seed(7)
    for made, part in zip(together, parts, strict=True):
        noise = draw_noise(4, trained.generator.noise_size(32, 32), rng)
        alone, _ = trained.generator.paint(part.images, constant_map(part.target), noise)
        assert_close(made, alone)
    assert not torch.equal(together[0], parts[0].images)


def state_of(trained: Engine) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trained.state().items()}


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
    assert not torch.equal(before["raw.stem.0.weight"], state_of(trained)["raw.stem.0.weight"])


def test_a_critic_that_stood_still_learns_again_whatever_ended_that(tiny: Config) -> None:
    critic = engine(tiny).critic
    critic.trunk.requires_grad_(False)
    with pytest.raises(torch.OutOfMemoryError), standing_still(critic):
        assert not any(p.requires_grad for p in critic.parameters())
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert all(p.requires_grad for p in critic.score.parameters())
    assert not any(p.requires_grad for p in critic.trunk.parameters())  # as it was


def test_a_step_is_the_same_without_the_fast_forms() -> None:
    """Control maps at full resolution and the head as one plain convolution."""
    config = tiny_with(training={"n_critic": 2})
    fast = awake(config).step(0, batch)

    def full_map(label: Any) -> Any:
        return label[:, :, None, None].expand(-1, -1, 32, 32)

    with (
        mock.patch.object(HeadConv, "forward", Conv.forward),
        mock.patch("defectgan.training.step.constant_map", full_map),
        mock.patch("defectgan.training.engine.constant_map", full_map),
    ):
        plain = awake(config).step(0, batch)
    assert fast["mask_deface"] != 0.5  # something was painted
    for name, term in fast.items():
        assert_close(term, plain[name], rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    rows = run(tiny_with(training={"n_critic": 2, "steps": 100}))
    GOLDEN.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def test_a_training_leaves_the_random_generator_of_the_process_alone(tiny: Config) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = engine(tiny)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = engine(tiny)
    for a, b in zip(first.weights().values(), second.weights().values(), strict=True):
        assert torch.equal(a, b)
