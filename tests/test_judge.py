"""The judge: what its measures say of models that are known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from defectgan.config import Config, DataConfig
from defectgan.data.dataset import make_batches
from defectgan.data.index import index_data
from defectgan.evaluation.fidelity import kid
from defectgan.files import read_json_lines
from defectgan.runs import RunFolder
from defectgan.training.checkpoint import load_model, load_tensors
from defectgan.training.job import Job
from defectgan.training.judge import (
    FEWEST,
    SCORE,
    Judge,
    agreement,
    judged_images,
    kernel_distance,
)
from tests.conftest import CPU, run_job, tiny_with


def gaussian(count: int, mean: float, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return mean + torch.randn(count, 2, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("distance", [kernel_distance, lambda x, y: kid([x], [y])])
def test_the_kernel_distance_of_two_gaussians_is_its_closed_form(
    distance: Callable[[torch.Tensor, torch.Tensor], float],
) -> None:
    """k(x, y) = (<x, y> / 2 + 1)^3 and s = <x, y> / 2: of x ~ N(a, I) and y ~ N(b, I) in the plane,
    E s = <a, b> / 2, E s^2 = (<a, b>^2 + |a|^2 + |b|^2 + 2) / 4, E s^3 from the third moments of a
    product of normals. With b = 0 all odd moments vanish: E k(x, y) = 1 + 3 (|a|^2 + 2) / 4.
    """
    a = 1.0
    x, y, z = gaussian(4000, a, 0), gaussian(4000, 0.0, 1), gaussian(4000, 0.0, 2)
    assert float(distance(y, z)) == pytest.approx(0, abs=0.05)
    norm = 2 * a * a
    cross = 1 + 3 * (norm + 2) / 4
    at_zero = 1 + 3 * 2 / 4
    # <x, x'> for two of N(a, I): mean |a|^2, and with c = |a|^2 the moments of its half.
    first, second = norm / 2, (norm**2 + 2 * norm + 2) / 4
    third = (norm**3 + 3 * norm * (2 * norm + 2) + 6 * norm) / 8
    at_a = 1 + 3 * first + 3 * second + third
    expected = at_a + at_zero - 2 * cross
    assert float(distance(x, y)) == pytest.approx(expected, rel=0.1)


def test_the_kernel_distance_is_that_of_a_naive_loop() -> None:
    x, y = gaussian(4, 0.5, 0), gaussian(5, 0.0, 1)

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 2 + 1) ** 3

    pairs = [
        sum(k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    cross = sum(k(a, b) for a in x for b in y) / 20
    assert float(kernel_distance(x, y)) == pytest.approx(sum(pairs) - 2 * cross)


def test_the_kernel_distance_of_a_training_is_that_of_an_evaluation() -> None:
    x, y = gaussian(30, 0.5, 0), gaussian(30, 0.0, 1)
    assert float(kernel_distance(x, y)) == pytest.approx(kid([x], [y]))


def test_agreement_is_1_for_equal_masks_0_for_disjoint_ones_and_soft_between() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    assert agreement(mask, mask) == 1 and agreement(mask, 1 - mask) == 0
    assert_close(agreement(mask, mask / 2), torch.tensor(0.5))
    assert agreement(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)) == 1


def test_a_generator_that_paints_nothing_shares_all_of_the_distance(
    run: Path, tiny: Config
) -> None:
    model = load_model(run)
    with torch.no_grad():
        model.generator.head.weight.zero_()
        model.generator.head.bias.zero_()
    batches = make_batches(tiny, index_of(run))
    assert model.critic is not None
    measures = Judge(tiny, batches, device=CPU)(model.generator, model.critic)
    assert measures[SCORE] == pytest.approx(1.0, rel=1e-4)
    assert measures["agreement"] == 1.0
    assert 0 <= measures["confirmed"] <= 1


def index_of(run: Path):  # type: ignore[no-untyped-def]
    from defectgan.data.index import read_split

    return read_split(RunFolder(run).split)


def test_validation_images_judge_where_they_suffice_and_test_images_never(boards: Path) -> None:
    index = index_data(boards, DataConfig(val_fraction=0.5))
    assert min(map(len, judged_images(index).members)) < FEWEST or judged_images(index) != index
    few = index_data(boards, DataConfig(val_fraction=0.25))
    assert judged_images(few) is few
    tested = index_data(boards, DataConfig(holdout=0.5))
    assert judged_images(tested) is tested


def test_the_best_weights_are_those_of_the_lowest_score(boards: Path, tmp_path: Path) -> None:
    config = tiny_with(training={"eval_every": 2, "steps": 8})
    run = RunFolder(run_job(Job(config, index_data(boards, DataConfig())), tmp_path).run)
    scores = {line["step"]: line[SCORE] for line in read_json_lines(run.stats) if SCORE in line}
    assert scores.keys() <= {2, 4, 6, 8} and scores
    best = min(scores, key=lambda step: scores[step])
    assert load_tensors(run.best)[1].step == best
    assert float(load_tensors(run.state)[0]["best"]) == scores[best]
