"""Teach a network drawn defects on drawn surfaces: the weights that a training begins with.

    python sample_data/headstart.py --out configs/headstart.safetensors --steps 3000

No product is meant by any of the surfaces: brushed, grainy, woven, banded, polished, printed ones
in gray and colour. On each image a defect is drawn (``defectgan/data/drawn.py``), and the same on
another one; the network learns to take it away, to say where it was, and to paint it again on
either. No adversary takes part. Every image depends on its step and its number alone.
About 45 minutes of a core.

The weights that come with the package are of 2,500 steps of this script's first form, which drew
both surfaces of a pair anew and gave each its own light; nothing else differs by intention. 780
steps of 48 defects each, of the form below, find a little less (docs/experiments.md).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from defectgan.batch import Batch
from defectgan.data.dataset import drawn_on, to_tensor
from defectgan.data.drawn import Map, clipped, smooth, turned
from defectgan.devices import pick_device, upload_batch
from defectgan.methods.config import Config, load_config
from defectgan.methods.draws import Draws
from defectgan.methods.exemplar import Exemplar
from defectgan.model.file import save_tensors, with_prefix
from defectgan.model.form import Form
from defectgan.model.info import ModelInfo
from defectgan.networks.exemplars import POSES
from defectgan.training.state import State

CLASSES = ("normal", "defect")
LR = 1e-3
NOISE = 0.01  # standard deviation of the sensor noise, at most 3 x


def brushed(rng: Generator, side: int) -> Map:
    long, short = rng.uniform(0.1, 0.6), rng.uniform(0.004, 0.02)
    turn = (long, short) if rng.random() < 0.5 else (short, long)
    return rng.uniform(0.3, 0.7) + rng.uniform(0.02, 0.12) * smooth(rng, side, *turn)


def grainy(rng: Generator, side: int) -> Map:
    coarse, fine = (smooth(rng, side, rng.uniform(*size)) for size in ((0.02, 0.08), (0.004, 0.02)))
    return rng.uniform(0.2, 0.75) + rng.uniform(0, 0.05) * coarse + rng.uniform(0.01, 0.1) * fine


def woven(rng: Generator, side: int) -> Map:
    x, y = turned(rng, side)
    threads, twill = rng.uniform(5, 16), rng.uniform(0, 1)
    over = np.sin(2 * np.pi * threads * x) * np.sin(2 * np.pi * threads * (y + twill * x))
    cloth = rng.uniform(0.3, 0.7) + rng.uniform(0.04, 0.15) * over
    return np.asarray(cloth + 0.02 * smooth(rng, side, 0.005))


def banded(rng: Generator, side: int) -> Map:
    x, _ = turned(rng, side)
    bent = x + rng.uniform(0, 0.08) * smooth(rng, side, rng.uniform(0.1, 0.3))
    return rng.uniform(0.3, 0.7) + rng.uniform(0.04, 0.15) * np.sin(
        2 * np.pi * rng.uniform(2, 9) * bent
    )


def polished(rng: Generator, side: int) -> Map:
    return rng.uniform(0.15, 0.85) + rng.uniform(0, 0.03) * smooth(rng, side, 0.15)


def printed(rng: Generator, side: int) -> Map:
    """Two levels: tracks and patches."""
    low, high = sorted(rng.uniform(0, 1, 2)) if rng.random() < 0.5 else (0.02, 0.98)
    canvas = np.zeros((4 * side, 4 * side), np.uint8)
    for _ in range(rng.integers(3, 9)):
        a, b = rng.integers(0, 4 * side, (2, 2)).tolist()
        corner = (a[0], b[1])
        width = int(side * rng.uniform(0.15, 0.5))
        for start, end in ((a, corner), (corner, b)):
            cv2.line(canvas, start, end, 255, width)
        if rng.random() < 0.4:
            cv2.circle(canvas, b, int(width * rng.uniform(0.7, 1.4)), 255, -1)
    share = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA) / 255
    return low + (max(high, low + 0.25) - low) * share


SURFACES: tuple[Callable[[Generator, int], Map], ...] = (
    brushed, grainy, woven, banded, polished, printed,
)  # fmt: skip


def surface(seed: tuple[int, ...], side: int) -> NDArray[np.float32]:
    """A good image [side, side, 3] in [0, 1], half of them gray."""
    rng = np.random.default_rng(seed)
    ground = clipped(SURFACES[rng.integers(len(SURFACES))](rng, side))
    x, _ = turned(rng, side)
    light = 1 + rng.uniform(0, 0.3) * x
    gray = rng.random() < 0.5
    tint = np.zeros(3) if gray else rng.uniform(-0.25, 0.25, 3)
    noise = NOISE * rng.uniform(0, 3) * rng.standard_normal((side, side, 1 if gray else 3))
    contrast, brightness = rng.uniform(0.6, 1.3), rng.uniform(-0.15, 0.15)
    colour = ground[..., None] * light[..., None] * (1 + tint) + noise
    return np.clip((colour - 0.5) * contrast + 0.5 + brightness, 0, 1).astype(np.float32)


def batch(step: int, side: int, defects: int) -> Batch:
    """Good images, half of them with drawn defects; nothing stands in the place of real ones."""
    images = [surface((step, i), side) for i in range(2 * defects)]
    drawn = drawn_on(images[:defects], [step * defects + i for i in range(defects)])
    label = torch.eye(len(CLASSES))[[1] * len(images)]
    normal = to_tensor(images)
    return Batch(normal, normal, label, **drawn)


class Drawn(Dataset[Batch]):
    """The batches of all steps, drawn by several processes ahead."""

    def __init__(self, steps: int, side: int, defects: int) -> None:
        self._steps, self._side, self._defects = steps, side, defects

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        torch.set_num_threads(1)
        return batch(step, self._side, self._defects)


def train(
    config: Config, device: torch.device, defects: int, workers: int, say: Callable[[str], None]
) -> tuple[State, ModelInfo]:
    """The networks after all steps."""
    info = ModelInfo(Form.of(config), CLASSES, channels=3)
    task = info.task._replace(poses=tuple(range(POSES)))
    method = Exemplar(config.method, task)
    state = State(config, method, device=device)
    generator, adam = state.networks["generator"], state.optimisers["generator"]
    started = time.perf_counter()
    drawn = Drawn(config.training.steps, task.size[0], defects)
    batches = DataLoader(drawn, batch_size=None, num_workers=workers)
    for step, each in enumerate(batches):
        state.set_learning_rates(step)
        draws = Draws(torch.Generator(device).manual_seed(step), step)
        loss, terms = method.of_drawn(state.networks, upload_batch(each, device), draws)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(generator.parameters(), 5.0)
        adam.step()
        state.update_averages(step)
        if (step + 1) % 50 == 0:
            named = ", ".join(f"{name} {float(term):.3f}" for name, term in terms.items())
            say(f"step {step + 1}, {time.perf_counter() - started:.0f} s: {named}")
    return state, info


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--defects", type=int, default=10, help="drawn ones, a step")
    parser.add_argument("--config", default="quick")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw ahead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    overrides = {
        "optim": {"lr": LR, "betas": (0.5, 0.99), "final_lr": 1e-5},
        "training": {"steps": options.steps, "init_from": "none"},
    }
    config = load_config(options.config, overrides)
    device = pick_device(options.device)
    state, info = train(
        config,
        device,
        options.defects,
        options.workers,
        lambda text: print(text, flush=True),
    )
    # What paints, without the bank, which is of nobody's images.
    save_tensors(
        options.out, with_prefix("generator", state.averages["generator"].state_dict()), info
    )


if __name__ == "__main__":
    main()
